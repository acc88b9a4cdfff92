"""Closing and opening against a cluster that is made of values: order, bounds, and what a failure leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard.io import store as guard_store
from bascule.guard.state import Epoch, Receipt
from bascule.postgresql import control, hba
from bascule.postgresql.control import Control
from bascule.postgresql.io.cluster.cluster import Postmaster
from bascule.postgresql.io.standby import follow
from bascule.postgresql.io.switchover import freeze, recovery
from bascule.postgresql.spec import Spec

from .test_files import make_spec

EPOCH = "1.d"
STREAMING = {"state": "streaming", "behind": 0, "replay": "0/100", "lag": 0}


class World:
    """A host with one cluster."""

    def __init__(self) -> None:
        self.running = True
        self.recovery = False
        self.signal = False
        self.hba = hba.OPEN
        # What a running server goes by, until it is told to read the file again.
        self.heard = hba.OPEN
        self.start_mode = "auto"
        self.standby: dict[str, Any] | None = dict(STREAMING)
        self.stops = True
        self.timeline = 1
        self.checkpoint = "0/1000"
        self.end = "0/1078"
        self.died = False
        self.received: int | None = None
        self.log: list[str] = []

    def control(self) -> Control:
        """Return the control file."""
        state = control.IN_RECOVERY if self.recovery else control.IN_PRODUCTION
        if not self.running and not self.died:
            state = control.SHUT_DOWN_IN_RECOVERY if self.recovery else control.SHUT_DOWN
        return Control("7", state, self.timeline, self.checkpoint, self.checkpoint, "0/0", 0, True, "replica", 16)


class FakeSession:
    """Answers what the code under test asks."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def close(self) -> None:
        """Nothing is open."""

    def query(self, sql: str, **_: Any) -> list[dict[str, Any]]:
        """Answer with rows."""
        if "pg_stat_replication" in sql:
            return [self.world.standby] if self.world.standby else []
        return []

    def value(self, sql: str, **_: Any) -> Any:
        """Answer with one value."""
        if "pg_is_in_recovery()" in sql:
            return self.world.recovery
        if "received_tli" in sql:
            return self.world.received
        if "count(*)" in sql:
            return 0
        return self.world.end

    def execute(self, sql: str, **_: Any) -> None:
        """Change the world."""
        self.world.log.append(sql.split("(")[0])
        if "pg_promote" in sql:
            self.world.recovery, self.world.timeline = False, self.world.timeline + 1
            self.world.signal = False


class FakeCluster:
    """Does to the world what the real one does to a host."""

    world: World

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.data = Path("/nonexistent")

    def postmaster(self) -> Postmaster | None:
        return Postmaster(1, "ready") if self.world.running else None

    def session(self, **_: Any) -> FakeSession:
        return FakeSession(self.world)

    def control(self) -> Control:
        return self.world.control()

    def history(self, timeline: int) -> list[tuple[int, str]]:
        return [(timeline - 1, self.world.end)] if timeline > 1 else []

    def has_signal(self) -> bool:
        return self.world.signal

    def hba_mode(self) -> str:
        return self.world.hba

    def admit(self, mode: str) -> None:
        self.world.hba = self.world.heard = mode
        self.world.log.append(f"admit {mode}")

    def reload(self) -> None:
        self.world.heard = self.world.hba

    def fence(self) -> None:
        self.world.log.append("fence")
        self.world.hba, self.world.signal, self.world.start_mode = hba.CLOSED, True, "manual"
        self.world.heard = hba.CLOSED

    def unfence(self) -> None:
        self.world.log.append("unfence")
        self.world.signal, self.world.start_mode = False, "auto"

    def set_start(self, mode: str) -> None:
        self.world.start_mode = mode

    def wait_ready(self, timeout: float = 60) -> None:
        assert self.world.running

    def start(self, timeout: float = 60) -> None:
        if self.world.running:
            return
        self.world.log.append("start")
        self.world.running, self.world.recovery, self.world.died = True, self.world.signal, False

    start_soon = start

    def stop(self, timeout: float) -> bool:
        self.world.log.append("stop")
        if self.world.stops:
            self.world.running = False
        return self.world.stops

    def exists(self) -> bool:
        return True

    def interrupt(self) -> None:
        self.stop(0)

    def end_stopping(self, patience: float = 1) -> None:
        self.world.log.append("end")
        self.world.running = False

    def settle_unit(self, timeout: float = 10) -> None:
        assert not self.world.running

    def wait_stopped(self, timeout: float) -> bool:
        self.world.running = False
        return True

    def release_receivers(self) -> None:
        self.world.log.append("release")

    def hba_text(self, mode: str) -> str:
        return mode

    def hba_now(self) -> str:
        return self.world.hba

    def prove_refusal(self, allowed: tuple[str, ...], timeout: float = 3) -> str:
        if self.world.running and self.world.heard == hba.OPEN:
            raise BasculeError(expected="a refusal", found="admitted")
        return "28000: rejects"

    def knock(self, timeout: float = 3) -> SimpleNamespace:
        return SimpleNamespace(code="28000" if self.world.heard == hba.CLOSED else "10")


