"""Beside a playbook that changes something `bascule` begins no second one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.errors import BasculeError
from bascule.run.io import beside, command, identity, presence
from bascule.run.io.command import Command
from bascule.run.phases import PHASES


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the runs."""
    monkeypatch.setenv(identity.RUNS, str(tmp_path / "runs"))
    monkeypatch.delenv(identity.RUN, raising=False)
    return tmp_path / "runs"


def begun(phase: str, **other: str) -> Command:
    """Return a command that this very process stands for, or one of elsewhere."""
    made = command.begin(phase)
    made.tell("supervisor", {**presence.process(os.getpid()), **other})
    return made


def begin(phase: str) -> None:
    with beside.alone(PHASES[phase]):
        pass


def test_a_second_one_that_changes_something_is_refused_and_one_that_looks_is_not() -> None:
    first = begun("cutover")
    with pytest.raises(BasculeError, match=f"bascule watch {first.name}"):
        begin("rollback")
    begin("status")


def test_one_that_looks_or_has_ended_holds_up_nobody() -> None:
    begun("status")
    ended = begun("cutover")
    (ended.folder / "artifacts/runner").mkdir(parents=True)
    (ended.folder / "artifacts/runner/rc").write_text("2")
    gone = begun("sync", boot="another")
    assert not gone.lives()
    begin("rollback")


def test_one_of_another_machine_is_refused_until_its_folder_is_taken_away() -> None:
    first = begun("cutover", host="elsewhere")
    with pytest.raises(BasculeError, match=f"ask on elsewhere.*rm -r {first.folder}"):
        begin("rollback")


@pytest.mark.parametrize(("book", "refused"), [("60_cutover.yml", True), ("10_audit.yml", False)])
def test_one_that_ansible_playbook_has_begun_is_refused_as_well(runs: Path, book: str, refused: bool) -> None:
    (runs / "r1").mkdir(parents=True)
    (runs / "latest").symlink_to("r1")
    note = presence.Presence(runs / "r1", "d1", book, "")
    if refused:
        with pytest.raises(BasculeError, match=f"kill -INT {os.getpid()}"):
            begin("rollback")
        note.end()
    begin("rollback")
