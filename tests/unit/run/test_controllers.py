"""A live controller is told from a dead one, here by the lock of its process, elsewhere by when it was heard of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule.run import controllers, position
from bascule.run.controllers import Noted
from bascule.run.io import presence
from bascule.run.last import Last

from .test_position import NAMES, SOURCE_CLOSED, SOURCE_OPEN, TARGET_CLOSED, TARGET_OPEN, sides

NOW = "2026-12-01T20:20:00.000+00:00"
NOTE = Noted("d1", 77, "nadia", "60_cutover.yml", "2026-12-01T20:14:03.000+00:00", "(6/7) CUTOVER", "", True)


def entry(minute: int, kind: str, verb: str, component: str, epoch: str = "d1", host: str = "here", **data: Any) -> Any:
    return {
        "time": f"2026-12-01T20:{minute:02}:00.000+00:00", "controller": host, "epoch": epoch, "kind": kind,
        "phase": "cutover", "verb": verb, "component": component, "data": data,
    }  # fmt: skip


LEFT = [
    entry(14, "state", "", ""),
    entry(15, "begin", "freeze", "db"), entry(15, "end", "freeze", "db", result="ok"),
    entry(16, "begin", "switch", "db"), entry(16, "begin", "freeze", "files"),
]  # fmt: skip


def said(noted: list[Noted], entries: list[Any]) -> controllers.AtWork:
    return controllers.at_work(noted, entries, "here", NOW)


def test_one_that_lives_is_named_with_what_it_does_and_is_waited_for() -> None:
    found = said([NOTE], LEFT)
    assert found.lines == [
        "Controller: AT WORK: 60_cutover.yml, process 77 of nadia on here, begun 2026-12-01T20:14:03Z, in play "
        '"(6/7) CUTOVER"; now switch of db, freeze of files'
    ]
    told = position.report(
        "r", [sides(SOURCE_CLOSED, TARGET_CLOSED)], Last("cutover", "switch", "db", NOW, "here", "not ended"),
        {"here": "5 entries"}, [], NAMES, work=found,
    )  # fmt: skip
    assert told[1].endswith(": under way")
    assert told[2] == found.lines[0]
    assert told[-1] == (
        "Next: none while process 77 is at work; wait until it has ended (kill -INT 77 ends it, and what it started on "
        "the machines goes on), then ask again: ansible-playbook playbooks/status.yml"
    )
    # Whatever is at work, two open sides come first.
    both = position.report("r", [sides(SOURCE_OPEN, TARGET_OPEN)], Last(), {}, [], NAMES, work=found)
    assert both[-1].startswith("Next: none: stop the clients")


def test_one_that_died_is_named_with_what_it_left_and_the_next_safe_command() -> None:
    dead = Noted(**{**vars(NOTE), "alive": False})
    found = said([dead], LEFT)
    (line,) = found.lines
    assert line.startswith("Controller: DEAD: 60_cutover.yml, process 77 of nadia on here")
    assert line.endswith("it left switch of db, freeze of files, and what it started on the machines goes on")
    told = position.report(
        "r", [sides(SOURCE_CLOSED, TARGET_CLOSED)], Last("cutover", "switch", "db", NOW, "here", "not ended"),
        {"here": "5 entries"}, [], NAMES, work=found,
    )  # fmt: skip
    assert told[1].endswith("NOT ENDED: its controller is dead")
    assert told[-1].startswith("Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse to go on")
    # Who came after it has seen what it left; one that ended by itself has left nothing.
    assert said([dead], [*LEFT, entry(18, "state", "", "", "d2")]).lines == []
    assert said([Noted(**{**vars(dead), "ended": NOW})], LEFT).lines == []
    assert said([], [entry(16, "begin", "switch", "db", check_mode=True)]).lines == []


def test_what_another_machine_has_begun_is_told_with_when_it_was_heard_of() -> None:
    other = [{**one, "controller": "there"} for one in LEFT]
    found = said([], other)
    (line,) = found.lines
    assert "there, heard of last 2026-12-01T20:16:00Z (it is 2026-12-01T20:20:00Z)" in line
    assert (
        "left switch of db, freeze of files; whether it is still at work is not known here: ask on there before" in line
    )
    told = position.report("r", [sides(SOURCE_OPEN, TARGET_CLOSED)], Last(), {}, [], NAMES, work=found)
    assert told[-1].startswith("Next: ansible-playbook"), "the opening rule does not rest on who is at work"
    (mine,) = said([], LEFT).lines
    assert mine.endswith("whether it is still at work is not known here: it has left no note")
    # A live one here counts although the other has begun later.
    late = [entry(17, "begin", "freeze", "db", "d9", "there")]
    assert [line[:22] for line in said([NOTE], [*LEFT, *late]).lines] == [
        "Controller: AT WORK: 6",
        "Controller: there, hea",
    ]
    assert said([NOTE], [*LEFT, *late]).first.startswith("none while process 77")


HOLDS = """
import sys, time
from pathlib import Path
from bascule.run.io.presence import Presence
held = Presence(Path(sys.argv[1]), "d1", "60_cutover.yml", "(1/7) GO")
held.play("(6/7) CUTOVER with more words")
held.play("(7/7) CUTOVER")
import os
if os.fork() == 0:
    # A child of a dead one keeps nobody alive.
    time.sleep(60)
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """A process that is at work, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_note_is_held_by_the_process_alone_and_by_nobody_after_its_death(tmp_path: Path, holder: Any) -> None:
    (note,) = presence.read(tmp_path)
    assert (note.alive, note.pid, note.play, note.ended) == (True, holder.pid, "(7/7) CUTOVER", "")
    (again,) = presence.read(tmp_path)
    assert again.alive, "to ask ends nothing"
    holder.kill()
    holder.wait()
    (dead,) = presence.read(tmp_path)
    assert (dead.alive, dead.ended, dead.pid) == (False, "", holder.pid)


def test_one_that_ends_says_so_and_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert presence.read(tmp_path) == []
    made = presence.Presence(tmp_path, "d2", "70_verify.yml", "(1/2) VERIFY")
    made.end()
    (tmp_path / "controllers/d3.json").write_text('{"pid": ')
    (note,) = presence.read(tmp_path)
    assert (note.decision, note.alive, bool(note.ended)) == ("d2", False, True)
