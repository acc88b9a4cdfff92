"""What the dead-man does and does not do, and what the probe of the fence counts; guards are real, hosts are not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.guard.io import store as guard_store
from bascule.guard.state import GuardState
from bascule.postgresql import hba
from bascule.postgresql.io.switchover import deadman, fence_probe, sight, take_back
from bascule.postgresql.io.switchover.deadman import DeadMan, Steps
from bascule.postgresql.spec import Spec
from bascule.postgresql.wire import Answer

from .test_files import make_spec

EPOCH = "1.d"
SIDE = "db-mtp"


class Host:
    """What the dead-man finds and does on a host."""

    def __init__(self, root: Path, spec: Spec) -> None:
        self.root = root
        self.spec = spec
        self.served: list[str] = []
        self.killed: list[int] = []
        self.lives = False

    def note(self, epoch: str = EPOCH, *, frozen: bool = True) -> Path:
        """Leave what arming leaves."""
        path = self.root / self.spec.component / deadman.DEADMAN_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"epoch": epoch, "frozen": frozen, "pid": 1, "born": "1"}))
        return path

    def guard(self) -> GuardState:
        """Read the guard."""
        return guard_store.read(self.spec.component, SIDE, root=self.root)

    def promise(self) -> None:
        """Begin to close, and die."""
        with contextlib.suppress(GuardRefused), guard_store.closing(self.spec.component, SIDE, EPOCH, root=self.root):
            pass

    def close(self) -> None:
        """Close and give the receipt."""
        with guard_store.closing(self.spec.component, SIDE, EPOCH, root=self.root) as guard:
            guard.closed({"lsn": "0/1"})


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """A host whose side is open."""
    made = Host(tmp_path, make_spec())

    @contextlib.contextmanager
    def lock(component: str, wait: float = 60, *, check: bool = False) -> Iterator[None]:
        yield

    def kill(note: dict[str, Any], patience: float = 5) -> bool:
        made.killed.append(note["pid"])
        made.lives = False
        return True

    store = SimpleNamespace(
        read=partial(guard_store.read, root=tmp_path), withdrawing=partial(guard_store.withdrawing, root=tmp_path)
    )
    monkeypatch.setattr(deadman, "HOME", tmp_path)
    monkeypatch.setattr(deadman, "run", lambda *a, **k: None)
    monkeypatch.setattr(take_back, "store", store)
    monkeypatch.setattr(take_back, "load_spec", lambda component: made.spec)
    monkeypatch.setattr(take_back, "world", lock)
    monkeypatch.setattr(take_back, "serve", lambda cluster, mode: made.served.append(mode))
    monkeypatch.setattr(take_back, "kill_agent", kill)
    monkeypatch.setattr(take_back, "agent_lives", lambda note: made.lives)
    guard_store.adopt(made.spec.component, SIDE, "open", root=tmp_path)
    return made


@pytest.mark.parametrize(("frozen", "mode"), [(True, hba.FROZEN), (False, hba.OPEN)])
def test_what_has_no_receipt_is_taken_back(host: Host, frozen: bool, mode: str) -> None:
    host.promise()
    path = host.note(frozen=frozen)
    assert take_back.fire(host.spec.component, EPOCH) == 0
    assert (host.served, host.killed) == ([mode], [1])
    guard = host.guard()
    assert (guard.status, str(guard.opened), guard.frozen) == ("open", EPOCH, frozen)
    assert not path.exists()


def test_a_take_back_whose_server_does_not_start_is_done_again_until_it_does(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permit is back and durable before the server starts: that it is there says nothing."""

    def fail(cluster: Any, mode: str) -> bool:
        raise BasculeError(expected="a server that answers", found="it does not start")

    host.promise()
    path = host.note()
    with monkeypatch.context() as broken:
        broken.setattr(take_back, "serve", fail)
        for _ in range(2):
            with pytest.raises(BasculeError, match="a server that answers"):
                take_back.fire(host.spec.component, EPOCH)
            assert path.exists(), "nobody would try again"
            assert (host.guard().status, str(host.guard().opened)) == ("open", EPOCH)
    assert take_back.fire(host.spec.component, EPOCH) == 0
    assert host.served == [hba.FROZEN]
    assert not path.exists()


