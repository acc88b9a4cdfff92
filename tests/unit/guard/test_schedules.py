"""Random schedules of two controllers over two hosts: at most one side open, ever, and no acknowledged write lost.

The guards are the real ones, on real files. A schedule interleaves the controllers between any two durable steps, kills
them there, loses their answers, reboots hosts, and replays receipts and epochs of the past.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bascule.errors import GuardRefused, StoreError
from bascule.guard import state as opening_rule
from bascule.guard.io import store
from bascule.guard.state import Epoch, Receipt

COMPONENT = "accounts_db"
HOSTS = ("here", "there")
CONTROLLERS = ("ctl_a", "ctl_b")
ENDS = ("goes on", "dies", "is taken back")
_MEMORY = Path("/dev/shm")

hosts = st.sampled_from(HOSTS)
controllers = st.sampled_from(CONTROLLERS)


def other(host: str) -> str:
    """Return the other side."""
    return HOSTS[1 - HOSTS.index(host)]


class Schedules(RuleBasedStateMachine):
    """The world: what each host serves and holds, and what each controller is doing."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.serving = dict.fromkeys(HOSTS, False)
        self.log: dict[str, list[int]] = {host: [] for host in HOSTS}
        self.acknowledged: list[int] = []
        self.running: dict[str, Generator[str, None, None]] = {}
        self.at_host: dict[str, str] = {}
        self.decisions = 0
        self.receipts: list[Receipt] = []
        self.epochs: list[Epoch] = []
        self.burnt: list[tuple[str, Epoch]] = []

    def teardown(self) -> None:
        """Remove the guards' files."""
        for program in self.running.values():
            program.close()
        self._directory.cleanup()

    def root(self, host: str) -> Path:
        """Return where the host keeps its guards."""
        return Path(self._directory.name) / host

    # What a host does when a controller asks; every yield is a point where it may be killed.

    def close(self, host: str, epoch: Epoch) -> Generator[str, None, None]:
        """Close the host's side for the epoch."""
        with store.closing(COMPONENT, host, epoch, root=self.root(host), wait=0) as guard:
            yield host
            self.serving[host] = False
            yield host
            self.receipts.append(guard.closed({"writes": str(self.log[host])}))
            yield host

    def withdraw(self, host: str, epoch: Epoch) -> Generator[str, None, None]:
        """The dead-man takes back what a dead controller has begun at this host."""
        with store.withdrawing(COMPONENT, host, epoch, frozen=True, root=self.root(host), wait=0):
            yield host
            self.serving[host] = True
            yield host
        self.burnt.append((host, epoch))

    def open(self, host: str, epoch: Epoch, receipt: Receipt) -> Generator[str, None, None]:
        """Open the host's side under the epoch with the other side's receipt."""

        def reached() -> bool:
            return str(self.log[host]) == receipt.position["writes"]

        with store.opening(COMPONENT, host, epoch, receipt, reached=reached, root=self.root(host), wait=0) as guard:
            assert reached(), "a side opens that has not reached the receipt's position"
            yield host
            self.serving[host] = True
            yield host
            guard.opened()
            yield host

    def switch(self, source: str, target: str, decision: str) -> Generator[str, None, None]:
        """A controller's whole switch; it reads, chooses an epoch, closes, carries over, opens."""
        guards = [store.read(COMPONENT, host, root=self.root(host)) for host in (source, target)]
        epoch = opening_rule.next_epoch(guards[0], guards[1], decision)
        self.epochs.append(epoch)
        yield ""
        count = len(self.receipts)
        yield from self.close(source, epoch)
        receipt = next(r for r in self.receipts[count:] if (r.side, r.epoch) == (source, epoch))
        yield ""
        self.carry_over(source, target)
        yield ""
        yield from self.open(target, epoch, receipt)

    def carry_over(self, source: str, target: str) -> None:
        """Bring the target up to date, as a role's sync does: never over the leader, never into an open side."""
        a, b = (store.read(COMPONENT, host, root=self.root(host)) for host in (source, target))
        if opening_rule.leader(a, b) == source and b.status == opening_rule.CLOSED and not self.serving[target]:
            self.log[target] = list(self.log[source])

    @initialize(first=hosts)
    def adopt(self, first: str) -> None:
        """Prepare has taken over one open and one closed side."""
        store.adopt(COMPONENT, first, "open", root=self.root(first))
        store.adopt(COMPONENT, other(first), "closed", root=self.root(other(first)))
        self.serving[first] = True

    @rule(controller=controllers, source=hosts, steps=st.integers(0, 10), end=st.sampled_from(ENDS))
    def start(self, controller: str, source: str, steps: int, end: str) -> None:
        """A controller begins a switch and comes so far; what it did before is forgotten, as after a kill."""
        self.kill(controller)
        self.decisions += 1
        self.running[controller] = self.switch(source, other(source), f"{controller}{self.decisions}")
        # What is taken back stands between the promise and the receipt, mostly.
        self.go_on(controller, min(steps, 4) if end == "is taken back" else steps)
        if end != "goes on":
            self.kill(controller)
        if end == "is taken back" and self.epochs:
            self.run_at_host(self.withdraw(source, self.epochs[-1]), finish=True)

    @rule(controller=controllers, steps=st.integers(1, 10))
    def go_on(self, controller: str, steps: int) -> None:
        """A controller does its next steps."""
        for _ in range(steps):
            if not self.advance(controller):
                return

    def advance(self, controller: str) -> bool:
        """Do one step; a refusal, or a lock that is held, ends the controller's attempt."""
        program = self.running.get(controller)
        if program is None:
            return False
        try:
            self.at_host[controller] = next(program)
        except (StopIteration, GuardRefused, StoreError):
            self.running.pop(controller)
            self.at_host.pop(controller, None)
            return False
        self.at_most_one_side_serves()
        return True

    @rule(controller=controllers)
    def kill(self, controller: str) -> None:
        """A controller, or its connection, dies where it stands."""
        program = self.running.pop(controller, None)
        self.at_host.pop(controller, None)
        if program is not None:
            program.close()

    @rule(host=hosts)
    def reboot(self, host: str) -> None:
        """A host reboots: what ran there dies, and the boot fence closes whatever is not open."""
        for controller in [c for c, at in self.at_host.items() if at == host]:
            self.kill(controller)
        self.serving[host] = store.read(COMPONENT, host, root=self.root(host)).status == opening_rule.OPEN

    @rule(host=hosts)
    def write(self, host: str) -> None:
        """A client writes wherever it is let in."""
        if self.serving[host]:
            number = len(self.acknowledged) + 1
            self.log[host].append(number)
            self.acknowledged.append(number)

    @rule(source=hosts)
    def sync(self, source: str) -> None:
        """A sync runs at any time."""
        self.carry_over(source, other(source))

    @precondition(lambda self: self.receipts)
    @rule(host=hosts, data=st.data(), finish=st.booleans())
    def replay_open(self, host: str, data: st.DataObject, finish: bool) -> None:
        """A message from the past asks a host to open with some receipt and some epoch."""
        receipt = data.draw(st.sampled_from(self.receipts[-4:]))
        epoch = data.draw(st.sampled_from([receipt.epoch, receipt.epoch, *self.epochs[-2:]]))
        self.run_at_host(self.open(host, epoch, receipt), finish)

    @precondition(lambda self: self.epochs)
    @rule(host=hosts, data=st.data(), finish=st.booleans())
    def replay_close(self, host: str, data: st.DataObject, finish: bool) -> None:
        """A message from the past asks a host to close."""
        promised = store.read(COMPONENT, host, root=self.root(host)).promised or self.epochs[-1]
        self.run_at_host(self.close(host, data.draw(st.sampled_from([promised, *self.epochs[-3:]]))), finish)

    @precondition(lambda self: self.epochs)
    @rule(host=hosts, data=st.data(), finish=st.booleans())
    def dead_man(self, host: str, data: st.DataObject, finish: bool) -> None:
        """A dead-man's timer fires, in time or long after its switch; it kills what works at its host first."""
        promised = store.read(COMPONENT, host, root=self.root(host)).promised or self.epochs[-1]
        epoch = data.draw(st.sampled_from([promised, *self.epochs[-3:]]))
        for controller in [c for c, at in self.at_host.items() if at == host]:
            self.kill(controller)
        self.run_at_host(self.withdraw(host, epoch), finish)

    def run_at_host(self, program: Generator[str, None, None], finish: bool) -> None:
        """Run a host's part to its end, or kill it after two steps."""
        try:
            for count, _ in enumerate(program):
                self.at_most_one_side_serves()
                if count == 1 and not finish:
                    program.close()
                    return
        except (GuardRefused, StoreError):
            return

    @invariant()
    def at_most_one_side_serves(self) -> None:
        """The opening rule."""
        assert sum(self.serving.values()) <= 1, "both sides accept writes"
        states = [store.read(COMPONENT, host, root=self.root(host)) for host in HOSTS]
        assert sum(state.status == opening_rule.OPEN for state in states) <= 1, "both guards say open"

    @invariant()
    def what_was_taken_back_never_gets_a_receipt(self) -> None:
        """A burnt epoch stays burnt."""
        given = {(receipt.side, receipt.epoch) for receipt in self.receipts}
        assert given.isdisjoint(self.burnt)

    @invariant()
    def what_serves_has_every_acknowledged_write(self) -> None:
        """No acknowledged write is lost by opening the wrong side."""
        for host in HOSTS:
            if self.serving[host]:
                assert self.log[host] == self.acknowledged


Schedules.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSchedules = Schedules.TestCase
