"""The journal's files: chained across processes, copied to both sites, honest about copies that are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bascule.errors import JournalError
from bascule.io import journal_store
from bascule.io.journal_store import Journal, list_runs, read_copies, require_copies
from bascule.journal import chain
from bascule.journal.targets import Target

UNREACHABLE = Target("far", ("sh", "-c", "echo no route >&2; exit 255", "--"))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Target]:
    """Two sites whose directories lie side by side on this machine: a shell for each sees its own."""
    monkeypatch.setattr(journal_store, "SITE_DIRECTORY", "copies")
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
    assert list_runs(sites) == ["r1"]
    assert (one.runs / "latest").resolve() == one.directory.resolve()


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
