"""`bascule lab` is the lab's own program, where there is a checkout of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.meta.tree import ROOT

from bascule.cli import lab
from bascule.run.outcome import Status


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command from any folder."""
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("word", list(lab.WORDS))
def test_each_word_is_one_of_the_labs_own(word: str, tmp_path: Path) -> None:
    own = run(str(ROOT / "tests/lab/lab.py"), word, "--help", folder=tmp_path)
    given = run("-m", "bascule.cli.main", "lab", word, "--help", folder=tmp_path)
    assert (given.returncode, given.stdout) == (0, own.stdout), given.stderr
    assert f"usage: lab.py {word}" in given.stdout


def test_its_exit_status_is_handed_on(tmp_path: Path) -> None:
    refused = run("-m", "bascule.cli.main", "lab", "up", "--only", "nowhere", folder=tmp_path)
    assert (refused.returncode, "nowhere" in refused.stderr) == (2, True), refused


def test_without_a_checkout_it_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "PROJECT", tmp_path)
    assert lab.main(["up"]) == Status.REFUSED
    said = capsys.readouterr().err
    assert f"found: no {tmp_path}/tests/lab/lab.py" in said
    assert "a checkout of the project" in said


@pytest.mark.parametrize("words", [[], ["reboot"], ["link", "cut"]])
def test_no_other_word_is_taken(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.main(words) == Status.REFUSED
    assert "bascule lab up|down|status" in capsys.readouterr().err


def test_the_help_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.main(["--help"]) == Status.DONE
    said = capsys.readouterr().out
    assert [word for word in lab.WORDS if f"  {word} " in said] == list(lab.WORDS)
