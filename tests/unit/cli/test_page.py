"""The page about run control says what the command says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bascule.cli import main as command
from bascule.run.outcome import WORDS, Status
from bascule.run.phases import PHASES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/run-control.md").read_text()


def test_every_exit_status_is_in_the_table() -> None:
    table = {
        int(number): words.split(";")[0].split(":")[0]
        for number, words in re.findall(r"(?m)^\| (\d) \| (.*) \|$", PAGE)
    }
    assert set(table) == {int(status) for status in Status} == set(map(int, WORDS))
    assert {number: WORDS[Status(number)].split(":")[0] for number in table if number != Status.RUNNING} == {
        number: words for number, words in table.items() if number != Status.RUNNING
    }


def test_every_command_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for name in command.PHASES:
        assert f"bascule {name}" in PAGE
        assert command.main([name, "--help"]) == 0
        assert "exit status" in capsys.readouterr().out
    assert command.main(["phases"]) == 0
    shown = capsys.readouterr().out
    for phase in PHASES.values():
        assert re.search(rf"(?m)^  {phase.name} +{re.escape(phase.playbook)} ", shown)
        assert (ROOT / phase.playbook).is_file()