def test_an_agent_that_failed_to_serve_again_is_made_up_for_as_the_guard_is_now(host: Host) -> None:
    host.promise()
    with guard_store.withdrawing(host.spec.component, SIDE, EPOCH, frozen=True, root=host.root):
        pass
    # Whoever thawed it in between has its word.
    guard_store.frozen(host.spec.component, SIDE, False, root=host.root)
    host.note()
    take_back.fire(host.spec.component, EPOCH)
    assert host.served == [hba.OPEN]


def test_a_side_that_is_open_under_another_epoch_is_left_alone(host: Host) -> None:
    path = host.note()
    take_back.fire(host.spec.component, EPOCH)
    assert host.served == []
    assert not path.exists()


def test_the_timer_tries_again_what_has_failed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(deadman, "run", lambda argv, **_: ran.append(argv))
    DeadMan(host.spec).arm(EPOCH, 3.5, frozen=True)
    assert ran[0][:2] == ["systemctl", "stop"], "one that an earlier switch has set, and that still tries, ends first"
    assert {"--on-active=3.50s", "--property=Restart=on-failure", "--property=StartLimitIntervalSec=0"} <= set(ran[1])


def test_a_receipt_disarms(host: Host) -> None:
    host.close()
    host.note()
    take_back.fire(host.spec.component, EPOCH)
    assert (host.served, host.killed) == ([], [])
    assert host.guard().status == "closed"