class FakeStore:
    """The guard's store, in a directory of the test."""

    def __init__(self, root: Path) -> None:
        self.read = partial(guard_store.read, root=root)
        self.frozen = partial(guard_store.frozen, root=root)
        self.closing = partial(guard_store.closing, root=root)
        self.opening = partial(guard_store.opening, root=root)
        self.adopt = partial(guard_store.adopt, root=root)
        self.opening_by_word = partial(guard_store.opening_by_word, root=root)
        self.giving_way = partial(guard_store.giving_way, root=root)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A host that can be closed and opened."""
    made = World()

    @contextlib.contextmanager
    def lock(component: str, wait: float = 60, *, check: bool = False) -> Iterator[None]:
        yield

    def remove(path: Path) -> bool:
        if Path(path).name == "standby.signal":
            made.signal = False
        return True

    cluster = type("Bound", (FakeCluster,), {"world": made})
    for module in (recovery, freeze, follow):
        monkeypatch.setattr(module, "Cluster", cluster)
        monkeypatch.setattr(module, "load_spec", lambda component, side=None: make_spec(side=side or "db-mtp"))
        monkeypatch.setattr(module, "world", lock)
        monkeypatch.setattr(module, "store", FakeStore(tmp_path))
    units = SimpleNamespace(stop=lambda n: False, is_running=lambda n: False)
    monkeypatch.setattr(recovery, "units", units)
    monkeypatch.setattr(freeze, "fence_probe", SimpleNamespace(belongs=lambda state: False))
    monkeypatch.setattr(freeze, "sight", SimpleNamespace(own_must_be_seen=lambda spec, state: None))
    monkeypatch.setattr(recovery, "storage", SimpleNamespace(remove=remove))
    pinned = SimpleNamespace(start=lambda *a: [], wait=lambda *a: [], start_and_wait=lambda *a: [])
    monkeypatch.setattr(recovery, "snapshot", pinned)
    return made


def store() -> Any:
    """Return the guard's store of this test."""
    return vars(recovery)["store"]


def frozen_primary() -> None:
    """Take over an open side and freeze it."""
    store().adopt("db", "db-mtp", "open")
    freeze.freeze("db", "db-mtp")


