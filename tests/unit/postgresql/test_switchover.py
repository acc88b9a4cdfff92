"""The order of a switch, and what each failure leaves, with both sides made of values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.postgresql.io.switchover import old_primary
from bascule.postgresql.switchover import Drive

RECEIPT = {"side": "db-mtp", "epoch": "1.d"}
ANSWERS: dict[str, dict[str, Any]] = {
    "close": {"position": {"checkpoint_lsn": "0/100"}, "proofs": {"host": "refused"}},
    "arrived": {"proofs": {"from db-tls": "refused"}},
    "give_receipt": {"receipt": RECEIPT},
    "open": {"guard": {"status": "open"}},
    "finish": {"marks": {}, "warnings": []},
    "close_thoroughly": {"receipt": RECEIPT, "unopened": False, "proofs": {}, "marks": {}, "notices": []},
    "prove_thoroughly": {"proofs": {"from db-tls": "refused"}},
    "open_thoroughly": {"guard": {"status": "open"}, "marks": {}, "warnings": []},
    "aim": {"changed": False},
}


class FakeLine:
    """An agent that answers as it is told, and writes down what it was asked."""

    def __init__(self, name: str, log: list[str], status: str = "open", primary: bool = True) -> None:
        self.name = name
        self.log = log
        self.look = {"guard": {"status": status}, "primary": primary, "standby": True}
        self.fails: dict[str, BasculeError] = {}
        self._asked: dict[int, str] = {}
        self._numbers = itertools.count(1)

    def send(self, do: str, **arguments: Any) -> int:
        self.log.append(f"{self.name} {do}")
        number = next(self._numbers)
        self._asked[number] = do
        return number

    def answer(self, timeout: float, number: int) -> dict[str, Any]:
        do = self._asked[number]
        if do in self.fails:
            raise self.fails[do]
        if do == "back":
            return {"back": True, "guard": f"{self.name} was taken back"}
        return self.look if do == "look" else ANSWERS.get(do, {})


class World:
    """Both sides of a switch."""

    def __init__(self, **old: Any) -> None:
        self.log: list[str] = []
        self.old = FakeLine("old", self.log, **old)
        self.new = FakeLine("new", self.log, status="closed", primary=False)
        self.drive = Drive(self.old, self.new, budget=5, patience=30, clock=lambda: 0.0)


def failing(found: str = "it died") -> BasculeError:
    """Make the error of a side."""
    return BasculeError(expected="an answer", found=found)


def test_a_live_switch_asks_in_the_order_that_keeps_one_writer() -> None:
    world = World()
    done = world.drive.switch("1.d")
    assert done["live"]
    assert world.log == [
        "old look",
        "new look",
        "old settle",
        "new ready",
        "old ready",
        "old pause",
        "new pause",
        "old close",
        "new arrived",
        "old give_receipt",
        "old point",
        "new open",
        "old resume",
        "old finish",
        "new finish",
    ]
    assert done["proofs"] == {"host": "refused", "from db-tls": "refused"}
    assert done["receipt"] == RECEIPT


@pytest.mark.parametrize("began", [True, False, None])
def test_a_live_switch_says_whether_the_old_side_has_begun_to_follow(
    began: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {} if began is None else {"following": began}
    monkeypatch.setitem(ANSWERS, "finish", {"marks": {}, "warnings": [], **said})
    assert World().drive.switch("1.d")["following"] is bool(began)


def leaving(monkeypatch: pytest.MonkeyPatch, start: Callable[..., dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """End a switch at the old side, whose unit is started like that; return its answer and what was done."""
    log: list[str] = []

    def noting(*given: Any) -> dict[str, Any]:
        log.append(f"follow {' '.join(given)}")
        return start()

    monkeypatch.setattr(old_primary, "start_follow", noting)
    side: Any = old_primary.Leaving.__new__(old_primary.Leaving)
    side.spec = SimpleNamespace(component="db", side="db-mtp")
    side.steps = SimpleNamespace(marks={"closed": 1.0})
    side.deadman = SimpleNamespace(disarm=lambda: log.append("disarm"))
    side.cluster = SimpleNamespace(settle_unit=lambda: log.append("settle"))
    found: dict[str, Any] = side.finish()
    return found, log


def test_the_old_side_follows_when_the_switch_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found, log = leaving(monkeypatch, lambda: {"changed": True, "state": "started"})
    assert found == {"marks": {"closed": 1.0}, "following": True}
    assert log == ["disarm", "settle", "follow db db-mtp"]


@pytest.mark.parametrize("error", [failing("no such unit"), OSError("no systemd-run")])
def test_a_follower_that_does_not_begin_spoils_no_switch(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def start() -> dict[str, Any]:
        raise error

    found, _ = leaving(monkeypatch, start)
    assert found["following"] is False


@pytest.mark.parametrize(
    ("side", "step"),
    [
        ("old", "settle"),
        ("new", "ready"),
        ("old", "ready"),
        ("old", "pause"),
        ("new", "pause"),
        ("old", "close"),
        ("new", "arrived"),
        ("old", "give_receipt"),
    ],
)
def test_a_failure_before_the_receipt_takes_both_sides_back_and_opens_nothing(side: str, step: str) -> None:
    world = World()
    getattr(world, side).fails[step] = failing()
    with pytest.raises(BasculeError, match="it died") as caught:
        world.drive.switch("1.d")
    assert world.log[-2:] == ["old back", "new back"]
    assert "new open" not in world.log
    assert "old was taken back; new was taken back" in caught.value.state


def test_a_side_that_does_not_answer_is_left_to_its_timer() -> None:
    world = World()
    world.old.fails.update(close=failing(), back=failing("the connection has ended"))
    with pytest.raises(BasculeError) as caught:
        world.drive.switch("1.d")
    assert "no answer (the connection has ended): its dead-man's timer takes it back" in caught.value.state
    assert "new was taken back" in caught.value.state


@pytest.mark.parametrize(("side", "step"), [("new", "open"), ("old", "point"), ("old", "resume")])
def test_after_the_receipt_nothing_is_taken_back(side: str, step: str) -> None:
    world = World()
    getattr(world, side).fails[step] = failing()
    with pytest.raises(BasculeError, match=r"rollback\.yml") as caught:
        world.drive.switch("1.d")
    assert not any(word.endswith("back") for word in world.log)
    assert "db-mtp has closed and given its receipt" in caught.value.state


@pytest.mark.parametrize("old", [{"status": "closed", "primary": False}, {"primary": False}, {"status": "closing"}])
def test_what_a_crash_has_left_is_closed_and_opened_the_thorough_way(old: dict[str, Any]) -> None:
    world = World(**old)
    done = world.drive.switch("1.d")
    assert not done["live"]
    asked = [word for word in world.log if "thorough" in word]
    assert asked == ["old close_thoroughly", "new prove_thoroughly", "new open_thoroughly"]
    assert world.log[-2:] == ["old aim", "new aim"]


def test_without_service_clients_that_cannot_be_held_stop_nothing() -> None:
    world = World(status="closed", primary=False)
    world.new.fails["pause"] = failing("they do not drain")
    done = world.drive.switch("1.d")
    assert "they do not drain" in done["warnings"][0]


def test_no_proof_no_opening_the_thorough_way_either() -> None:
    world = World(status="closed", primary=False)
    world.new.fails["prove_thoroughly"] = failing("silence")
    with pytest.raises(BasculeError, match="silence"):
        world.drive.switch("1.d")
    assert "new open_thoroughly" not in world.log


def test_aiming_changes_what_either_side_had_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    assert not world.drive.aim()
    monkeypatch.setitem(ANSWERS, "aim", {"changed": True})
    assert World().drive.aim()


def test_a_test_may_hold_the_driver_at_its_marks() -> None:
    reached: list[str] = []
    world = World()
    reach: Callable[[str], None] = reached.append
    world.drive = Drive(world.old, world.new, budget=5, patience=30, clock=lambda: 0.0, reach=reach)
    world.drive.switch("1.d")
    assert reached == ["ready", "paused", "closed", "opened", "resumed"]
