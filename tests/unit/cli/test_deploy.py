"""What `bascule deploy` runs, and what its exit status says. The playbook itself: tests/molecule/app_service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bascule.cli import deploy, start
from bascule.errors import BasculeError


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of ansible-playbook: it writes down its words, and ends as it is told."""
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\nprintf \'%s\\n\' "$@" >{tmp_path}/words\necho "$ANSIBLE_STDOUT_CALLBACK" >{tmp_path}/callback\n'
        f"exit $(cat {tmp_path}/status 2>/dev/null || echo 0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(start, "program", lambda: str(program))
    monkeypatch.delenv("ANSIBLE_STDOUT_CALLBACK", raising=False)
    return tmp_path


def test_the_playbook_gets_service_version_and_way_and_what_ansible_is_given(told: Path) -> None:
    assert deploy.main(["shop", "1.4.0", "-i", "inventories/x", "--check", "--diff"]) == 0
    playbook, flag, given, *rest = (told / "words").read_text().splitlines()
    assert (Path(playbook).name, flag) == ("deploy.yml", "-e")
    assert Path(playbook).is_file()
    assert json.loads(given) == {
        "app_service_name": "shop",
        "app_service_version": "1.4.0",
        "app_service_strategy": "rolling",
        "app_service_way": "deploy",
    }
    assert rest == ["-i", "inventories/x", "--check", "--diff"]
    # Its lines are those of the deployment itself, not the display of phases.
    assert (told / "callback").read_text() == "default\n"
    assert deploy.main(["all", "--back"]) == 0
    again = json.loads((told / "words").read_text().splitlines()[2])
    assert (again["app_service_name"], again["app_service_version"], again["app_service_way"]) == ("all", "", "back")


def test_whatever_the_playbook_could_not_do_needs_a_person(told: Path) -> None:
    (told / "status").write_text("2")
    assert deploy.main(["shop", "1.4.0"]) == 6


@pytest.mark.parametrize(
    "words", [["shop"], ["shop", "1", "--back"], ["shop", "1", "2"], ["shop", "1", "--strategy", "x"]]
)
def test_what_is_typed_wrongly_runs_nothing(words: list[str], told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        deploy.main(words)
    assert (caught.value.code, (told / "words").exists()) == (2, False)
    assert "usage: bascule deploy" in capsys.readouterr().err


def test_without_ansible_it_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> str:
        raise BasculeError(expected="ansible-playbook", found="none", state="nothing was begun")

    monkeypatch.setattr(start, "program", program)
    assert deploy.main(["shop", "1.4.0"]) == 2
    assert "bascule deploy: expected: ansible-playbook; found: none" in capsys.readouterr().err
