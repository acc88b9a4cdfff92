"""One side of a database is lost for good: the other opens by a word, and the lost one gives way when it is back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Word
from bascule.postgresql import decisions, hba
from bascule.postgresql.io.switchover import fence_probe, lost
from bascule.postgresql.wire import Answer

from .test_files import make_spec
from .test_recovery import FakeCluster, World, frozen_primary, store, world

__all__ = ["world"]
SILENT = Answer("none", "", "no answer within 3 s")


@pytest.fixture
def host(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Bind the module under test to the same world."""

    @contextlib.contextmanager
    def lock(component: str, **_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(lost, "Cluster", type("Bound", (FakeCluster,), {"world": world}))
    monkeypatch.setattr(lost, "load_spec", lambda component, side=None: make_spec(side=side or "db-mtp"))
    monkeypatch.setattr(lost, "world", lock)
    monkeypatch.setattr(lost, "store", store())
    monkeypatch.setattr(lost, "units", SimpleNamespace(stop=lambda n: False, is_running=lambda n: False))
    monkeypatch.setattr(lost, "snapshot", SimpleNamespace(stop=lambda spec: False))
    monkeypatch.setattr(lost, "storage", SimpleNamespace(read_json=lambda path: {"state": "done"}))
    answers(monkeypatch, SILENT)
    return world


def answers(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    """Let the other side's server answer."""
    monkeypatch.setattr(lost, "probe", SimpleNamespace(knock=lambda *asked, timeout: answer))


def word(about: str = "db-tls") -> Word:
    """Return a person's word about the other side."""
    return Word(about, rule.beyond(store().read("db", "db-mtp"), "w"), "Nadia", "power cut at the PDU", "now")


def standby(world: World) -> None:
    """Let the host be a passive one."""
    store().adopt("db", "db-mtp", "closed")
    world.recovery = world.signal = True
    world.hba = world.heard = hba.CLOSED


def test_a_standby_opens_by_a_word_and_says_so_in_its_guard(host: World) -> None:
    standby(host)
    given = word()
    done = lost.take_over("db", "db-mtp", given, check=True)
    assert (done["changed"], host.log) == (True, [])
    done = lost.take_over("db", "db-mtp", given)
    assert done["guard"]["status"] == "open"
    assert store().read("db", "db-mtp").word == given
    assert (host.recovery, host.hba, host.start_mode) == (False, hba.OPEN, "auto")
    with pytest.raises(GuardRefused, match="that is not open, to go on without"):
        lost.take_over("db", "db-mtp", word())


@pytest.mark.parametrize(
    "answer", [Answer("admitted", "", "asks for a password"), Answer("refused", "28000", "pg_hba.conf rejects")]
)
def test_nothing_opens_while_the_other_server_answers(
    host: World, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    standby(host)
    answers(monkeypatch, answer)
    with pytest.raises(BasculeError, match=r"it answers.*nothing was opened"):
        lost.take_over("db", "db-mtp", word())
    assert (host.log, store().read("db", "db-mtp").status) == ([], "closed")


def test_what_is_no_whole_copy_is_not_opened(host: World, monkeypatch: pytest.MonkeyPatch) -> None:
    standby(host)
    monkeypatch.setattr(lost, "storage", SimpleNamespace(read_json=lambda path: {"state": "running"}))
    with pytest.raises(BasculeError, match="never a whole copy"):
        lost.take_over("db", "db-mtp", word())
    assert (host.log, store().read("db", "db-mtp").status) == ([], "closed")


def other_open() -> GuardState:
    """Return the guard of the side that was opened instead of this one."""
    state = rule.GuardState("db", "db-tls", status="closed")
    epoch = rule.beyond(state, "w")
    return rule.GuardState(
        "db", "db-tls", epoch, "open", epoch, word=Word("db-mtp", epoch, "Nadia", "power cut", "now")
    )


@pytest.mark.parametrize("stops", [True, False])
def test_a_primary_that_is_back_gives_way_without_a_standby(host: World, stops: bool) -> None:
    store().adopt("db", "db-mtp", "open")
    host.standby = None
    host.stops = stops
    other = other_open()
    epoch = rule.next_epoch(store().read("db", "db-mtp"), other, "b")
    done = lost.give_way("db", "db-mtp", other, str(epoch))
    assert (done["guard"]["status"], done["guard"]["gave_way"]) == ("closed", str(epoch))
    assert host.log.index("fence") < host.log.index("stop"), "its next start is a closed one before it stops"
    assert (host.running, host.hba, host.signal, host.start_mode) == (False, hba.CLOSED, True, "manual")
    with pytest.raises(GuardRefused):
        store().frozen("db", "db-mtp", False)


@pytest.mark.parametrize(("opened", "began"), [(True, ["fence-probe 1001.w"]), (False, [])])
def test_the_record_of_the_fence_begins_anew_when_the_side_that_was_back_has_closed(
    host: World, monkeypatch: pytest.MonkeyPatch, opened: bool, began: list[str]
) -> None:
    standby(host)
    if opened:
        lost.take_over("db", "db-mtp", replace(word(), epoch=Epoch(1001, "w")))
    started: list[str] = []

    def start(_spec: Any, epoch: str) -> list[str]:
        started.append(f"fence-probe {epoch}")
        return []

    probe = SimpleNamespace(
        record=lambda spec: {"accepted": 3, "epoch": "1001.w"},
        belongs=fence_probe.belongs,
        start=start,
    )
    monkeypatch.setattr(lost, "fence_probe", probe)
    told = lost.watch_again("db", "db-mtp", check=True)
    assert (told["changed"], started) == (opened, [])
    done = lost.watch_again("db", "db-mtp")
    assert (done["admitted"], started) == (3, began)
    if opened:
        assert done["warnings"] == ["db-tls let 3 clients of the probe at db-mtp in before it gave way"]


def test_the_record_of_a_later_opening_stays(host: World, monkeypatch: pytest.MonkeyPatch) -> None:
    standby(host)
    lost.take_over("db", "db-mtp", word())
    kept = store().read("db", "db-mtp")
    later = replace(kept, opened=Epoch(2000, "x"), promised=Epoch(2000, "x"))
    probe = SimpleNamespace(record=lambda spec: {"accepted": 3}, belongs=fence_probe.belongs)
    monkeypatch.setattr(lost, "fence_probe", probe)
    for state in (later, replace(kept, word=None)):
        monkeypatch.setattr(lost, "store", SimpleNamespace(read=lambda *_, state=state: state))
        assert lost.watch_again("db", "db-mtp") == {"changed": False, "admitted": 3}


def test_a_side_that_nobody_gave_up_does_not_give_way(host: World) -> None:
    frozen_primary()
    host.log.clear()
    other = rule.GuardState("db", "db-tls", status="closed")
    with pytest.raises(GuardRefused, match="to have been given up by db-tls"):
        lost.give_way("db", "db-mtp", other, str(Epoch(9, "b")))
    assert (host.log, host.running) == ([], True)


def test_a_side_that_is_back_never_leads_whatever_its_log_says() -> None:
    back = decisions.Side(
        "db-mtp", rule.adopt_open(GuardState("db", "db-mtp")), True, "", 9, "7", "9/0", True, False, False
    )
    there = decisions.Side("db-tls", other_open(), True, "", 2, "7", "0/5", True, False, False)
    shut, _ = rule.closed(rule.promise(there.guard, Epoch(2000, "x")), Epoch(2000, "x"), {}, "now")
    for guard in (there.guard, shut):
        now = decisions.Side("db-tls", guard, True, "", 2, "7", "0/5", False, True, False)
        assert decisions.leader(back, now) == decisions.leader(now, back) == "db-tls"


def test_what_may_be_lost_is_said_in_figures_of_the_log() -> None:
    state = {"end_lsn": "0/5000", "running": True, "in_recovery": True, "sampled_at": 1764532800.0, "replay_age": 60.0}
    said = decisions.may_lack({**state, "received_lsn": "0/6000"})
    assert said == (
        "its log is replayed up to 0/5000, received up to 0/6000, its last transaction was committed at "
        "2025-11-30T19:59:00+00:00"
    )
    assert "not known" in decisions.may_lack({"end_lsn": "0/5000", "running": False})
    assert "runs as a primary" in decisions.may_lack({**state, "in_recovery": False})
    assert decisions.may_lack({}) == "there is no cluster"


def test_an_open_side_whose_log_goes_to_nobody_says_so() -> None:
    guard = rule.adopt_open(GuardState("db", "db-mtp"))
    state = {"prepared": True, "running": True, "in_recovery": False, "method": "streaming", "standby": None}
    assert decisions.not_followed(state, guard) == "no standby streams from db-mtp"
    behind = {**state, "standby": {"state": "catchup"}}
    assert decisions.not_followed(behind, guard) == "its standby does not stream: catchup"
    assert decisions.not_followed({**state, "prepared": False}, guard) == "db-mtp is open and not prepared"
    need_not = [
        ({**state, "standby": {"state": "streaming"}}, guard),
        ({**state, "in_recovery": True}, guard),
        ({**state, "running": False}, guard),
        ({**state, "method": "dump_restore"}, guard),
        (state, rule.adopt_closed(GuardState("db", "db-tls"))),
    ]
    assert [decisions.not_followed(*one) for one in need_not] == [""] * len(need_not)
    streams = {**state, "standby": {"state": "streaming", "behind": 4096, "lag": 0.26}}
    assert decisions.followed(streams, guard) == "its standby streams, 4096 bytes, 0.3 s behind"
    unknown = {**state, "standby": {"state": "streaming", "behind": 0, "lag": None}}
    assert decisions.followed(unknown, guard) == "its standby streams, 0 bytes behind"
    assert [decisions.followed(*one) for one in [(state, guard), (behind, guard), *need_not[1:]]] == [""] * 6


def test_an_open_side_whose_server_was_not_seen_to_serve_says_why() -> None:
    guard = rule.adopt_open(GuardState("db", "db-mtp"))
    state = {"prepared": True, "exists": True, "running": True, "in_recovery": False, "method": "streaming"}
    assert decisions.unseen(state, guard) == ""
    assert decisions.unseen({**state, "running": False}, guard) == "PostgreSQL of db-mtp does not run"
    refused = {**state, "running": False, "error": "FATAL: too many connections"}
    assert decisions.unseen(refused, guard) == "PostgreSQL of db-mtp does not answer: FATAL: too many connections"
    assert decisions.unseen({**state, "in_recovery": True}, guard) == "PostgreSQL of db-mtp runs as a standby"
    assert decisions.unseen({**state, "exists": False, "running": False}, guard) == "there is no cluster at db-mtp"
    assert decisions.unseen({**refused, "method": "dump_restore"}, guard).endswith("too many connections")
    closed = rule.adopt_closed(GuardState("db", "db-tls"))
    assert decisions.unseen({**state, "running": False}, closed) == "", "it serves nobody"
