"""A live controller is told from a dead one, here by the lock of its process, elsewhere by when it was heard of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.run import controllers
from bascule.run.controllers import Noted
from bascule.run.io import presence
from bascule.run.last import Last

from . import telling
from .test_position import NAMES, SOURCE_CLOSED, SOURCE_OPEN, TARGET_CLOSED, TARGET_OPEN, sides

NOW = "2026-12-01T20:20:00.000+00:00"
NOTE = Noted("d1", 77, "nadia", "60_cutover.yml", "2026-12-01T20:14:03.000+00:00", "(6/7) CUTOVER", "", True, "here")


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
    told = telling.told(
        "r", [sides(SOURCE_CLOSED, TARGET_CLOSED)], Last("cutover", "switch", "db", NOW, "here", "not ended", "d1"),
        {"here": "5 entries"}, [], NAMES, work=found,
    )  # fmt: skip
    assert told[1].endswith(": under way")
    assert told[2] == found.lines[0]
    assert told[-1] == (
        "Next: none while process 77 is at work; wait until it has ended (bascule watch shows what bascule has "
        "begun; kill -INT 77 ends it, and what it started on the machines goes on), then ask again: "
        "ansible-playbook playbooks/status.yml"
    )
    # Whatever is at work, two open sides come first.
    both = telling.told("r", [sides(SOURCE_OPEN, TARGET_OPEN)], Last(), {}, [], NAMES, work=found)
    assert both[-1].startswith("Next: none: stop the clients")


def test_one_that_died_is_named_with_what_it_left_and_the_next_safe_command() -> None:
    dead = Noted(**{**vars(NOTE), "alive": False})
    found = said([dead], LEFT)
    (line,) = found.lines
    assert line.startswith("Controller: DEAD: 60_cutover.yml, process 77 of nadia on here")
    assert line.endswith("it left switch of db, freeze of files, and what it started on the machines goes on")
    told = telling.told(
        "r", [sides(SOURCE_CLOSED, TARGET_CLOSED)], Last("cutover", "switch", "db", NOW, "here", "not ended", "d1"),
        {"here": "5 entries"}, [], NAMES, work=found,
    )  # fmt: skip
    assert told[1].endswith("NOT ENDED: its controller is dead")
    assert told[-1].startswith("Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse to go on")
    # Who came after it went on with what it left; one that ended by itself has left nothing.
    on = [
        entry(18, "state", "", "", "d2"),
        entry(18, "begin", "switch", "db", "d2"),
        entry(19, "begin", "freeze", "files", "d2"),
    ]
    assert said([dead, replace(dead, decision="d2", ended=NOW)], [*LEFT, *on]).lines == []
    half = said([dead, replace(dead, decision="d2", ended=NOW)], [*LEFT, *on[:2]]).lines
    assert [line.endswith("it left freeze of files, and what it started on the machines goes on") for line in half] == [
        True
    ]
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
    told = telling.told("r", [sides(SOURCE_OPEN, TARGET_CLOSED)], Last(), {}, [], NAMES, work=found)
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


def test_a_look_a_trial_or_another_clock_hides_no_dead_one() -> None:
    dead = replace(NOTE, alive=False)
    tried = [
        {**entry(17, "state", "", "", "chk"), "data": {"event": "start", "check_mode": True}},
        entry(17, "begin", "switch", "db", "chk"), entry(17, "begin", "freeze", "files", "chk"),
    ]  # fmt: skip
    looked = [
        {**entry(18, kind, verb, name, "d2", result="ok"), "phase": verb}
        for verb in ("audit", "verify") for name in ("db", "files") for kind in ("begin", "end")
    ]  # fmt: skip
    # It began before, knew nothing, and its clock is ahead.
    start = {"event": "start", "heads": {"tls": {"here-d1": "2"}}}
    older = [
        {**entry(40, "state", "", "", "d8", "there"), "data": start},
        entry(41, "begin", "switch", "db", "d8", "there"), entry(41, "end", "switch", "db", "d8", "there", result="ok"),
        entry(42, "begin", "freeze", "files", "d8", "there"), entry(43, "end", "freeze", "files", "d8", "there"),
    ]  # fmt: skip
    own = [{**one, "hash": str(number)} for number, one in enumerate(LEFT, 1)]
    for more in (tried, looked, older):
        (line,) = said([dead], [*own, *more]).lines
        assert line.startswith("Controller: DEAD: 60_cutover.yml, process 77"), more
    # One that has seen what was left, whatever its clock says, has gone on with it.
    for minute, one in enumerate(older):
        one["time"] = f"2026-12-01T20:0{minute}:00.000+00:00"
    start["heads"] = {"tls": {"here-d1": "5"}}
    assert said([dead], [*own, *older]).lines == []
    # A look that died is told until somebody has looked again.
    verify = [{**one, "phase": "verify", "verb": "verify"} for one in (entry(15, "begin", "verify", "db"),)]
    assert len(said([dead], verify).lines) == 1
    assert said([dead], [*verify, *looked]).lines == []
    # One that died between two verbs has left its component there.
    assert len(said([dead], [*LEFT[:3], *looked]).lines) == 1
    assert (
        said(
            [dead], [*LEFT[:3], entry(18, "begin", "freeze", "db", "d4"), entry(18, "end", "freeze", "db", "d4")]
        ).lines
        == []
    )


def test_one_that_only_looks_hides_no_way_out() -> None:
    looks = replace(NOTE, decision="d7", pid=88, playbook="70_verify.yml")
    verify = [{**entry(18, "begin", "verify", "db", "d7"), "phase": "verify"}]
    found = said([looks], verify)
    assert found.first == ""
    frozen = sides(replace(SOURCE_OPEN, frozen=True), TARGET_CLOSED)
    told = telling.told("r", [frozen], Last("cutover", "freeze", outcome="failed"), {}, [], NAMES, work=found)
    assert told[-1].startswith("Next: a person must decide: ansible-playbook playbooks/60_cutover.yml")
    assert told[-1].endswith("; process 88 is at work as well and changes nothing (70_verify.yml)")
    # What moves is waited for, also when it looks afterwards, and what has said nothing yet.
    assert said([looks], [entry(17, "begin", "thaw", "db", "d7"), *verify]).first.startswith("none while process 88")
    assert said([looks], []).first.startswith("none while process 88")
    # How a verb that has not ended is to be read is told of whose it is.
    both = said([replace(NOTE, alive=False), looks], [*LEFT, *verify])
    assert both.last_words == {("here", "d1"): "NOT ENDED: its controller is dead", ("here", "d7"): "under way"}


def test_one_of_another_machine_or_one_not_known_is_never_killed_here() -> None:
    for far in (replace(NOTE, alive=None, host="there", why="ask on there"), replace(NOTE, alive=None, why="no /proc")):
        found = said([far], [{**one, "controller": far.host} for one in LEFT])
        (line,) = found.lines
        assert f"process 77 of nadia on {far.host}" in line
        assert line.endswith(
            f"left switch of db, freeze of files; whether it is still at work is not known here: {far.why}"
        )
        assert (found.first, "kill" in line, "AT WORK" in line) == ("", False, False)


HOLDS = """
import os, sys, time
from pathlib import Path
from bascule.run.io import presence
held = presence.Presence(Path(sys.argv[1]), "d1", "60_cutover.yml", "(1/7) GO")
held.play("(6/7) CUTOVER with more words")
held.play("(7/7) CUTOVER")
# To read its own note takes nothing from it.
presence.read(Path(sys.argv[1]))
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


