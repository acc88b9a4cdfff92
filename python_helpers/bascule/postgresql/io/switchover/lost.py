"""Open one side of a database when the other is lost for good; close a side that is back after it was given up."""

from __future__ import annotations

import contextlib
from typing import Any

from ....errors import BasculeError
from ....guard.io import store
from ....guard.state import GuardState, Word, last_open
from ....system.io import storage, units
from ... import knocks
from ...spec import DUMP_RESTORE, Spec
from ..cluster import probe
from ..cluster.cluster import HOME, Cluster, load_spec, world
from ..dump import safety_dump
from ..pooler.console import Pooler
from ..rows import snapshot
from ..standby.prepare import SEED_FILE
from . import fence_probe, recovery
from .freeze import REFUSED_AT_ALL
from .take_back import aim


def take_over(component: str, side: str, word: Word, *, budget: float = 60, check: bool = False) -> dict[str, Any]:
    """Open this side by a person's word: replay what is here, promote, let clients in."""
    spec = load_spec(component, side)
    _whole(spec, store.read(component, side))
    _is_silent(spec, word)
    if check:
        return {"changed": True, "guard": store.read(component, side).to_dict(), "notices": []}
    # Their locks and snapshots would keep this side from replaying to its end.
    units.stop(spec.unit_name(safety_dump.UNIT))
    snapshot.stop(spec)
    done = recovery.open_side(component, side, str(word.epoch), None, budget=budget, word=word)
    if spec.pooler != "none":
        with Pooler(spec) as pooler:
            aim(spec, pooler)
    return {"changed": True, "guard": done["guard"], "notices": done["notices"]}


def give_way(
    component: str, side: str, other: GuardState, epoch: str, *, budget: float = 120, check: bool = False
) -> dict[str, Any]:
    """Close this side, which the other one has given up as lost: its permit ends first, then its server.

    Nothing waits for a standby: what this side alone has is looked for, and exported, before it follows.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    if check:
        return {"changed": True, "guard": store.read(component, side).to_dict(), "proof": ""}
    units.stop(spec.unit_name("follow"))
    with world(component), store.giving_way(component, side, other, epoch) as guard:
        cluster.fence()
        _stop(cluster, budget)
        position = recovery.final_position(cluster)
        proof = cluster.prove_refusal(REFUSED_AT_ALL)
        guard.closed(position)
    if spec.pooler != "none":
        # It may have to wait for the other side; whoever comes through it is refused here by now.
        with contextlib.suppress(BasculeError), Pooler(spec) as pooler:
            pooler.point(spec.peer_address, spec.peer_port)
    return {"changed": True, "guard": store.read(component, side).to_dict(), "proof": proof}


def watch_again(component: str, side: str, *, check: bool = False) -> dict[str, Any]:
    """Begin the record of the other side's fence anew, now that it has closed: until then it let clients in.

    Returns in `admitted` how often, by the record that ends here. One of a later opening stays as it is.
    """
    spec, state = load_spec(component, side), store.read(component, side)
    admitted = int((fence_probe.record(spec) or {}).get("accepted") or 0)
    if not fence_probe.belongs(state) or state.word is None or state.word.epoch != state.opened:
        return {"changed": False, "admitted": admitted}
    warnings = [] if check else fence_probe.start(spec, str(state.opened))
    if admitted:
        warnings.append(f"{spec.peer_side} let {admitted} clients of the probe at {side} in before it gave way")
    return {"changed": True, "admitted": admitted, "warnings": warnings}


def _is_silent(spec: Spec, word: Word) -> None:
    """Refuse while the lost side's server answers; its silence is no proof, that is what the person answers for."""
    one = knocks.replication(spec)
    found = probe.knock(one.address, one.port, one.user, one.database, timeout=3)
    if found.kind == "admitted" or (found.is_refusal and found.code != "ECONNREFUSED"):
        raise BasculeError(
            expected=f"no server at {spec.peer_side}, which is lost and fenced as {word.by} has said ({word.fenced})",
            found=f"asked from {spec.side}, it answers: {found.code} {found.text}",
            state="nothing was opened",
            next_command="fence it, or use cutover and rollback; then run the same playbook again",
        )


def _whole(spec: Spec, guard: GuardState) -> None:
    """Refuse a side that has no whole copy of the other one."""
    cluster = Cluster(spec)
    seed = storage.read_json(HOME / spec.component / SEED_FILE) or {}
    was_open = last_open(guard) is not None
    if (
        not cluster.exists()
        or units.is_running(spec.unit_name("seed"))
        or not (was_open or seed.get("state") == "done")
    ):
        found = "a cluster that was never a whole copy of the other side's"
        if spec.method == DUMP_RESTORE:
            found += ": it moves by dump and restore, and the last dump is all there is"
        raise BasculeError(
            expected=f"a whole copy of the database at {spec.side}",
            found=found,
            state=f"{guard.describe()}; nothing was opened",
            next_command=f"restore the last backup at {spec.side} by hand (docs/runbooks/site_lost.md)",
        )


def _stop(cluster: Cluster, budget: float) -> None:
    server = cluster.postmaster()
    if server is None:
        return
    cluster.interrupt()
    if not cluster.wait_stopped(budget):
        cluster.end_stopping()
    if cluster.postmaster() is not None:
        raise BasculeError(
            expected=f"the server at {cluster.spec.side} to stop",
            found="it still runs",
            state="its permit has ended, and it lets no client in; no receipt was given",
            next_command=f"see why in the log of {cluster.spec.unit}, then run the same playbook again",
        )
    cluster.settle_unit()
