"""What an audit journals stays at the controller; the next phase that is none brings it to the sites, once each."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.run import agreement, chain
from bascule.run.io import presence
from bascule.run.io.journal import Journal
from bascule.system.ssh import Target

from .test_journal import UNREACHABLE, journal, sites

__all__ = ["journal", "sites"]
AUDIT: dict[str, Any] = {"phase": "audit", "plan": "p"}
PREPARE: dict[str, Any] = {"phase": "prepare", "plan": "p"}
_Made = Callable[[str], Journal]


def fingerprint(place: Path) -> list[tuple[str, int, int, int, bytes]]:
    """Return all of a folder: names, modes, sizes, times of change and contents."""
    found = []
    for path in sorted([place, *place.rglob("*")]):
        known = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(known.st_mode) else b""
        found.append((str(path), known.st_mode, known.st_size, known.st_mtime_ns, content))
    return found


def held(place: Path) -> list[chain.Entry]:
    """Return what a site holds, an entry that came twice twice."""
    texts = [path.read_text() for path in sorted(place.rglob("*.jsonl"))]
    return [entry for text in texts for entry in chain.parse(text).entries]


def audit(one: Journal, sites: dict[str, Target]) -> None:
    """Do what an audit does with its journal."""
    assert one.start(sites, AUDIT) == []
    one.append("begin", phase="audit", verb="audit", component="db")
    one.append("end", phase="audit", verb="audit", component="db", data={"result": "ok"})
    assert one.copy_to(sites) == {}
    assert one.start(sites, AUDIT) == [], "the next component"
    assert one.copy_to(sites, insist=False) == {}


def test_an_audit_writes_nothing_at_the_sites(journal: _Made, sites: dict[str, Target], tmp_path: Path) -> None:
    """Also where a site lacks what another one holds: that is made good with the next phase."""
    earlier = journal("d0")
    earlier.start({"mtp": sites["mtp"], "tls": UNREACHABLE}, PREPARE)
    earlier.copy_to({"mtp": sites["mtp"]})
    before = [fingerprint(tmp_path / site) for site in sites]
    audit(journal("d1"), sites)
    assert [fingerprint(tmp_path / site) for site in sites] == before
    assert os.readlink(tmp_path / "runs/latest") == "r1", "the next phase goes on with it"
    assert [entry["data"]["heads"]["mtp"] for entry in journal("d1").own()[:1]] == [chain.heads(earlier.own())]


def test_the_next_process_brings_it(journal: _Made, sites: dict[str, Target], tmp_path: Path) -> None:
    audit(journal("d1"), sites)
    audit(journal("d2"), sites)
    after = journal("d3")
    after.start(sites, PREPARE)
    after.append("begin", phase="prepare", verb="prepare", component="db")
    assert after.copy_to(sites) == {}
    for site in sites:
        entries = held(tmp_path / site)
        assert len({entry["hash"] for entry in entries}) == len(entries), "each once"
        assert {key: len(one) for key, one in chain.chains(entries).items()} == {
            ("ctl", "d1"): 3,
            ("ctl", "d2"): 3,
            ("ctl", "d3"): 2,
        }
        assert chain.verify(entries) == []


def test_the_same_process_brings_it(journal: _Made, sites: dict[str, Target], tmp_path: Path) -> None:
    """As migrate.yml does: what others hold, and the audit itself, each once; each component begins again."""
    earlier = journal("d0")
    earlier.start({"mtp": sites["mtp"], "tls": UNREACHABLE}, PREPARE)
    earlier.copy_to({"mtp": sites["mtp"]})
    one = journal("d1")
    audit(one, sites)
    for component in ("db", "files"):
        assert one.start(sites, PREPARE) == []
        one.append("begin", phase="prepare", verb="prepare", component=component)
        assert one.copy_to(sites) == {}
    for site in sites:
        entries = held(tmp_path / site)
        assert len({entry["hash"] for entry in entries}) == len(entries), "each once"
        assert {key: len(found) for key, found in chain.chains(entries).items()} == {("ctl", "d0"): 1, ("ctl", "d1"): 6}
        assert chain.verify(entries) == []
        assert [path.name for path in sorted((tmp_path / site).rglob("*d1.jsonl"))] == ["ctl-d1.jsonl"]
    # Another audit in the same process finds nothing to keep: what it has begun is at the sites already.
    one.start(sites, AUDIT)
    one.append("end", phase="audit", verb="audit", component="db")
    one.copy_to(sites)
    assert all(len(held(tmp_path / site)) == 8 for site in sites)


def test_what_is_silent_when_it_is_brought_gets_it_later(
    journal: _Made, sites: dict[str, Target], tmp_path: Path
) -> None:
    one = journal("d1")
    audit(one, sites)
    cut = {**sites, "tls": UNREACHABLE}
    one.start(cut, PREPARE)
    assert list(one.copy_to(cut)) == ["tls"]
    assert [len(held(tmp_path / site)) for site in sites] == [4, 0]
    assert one.copy_to(sites) == {}
    assert [len(held(tmp_path / site)) for site in sites] == [4, 4]


def test_one_that_dies_while_it_brings_it_does_it_again(
    journal: _Made, sites: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit(journal("d0"), sites)
    one = journal("d1")
    audit(one, sites)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_make_good", dies)
        with pytest.raises(KeyboardInterrupt):
            one.start(sites, PREPARE)
    assert one.copy_to(sites) == {}
    assert held(tmp_path / "mtp") == []
    one.start(sites, PREPARE)
    assert one.copy_to(sites) == {}
    for site in sites:
        assert set(chain.chains(held(tmp_path / site))) == {("ctl", "d0"), ("ctl", "d1")}


def test_copies_that_lack_an_audit_alone_agree(journal: _Made, sites: dict[str, Target], tmp_path: Path) -> None:
    """One that a site holds is lacked by the other one, as is any other chain."""
    first = journal("d0")
    first.start(sites, PREPARE)
    first.copy_to(sites)
    audit(journal("d1"), sites)

    def compared() -> agreement.Agreement:
        copies = {site: {site: chain.Reading(held(tmp_path / site))} for site in sites}
        return agreement.compare("r1", journal("d1").read(), copies, {})

    agreed = compared()
    assert agreed.agrees
    assert "  3 entries of audits are kept here alone, and come to the sites with the next phase" in agreed.lines
    (tmp_path / "mtp/copies/r1/more.jsonl").write_text("".join(map(chain.line, journal("d1").own())))
    lacking = compared()
    assert not lacking.agrees
    assert any(line.startswith("MISSING: tls lacks 3 entries") for line in lacking.lines)


@pytest.mark.parametrize("phase", ["prepare", "plan", "pretest", ""])
def test_other_phases_are_kept_nowhere(journal: _Made, sites: dict[str, Target], tmp_path: Path, phase: str) -> None:
    one = journal("d1")
    one.start(sites, {"phase": phase, "plan": "p"})
    assert chain.kept_here(one.own(), []) == []
    assert one.copy_to(sites) == {}
    assert all(len(held(tmp_path / site)) == 1 for site in sites)


def test_what_is_brought_late_says_what_the_sites_held_by_then(
    journal: _Made, sites: dict[str, Target], tmp_path: Path
) -> None:
    """Another controller has written meanwhile: what comes after the audit came after that, whatever clocks say."""
    one = journal("d1")
    audit(one, sites)
    other = Journal(tmp_path / "elsewhere", "r1", "far", "d2")
    other.start(sites, PREPARE)
    began = other.append("begin", phase="prepare", verb="prepare", component="db")
    assert other.copy_to(sites) == {}
    one.start(sites, PREPARE)
    after = one.append("begin", phase="prepare", verb="prepare", component="db")
    assert one.copy_to(sites) == {}
    first, second = [entry["data"] for entry in one.own() if entry["data"].get("event") == "start"]
    assert (first["phase"], first["heads"]) == ("audit", {"mtp": {}, "tls": {}})
    assert (second["phase"], set(second["heads"])) == ("prepare", {"mtp", "tls"})
    assert second["heads"]["mtp"]["far-d2"] == began["hash"]
    late = "2999-01-01T00:00:00.000+00:00"
    off = [{**entry, "time": late} if entry["epoch"] == "d2" else entry for entry in held(tmp_path / "mtp")]
    order = [entry["hash"] for entry in chain.in_order(off)]
    assert order.index(began["hash"]) < order.index(after["hash"])


def test_an_audit_at_work_is_left_to_the_phase_after(journal: _Made, sites: dict[str, Target], tmp_path: Path) -> None:
    """Half of it would look, from another machine, like one that died; what it writes later is kept here as well."""
    one = journal("d1")
    one.start(sites, AUDIT)
    note = presence.Presence(one.directory, "d1", "10_audit.yml", "Audit")
    one.append("begin", phase="audit", verb="audit", component="db")
    then = journal("d2")
    then.start(sites, PREPARE)
    assert then.copy_to(sites) == {}
    assert all(set(chain.chains(held(tmp_path / site))) == {("ctl", "d2")} for site in sites)
    one.append("end", phase="audit", verb="audit", component="db", data={"result": "ok"})
    assert one.copy_to(sites) == {}
    at_sites = {site: {site: chain.Reading(held(tmp_path / site))} for site in sites}
    agreed = agreement.compare("r1", one.read(), at_sites, {})
    assert agreed.agrees
    assert "  3 entries of audits are kept here alone, and come to the sites with the next phase" in agreed.lines
    note.end()
    journal("d3").start(sites, PREPARE)
    for site in sites:
        entries = held(tmp_path / site)
        assert len({entry["hash"] for entry in entries}) == len(entries), "each once"
        assert {key[1]: len(found) for key, found in chain.chains(entries).items()} == {"d1": 3, "d2": 1}


@pytest.mark.parametrize(
    ("note", "brought"),
    [
        ({"born": "1"}, True),
        ({"host": "another"}, True),
        (None, False),
    ],
)
def test_one_that_has_died_is_brought_and_one_that_has_left_no_note_yet_is_not(
    journal: _Made, sites: dict[str, Target], tmp_path: Path, note: dict[str, str] | None, brought: bool
) -> None:
    one = journal("d1")
    one.start(sites, AUDIT)
    if note is not None:
        path = presence.Presence(one.directory, "d1", "10_audit.yml", "Audit").path
        path.write_text(json.dumps({**json.loads(path.read_text()), **note}))
    one.append("begin", phase="audit", verb="audit", component="db")
    journal("d2").start(sites, PREPARE)
    assert [len(held(tmp_path / site)) for site in sites] == ([2, 2] if brought else [0, 0])