def receipt(**position: str) -> dict[str, Any]:
    """Make the other side's receipt."""
    values = {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/1000", **position}
    return Receipt("db", "db-tls", Epoch.parse(EPOCH), values, "now").to_dict()


def test_a_side_that_nobody_could_prove_frozen_is_not_frozen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(spec: Any, state: Any) -> None:
        assert world.hba == hba.OPEN, "it is looked at while it is open"
        raise BasculeError(expected="a knock that is let in", found="none")

    store().adopt("db", "db-mtp", "open")
    monkeypatch.setattr(freeze, "sight", SimpleNamespace(own_must_be_seen=blind))
    with pytest.raises(BasculeError, match="a knock that is let in"):
        freeze.freeze("db", "db-mtp")
    assert world.hba == hba.OPEN
    assert not store().read("db", "db-mtp").frozen


def test_freeze_closes_proves_and_is_undone(world: World) -> None:
    store().adopt("db", "db-mtp", "open")
    done = freeze.freeze("db", "db-mtp")
    assert done["changed"]
    assert done["proof"].startswith("28000")
    assert (world.hba, store().read("db", "db-mtp").frozen) == (hba.FROZEN, True)
    assert not freeze.freeze("db", "db-mtp")["changed"]
    assert freeze.thaw("db", "db-mtp")["changed"]
    assert (world.hba, store().read("db", "db-mtp").frozen) == (hba.OPEN, False)
    assert not freeze.thaw("db", "db-mtp")["changed"]


def test_what_died_before_the_server_heard_of_its_rules_is_made_up_for(world: World) -> None:
    store().adopt("db", "db-mtp", "open")
    world.heard = hba.CLOSED
    assert freeze.thaw("db", "db-mtp", check=True)["changed"]
    assert world.heard == hba.CLOSED
    assert freeze.thaw("db", "db-mtp")["changed"]
    assert world.heard == hba.OPEN
    freeze.freeze("db", "db-mtp")
    world.heard = hba.OPEN
    assert not freeze.freeze("db", "db-mtp")["changed"]
    assert world.heard == hba.FROZEN


def test_freeze_in_check_mode_touches_nothing(world: World) -> None:
    store().adopt("db", "db-mtp", "open")
    assert freeze.freeze("db", "db-mtp", check=True)["changed"]
    assert world.log == []
    assert not store().read("db", "db-mtp").frozen


def test_only_a_side_with_a_permit_is_frozen_or_thawed(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    for act in (freeze.freeze, freeze.thaw):
        with pytest.raises(GuardRefused, match="to be open"):
            act("db", "db-mtp")
    assert world.log == []


@pytest.mark.parametrize("status", ["unknown", "closed"])
def test_a_thaw_leaves_a_side_without_a_permit_as_it_is(world: World, status: str) -> None:
    if status != "unknown":
        store().adopt("db", "db-mtp", status)
    found = freeze.thaw_if_open("db", "db-mtp")
    assert (found["changed"], found["guard"]["status"]) == (False, status)
    assert world.log == []


def test_a_side_whose_guard_is_open_and_that_is_no_primary_is_not_frozen(world: World) -> None:
    store().adopt("db", "db-mtp", "open")
    world.recovery = True
    with pytest.raises(BasculeError, match="as its guard says"):
        freeze.freeze("db", "db-mtp")


def test_close_fences_before_it_stops_and_reads_the_position_afterwards(world: World) -> None:
    frozen_primary()
    world.log.clear()
    done = recovery.close("db", "db-mtp", EPOCH)
    assert [word for word in world.log if word in ("fence", "stop")] == ["fence", "stop"]
    assert not done["unopened"]
    assert done["receipt"]["position"] == {"system_id": "7", "timeline": "1", "checkpoint_lsn": "0/1000"}
    assert not world.running
    assert store().read("db", "db-mtp").status == "closed"
    again = recovery.close("db", "db-mtp", EPOCH)
    assert again["receipt"] == done["receipt"]
    assert not again["changed"]


@pytest.mark.parametrize("standby", [None, {**STREAMING, "state": "catchup"}, {**STREAMING, "behind": 5}])
def test_without_a_caught_up_standby_nothing_is_closed(world: World, standby: dict[str, Any] | None) -> None:
    frozen_primary()
    world.standby = standby
    with pytest.raises(BasculeError, match="to stream and to be caught up") as caught:
        recovery.close("db", "db-mtp", EPOCH, budget=0)
    assert "nothing was closed" in str(caught.value)
    assert world.running
    assert "fence" not in world.log
    assert store().read("db", "db-mtp").status == "open"


def test_a_side_that_is_not_frozen_is_not_closed(world: World) -> None:
    store().adopt("db", "db-mtp", "open")
    with pytest.raises(BasculeError, match="to be frozen before it closes"):
        recovery.close("db", "db-mtp", EPOCH)
    assert world.running
    assert store().read("db", "db-mtp").status == "open"


def test_a_stop_that_hangs_ends_with_the_primary_running_and_no_receipt(world: World) -> None:
    frozen_primary()
    world.stops = False
    with pytest.raises(BasculeError, match="did not confirm"):
        recovery.close("db", "db-mtp", EPOCH)
    assert world.running
    assert not world.recovery
    assert (world.signal, world.start_mode, world.hba) == (False, "auto", hba.CLOSED)
    guard = store().read("db", "db-mtp")
    assert (guard.status, guard.receipt) == ("closing", None)


def test_what_hung_can_open_again_with_the_other_sides_receipt(world: World) -> None:
    """The rollback after a stop that hung: the primary never stopped, it needs no promotion."""
    frozen_primary()
    world.stops = False
    with pytest.raises(BasculeError):
        recovery.close("db", "db-mtp", "0.d")
    with pytest.raises(GuardRefused, match="the OTHER side"):
        recovery.open_side("db", "db-mtp", EPOCH, {**receipt(kind="replay"), "side": "db-mtp"})
    done = recovery.open_side("db", "db-mtp", EPOCH, receipt(kind="replay"))
    assert not done["promoted"]
    assert world.hba == hba.OPEN
    assert store().read("db", "db-mtp").status == "open"


def test_a_primary_that_died_is_brought_up_behind_closed_doors_and_closed(world: World) -> None:
    frozen_primary()
    world.running, world.died, world.signal = False, True, True
    done = recovery.close("db", "db-mtp", EPOCH)
    assert done["stopped"]
    assert "start" in world.log
    assert world.hba == hba.CLOSED


def test_only_a_side_that_was_open_when_it_closed_must_have_let_somebody_in(world: World) -> None:
    """One whose controller died between the promotion and the word "open": nobody can have looked meanwhile."""
    store().adopt("db", "db-mtp", "closed")
    with contextlib.suppress(GuardRefused), store().opening("db", "db-mtp", EPOCH, receipt(), reached=lambda: True):
        pass
    assert store().read("db", "db-mtp").status == "opening"
    world.recovery, world.hba = False, hba.CLOSED
    assert recovery.close("db", "db-mtp", "2.e")["unopened"]


def test_what_died_while_it_closed_is_there_again_for_the_other_side_to_follow(world: World) -> None:
    """The rerun of an interrupted switch: its log has to reach the other side before it closes."""
    frozen_primary()
    with contextlib.suppress(GuardRefused), store().closing("db", "db-mtp", EPOCH):
        pass
    world.running, world.died, world.signal = False, True, True
    world.log.clear()
    done = follow.catch_up("db", "db-mtp", budget=1, wait=False)
    assert done["changed"]
    assert world.log[:2] == [f"admit {hba.CLOSED}", "start"]
    assert (world.running, world.recovery, world.hba) == (True, False, hba.CLOSED)
    assert store().read("db", "db-mtp").status == "closing"


def test_what_stood_when_it_lost_its_power_stands_again_for_the_other_side_to_follow(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.running, world.recovery = False, True
    assert follow.catch_up("db", "db-mtp", budget=1, wait=False)["changed"]
    assert world.log[:2] == ["fence", "start"]
    assert (world.running, world.recovery, world.hba) == (True, True, hba.CLOSED)


@pytest.mark.parametrize("died", [True, False])
def test_neither_the_open_side_nor_one_that_has_stopped_for_good_is_started_for_a_follower(
    world: World, died: bool
) -> None:
    if died:
        frozen_primary()
    else:
        store().adopt("db", "db-mtp", "closed")
    world.running, world.died = False, died
    world.log.clear()
    follow.catch_up("db", "db-mtp", budget=1, wait=False)
    assert "start" not in world.log
    assert not world.running


def test_a_standby_is_closed_by_being_one(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.recovery = world.signal = True
    done = recovery.close("db", "db-mtp", EPOCH)
    assert not done["stopped"]
    assert world.running
    assert done["receipt"]["position"]["kind"] == "replay"
    assert done["receipt"]["position"]["checkpoint_lsn"] == "0/1078"


def test_a_standby_names_the_timeline_it_receives(world: World) -> None:
    """Its control file may not have heard of it yet, and the other side would not find the position on its own."""
    store().adopt("db", "db-mtp", "closed")
    world.recovery = world.signal = True
    world.received = 3
    assert recovery.close("db", "db-mtp", EPOCH)["receipt"]["position"]["timeline"] == "3"


def test_open_promotes_and_lets_clients_in_last(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.recovery = world.signal = True
    world.hba = hba.CLOSED
    done = recovery.open_side("db", "db-mtp", EPOCH, receipt())
    assert done["promoted"]
    assert world.log[-2:] == ["unfence", f"admit {hba.OPEN}"]
    assert store().read("db", "db-mtp").status == "open"


@pytest.mark.parametrize(
    ("position", "why"),
    [
        ({"checkpoint_lsn": "0/1078"}, "receipt says"),
        ({"system_id": "8"}, "another cluster"),
        ({"timeline": "2"}, "on timeline 1"),
    ],
)
def test_open_refuses_a_side_that_has_not_everything(world: World, position: dict[str, str], why: str) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.recovery = world.signal = True
    world.hba = hba.CLOSED
    with pytest.raises(GuardRefused, match=why):
        recovery.open_side("db", "db-mtp", EPOCH, receipt(**position), budget=0)
    assert world.recovery
    assert world.hba == hba.CLOSED
    assert store().read("db", "db-mtp").status == "closed"


def test_open_recognises_a_promotion_whose_controller_died(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.timeline, world.recovery, world.hba = 2, False, hba.CLOSED
    done = recovery.open_side("db", "db-mtp", EPOCH, receipt())
    assert not done["promoted"]
    assert world.hba == hba.OPEN


def test_open_starts_a_stopped_side_as_a_standby_first(world: World) -> None:
    store().adopt("db", "db-mtp", "closed")
    world.running, world.hba = False, hba.CLOSED
    done = recovery.open_side("db", "db-mtp", EPOCH, receipt())
    assert world.log[:2] == ["fence", "start"]
    assert done["promoted"]
