"""The journal's files: chained across processes, copied to both sites, honest about copies that are missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bascule.errors import JournalError
from bascule.run import chain
from bascule.run.io import journal as run_journal
from bascule.run.io.journal import Journal, read_copies, read_starts, require_copies
from bascule.system.ssh import Target

UNREACHABLE = Target("far", ("sh", "-c", "echo no route >&2; exit 255", "--"))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Target]:
    """Two sites whose directories lie side by side on this machine: a shell for each sees its own."""
    monkeypatch.setattr(run_journal, "SITE_DIRECTORY", "copies")
    found = {}
    for site in ("mtp", "tls"):
        (tmp_path / site).mkdir()
        script = f'cd "{tmp_path / site}" && eval "$1"'
        found[site] = Target(f"files-{site}", ("sh", "-c", script, "--"))
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[str], Journal]:
    """Make journals of one run by decision."""
    return lambda decision: Journal(tmp_path / "runs", "r1", "ctl", decision)


def test_entries_of_several_processes_make_one_chain(journal: Callable[[str], Journal]) -> None:
    for number in range(3):
        journal("d1").append("begin", component="db", data={"number": number})
        journal("d2").append("step", component="db", durable=False)
    entries = journal("d1").read().entries
    assert chain.verify(entries) == []
    assert [e["n"] for e in journal("d1").own()] == [1, 2, 3]


def test_a_fragment_of_a_killed_controller_stays_apart(journal: Callable[[str], Journal]) -> None:
    one = journal("d1")
    one.append("begin")
    with one.path.open("a") as stream:
        stream.write('{"n":2,"time')
    journal("d2").append("begin")
    reading = one.read()
    assert (len(reading.entries), len(reading.broken)) == (2, 1)


def test_who_follows_is_told_each_entry_once_and_none_that_is_half_written(journal: Callable[[str], Journal]) -> None:
    one = journal("d1")
    one.append("begin", component="db")
    journal("d2").append("begin", component="files")
    followed = one.follow()
    assert [e["component"] for e in next(followed)] == ["db"]
    assert next(followed) == []
    line = chain.line(one.append("end", component="db"))
    text = one.path.read_text()
    one.path.write_text(text.removesuffix(line) + line[:20])
    assert next(followed) == [], "half a line is no entry yet"
    with one.path.open("a") as stream:
        stream.write(line[20:])
    assert [e["kind"] for e in next(followed)] == ["end"]


def test_who_follows_again_is_told_all_from_the_beginning_also_of_another_file(
    journal: Callable[[str], Journal],
) -> None:
    one = journal("d1")
    one.append("begin", component="db")
    assert [e["kind"] for e in next(one.follow())] == ["begin"]
    line = chain.line(one.append("end", component="db"))
    with one.path.open("a") as stream:
        stream.write(line[:20])
    for _ in range(2):
        assert [e["kind"] for e in next(one.follow())] == ["begin", "end"]
    text = one.path.read_text()
    one.path.write_text(chain.line(chain.parse(text).entries[0]))
    assert [e["kind"] for e in next(one.follow())] == ["begin"]


def test_who_follows_is_not_told_of_steps(journal: Callable[[str], Journal]) -> None:
    one = journal("d1")
    followed = one.follow()
    one.append("begin", component="db", data={"epoch": "d1", "kind": "step"})
    one.append("step", component="db", data={"kind": "end"})
    one.append("end", component="db", data={"text": '"epoch":"d1","kind":"step"'})
    assert [entry["kind"] for entry in next(followed)] == ["begin", "end"]


def test_a_long_journal_is_not_read_whole_again_and_again(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = journal("d1")
    one.start(sites, {})
    for number in range(600):
        one.append("step", component="db", data={"text": "x" * 200, "number": number}, durable=False)
    assert one.copy_to(sites) == {}

    journal("d2").append("begin", component="files")

    def whole(_: Journal) -> list[chain.Entry]:
        raise AssertionError("the whole file was read")

    monkeypatch.setattr(Journal, "own", whole)
    assert one.start(sites, {}) == []
    one.append("end", component="db")
    assert one.copy_to(sites) == {}
    for site in sites:
        copied = chain.parse((tmp_path / site / "copies/r1/ctl-d1.jsonl").read_text()).entries
        assert [entry["n"] for entry in copied] == list(range(1, 603))


def test_both_sites_get_what_they_miss_and_nothing_twice(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    one = journal("d1")
    one.start(sites, {})
    one.append("begin", component="db")
    assert one.copy_to(sites) == {}
    assert one.copy_to(sites) == {}
    one.append("end", component="db")
    assert one.copy_to(sites) == {}
    for site in sites:
        text = (tmp_path / site / "copies/r1/ctl-d1.jsonl").read_text()
        assert text == one.path.read_text()
    readings, errors = read_copies("r1", sites)
    assert errors == {}
    assert all(chain.verify(reading.entries) == [] for reading in readings.values())
    (start,) = read_starts(sites)
    assert (start["run"], start["epoch"], start["n"]) == ("r1", "d1", 1)
    assert (one.runs / "latest").resolve() == one.directory.resolve()


def test_what_mkdir_has_made_is_made_durable(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_journal, "SITE_DIRECTORY", "lib/bascule/journal")
    synced = tmp_path / "synced"
    watched = f'sync() {{ echo "$@" >> "{synced}"; command sync "$@"; }}; cd "{tmp_path}/tls" && eval "$1"'
    one = journal("d1")
    one.append("begin")
    assert one.copy_to({"tls": Target("far", ("sh", "-c", watched, "--"))}) == {}
    run = "lib/bascule/journal/r1"
    made = [f"{run}/ctl-d1.jsonl", run, "lib/bascule/journal", "lib/bascule", "lib"]
    assert synced.read_text().split() == made
    # Only once it has answered for all of that.
    one.append("end")
    assert one.copy_to({"tls": Target("far", ("sh", "-c", "exit 1", "--"))})["tls"]
    assert one.copy_to({"tls": Target("far", ("sh", "-c", watched, "--"))}) == {}
    assert synced.read_text().split() == [*made, made[0]]
    # Its copy is gone since, as on a host that was made anew.
    shutil.rmtree(tmp_path / "tls/lib")
    one.append("begin")
    assert one.copy_to({"tls": Target("far", ("sh", "-c", watched, "--"))}) == {}
    assert synced.read_text().split() == [*made, made[0], *made]


def test_a_site_that_did_not_answer_at_first_has_nothing_that_is_durable(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_journal, "SITE_DIRECTORY", "lib/bascule/journal")
    synced = tmp_path / "synced"
    fails = f'sync() {{ return 1; }}; cd "{tmp_path}/tls" && eval "$1"'
    watched = f'sync() {{ echo "$@" >> "{synced}"; command sync "$@"; }}; cd "{tmp_path}/tls" && eval "$1"'
    one = journal("d1")
    one.append("begin")
    assert one.copy_to({"tls": Target("far", ("sh", "-c", fails, "--"))})["tls"]
    assert one.copy_to({"tls": Target("far", ("sh", "-c", watched, "--"))}) == {}
    assert len(synced.read_text().split()) == 5


def test_a_site_that_was_away_gets_everything_later(
    journal: Callable[[str], Journal], sites: dict[str, Target]
) -> None:
    one = journal("d1")
    cut = {**sites, "tls": UNREACHABLE}
    one.start(cut, {})
    one.append("begin", component="db")
    failed = one.copy_to(cut)
    assert "no route" in failed["tls"]
    one.append("end", component="db")
    assert one.copy_to(sites) == {}
    readings, _ = read_copies("r1", sites)
    assert [len(readings[site].entries) for site in sites] == [3, 3]


def test_what_a_site_has_missed_is_made_good_by_the_next_decision(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    """As when it was lost and is back: its copy alone has to tell that it was given up."""
    cut = {**sites, "tls": UNREACHABLE}
    first = journal("d1")
    first.start(cut, {"event": "start"})
    first.append("decision", data={"lost": {"hosts": {"db": "db-tls"}}})
    first.copy_to(cut)
    tried = journal("d2")
    tried.start(sites, {"check_mode": True})
    assert read_copies("r1", sites)[0]["tls"].entries == []
    journal("d3").start(sites, {})
    readings, _ = read_copies("r1", sites)
    assert readings["tls"].entries == first.own()
    # It came from this controller's own file, or from the other site's copy.
    away = Journal(tmp_path / "elsewhere", "r1", "ctl2", "d4")
    away.start(sites, {})
    away.copy_to(sites)
    later, _ = read_copies("r1", sites)
    assert [len(later[site].entries) for site in sites] == [3, 3], "nothing twice"
    assert not list((tmp_path / "tls/copies/r1").glob("ctl2-d4.others*"))


def test_another_machine_of_a_site_takes_the_copy_of_what_begins_while_the_first_is_dead(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    """A return of what has moved needs a copy at both sites: one dead machine must not hold it up."""
    (tmp_path / "spare").mkdir()
    spare = Target("db-tls", ("sh", "-c", f'cd "{tmp_path / "spare"}" && eval "$1"', "--"))
    whole = {**sites, "tls": replace(sites["tls"], spares=(spare,))}
    dead = {**sites, "tls": replace(UNREACHABLE, spares=(spare,))}
    first = journal("d1")
    first.start(whole, {})
    first.append("begin", component="db")
    assert first.copy_to(whole) == {}
    assert not (tmp_path / "spare/copies").exists()
    # A chain lies on one machine whole: what began on the first does not go on elsewhere.
    first.append("end", component="db")
    assert "no route" in first.copy_to(dead)["tls"]
    second = journal("d2")
    second.start(dead, {})
    second.append("begin", component="db")
    assert second.copy_to(dead) == {}
    readings, silent = read_copies("r1", dead)
    assert silent == {}
    assert set(readings) == {"mtp", "tls (db-tls)"}
    # What the dead one has is there as well, as far as the other site or this controller knows it.
    assert chain.merge(readings["tls (db-tls)"].entries) == chain.merge(second.read().entries)
    assert chain.problems(readings) == []
    assert {start["epoch"] for start in read_starts(dead)} == {"d1", "d2"}
    (kept,) = second.directory.glob("sites/d2.json")
    assert json.loads(kept.read_text())["chosen"] == {"mtp": "files-mtp", "tls": "db-tls"}
    # It is back: both are read, and what begins now lies on the first again.
    third = journal("d3")
    third.start(whole, {})
    assert third.copy_to(whole) == {}
    assert (tmp_path / "tls/copies/r1/ctl-d3.jsonl").exists()
    assert set(read_copies("r1", whole)[0]) == {"mtp", "tls", "tls (db-tls)"}
    assert set(read_copies("r1", {"tls": replace(UNREACHABLE, spares=(UNREACHABLE,))})[1]) == {"tls"}


def test_a_chain_that_does_not_hold_is_given_to_nobody(
    journal: Callable[[str], Journal], sites: dict[str, Target]
) -> None:
    first = journal("d1")
    first.append("begin")
    first.append("end", data={"result": "failed"})
    first.path.write_text(first.path.read_text().replace("failed", "ok"))
    journal("d2").start(sites, {})
    assert [reading.entries for reading in read_copies("r1", sites)[0].values()] == [[], []]


def test_one_that_was_silent_is_spared_for_a_while_unless_its_copy_is_insisted_on(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    silent = Target("far", ("sh", "-c", f'echo >> "{asked}"; echo no route >&2; exit 255', "--"))
    one = journal("d1")
    one.append("begin", component="db")
    for number in range(3):
        failed = one.copy_to({**sites, "tls": silent}, insist=False)
        assert "no route" in failed["tls"], f"told as missing, also the {number + 1}. time"
    assert len(asked.read_text()) == 1
    assert "no route" in one.copy_to({**sites, "tls": silent})["tls"]
    assert len(asked.read_text()) == 2, "insisted on"
    assert "no route" in one.copy_to({"tls": silent}, insist=False)["tls"]
    assert len(asked.read_text()) == 3, "asked again where nobody else is there"
    monkeypatch.setattr(run_journal, "_SILENT", 0.0)
    assert one.copy_to(sites, insist=False) == {}, "asked again after a while"
    readings, _ = read_copies("r1", sites)
    assert [len(readings[site].entries) for site in sites] == [1, 1]


def test_a_chain_starts_with_the_heads_seen_at_each_site(
    journal: Callable[[str], Journal], sites: dict[str, Target]
) -> None:
    first = journal("d1")
    first.start(sites, {})
    head = first.append("begin")["hash"]
    first.copy_to(sites)
    second = journal("d2")
    second.start({**sites, "tls": UNREACHABLE}, {"phase": "rollback"})
    second.start(sites, {})
    (start,) = second.own()
    assert start["data"]["heads"] == {"mtp": {"ctl-d1": head}}
    assert "no route" in start["data"]["unreachable"]["tls"]
    assert start["data"]["phase"] == "rollback"


def test_a_line_that_is_no_entry_in_one_copy_stops_nothing(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    first = journal("d1")
    first.start(sites, {})
    head = first.append("begin")["hash"]
    first.copy_to(sites)
    (tmp_path / "tls/copies/r1/later-version.jsonl").write_text(
        json.dumps({**dict.fromkeys(chain.FIELDS, "x"), "n": None, "data": None}) + "\n"
    )
    second = journal("d2")
    second.start(sites, {})
    (start,) = second.own()
    assert start["data"]["heads"] == {"mtp": {"ctl-d1": head}, "tls": {"ctl-d1": head}}
    assert start["data"]["broken"] == {"tls": 1}


def test_a_run_of_another_plan_is_refused(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    first = journal("d1")
    first.start(sites, {"plan": "lab"})
    first.copy_to(sites)
    journal("d2").start(sites, {"plan": "lab"})
    with pytest.raises(JournalError, match=r"run r1 to be one of plan techcorp.*found: a run of plan lab"):
        journal("d3").start({}, {"plan": "techcorp"})
    elsewhere = Journal(tmp_path / "other", "r1", "ctl2", "d4")
    cut = {**sites, "mtp": UNREACHABLE}
    with pytest.raises(JournalError, match=r"found: a run of plan lab.*nothing was changed"):
        elsewhere.start(cut, {"plan": "techcorp"})
    assert elsewhere.own() == []


def test_what_was_only_tried_is_not_the_latest_run(journal: Callable[[str], Journal]) -> None:
    one = journal("d1")
    one.start({}, {"check_mode": True})
    assert not (one.runs / "latest").exists()
    journal("d2").start({}, {"check_mode": False})
    assert (one.runs / "latest").resolve() == one.directory.resolve()


def test_a_verb_that_another_controller_has_begun_and_not_ended_is_told(
    journal: Callable[[str], Journal], sites: dict[str, Target], tmp_path: Path
) -> None:
    other = Journal(tmp_path / "other", "r1", "elsewhere", "d0")
    other.start(sites, {})
    other.append("begin", phase="rollback", verb="freeze", component="db")
    other.append("begin", phase="rollback", verb="freeze", component="files")
    other.append("end", phase="rollback", verb="freeze", component="files", data={"result": "ok"})
    other.copy_to(sites)
    (told,) = journal("d1").start(sites, {})
    assert told.startswith("freeze of db (rollback), begun 2")
    assert "by another controller, elsewhere, has not ended" in told
    assert journal("d1").start(sites, {}) == [], "told once"
    assert Journal(tmp_path / "third", "r1", "elsewhere", "d2").start(sites, {}) == [], "one's own goes on as it is"


def test_missing_copies_are_loud_or_forbidding(sites: dict[str, Target]) -> None:
    assert require_copies({}, sites, True, "switch of db") == []
    warnings = require_copies({"tls": "timed out"}, sites, False, "freeze of db")
    assert "NO COPY at tls (files-tls): timed out" in warnings[0]
    with pytest.raises(JournalError, match=r"both sites to hold.*tls.*switch of db was not started"):
        require_copies({"tls": "timed out"}, sites, True, "switch of db")
    with pytest.raises(JournalError, match="at least one site"):
        require_copies({"mtp": "x", "tls": "x"}, sites, False, "freeze of db")
    with pytest.raises(JournalError, match="none declared"):
        require_copies({}, {}, False, "freeze of db")


def test_facts_are_kept_for_reports(journal: Callable[[str], Journal]) -> None:
    path = journal("d1").write_facts("db", "verify", {"rows_compared": 1})
    assert path.name == "db.verify.json"
    assert path.parent.name == "facts"
