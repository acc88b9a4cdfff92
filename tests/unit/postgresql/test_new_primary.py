"""What the side that a switch enters sees before the other one gives its receipt; its server is made of values."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import GuardState
from bascule.postgresql.io.dump import safety_dump
from bascule.postgresql.io.switchover import new_primary
from bascule.postgresql.io.switchover.deadman import Steps

from .test_files import make_spec

POSITION = {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/1000"}
EPOCH = "1.d"


class Server:
    """A standby: each look at its log sees the next of its ends, the last one for ever."""

    def __init__(self, *ends: tuple[str | None, str]) -> None:
        self.ends = list(ends)
        self.asked = 0
        self.log: list[str] = []

    def query(self, sql: str, **_: Any) -> list[dict[str, Any]]:
        """Answer with rows."""
        if "received" not in sql:
            return [{"one": 1}]
        self.asked += 1
        received, replayed = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        return [{"received": received, "replayed": replayed}]

    def value(self, sql: str, **_: Any) -> Any:
        """Answer with one value."""
        self.log.append(sql)
        return "0/1000" if "receive_lsn" in sql else None

    def execute(self, sql: str, **_: Any) -> None:
        """Note it."""
        self.log.append(sql)


@pytest.fixture
def entering(monkeypatch: pytest.MonkeyPatch) -> Iterator[new_primary.Entering]:
    """The side that is entered, with what it does to its host noted down."""
    monkeypatch.setattr(new_primary, "prove_from_outside", lambda *a, **k: "28000: rejects")
    monkeypatch.setattr(new_primary, "knock_through", lambda *a: {})
    side = new_primary.Entering(make_spec(), Steps())
    yield side
    side._stack.close()


def test_the_end_of_the_log_is_replayed_before_there_is_a_receipt(entering: new_primary.Entering) -> None:
    server: Any = Server(("0/1000", "0/0FF0"), ("0/1078", "0/0FF0"), ("0/1078", "0/1000"), ("0/1078", "0/1078"))
    entering.session = server
    assert entering.arrived(POSITION, 5)["proofs"] == {"from db-mtp": "28000: rejects"}
    assert server.asked == 4


def test_what_is_there_costs_one_look(entering: new_primary.Entering) -> None:
    """Also when the receiver has nothing to say any more: who has replayed it has received it."""
    server: Any = Server((None, "0/1078"))
    entering.session = server
    entering.arrived(POSITION, 0)
    assert server.asked == 1


@pytest.mark.parametrize(
    ("end", "expected", "found"),
    [
        (("0/1000", "0/1000"), "to have received the end of the log", "it has 0/1000"),
        ((None, "0/0FF0"), "to have received the end of the log", "it has None"),
        (("0/1078", "0/0FF0"), "to have replayed the end of the log", "replayed 0/0FF0; a query may hold it up"),
    ],
)
def test_a_log_that_is_not_there_or_held_up_is_no_ground_for_a_receipt(
    entering: new_primary.Entering, end: tuple[str | None, str], expected: str, found: str
) -> None:
    server: Any = Server(end)
    entering.session = server
    with pytest.raises(BasculeError, match=expected) as caught:
        entering.arrived(POSITION, 0)
    assert found in str(caught.value.found)
    assert caught.value.state == "no receipt was given"
    with pytest.raises(BasculeError, match="to be proved"):
        entering.open(EPOCH, {}, 1)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was ended on the host, in order."""
    ended: list[str] = []
    monkeypatch.setattr(new_primary, "units", SimpleNamespace(stop=ended.append))
    pin = SimpleNamespace(start=lambda *a: [], stop=lambda spec: ended.append("comparison"))
    monkeypatch.setattr(new_primary, "snapshot", pin)
    monkeypatch.setattr(new_primary, "fence_probe", SimpleNamespace(start=lambda *a: []))
    read = SimpleNamespace(read=lambda *a: GuardState("db", "db-mtp", status="closed"))
    monkeypatch.setattr(new_primary, "store", read)
    return ended


def test_a_safety_dump_has_let_its_locks_go_before_replay_is_looked_at(
    entering: new_primary.Entering, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Any = Server(("0/1000", "0/1000"))
    entering.session = server
    control = SimpleNamespace(system_id="7", newest_timeline=1)
    monkeypatch.setattr(entering, "cluster", SimpleNamespace(control=lambda: control))
    looked: list[int] = []

    def no(*_: Any) -> None:
        return None

    monkeypatch.setattr(new_primary, "sight", SimpleNamespace(look=no, outside_must_be_seen=no))
    monkeypatch.setattr(entering, "_replays", lambda session, deadline: looked.append(len(stopped)))
    entering.ready(EPOCH, 5)
    spec = make_spec()
    assert stopped == [spec.unit_name("follow"), spec.unit_name(safety_dump.UNIT)]
    assert looked == [2]


def test_what_an_earlier_switch_reads_here_ends_before_this_side_is_opened_thoroughly(
    entering: new_primary.Entering, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[list[str]] = []

    def opened(*_: Any, **__: Any) -> dict[str, Any]:
        before.append(list(stopped))
        return {"guard": {}}

    monkeypatch.setattr(new_primary, "recovery", SimpleNamespace(open_side=opened))
    entering.open_thoroughly(EPOCH, {}, 1)
    assert before == [[make_spec().unit_name(safety_dump.UNIT), "comparison"]]
