"""Freeze and thaw the open side of a database, and knock at the other one; nothing here gives up or takes a permit."""

from __future__ import annotations

import time
from typing import Any

from ....errors import BasculeError, GuardRefused
from ....guard import state as rule
from ....guard.io import store
from ... import hba
from ...spec import Spec
from ..cluster.cluster import Cluster, load_spec, world
from ..cluster.psql import Session
from . import fence_probe, sight

REFUSED_BY_SERVER = ("28000",)
REFUSED_AT_ALL = ("28000", "ECONNREFUSED")
_OURS = "application_name <> 'bascule' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"

# Seconds in which the sessions of clients who are refused by then have to end.
_EXPEL_SECONDS = 10.0


def freeze(component: str, side: str, *, check: bool = False) -> dict[str, Any]:
    """Let no client write at the open side any more, but those that ride through the switch; prove it.

    Nothing is given up: `thaw` undoes it.
    """
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    with world(component, check=check):
        state = permit(component, side)
        changed = not state.frozen or cluster.hba_text(hba.FROZEN) != cluster.hba_now()
        if check:
            return {"changed": changed, "guard": state.to_dict()}
        serve(cluster, hba.FROZEN if state.frozen else hba.OPEN)
        # While it is open: the refusals that are to come prove something only by who is let in now.
        sight.own_must_be_seen(spec, state)
        with cluster.session() as session:
            if changed:
                store.frozen(component, side, True)
                cluster.admit(hba.FROZEN)
            else:
                # Who wrote the rules may have died before the server heard of them.
                cluster.reload()
            ended = _expel(session, spec)
            proof = cluster.prove_refusal(REFUSED_BY_SERVER)
            # Who came in between the reload and the proof is ended as well.
            ended += _expel(session, spec)
        return {
            "changed": changed or ended > 0,
            "ended": ended,
            "proof": proof,
            "guard": store.read(component, side).to_dict(),
        }


def thaw_if_open(component: str, side: str, *, check: bool = False) -> dict[str, Any]:
    """Let clients write at a side that holds its permit; leave any other as it is."""
    state = store.read(component, side)
    if state.status != rule.OPEN:
        return {"changed": False, "guard": state.to_dict()}
    return thaw(component, side, check=check)


def thaw(component: str, side: str, *, check: bool = False) -> dict[str, Any]:
    """Let clients write again at a side that never gave up its permit."""
    spec = load_spec(component, side)
    cluster = Cluster(spec)
    with world(component, check=check):
        state = permit(component, side)
        # Whoever opened this side may have died before the server heard of the rules that it goes by.
        changed = state.frozen or cluster.hba_mode() != hba.OPEN or cluster.knock().code == "28000"
        probes = fence_probe.belongs(state) and not fence_probe.is_running(spec)
        if check:
            return {"changed": changed or probes, "guard": state.to_dict()}
        if probes:
            # A reboot has ended it.
            fence_probe.start(spec, str(state.opened))
        if not changed:
            return {"changed": probes, "guard": state.to_dict()}
        serve(cluster, hba.OPEN)
        cluster.unfence()
        cluster.admit(hba.OPEN)
        state, _ = store.frozen(component, side, False)
        return {"changed": True, "guard": state.to_dict()}


def serve(cluster: Cluster, mode: str) -> bool:
    """Make the cluster of a side that holds its permit serve as the primary; return whether it did not.

    A take-back that was cut short may have left it stopped, stopping, or started as a standby. The caller holds the
    component's lock.
    """
    server = cluster.postmaster()
    if server is not None and server.status == "stopping":
        cluster.end_stopping()
        server = None
    if server is not None:
        cluster.wait_ready(60)
        if not _in_recovery(cluster):
            if cluster.has_signal() or cluster.hba_mode() == hba.CLOSED:
                # Nobody stopped it, but its next start was closed already.
                cluster.unfence()
                cluster.admit(mode)
                return True
            return False
        _refuse_follower(cluster)
        if not cluster.stop(60):
            cluster.end_stopping()
    cluster.unfence()
    cluster.admit(mode)
    cluster.start_soon()
    return True


def prove_from_outside(
    component: str, side: str, answers: tuple[str, ...], timeout: float, *, unopened: bool = False
) -> str:
    """Knock, from this side's host, at the other side's server as those whom it has let in; return the refusal.

    `unopened`: the other side was not open when it closed, so that nobody need have been seen to be let in there.
    """
    spec = load_spec(component, side)
    frozen = "ECONNREFUSED" not in answers
    seen = sight.outside_must_be_seen(spec, store.read(component, side), unopened=unopened)
    deadline = time.monotonic() + timeout
    while True:
        found = sight.refusal(spec, seen, answers, timeout, frozen=frozen, unopened=unopened)
        if found.is_refusal:
            return f"{found.code}: {found.text}"
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"{spec.peer_side} to refuse a client that knocks from {side}",
                found=f"{found.kind}: {found.code} {found.text}".strip(),
                state="nothing was opened; silence is no proof of a fence",
                next_command="ansible-playbook playbooks/status.yml",
            )
        time.sleep(0.1)


def permit(component: str, side: str) -> rule.GuardState:
    """Return the guard of a side that holds its permit; refuse any other."""
    state = store.read(component, side)
    if state.status != rule.OPEN:
        raise GuardRefused(
            expected=f"{component} at {side} to be open",
            found=state.describe(),
            state="nothing was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return state


def _expel(session: Session, spec: Spec) -> int:
    strangers = f"{_OURS} AND NOT ({hba.sessions_that_ride(spec.clients)})"
    ended = 0
    deadline = time.monotonic() + _EXPEL_SECONDS
    # Whoever was let in a moment before the refusal may show only now, and a busy machine ends a session slowly.
    while True:
        ended += len(
            session.query(f"SELECT pg_terminate_backend(pid, 2000) AS ended FROM pg_stat_activity WHERE {strangers}")
        )
        left = session.value(f"SELECT count(*) FROM pg_stat_activity WHERE {strangers}")
        if not left:
            return ended
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    raise BasculeError(
        expected="every client's session to end",
        found=f"{left} are still there",
        state="clients are refused, but a session that was open before may still write",
        next_command="look into pg_stat_activity; run freeze again",
    )


def _refuse_follower(cluster: Cluster) -> None:
    """A take-back that was cut short leaves a standby of nobody; one that follows somebody was made by other hands."""
    with cluster.session() as session:
        follows = session.value("SELECT current_setting('primary_conninfo')")
    if follows:
        raise BasculeError(
            expected=f"{cluster.spec.side} to run as the primary, as its guard says",
            found="it is in recovery",
            state="nothing was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )


def _in_recovery(cluster: Cluster) -> bool:
    with cluster.session() as session:
        return bool(session.value("SELECT pg_is_in_recovery()"))
