"""A controller on another machine is told live from dead by the notes that it sends to the sites."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.run import controllers, heartbeat
from bascule.run.controllers import Noted
from bascule.run.heartbeat import GONE, SILENT_AFTER, Heard
from bascule.run.io import heartbeat as carrying
from bascule.run.io import identity, presence
from bascule.run.io.journal import Journal
from bascule.system.io import remote
from bascule.system.ssh import Target

from .test_controllers import LEFT, NOTE, NOW

# What an ssh of the test's own does: the script runs here, below a directory for each machine.
SSH = """#!/bin/sh
[ ! -e "{place}.down" ] || {{ echo asked >> "{place}.down"; exit 255; }}
exec sh -c "$(printf %s "$1" | sed 's|/var/lib/bascule|{place}|g')"
"""
HOLDS = """
import sys, time
from pathlib import Path
from bascule.run.io import identity, presence
held = presence.Presence(Path(sys.argv[1]), "d1", "60_cutover.yml", "(1/7) GO")
print("holds", flush=True)
for line in sys.stdin:
    held.play(line.strip()) if line.strip() else held.end()
time.sleep(60)
"""


def heard(site: str = "mtp", age: int = 3, **changed: Any) -> Heard:
    return Heard(site, age, {"host": "there", "decision": "d1", "pid": 77, "ended": "", "state": "at work", **changed})


@pytest.mark.parametrize(
    ("notes", "alive", "words"),
    [
        ([heard()], True, "heard of 3 s ago at mtp"),
        ([heard(age=900), heard("tls", SILENT_AFTER)], True, f"heard of {SILENT_AFTER} s ago at tls"),
        ([heard(age=-2)], True, "heard of 0 s ago at mtp"),
        # A word of its death or end counts, however old it is and whatever an older note at the other site says.
        ([heard(age=30, state=GONE), heard("tls", 31)], False, ""),
        ([heard(age=9000, state=GONE), heard("tls", 9001)], False, ""),
        ([heard("tls", 5), heard(age=9, ended=NOW)], False, ""),
        (
            [heard(age=SILENT_AFTER + 1), heard("tls", 900)],
            None,
            f"no word of it at mtp and tls for {SILENT_AFTER + 1} s; it is dead, or cut off from there: ask on there "
            "before you go on",
        ),
        # Nothing is made of a clock that was set back.
        ([heard(age=-900)], None, "no word of it at mtp since the clock there was set back; it is dead, or cut off "
         "from there: ask on there before you go on"),
    ],
)  # fmt: skip
def test_what_the_sites_hold_tells_a_live_one_from_a_dead_one(notes: list[Heard], alive: Any, words: str) -> None:
    assert heartbeat.lives(notes) == (alive, words)
    assert heartbeat.lives(reversed(notes)) == (alive, words)


def test_what_is_no_note_is_left_out() -> None:
    note = heard().note
    text = f'7 {json.dumps(note)}\n7 {{\nsome words\n\n7 []\n7 {{"host": "x"}}\nx {json.dumps(note)}\n'
    assert heartbeat.parse("mtp", text) == [Heard("mtp", 7, note)]


def test_one_elsewhere_is_waited_for_while_it_is_heard_of_and_nobody_is_killed_here() -> None:
    entries = [{**one, "controller": "there"} for one in LEFT]
    far = replace(NOTE, host="there", far=True, why="heard of 3 s ago at mtp")
    found = controllers.at_work([far], entries, "here", NOW)
    (line,) = found.lines
    assert line.startswith("Controller: AT WORK: 60_cutover.yml, process 77 of nadia on there")
    assert line.endswith("now switch of db, freeze of files; heard of 3 s ago at mtp")
    assert found.first.startswith("none while process 77 on there is at work; wait until it has ended")
    assert "kill -INT 77 on there" in found.first
    assert found.doubts == []
    dead = controllers.at_work([replace(far, alive=False, why="")], entries, "here", NOW)
    assert dead.lines[0].startswith("Controller: DEAD: 60_cutover.yml, process 77 of nadia on there")
    assert "it left switch of db, freeze of files" in dead.lines[0]
    assert (dead.first, dead.doubts) == ("", ["a controller has died"])
    silent = controllers.at_work([replace(far, alive=None, why="no word of it")], entries, "here", NOW)
    assert silent.lines[0].endswith("whether it is still at work is not known here: no word of it")
    assert silent.first == "", "silence keeps nobody from the way out"


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Target]:
    """Two journal hosts."""
    made = {}
    for site in ("mtp", "tls"):
        program = tmp_path / f"{site}.sh"
        program.write_text(SSH.format(place=tmp_path / site))
        program.chmod(0o755)
        made[site] = Target(f"j-{site}", (str(program),))
    return made


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of a decision that the sites have begun to hold."""
    return Journal(tmp_path / "runs", "r1", "here", "d1")


