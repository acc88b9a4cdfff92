"""End a switch that came to no receipt, or whose driver died: the old primary serves again, held clients go on."""

from __future__ import annotations

import time

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....guard.state import GuardState
from ... import hba
from ...spec import Spec
from ..cluster import probe
from ..cluster.cluster import Cluster, load_spec, world
from ..pooler.console import Pooler
from . import sight
from .deadman import DeadMan, agent_lives, kill_agent
from .freeze import serve

# How long the dead-man looks for a side to which held clients can go on.
FREE_SECONDS = 600.0
SLOW_AGENT_SECONDS = 60.0


def take_back(spec: Spec, epoch: str, *, frozen: bool, pooler: Pooler | None) -> GuardState:
    """Withdraw the promise, which refuses once there is a receipt; then serve again, and let held clients go on.

    The caller holds the component's lock.
    """
    with store.withdrawing(spec.component, spec.side, epoch, frozen=frozen) as state:
        serve(Cluster(spec), hba.FROZEN if frozen else hba.OPEN)
    if pooler is not None:
        pooler.resume()
    return state


def fire(component: str, epoch: str) -> int:
    """What the timer does: nothing that a receipt forbids.

    An error ends it, and the service manager runs it again: what it has to do, it does as often as it takes.
    """
    spec = load_spec(component)
    deadman = DeadMan(spec)
    note = deadman.note(epoch)
    if note is None:
        return 0
    state = store.read(component, spec.side)
    if state.status == rule.CLOSING and str(state.promised) == epoch:
        # An agent that hangs holds the locks: it goes first. Whether it has given the receipt until then is seen after.
        kill_agent(note)
        with world(component):
            state = store.read(component, spec.side)
            if state.status == rule.CLOSING and str(state.promised) == epoch:
                take_back(spec, epoch, frozen=bool(note["frozen"]), pooler=None)
    else:
        _let_finish(deadman, epoch)
        if deadman.note(epoch) is not None:
            _serve_again(spec, epoch)
    if spec.pooler != "none" and deadman.note(epoch) is not None:
        free_clients(spec, FREE_SECONDS, deadman, epoch)
    if deadman.note(epoch) is not None:
        deadman.disarm()
    return 0


def free_clients(spec: Spec, patience: float, deadman: DeadMan, epoch: str) -> bool:
    """Let held clients go on as soon as there is a side that admits them; return whether there was one."""
    deadline = time.monotonic() + patience
    with Pooler(spec) as pooler:
        while time.monotonic() < deadline and deadman.note(epoch) is not None:
            if serving_side(spec) is not None:
                aim(spec, pooler)
                return True
            time.sleep(0.5)
    return False


def aim(spec: Spec, pooler: Pooler) -> bool:
    """Point the pooler at the side that serves and let its clients go on; return whether anything changed."""
    side = serving_side(spec)
    if side is None:
        raise BasculeError(
            expected=f"a side of {spec.component} that serves",
            found="none that admits a client",
            state=f"the clients of the pooler at {spec.side} are {'held' if pooler.paused() else 'not held'}",
            next_command="ansible-playbook playbooks/status.yml",
        )
    own = side == spec.side
    if own:
        # Whoever opened this side may have died before the server heard whom it lets in.
        Cluster(spec).reload()
    changed = pooler.point(*((spec.address, spec.port) if own else (spec.peer_address, spec.peer_port)))
    held = pooler.paused()
    pooler.resume()
    return changed or held


def knock_through(
    pooler: Pooler | None,
    spec: Spec,
    side: str,
    deadline: float,
    *,
    unopened: bool = False,
    before: GuardState | None = None,
) -> dict[str, str]:
    """Let this host's pooler try a side until it is refused there; {} when there is no pooler that may be tried.

    `unopened`: that side was not open when it closed, so that nobody need have seen the pooler let in there. `before`:
    this side's guard before its receipt, which ends the time in which the pooler was let in.
    """
    if pooler is None or spec.pooler != "install":
        return {}
    guard = before or store.read(spec.component, spec.side)
    at = (sight.pooler_seen if unopened else sight.pooler_must_be_seen)(spec, guard, side)
    why = f"let in at {at}" if at else sight.UNOPENED
    address, port = (spec.address, spec.port) if side == spec.side else (spec.peer_address, spec.peer_port)
    while True:
        answer = pooler.knock(address, port, timeout=1)
        if answer.is_refusal:
            return {f"pooler of {spec.side}": f"{answer.code}: {answer.text} ({why})"}
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"the pooler of {spec.side} to be refused by {side}",
                found=f"{answer.kind}: {answer.code} {answer.text}".strip(),
                state="the fence is not proved: silence is no proof",
                next_command="ansible-playbook playbooks/status.yml",
            )
        time.sleep(0.02)


def serving_side(spec: Spec) -> str | None:
    """Return the side that serves as far as this host can see: its own guard, else the other side's own answer."""
    if store.read(spec.component, spec.side).status == rule.OPEN:
        return spec.side
    riders = hba.riding(spec.peer_clients) or list(spec.peer_clients)
    if not riders:
        return None
    client = riders[0]
    answer = probe.knock(spec.peer_address, spec.peer_port, client["user"], client["database"], timeout=2)
    return spec.peer_side if answer.kind == "admitted" else None


def _serve_again(spec: Spec, epoch: str) -> None:
    """Serve as the permit says: whoever took the promise back, or opened this side, has died or failed before it did.

    The permit is durable before the server starts, so it alone does not tell that the server runs.
    """
    with world(spec.component):
        state = store.read(spec.component, spec.side)
        if state.status == rule.OPEN and str(state.opened) == epoch:
            serve(Cluster(spec), hba.FROZEN if state.frozen else hba.OPEN)


def _let_finish(deadman: DeadMan, epoch: str) -> None:
    """Give an agent that works on, or waits for the other side, its time; one that hangs is ended."""
    deadline = time.monotonic() + SLOW_AGENT_SECONDS
    while (note := deadman.note(epoch)) is not None and agent_lives(note):
        if time.monotonic() > deadline:
            kill_agent(note)
            return
        time.sleep(0.1)
