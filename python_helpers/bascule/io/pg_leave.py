"""The side that a switch leaves, on sessions that were opened before it starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import BasculeError
from ..guard.state import Receipt
from ..postgresql import control
from ..postgresql.spec import Spec
from . import guard_store, pg_switch, units
from .pg_cluster import Cluster, streaming_standby, world
from .pg_freeze import REFUSED_AT_ALL, permit
from .pg_steps import DEADMAN_SHARE, RECEIPT_SHARE, DeadMan, Steps
from .pg_takeback import aim, knock_through, take_back
from .pgbouncer import Pooler
from .psql import Session

# A standby that is further behind than this would be waited for inside the pause.
NEAR_BYTES = 1 << 20


class Leaving:
    """Closes this side: promise, pause, stop, fence, position, proof, receipt; or takes it all back."""

    def __init__(self, spec: Spec, steps: Steps) -> None:
        self.spec = spec
        self.steps = steps
        self.cluster = Cluster(spec)
        self.deadman = DeadMan(spec)
        self.session: Session | None = None
        self.pooler: Pooler | None = None
        self.receipt: Receipt | None = None
        self._closing: contextlib.AbstractContextManager[guard_store.Closing] | None = None
        self._guard: guard_store.Closing | None = None
        self._epoch = ""
        self._deadline = 0.0
        self._held = False
        self._stack = contextlib.ExitStack()
        self._threads = self._stack.enter_context(ThreadPoolExecutor(max_workers=4))

    # Before the pause

    def look(self) -> dict[str, Any]:
        """Open the sessions, and say what this side is."""
        self._stack.enter_context(world(self.spec.component))
        if self.spec.pooler != "none":
            self.pooler = self._stack.enter_context(Pooler(self.spec))
        server = self.cluster.postmaster()
        primary = False
        if server is not None and server.status not in ("stopping", "starting"):
            self.session = self._stack.enter_context(self.cluster.session())
            primary = not self.session.value("SELECT pg_is_in_recovery()")
        guard = guard_store.read(self.spec.component, self.spec.side)
        return {"guard": guard.to_dict(), "primary": primary, "pooler": self.spec.pooler}

    def settle(self, budget: float) -> dict[str, Any]:
        """See a standby that streams and keeps up; bring to disk what has gathered, however long that takes."""
        spec = self.spec
        units.stop(spec.unit_name("follow"))
        if not permit(spec.component, spec.side).frozen:
            raise BasculeError(
                expected=f"{spec.side} to be frozen before it closes",
                found="it is open",
                state="nothing was changed; it serves",
                next_command="run the cutover or the rollback from its beginning: freeze comes first",
            )
        self._near(budget)
        self._open_session().execute("CHECKPOINT", timeout=600)
        return {}

    def ready(self, epoch: str, budget: float) -> dict[str, Any]:
        """Promise, lay the fence, set the dead-man's timer."""
        spec = self.spec
        # What was written since is little: the shutdown checkpoint inside the pause will have less.
        self._open_session().execute("CHECKPOINT", timeout=600)
        behind = self._near(budget)
        if self.pooler is not None:
            self.pooler.ready()
        self.steps.still_wanted()
        self._epoch = epoch
        self.deadman.arm(epoch, DEADMAN_SHARE * budget, frozen=True)
        self._deadline = time.monotonic() + RECEIPT_SHARE * budget
        self.steps.begin()
        self._closing = guard_store.closing(spec.component, spec.side, epoch, wait=1)
        try:
            self._guard = self._closing.__enter__()
        except BasculeError:
            self._closing = None
            self.deadman.disarm()
            raise
        self.steps.mark("promised")
        self.cluster.lay_fence()
        self.steps.mark("laid")
        return {"behind": behind}

    # Inside the pause

    def pause(self, seconds: float) -> dict[str, Any]:
        """Hold the clients of this side's pooler back."""
        self.steps.still_wanted()
        if self.pooler is not None:
            self._held = True
            self.pooler.pause(seconds)
        self.steps.mark("paused")
        return {}

    def close(self) -> dict[str, Any]:
        """Stop, fence, read the position, prove the refusal, give the receipt."""
        spec, guard = self.spec, self._guard
        if guard is None or self._closing is None:
            raise BasculeError(expected="a promise before the stop", found="none", state="nothing was changed")
        self.steps.still_wanted()
        self._streams_still()
        self.cluster.interrupt()
        self.steps.mark("stopping")
        fenced = self._threads.submit(self.cluster.firewall, closed=True)
        # From the stop on until it is refused: the first refusal is there about when the server is gone.
        through = self._threads.submit(knock_through, self.pooler, spec, spec.side, self._deadline)
        if not self.cluster.wait_stopped(max(0.0, self._deadline - time.monotonic())):
            raise BasculeError(
                expected=f"a clean stop of {spec.side} within its share of the budget",
                found="the standby did not confirm the end of the log",
                state="no receipt was given",
                next_command="see that the standby streams, then run the same playbook again",
            )
        self.steps.mark("stopped")
        fenced.result()
        self.steps.mark("fenced")
        found = self.cluster.control()
        if found.state != control.SHUT_DOWN:
            raise BasculeError(
                expected=f"the cluster at {spec.side} to be shut down cleanly",
                found=found.state,
                state="no receipt was given",
                next_command="run the same playbook again",
            )
        proofs = {"host": self.cluster.prove_refusal(REFUSED_AT_ALL, 1), **through.result()}
        self.steps.mark("proved")
        self.steps.still_wanted()
        self.receipt = guard.closed(found.position())
        self._closing.__exit__(None, None, None)
        self._closing = None
        self.steps.mark("receipt")
        return {"receipt": self.receipt.to_dict(), "proofs": proofs}

    def point(self) -> dict[str, Any]:
        """Point the pooler at the other side; its clients stay held."""
        if self.pooler is not None:
            self.pooler.point(self.spec.peer_address, self.spec.peer_port)
            self.steps.mark("pointed")
        return {}

    def resume(self) -> dict[str, Any]:
        """Let the clients go on: the other side is open."""
        if self.pooler is not None:
            self.pooler.resume()
        self._held = False
        self.steps.mark("resumed")
        return {}

    def finish(self) -> dict[str, Any]:
        """The switch is over."""
        self.deadman.disarm()
        self.cluster.settle_unit()
        return {"marks": dict(self.steps.marks)}

    # The thorough way, and the way back

    def close_thoroughly(self, epoch: str, patience: float) -> dict[str, Any]:
        """Close whatever a crash has left."""
        self._let_lock_go()
        done = pg_switch.close(self.spec.component, self.spec.side, epoch, budget=patience)
        return {**done, "proofs": {"host": done["proof"], **self._knock(patience)}}

    def aim(self) -> dict[str, Any]:
        """Point the pooler at the side that serves, and let held clients go on."""
        changed = aim(self.spec, self.pooler) if self.pooler is not None else False
        self._held = False
        return {"changed": changed}

    def back(self) -> dict[str, Any]:
        """Take everything back, unless there is a receipt: then only the opening rule opens anything."""
        if self.receipt is not None:
            return {"back": False}
        if self._closing is not None:
            closing, self._closing = self._closing, None
            stop = BasculeError(expected="a receipt", found="the switch is taken back")
            with contextlib.suppress(BasculeError):
                closing.__exit__(BasculeError, stop, None)
            # The timer stays set until this is done: it would do the same.
            take_back(self.spec, self._epoch, frozen=True, pooler=self.pooler)
            self.deadman.disarm()
            self._held = False
        elif self.pooler is not None and self._held:
            self.pooler.resume()
            self._held = False
        return {"back": True, "guard": guard_store.read(self.spec.component, self.spec.side).describe()}

    def end(self) -> None:
        """The driver is gone, or done: nothing that has no receipt stays closed."""
        try:
            self.back()
        finally:
            self._stack.close()

    def _open_session(self) -> Session:
        if self.session is None:
            raise BasculeError(
                expected=f"a running primary at {self.spec.side}", found="none", state="nothing was changed"
            )
        return self.session

    def _near(self, budget: float) -> int:
        deadline = time.monotonic() + budget
        while True:
            row = streaming_standby(self._open_session(), self.spec)
            if row and row["state"] == "streaming" and row["replay"] and int(row["behind"]) <= NEAR_BYTES:
                return int(row["behind"])
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"the standby {self.spec.peer_side} to stream and to be nearly caught up",
                    found=f"{row['state']}, {row['behind']} bytes behind" if row else "it is not connected",
                    state=f"nothing was closed; {self.spec.side} serves as before",
                    next_command=f"ansible-playbook playbooks/30_sync.yml --limit {self.spec.component}",
                )
            time.sleep(0.05)

    def _streams_still(self) -> None:
        row: Mapping[str, Any] | None = streaming_standby(self._open_session(), self.spec)
        if not row or row["state"] != "streaming":
            raise BasculeError(
                expected=f"the standby {self.spec.peer_side} to stream when the primary stops",
                found="it is gone",
                state="nothing was stopped",
                next_command="run the same playbook again, or the rollback",
            )

    def _knock(self, patience: float) -> dict[str, str]:
        return knock_through(self.pooler, self.spec, self.spec.side, time.monotonic() + patience)

    def _let_lock_go(self) -> None:
        """The thorough way takes the component's lock itself; what was opened here is kept otherwise."""
        pooler, self.pooler = self.pooler, None
        self._stack.close()
        self._stack = contextlib.ExitStack()
        self._threads = self._stack.enter_context(ThreadPoolExecutor(max_workers=4))
        self.session = None
        if pooler is not None:
            self.pooler = self._stack.enter_context(Pooler(self.spec))