@pytest.fixture
def holder(journal: Journal) -> Iterator[subprocess.Popen[str]]:
    """A playbook's process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(journal.directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.wait()


def tell(holder: subprocess.Popen[str], line: str) -> None:
    """Have the process note a play, or its end where the line is empty."""
    assert holder.stdin is not None
    holder.stdin.write(line)
    holder.stdin.flush()


def until(seen: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def held(place: Path) -> dict[str, Any]:
    path = place / "controllers/r1/here-d1.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def test_both_sites_hear_of_a_playbook_what_it_is_at_and_that_it_was_killed(
    tmp_path: Path, sites: dict[str, Target], journal: Journal, holder: subprocess.Popen[str]
) -> None:
    carrier = carrying.start(journal, journal.directory / "controllers/d1.json", sites)
    assert carrier is not None
    try:
        assert until(lambda: all(held(tmp_path / site) for site in sites))
        assert held(tmp_path / "mtp")["state"] == "at work"
        tell(holder, "(6/7) CUTOVER\n")
        assert until(lambda: held(tmp_path / "tls")["play"] == "(6/7) CUTOVER")
        (seen,) = elsewhere(journal, sites)
        assert (seen.alive, seen.far, seen.pid, seen.playbook) == (True, True, holder.pid, "60_cutover.yml")
        holder.kill()
        holder.wait()
        assert carrier.wait(120) == 0, "it ends with the playbook"
        assert {held(tmp_path / site)["state"] for site in sites} == {GONE}
        (seen,) = elsewhere(journal, sites)
        assert (seen.alive, seen.ended) == (False, "")
    finally:
        carrier.kill()
        carrier.wait()


def test_one_that_ends_by_itself_says_so_to_both(
    tmp_path: Path, sites: dict[str, Target], journal: Journal, holder: subprocess.Popen[str]
) -> None:
    tell(holder, "\n")
    path = journal.directory / "controllers/d1.json"
    assert until(lambda: json.loads(path.read_text())["ended"])
    carrier = carrying.start(journal, path, sites)
    assert carrier is not None
    assert carrier.wait(120) == 0
    carrying.finish(carrier)
    (seen,) = elsewhere(journal, sites)
    assert (seen.alive, bool(seen.ended)) == (False, True)
    left = [{**one, "controller": seen.host} for one in LEFT]
    assert controllers.at_work([seen], left, "there", NOW).lines == [], "what has ended by itself is not dead"


def elsewhere(journal: Journal, sites: dict[str, Target]) -> list[Noted]:
    """Read as a machine of another name does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "controller", lambda: "there")
        return carrying.read(journal.run, sites, [])


def test_what_this_machine_sees_of_its_own_processes_comes_first(
    sites: dict[str, Target], journal: Journal, holder: subprocess.Popen[str]
) -> None:
    path = journal.directory / "controllers/d1.json"
    carrier = carrying.start(journal, path, sites)
    assert carrier is not None
    try:
        assert until(lambda: carrying.read(journal.run, sites, []))
        os.kill(carrier.pid, signal.SIGKILL)
        holder.kill()
        holder.wait()
        # The sites have not heard of its death; here it is seen, with its note and without.
        local = presence.read(journal.directory)
        assert [one.alive for one in carrying.read(journal.run, sites, local)] == [False]
        assert [(one.alive, one.far) for one in carrying.read(journal.run, sites, [])] == [(False, False)]
        unknown = [replace(local[0], alive=None, why="begun in another container")]
        assert [one.alive for one in carrying.read(journal.run, sites, unknown)] == [False]
    finally:
        carrier.wait()