def test_a_receipt_that_is_given_while_the_agent_is_being_ended_holds(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.promise()
    host.note()
    monkeypatch.setattr(take_back, "kill_agent", lambda note: host.close())
    take_back.fire(host.spec.component, EPOCH)
    assert host.served == []
    assert host.guard().status == "closed"


def test_a_timer_of_another_switch_does_nothing(host: Host) -> None:
    host.promise()
    path = host.note("2.other")
    take_back.fire(host.spec.component, EPOCH)
    assert (host.served, host.killed) == ([], [])
    assert path.exists()


def test_an_agent_that_has_given_its_receipt_is_left_to_finish_but_not_for_ever(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.close()
    host.note()
    host.lives = True
    monkeypatch.setattr(take_back, "SLOW_AGENT_SECONDS", 0.0)
    take_back.fire(host.spec.component, EPOCH)
    assert host.killed == [1]
    assert host.served == []


class FakePooler:
    """A pooler that holds its clients."""

    held = True
    at = ("", 0)

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __enter__(self) -> FakePooler:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def paused(self) -> bool:
        return type(self).held

    def resume(self) -> None:
        type(self).held = False

    def point(self, host: str, port: int) -> bool:
        changed = type(self).at != (host, port)
        type(self).at = (host, port)
        return changed

    def knock(self, host: str, port: int, timeout: float = 3) -> Answer:
        return Answer("refused", "ECONNREFUSED", "nothing listens") if port == 5432 else Answer("none", "", "silence")


@pytest.mark.parametrize(("kind", "held"), [("admitted", False), ("refused", True), ("none", True)])
def test_held_clients_go_on_only_to_a_side_that_admits_them(
    host: Host, monkeypatch: pytest.MonkeyPatch, kind: str, held: bool
) -> None:
    host.spec = make_spec(pooler="install", address="198.18.1.10", peer_clients=[{**hba_client(), "until": "switch"}])
    host.close()
    host.note()
    pooler = type("Bound", (FakePooler,), {})
    monkeypatch.setattr(take_back, "Pooler", pooler)
    monkeypatch.setattr(take_back, "FREE_SECONDS", 0.2)
    monkeypatch.setattr(take_back, "probe", SimpleNamespace(knock=lambda *a, **k: Answer(kind, "", "")))
    take_back.fire(host.spec.component, EPOCH)
    assert vars(pooler).get("held", True) is held
    assert vars(pooler).get("at", ("", 0)) == (("", 0) if held else ("198.18.2.10", 5432))


def test_silence_through_a_pooler_is_no_proof(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "pooler_must_be_seen", lambda *a: "then")
    spec = make_spec(pooler="install", address="198.18.1.10", peer_port=5433)
    pooler: Any = FakePooler(spec)
    assert "ECONNREFUSED" in take_back.knock_through(pooler, spec, SIDE, 0.0)["pooler of db-mtp"]
    with pytest.raises(BasculeError, match="silence is no proof"):
        take_back.knock_through(pooler, spec, "db-tls", 0.0)
    assert take_back.knock_through(None, spec, SIDE, 0.0) == {}


def test_who_was_let_in_is_asked_of_the_time_before_the_receipt(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt ends the time in which anybody was let in: what was seen then would be forgotten with it."""
    asked: list[Any] = []

    def seen(spec: Any, guard: GuardState, side: str) -> str:
        asked.append(guard)
        return "then"

    monkeypatch.setattr(sight, "pooler_must_be_seen", seen)
    spec = make_spec(pooler="install", address="198.18.1.10", peer_port=5433)
    pooler: Any = FakePooler(spec)
    before = GuardState(spec.component, SIDE, status="open")
    assert "let in at then" in take_back.knock_through(pooler, spec, SIDE, 0.0, before=before)["pooler of db-mtp"]
    assert asked == [before]


def test_a_number_that_is_used_again_is_another_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        note = {"pid": child.pid, "born": deadman.born(child.pid)}
        assert deadman.agent_lives(note)
        assert not deadman.agent_lives({**note, "born": "1"})
        assert deadman.kill_agent(note)
        assert child.wait() == -9
    assert deadman.kill_agent(note)
    assert deadman.born(os.getpid())


def test_marks_are_held_and_nobody_works_for_a_driver_that_is_gone() -> None:
    held: list[str] = []
    steps = Steps(lambda: True, held.append)
    steps.hold_at = frozenset({"paused"})
    steps.mark("promised")
    steps.mark("paused")
    assert held == ["paused"]
    assert list(steps.marks) == ["promised", "paused"]
    with pytest.raises(deadman.DriverGone):
        steps.still_wanted()


def test_the_note_of_a_timer_belongs_to_its_switch(host: Host) -> None:
    host.note()
    assert DeadMan(host.spec).note(EPOCH) is not None
    assert DeadMan(host.spec).note("2.e") is None


def hba_client() -> dict[str, str]:
    """A client of the other side."""
    return {"database": "courses", "user": "courses", "address": "198.18.0.0/16"}


def test_the_probe_counts_and_an_admission_is_on_disk_at_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fence_probe, "HOME", tmp_path)
    (tmp_path / host.spec.component).mkdir(exist_ok=True)
    answers = iter(
        [
            Answer("refused", "28000", "rejects"),
            Answer("refused", "28000", "rejects"),
            Answer("admitted", "10", "asks for a password"),
            Answer("none", "", "silence"),
        ]
    )
    monkeypatch.setattr(sight, "knock", lambda *a: next(answers))
    probe = fence_probe.Probe(host.spec, EPOCH)
    for _ in range(3):
        probe.attempt()
    found = json.loads((tmp_path / host.spec.component / fence_probe.RECORD).read_text())
    assert (found["attempts"], found["refused"], found["accepted"]) == (3, 2, 1)
    assert len(found["accepted_at"]) == 1
    probe.attempt()
    assert probe.seen["unclear"] == 1
    log = (tmp_path / host.spec.component / fence_probe.LOG).read_text().splitlines()
    assert [json.loads(line)["kind"] for line in log] == ["refused", "admitted", "none"]


def test_the_probe_ends_when_its_side_closes_and_belongs_to_a_side_a_switch_has_opened(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not fence_probe.belongs(host.guard())
    monkeypatch.setattr(fence_probe, "HOME", tmp_path)
    monkeypatch.setattr(fence_probe, "EVERY", 0.0)
    monkeypatch.setattr(fence_probe, "load_spec", lambda component: host.spec)
    states = iter(["opening", "opening", "open", "open", "closing", "closing"])
    fixed = host.guard().to_dict()

    def read(component: str, side: str) -> GuardState:
        return GuardState.from_dict({**fixed, "promised": EPOCH, "status": next(states)})

    monkeypatch.setattr(fence_probe, "store", SimpleNamespace(read=read))
    refused = Answer("refused", "28000", "rejects")
    monkeypatch.setattr(sight, "knock", lambda *a: refused)
    home = tmp_path / host.spec.component
    home.mkdir(exist_ok=True)
    (home / "postgresql.json").write_text("{}")
    assert fence_probe.watch(host.spec.component, EPOCH) == 0
    found = json.loads((home / fence_probe.RECORD).read_text())
    assert (found["state"], found["attempts"]) == ("ended", 3)
    (home / "postgresql.json").unlink()
    assert fence_probe.watch(host.spec.component, EPOCH) == 0
