"""Close one side, and open the other from its dump: what a switch does whose sides do not stream.

The side that closes is stopped, then stands in recovery, closed: whoever reads it reads what it closed with, and
nothing can be written. Its receipt names the dump; the other side opens only what was restored from it and compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ....errors import BasculeError, GuardRefused
from ....guard import state as rule
from ....guard.io import store
from ....system.io import storage
from ... import control, dump_restore, hba
from ...spec import Spec
from ..cluster.cluster import HOME, Cluster, load_spec, world
from ..dump import job
from ..dump.restore import MARK, RESTORED_FILE
from . import fence_probe, recovery
from .freeze import REFUSED_AT_ALL, prove_from_outside
from .take_back import take_back


def promise(component: str, side: str, epoch: str, *, budget: float) -> dict[str, Any]:
    """Promise the epoch, stop this side for good, and let it stand in recovery; return where it stands."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    with world(component):
        primary = _running_primary(cluster, budget)
        state = store.read(component, side)
        if primary and state.status == rule.OPEN and not state.frozen:
            raise BasculeError(
                expected=f"{side} to be frozen before it closes",
                found="it is open",
                state="nothing was changed; it serves",
                next_command="run the cutover or the rollback from its beginning: freeze comes first",
            )
        if primary:
            with cluster.session() as session:
                session.execute("CHECKPOINT", timeout=max(budget, 600))
        with store.promising(component, side, epoch):
            cluster.fence()
            if primary and not cluster.stop(budget):
                raise BasculeError(
                    expected=f"a clean stop of {side} within {budget:g} s",
                    found="it still runs",
                    state="no receipt was given",
                    next_command="look into its log, then run the same playbook again",
                )
            cluster.settle_unit()
            if primary and cluster.control().state != control.SHUT_DOWN:
                raise BasculeError(
                    expected=f"the cluster at {side} to be shut down cleanly",
                    found=cluster.control().state,
                    state="no receipt was given",
                    next_command="run the same playbook again",
                )
            cluster.start(timeout=600)
            _must_stand(cluster)
        position = cluster.control().position()
        proof = cluster.prove_refusal(REFUSED_AT_ALL)
    return {"changed": True, "position": position, "name": dump_restore.final(position), "proof": proof}