def test_a_site_that_is_silent_is_asked_once_a_minute_and_keeps_no_word_from_the_other(
    tmp_path: Path, sites: dict[str, Target], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mtp.down").touch()
    made = presence.Presence(journal.directory, "d1", "70_verify.yml", "(1/2) VERIFY")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        made.play(f"look {len(looks)}") if len(looks) < 4 else made.end()

    # The test makes the time pass.
    monkeypatch.setattr(time, "sleep", sleep)
    carrying.carry(journal, made.path, sites, os.getppid())
    assert (tmp_path / "mtp.down").read_text().count("asked") == 1
    assert held(tmp_path / "tls")["ended"]
    assert carrying.start(journal, made.path, {}) is None


def test_the_carrier_ends_with_its_playbook_where_nothing_tells_whether_that_lives(
    tmp_path: Path, sites: dict[str, Target], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = presence.Presence(journal.directory, "d1", "60_cutover.yml", "(1/7) GO")
    monkeypatch.setattr(presence, "lives", lambda note: (None, "the kernel does not tell its boot"))
    parents = iter([77, 77])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))
    looks: list[float] = []
    monkeypatch.setattr(time, "sleep", looks.append)
    carrying.carry(journal, made.path, sites, 77)
    # Who waits for a program sleeps as well, and shorter.
    assert looks.count(carrying._LOOK) == 2
    assert {held(tmp_path / site)["state"] for site in sites} == {GONE}


def test_one_on_another_machine_of_the_same_name_is_not_called_dead(
    sites: dict[str, Target], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = presence.Presence(journal.directory, "d1", "60_cutover.yml", "(1/7) GO")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds == carrying._LOOK and not looks:
            looks.append(seconds)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(presence, "_boot", lambda: "another machine's")
                (seen,) = carrying.read(journal.run, sites, [])
                assert (seen.alive, seen.far) == (True, True)
                assert seen.why.startswith("heard of ")
            made.end()

    monkeypatch.setattr(time, "sleep", sleep)
    carrying.carry(journal, made.path, sites, os.getppid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "_boot", lambda: "another machine's")
        assert [(one.alive, bool(one.ended)) for one in carrying.read(journal.run, sites, [])] == [(False, True)]
    assert len(looks) == 1


def test_a_password_is_tried_after_the_playbooks_end_only_where_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    ways = {
        site: Target(f"j-{site}", ("ssh",), sudo=("sudo",), password="secret", note=str(gone / site))
        for site in ("mtp", "tls")
    }
    ways["open"] = Target("j-open", ("ssh",))
    tried: list[dict[str, str]] = []

    def run_on(targets: dict[str, Target], *_: Any) -> dict[str, remote.Answer]:
        notes = {site: Path(one.note) for site, one in targets.items()}
        tried.append({site: note.read_text() if note.is_file() else str(note) for site, note in notes.items()})
        return {site: remote.Answer() for site in targets}

    monkeypatch.setattr(remote, "run_on", run_on)
    assert set(carrying._send(ways, {"mtp"}, "true", "")) == {"mtp", "open"}
    gone.mkdir()
    carrying._send(ways, {"mtp"}, "true", "")
    assert tried == [
        {"mtp": "taken", "open": "."},
        {"mtp": str(gone / "mtp"), "tls": str(gone / "tls"), "open": "."},
    ]
    assert list(gone.iterdir()) == []


def test_an_end_is_told_where_both_sites_have_just_been_silent(
    tmp_path: Path, sites: dict[str, Target], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in sites:
        (tmp_path / f"{site}.down").touch()
    made = presence.Presence(journal.directory, "d1", "60_cutover.yml", "(1/7) GO")

    def sleep(seconds: float) -> None:
        if seconds == carrying._LOOK:
            for site in sites:
                (tmp_path / f"{site}.down").unlink()
            made.end()

    monkeypatch.setattr(time, "sleep", sleep)
    carrying.carry(journal, made.path, sites, os.getppid())
    assert all(held(tmp_path / site)["ended"] for site in sites)
