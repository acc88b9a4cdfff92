"""The last guard of a side is found in the journal of a run, and nothing is written outside of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.guard.state import ADOPTED, GuardState, adopt_open, freeze
from bascule.run.io import guard_copy
from bascule.run.io.journal import Journal


def test_outside_of_a_run_nothing_is_kept_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASCULE_RUN", raising=False)
    monkeypatch.delenv("BASCULE_DECISION", raising=False)
    assert guard_copy.of_run() is None
    guard_copy.keep(None, "courses_guest", {})
    guard_copy.say("courses_guest", "its protection is lifted")
    assert guard_copy.last(None, "courses_guest", "pve-mtp") is None


def test_what_is_about_to_be_done_stands_in_the_journal_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "runs", "r1", "ctl", "d1")
    journal.start({}, {})
    monkeypatch.setattr(guard_copy, "of_run", lambda: journal)
    guard_copy.say("courses_guest", "its protection is lifted")
    entry = journal.own()[-1]
    assert (entry["kind"], entry["component"]) == ("state", "courses_guest")
    assert entry["data"] == {"event": "guest", "said": "its protection is lifted"}


def test_the_last_guard_of_each_side_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs", "r1", "ctl", "d1")
    here = adopt_open(GuardState("courses_guest", "pve-mtp"))
    guard_copy.keep(journal, "courses_guest", here.to_dict())
    assert not journal.path.exists()
    journal.start({}, {})
    assert guard_copy.last(journal, "courses_guest", "pve-mtp") is None
    for guard in (here, freeze(here)):
        guard_copy.keep(journal, "courses_guest", guard.to_dict())
    journal.append("begin", component="courses_guest", data={"guard": "no guard"})
    later = Journal(tmp_path / "runs", "r1", "ctl", "d2")
    found = guard_copy.last(later, "courses_guest", "pve-mtp")
    assert found is not None
    assert (found.frozen, found.opened) == (True, ADOPTED)
    assert guard_copy.last(later, "courses_guest", "pve-tls") is None
    assert guard_copy.last(later, "mail_guest", "pve-mtp") is None