def give(component: str, side: str, epoch: str, *, manifest: str, position: Mapping[str, str]) -> dict[str, Any]:
    """Give the receipt of a side whose dump was restored at the other side and compared; it stands where it did."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    with world(component), store.closing(component, side, epoch) as guard:
        _must_stand(cluster)
        now = cluster.control().position()
        if not dump_restore.same_place(now, position):
            raise BasculeError(
                expected=f"{side} to stand where it was dumped, at {dict(position)}",
                found=str(now),
                state="no receipt was given",
                next_command="run the same playbook again: a new dump is taken",
            )
        proof = cluster.prove_refusal(REFUSED_AT_ALL)
        receipt = guard.closed({**now, "kind": dump_restore.DUMP, "dump": manifest})
    return {"changed": True, "receipt": receipt.to_dict(), "proof": proof}


def renounce(component: str, side: str, epoch: str, *, budget: float) -> dict[str, Any]:
    """Give the receipt of a side that has nothing of its own, so that the one that was open last may open again."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    # A dump that is restored here is wanted no more.
    job.stop(spec)
    with world(component):
        if _running_primary(cluster, budget):
            raise BasculeError(
                expected=f"{side} not to run as a primary",
                found="it does",
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        with store.closing(component, side, epoch) as guard:
            cluster.fence()
            proof = cluster.prove_refusal(REFUSED_AT_ALL)
            opened = rule.last_open(guard.state)
            receipt = guard.closed({"kind": dump_restore.UNOPENED, "opened": str(opened) if opened else ""})
    return {"changed": True, "receipt": receipt.to_dict(), "proof": proof}


def open_side(component: str, side: str, epoch: str, receipt: Mapping[str, Any], *, budget: float) -> dict[str, Any]:
    """Prove the other side's fence, then open this one by the rule: promote what stands here, let its clients in."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    job.stop(spec)
    unopened = (receipt.get("position") or {}).get("kind") == dump_restore.UNOPENED
    outside = prove_from_outside(component, side, REFUSED_AT_ALL, budget, unopened=unopened)
    with world(component):
        server = cluster.postmaster()
        if server is not None and server.status == "stopping":
            cluster.end_stopping()
            server = None
        if server is None and not cluster.has_signal():
            cluster.fence()
        cluster.start(timeout=max(budget, 600))
        with cluster.session() as session:
            position = dict(receipt.get("position") or {})

            def reached() -> bool | str:
                return _reached(cluster, session, position) or True

            with store.opening(component, side, epoch, receipt, reached=reached) as guard:
                if session.value("SELECT pg_is_in_recovery()"):
                    session.execute(f"SELECT pg_promote(true, {int(budget)})", timeout=budget + 5)
                    recovery.wait_primary(session, side, budget)
                cluster.unfence()
                # From here on it has what no dump holds: it is never taken for a mere copy again.
                storage.remove(cluster.data / MARK)
                state = guard.opened()
            cluster.admit(hba.OPEN)
            recovery.prove_admitted(cluster)
    notices = fence_probe.start(spec, epoch)
    return {
        "changed": True,
        "guard": state.to_dict(),
        "proofs": {f"from {side}": outside},
        "restored": storage.read_json(HOME / component / RESTORED_FILE),
        "notices": notices,
    }


def back(component: str, side: str, epoch: str) -> dict[str, Any]:
    """Have a side that has given no receipt for this epoch serve again; its clients stay frozen out until thaw."""
    spec = load_spec(component, side)
    job.stop(spec)
    state = store.read(component, side)
    if state.status != rule.CLOSING or str(state.promised) != epoch:
        return {"changed": False, "guard": state.to_dict(), "said": state.describe()}
    try:
        with world(component):
            state = take_back(spec, epoch, frozen=True, pooler=None)
    except GuardRefused as error:
        # It has closed for an earlier epoch already: only the opening rule opens it.
        return {"changed": False, "guard": state.to_dict(), "said": error.message()}
    return {"changed": True, "guard": state.to_dict(), "said": f"{state.describe()}: it serves again"}


def _reached(cluster: Cluster, session: Any, position: Mapping[str, str]) -> str | None:
    """Return None when what stands here holds all that the other side closed with."""
    spec: Spec = cluster.spec
    found = cluster.control()
    if position.get("kind") == dump_restore.UNOPENED:
        return dump_restore.still_whole(position, store.read(spec.component, spec.side), found.position())
    if not session.value("SELECT pg_is_in_recovery()"):
        return "a primary runs here, which nobody has opened"
    return dump_restore.missing(
        position,
        storage.read_json(HOME / spec.component / RESTORED_FILE),
        system_id=found.system_id,
        end=str(session.value("SELECT pg_last_wal_replay_lsn()::text")),
    )


def _running_primary(cluster: Cluster, budget: float) -> bool:
    """Bring a cluster to where it either stands or runs as a primary; return which."""
    server = cluster.postmaster()
    if server is not None and server.status == "stopping":
        cluster.wait_stopped(budget)
        server = cluster.postmaster()
    if server is None:
        # Without a data directory, when putting one in place was cut short, there is nothing that could run.
        if cluster.exists() and recovery.died_as_primary(cluster):
            # Its log may hold more than its files: it has to end cleanly. Nobody comes in meanwhile.
            cluster.admit(hba.CLOSED)
            storage.remove(cluster.data / "standby.signal")
            cluster.start(timeout=600)
            return True
        return False
    cluster.wait_ready(max(budget, 60))
    with cluster.session() as session:
        return not session.value("SELECT pg_is_in_recovery()")


def _must_stand(cluster: Cluster) -> None:
    """See that the server is in recovery and follows nobody: nothing can be written."""
    deadline = time.monotonic() + 10
    while True:
        with cluster.session() as session:
            row = session.query(
                "SELECT pg_is_in_recovery() AS standing, current_setting('primary_conninfo') AS follows"
            )[0]
        if row == {"standing": True, "follows": ""}:
            return
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"{cluster.spec.side} to stand in recovery and to follow nobody",
                found=str(row),
                state="no receipt was given",
                next_command="ansible-playbook playbooks/status.yml",
            )
        time.sleep(0.1)
