"""The side that a switch enters, on sessions that were opened before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ....errors import BasculeError, GuardRefused
from ....guard import state as rule
from ....guard.io import store
from ....guard.state import Epoch
from ....system.io import storage, units
from ... import conf, control, hba, lsn
from ...spec import Spec
from ..cluster.cluster import STREAMING
from ..cluster.psql import Session
from ..dump import safety_dump
from ..rows import snapshot
from . import fence_probe, recovery, sight
from .deadman import DEADMAN_SHARE, Steps
from .freeze import REFUSED_AT_ALL, prove_from_outside
from .side import Part
from .take_back import knock_through, serving_side

# A comparison that has no snapshot by then is not proved; clients are not kept waiting for it.
PIN_SECONDS = 5.0
ENDS = "SELECT pg_last_wal_receive_lsn()::text AS received, pg_last_wal_replay_lsn()::text AS replayed"


class Entering(Part):
    """Opens this side: proof of the other's fence, the opening rule, promotion, clients."""

    needs = "standby"

    def __init__(self, spec: Spec, steps: Steps) -> None:
        super().__init__(spec, steps)
        self._armed = False
        self._proved = False
        self._receipt_seen = False
        self._system_id = ""
        self._timeline = 0
        self._warnings: list[str] = []

    # Before the pause

    def ready(self, epoch: str, budget: float) -> dict[str, Any]:
        """See that this side streams; start what has to run before the pause."""
        spec = self.spec
        units.stop(spec.unit_name("follow"))
        self._may_try(epoch)
        # It holds locks for as long as it takes, and replay waits for them: whoever returns has no use for it.
        units.stop(spec.unit_name(safety_dump.UNIT))
        session = self._open_session()
        deadline = time.monotonic() + budget
        while not session.query(STREAMING):
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"{spec.side} to stream from {spec.peer_side}",
                    found="no connection",
                    state=f"nothing was closed; {spec.peer_side} serves as before",
                    next_command=f"ansible-playbook playbooks/30_sync.yml --limit {spec.component}",
                )
            time.sleep(0.05)
        self._replays(session, deadline)
        # A restart point now leaves less to do at the promotion, and tells the control file of the timeline.
        session.execute("CHECKPOINT", timeout=600)
        found = self.cluster.control()
        received = session.value("SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'")
        self._system_id, self._timeline = found.system_id, max(found.newest_timeline, int(received or 0))
        self._must_see()
        self._warnings = [*snapshot.start(spec, epoch, "active"), *fence_probe.start(spec, epoch)]
        if self.pooler is not None:
            self.pooler.ready()
            self.steps.still_wanted()
            self.deadman.arm(epoch, DEADMAN_SHARE * budget, frozen=True)
        self._armed = True
        return {"timeline": self._timeline}

    # Inside the pause

    def pause(self, seconds: float) -> dict[str, Any]:
        """Hold the clients of this side's pooler back."""
        self.steps.begin()
        self.steps.still_wanted()
        self._hold_clients(seconds)
        return {}

    def arrived(self, position: Mapping[str, str], seconds: float) -> dict[str, Any]:
        """Prove the other side's fence, and see that the end of its log is replayed here, before it gives its receipt.

        A receiver that died during the stop has let the stop end without it: what is missing then is missing for good.
        What is held up by a lock would not open in time: as long as there is no receipt, the other side serves again.
        """
        spec, session = self.spec, self._open_session()
        target, deadline = lsn.parse(position["checkpoint_lsn"]), time.monotonic() + seconds
        outside = self._threads.submit(prove_from_outside, spec.component, spec.side, REFUSED_AT_ALL, seconds)
        through = self._threads.submit(knock_through, self.pooler, spec, spec.peer_side, deadline)
        while True:
            end = session.query(ENDS)[0]
            # Who has replayed it has received it.
            if lsn.parse(str(end["replayed"])) > target:
                break
            if time.monotonic() > deadline:
                raise self._missing(end, position["checkpoint_lsn"])
            time.sleep(0.002)
        proofs = {f"from {spec.side}": outside.result(), **through.result()}
        self._proved = True
        self.steps.mark("proved")
        return {"proofs": proofs}

    def _missing(self, end: Mapping[str, Any], target: str) -> BasculeError:
        side = self.spec.side
        if lsn.parse(str(end["received"] or "0/0")) <= lsn.parse(target):
            return BasculeError(
                expected=f"{side} to have received the end of the log, {target}",
                found=f"it has {end['received']}",
                state="no receipt was given",
                next_command="see that the standby streams, then run the same playbook again",
            )
        return BasculeError(
            expected=f"{side} to have replayed the end of the log, {target}",
            found=f"it has received {end['received']} and replayed {end['replayed']}; a query may hold it up",
            state="no receipt was given",
            next_command=f"end what holds replay up at {side} (pg_stat_activity), then run the same playbook again",
        )

    def open(self, epoch: str, receipt: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Open by the rule; the other side's fence is proved."""
        self._receipt_seen = True
        spec, session = self.spec, self._open_session()
        self.steps.mark("asked")
        if not self._proved:
            raise BasculeError(
                expected=f"the fence of {spec.peer_side} to be proved", found="no proof", state="nothing was opened"
            )
        position = {str(key): str(value) for key, value in (receipt.get("position") or {}).items()}
        with store.opening(
            spec.component, spec.side, epoch, receipt, reached=lambda: self._reached(position, patience), wait=5
        ) as guard:
            self.steps.mark("opening")
            laid = self._threads.submit(self._lay_open)
            session.execute("SELECT pg_promote(false)")
            self._promoted(session, patience)
            self.steps.mark("promoted")
            # Before the first client, and while others work: the other side will ask for the log from here on.
            recovery.keep_log(session, spec)
            laid.result()
            self.steps.mark("laid")
            self._warnings += snapshot.wait(spec, epoch, PIN_SECONDS)
            self.steps.mark("pinned")
            state = guard.opened()
        self.steps.mark("opened")
        self.cluster.reload()
        recovery.prove_admitted(self.cluster)
        self.steps.mark("admitted")
        self._let_clients_go()
        return {"guard": state.to_dict()}

    def finish(self) -> dict[str, Any]:
        """The switch is over."""
        self.deadman.disarm()
        return {"marks": dict(self.steps.marks), "warnings": self._warnings}

    # The thorough way, and the way back

    def prove_thoroughly(self, patience: float, *, unopened: bool = False) -> dict[str, Any]:
        """Prove the other side's fence; `unopened`: it was not open when it closed."""
        spec, deadline = self.spec, time.monotonic() + patience
        proof = prove_from_outside(spec.component, spec.side, REFUSED_AT_ALL, patience, unopened=unopened)
        through = knock_through(self.pooler, spec, spec.peer_side, deadline, unopened=unopened)
        return {"proofs": {f"from {self.spec.side}": proof, **through}}

    def open_thoroughly(self, epoch: str, receipt: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Open this side whatever a crash has left of it."""
        self._receipt_seen = True
        self._let_lock_go()
        # Their locks and snapshots of an earlier switch would keep this side from replaying to its end.
        units.stop(self.spec.unit_name(safety_dump.UNIT))
        snapshot.stop(self.spec)
        self._warnings += fence_probe.start(self.spec, epoch)
        done = recovery.open_side(self.spec.component, self.spec.side, epoch, receipt, budget=patience)
        self._warnings += list(done.get("notices", ()))
        return {**done, "warnings": self._warnings}

    def back(self) -> dict[str, Any]:
        """Undo what was started here for a switch that came to no receipt."""
        if self._receipt_seen:
            return {"back": False}
        if self.pooler is not None and self._held:
            self.pooler.resume()
            self._held = False
        if self._armed:
            self._armed = False
            self.deadman.disarm()
            snapshot.stop(self.spec)
            units.stop(self.spec.unit_name(fence_probe.UNIT))
        return {"back": True, "guard": store.read(self.spec.component, self.spec.side).describe()}

    def end(self) -> None:
        """The driver is gone, or done. Held clients go on only to a side that admits them; else its timer lets them go.

        A controller that died may have seen a receipt that this side has never heard of.
        """
        try:
            if self._held and hba.riding(self.spec.peer_clients) and serving_side(self.spec) is None:
                return
            self.back()
        finally:
            self._stack.close()

    def _replays(self, session: Session, deadline: float) -> None:
        """See that replay moves: one that is paused, or held up by a query, would be waited for after the receipt."""
        received = str(session.value("SELECT pg_last_wal_receive_lsn()::text"))
        while session.value(f"SELECT pg_last_wal_replay_lsn() < '{received}'::pg_lsn"):
            if time.monotonic() > deadline:
                paused = session.value("SELECT pg_is_wal_replay_paused()")
                raise BasculeError(
                    expected=f"{self.spec.side} to replay what it has received, up to {received}",
                    found="replay is paused" if paused else "replay does not get there; a query may hold it up",
                    state=f"nothing was closed; {self.spec.peer_side} serves as before",
                    next_command=f"look into pg_stat_activity at {self.spec.side}; pg_wal_replay_resume() ends a pause",
                )
            time.sleep(0.02)

    def _must_see(self) -> None:
        """Refuse before anything is paused when the refusals that are to come would prove nothing."""
        spec = self.spec
        guard = store.read(spec.component, spec.side)
        # Who rides through the freeze is still let in.
        sight.look(spec, guard)
        sight.outside_must_be_seen(spec, guard)
        if spec.pooler == "install" and spec.pooler_clients:
            sight.pooler_must_be_seen(spec, guard, spec.peer_side)

    def _may_try(self, epoch: str) -> None:
        """Refuse before anything is paused what the guard would refuse afterwards."""
        state = store.read(self.spec.component, self.spec.side)
        later = state.promised is not None and Epoch.parse(epoch) < state.promised
        if later or state.status not in (rule.CLOSED, rule.OPENING):
            raise GuardRefused(
                expected=f"a closed side that may open for epoch {epoch}",
                found=state.describe(),
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )

    def _reached(self, position: Mapping[str, str], patience: float) -> bool | str:
        """See replay beyond the other side's last record."""
        session = self._open_session()
        target = lsn.parse(position.get("checkpoint_lsn", "FFFFFFFF/FFFFFFFF"))
        deadline = time.monotonic() + patience
        while True:
            end = str(session.value("SELECT pg_last_wal_replay_lsn()::text"))
            if lsn.parse(end) > target and self._timeline == int(position.get("timeline", "0") or 0):
                reason = control.holds(
                    position, system_id=self._system_id, timeline=self._timeline, reached=end, history=[]
                )
                if reason is None:
                    self.steps.mark("reached")
                    return True
                return reason
            if lsn.parse(end) > target or time.monotonic() > deadline:
                return recovery.reached_position(self.cluster, session, position, 0) or True
            time.sleep(0.002)

    def _promoted(self, session: Session, patience: float) -> None:
        deadline = time.monotonic() + patience
        while session.value("SELECT pg_is_in_recovery()"):
            if time.monotonic() > deadline:
                recovery.wait_primary(session, self.spec.side, 0)
            time.sleep(0.002)

    def _lay_open(self) -> None:
        """Make durable, while the promotion runs, that the next start is a primary's, and let the network in.

        The server itself takes standby.signal away, and goes by its old rules until it is told to read them again.
        """
        cluster = self.cluster
        opened = self._threads.submit(cluster.firewall, closed=False)
        pointed = self._threads.submit(self._point)
        storage.remove(cluster.config / "conf.d" / conf.STANDBY)
        cluster.unmark()
        cluster.set_start("auto")
        cluster.write(cluster.hba, cluster.hba_text(hba.OPEN))
        opened.result()
        pointed.result()

    def _point(self) -> None:
        if self.pooler is not None:
            self.pooler.point(self.spec.address, self.spec.port)