def test_a_process_is_alive_until_its_death_and_nobody_lives_for_it(tmp_path: Path, holder: Any) -> None:
    (note,) = presence.read(tmp_path)
    assert (note.alive, note.pid, note.play, note.ended) == (True, holder.pid, "(7/7) CUTOVER", "")
    (again,) = presence.read(tmp_path)
    assert again.alive, "to ask ends nothing"
    path = tmp_path / "controllers/d1.json"
    whole = json.loads(path.read_text())

    def alive(**changed: Any) -> Any:
        path.write_text(json.dumps({**whole, **changed}))
        return presence.read(tmp_path)[0].alive

    assert alive() is True
    assert alive(born="1") is False, "the number is another process's by now"
    assert alive(boot="before") is False, "nothing outlives a boot"
    assert alive(host="there") is None
    assert alive(host="there", boot="other") is None
    assert alive(space="pid:[1]") is None
    assert alive(boot="") is None
    assert alive(born="") is None, "a process of that number is there, and when it was started nobody knows"
    assert alive(ended=NOW) is False, "it says that it has ended"
    alive()
    holder.kill()
    holder.wait()
    (dead,) = presence.read(tmp_path)
    assert (dead.alive, dead.ended, dead.pid) == (False, "", holder.pid)


def test_a_kernel_that_hides_processes_leaves_it_unknown(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with hidepid=2 of proc(5): only signals still reach the process.
    monkeypatch.setattr(presence, "_stat", lambda pid: ("", ""))
    assert presence.read(tmp_path)[0].alive is None
    holder.kill()
    holder.wait()
    assert presence.read(tmp_path)[0].alive is False


def test_one_that_ends_says_so_and_of_a_note_that_cannot_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert presence.read(tmp_path) == []
    made = presence.Presence(tmp_path, "d2", "70_verify.yml", "(1/2) VERIFY")
    made.end()
    (tmp_path / "controllers/d3.json").write_text('{"pid": ')
    (tmp_path / "controllers/.d4.json.9.new").write_text('{"pid": ')
    note, torn = presence.read(tmp_path)
    assert (note.decision, note.alive, bool(note.ended)) == ("d2", False, True)
    assert (torn.decision, torn.alive) == ("d3", None)
    (line,) = said([torn], []).lines
    assert "decision d3; whether it is still at work is not known here: its note " in line


def test_a_note_is_always_whole_while_it_is_written(tmp_path: Path) -> None:
    code = (
        HOLDS.partition("held.play")[0] + "print('', flush=True)\nwhile True: held.play('x' * (time.time_ns() % 9999))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert all(presence.read(tmp_path)[0].alive for _ in range(300))
    finally:
        process.kill()
        process.wait()


def test_who_has_died_or_may_be_at_work_elsewhere_is_a_doubt() -> None:
    assert said([NOTE], LEFT).doubts == []
    assert said([replace(NOTE, alive=False)], LEFT).doubts == ["a controller has died"]
    unknown = ["whether a controller is at work is not known"]
    assert said([replace(NOTE, alive=None, host="elsewhere", why="ask there")], LEFT).doubts == unknown
    assert said([], LEFT).doubts == unknown
