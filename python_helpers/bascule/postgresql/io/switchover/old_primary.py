"""The side that a switch leaves, on sessions that were opened before it starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ....errors import BasculeError
from ....guard.io import store
from ....guard.state import Receipt
from ....system.io import units
from ... import control
from ...spec import Spec
from ..cluster.cluster import streaming_standby
from ..standby.follow import start_follow
from . import recovery, sight
from .deadman import DEADMAN_SHARE, RECEIPT_SHARE, Steps
from .freeze import REFUSED_AT_ALL, permit
from .side import Part
from .take_back import knock_through, take_back

# A standby that is further behind than this would be waited for inside the pause.
NEAR_BYTES = 1 << 20


class Leaving(Part):
    """Closes this side: promise, pause, stop, fence, position, proof; then the receipt. Or takes it all back."""

    needs = "primary"

    def __init__(self, spec: Spec, steps: Steps) -> None:
        super().__init__(spec, steps)
        self.receipt: Receipt | None = None
        self._closing: contextlib.AbstractContextManager[store.Closing] | None = None
        self._guard: store.Closing | None = None
        self._position: dict[str, str] = {}
        self._epoch = ""
        self._deadline = 0.0

    # Before the pause

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
        guard = store.read(spec.component, spec.side)
        sight.own_must_be_seen(spec, guard)
        if self.pooler is not None:
            if spec.pooler == "install" and spec.pooler_clients:
                sight.pooler_must_be_seen(spec, guard, spec.side)
            self.pooler.ready()
        self.steps.still_wanted()
        self._epoch = epoch
        self.deadman.arm(epoch, DEADMAN_SHARE * budget, frozen=True)
        self._deadline = time.monotonic() + RECEIPT_SHARE * budget
        self.steps.begin()
        self._closing = store.closing(spec.component, spec.side, epoch, wait=1)
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
        self._hold_clients(seconds)
        return {}

    def close(self) -> dict[str, Any]:
        """Stop, fence, read the position, prove the refusal."""
        spec = self.spec
        if self._closing is None:
            raise BasculeError(expected="a promise before the stop", found="none", state="nothing was changed")
        self.steps.still_wanted()
        self._streams_still()
        self.cluster.interrupt()
        self.steps.mark("stopping")
        fenced = self._threads.submit(self.cluster.firewall, closed=True)
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
        # Not before: a pooler that meets a server in the middle of its stop waits, and says nothing for a while.
        through = self._threads.submit(knock_through, self.pooler, spec, spec.side, self._deadline)
        found = self.cluster.control()
        if found.state != control.SHUT_DOWN:
            raise BasculeError(
                expected=f"the cluster at {spec.side} to be shut down cleanly",
                found=found.state,
                state="no receipt was given",
                next_command="run the same playbook again",
            )
        proofs = {"host": self.cluster.prove_refusal(REFUSED_AT_ALL, 1), **through.result()}
        self._position = found.position()
        self.steps.mark("proved")
        return {"position": self._position, "proofs": proofs}

    def give_receipt(self) -> dict[str, Any]:
        """Give the receipt: the other side has the end of the log, and only the opening rule opens anything now."""
        guard, closing = self._guard, self._closing
        if guard is None or closing is None or not self._position:
            raise BasculeError(expected="a proved fence before the receipt", found="none", state="nothing was changed")
        self.steps.still_wanted()
        self.receipt = guard.closed(self._position)
        self._closing = None
        closing.__exit__(None, None, None)
        self.steps.mark("receipt")
        return {"receipt": self.receipt.to_dict()}

    def point(self) -> dict[str, Any]:
        """Point the pooler at the other side; its clients stay held."""
        if self.pooler is not None:
            self.pooler.point(self.spec.peer_address, self.spec.peer_port)
            self.steps.mark("pointed")
        return {}

    def resume(self) -> dict[str, Any]:
        """Let the clients go on: the other side is open."""
        self._let_clients_go()
        return {}

    def finish(self) -> dict[str, Any]:
        """The switch is over: this side begins to follow the other one, which nobody waits for."""
        self.deadman.disarm()
        self.cluster.settle_unit()
        following = False
        # Whoever drives the switch is told when it did not begin, and begins it as after an interrupted one.
        with contextlib.suppress(BasculeError, OSError):
            following = bool(start_follow(self.spec.component, self.spec.side)["state"])
        return {"marks": dict(self.steps.marks), "following": following}

    # The thorough way, and the way back

    def close_thoroughly(self, epoch: str, patience: float) -> dict[str, Any]:
        """Close whatever a crash has left."""
        self._let_lock_go()
        spec = self.spec
        before = store.read(spec.component, spec.side)
        done = recovery.close(spec.component, spec.side, epoch, budget=patience)
        deadline = time.monotonic() + patience
        through = knock_through(self.pooler, spec, spec.side, deadline, unopened=done["unopened"], before=before)
        return {**done, "proofs": {"host": done["proof"], **through}}

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
        return {"back": True, "guard": store.read(self.spec.component, self.spec.side).describe()}

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
