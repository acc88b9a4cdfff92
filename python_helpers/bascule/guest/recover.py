"""What an interrupted copy of ours has left, put right before anything else is decided.

Before a restore over a passive guest, and before it makes room for a migration, its guard is written down on its node;
every opening clears that note. So where the guard is gone and the note holds a closed one, that side has not opened
since, and its guard may be taken back: by what is there now, or by an empty guest that can never serve, and that can
promise and give a receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ..errors import GuardRefused
from ..guard import state as guard
from ..guard.state import GuardState
from . import config as guest_config
from . import kinds, lost, protection, tasks
from .decisions import REMOTE
from .errors import TaskFailed
from .guest import Config, Guest
from .lost import Copies, no_copies
from .prepare import active_task, described

Result = dict[str, Any]
_EMPTY_MEMORY = 16


def unfinished(left: Guest, entered: Guest, way: str, check: bool = False) -> Result:
    """Return whose guard is gone (`gone`), what a migration has left locked (`locked`), and where it was noted.

    A guest whose protection was lifted, and that was not replaced, gets that back (`lifted`: at which machines).
    """
    configs = {guest.side.machine: guest.config_if_any() for guest in (left, entered)}
    states = {guest.side.machine: guest.guard(configs[guest.side.machine]) for guest in (left, entered)}
    own, other = states[left.side.machine], states[entered.side.machine]
    found = lost.of(own, other)
    gone = found[0].side if found else ""
    locked = ""
    if way == REMOTE:
        if (own.status, other.status) == (guard.UNKNOWN, guard.OPEN) and configs[left.side.machine] is not None:
            # It has arrived, and nobody has taken it over: it stands there as it was at the side that serves.
            gone = left.side.machine
        for machine, config in configs.items():
            if config and config.get("lock") == "migrate" and states[machine].status != guard.UNKNOWN:
                locked = machine
    machines = [left.side.machine, entered.side.machine]
    noted = gone or next((machine for machine in machines if locked not in ("", machine)), "")
    lifted = [machine for machine, config in configs.items() if guest_config.is_lifted(config or {})]
    given = [protection.give_back_or_tell(guest, check) for guest in (left, entered) if guest.side.machine in lifted]
    return {"changed": any(given), "gone": gone, "locked": locked, "noted": noted, "lifted": lifted}


def left_locked(left: Guest, entered: Guest, gone: str, locked: str, began: bool) -> Result:
    """Follow what still copies to its end; return the machines at which a lock is left that nobody holds."""
    works = ("qmigrate", *kinds.RESTORES)
    for guest, kind in ((guest, kind) for kind in works for guest in (left, entered)):
        running = active_task(guest, kind)
        if running:
            guest.report(f"{kind} is running already: following it")
            try:
                guest.run_task(running)
            except TaskFailed as error:
                guest.report(f"it has failed: {error.found}")
    unlock = []
    for guest, other in ((left, entered), (entered, left)):
        machine = guest.side.machine
        if machine == gone and other.guard(other.config_if_any()).status != guard.UNKNOWN:
            # What else has the number is somebody else's, and so is its lock.
            guest.like(other.kind)
        wanted = {gone: "create", locked: "migrate"}.get(machine)
        lock = (guest.config_if_any() or {}).get("lock")
        if began and wanted and lock == wanted and not tasks.holders(guest.api, guest.side.node, guest.side.vmid):
            unlock.append(machine)
    tools = {guest.side.machine: guest.kind.tool for guest in (left, entered) if guest.side.machine in unlock}
    return {"changed": False, "unlock": unlock, "tools": tools}


def take_back(
    guest: Guest,
    other: Guest,
    began: bool,
    kept: Optional[Mapping[str, Any]],
    copies: Copies = no_copies,
    check: bool = False,
) -> Result:
    """Give a side its closed guard back that an interrupted copy of ours took away, or refuse and say what is known."""
    theirs = other.config_if_any()
    known = other.guard(theirs)
    if theirs is not None:
        guest.like(other.kind)
    config = guest.config_if_any()
    state = guest.guard(config)
    noted = GuardState.from_dict(kept) if kept else state
    serves = known.status == guard.OPEN
    # No empty container can be made to hold the guard. It is not needed: the other side serves, and the next restore
    # makes the guest anew.
    needless = serves and config is None and not guest.kind.can_be_empty
    if state.status != guard.UNKNOWN or (serves and not began) or needless:
        return {"changed": False, "guard": state.to_dict(), "reason": "nothing of ours is unfinished there"}
    elsewhere = "" if config is not None else guest.elsewhere()
    bare = config is None and not guest.kind.can_be_empty
    if not began or elsewhere or bare or not (serves or noted.status == guard.CLOSED):
        raise lost.refusal(state, known, config is not None, elsewhere, copies)
    if config is not None and (guest.running() or (config.get("lock") and not check)):
        raise GuardRefused(
            expected=f"what an interrupted copy has left at {guest.side.machine}, stopped and without a lock",
            found=f"it is locked ({config['lock']})" if config.get("lock") else "it runs, and has no guard",
            state="nothing was changed",
            next_command=f"look at the guest at {guest.side.machine}, then run the same command again",
        )
    wanted = lost.after(noted if noted.status == guard.CLOSED else guard.adopt_closed(state), known)
    if check:
        return {"changed": True, "guard": wanted.to_dict(), "reason": "its guard would be taken back"}
    if config is None:
        guest.report("its guard is taken back, by an empty guest: what stood here was to be replaced")
        guest.run_task(
            guest.api.post(
                guest.place,
                vmid=guest.side.vmid,
                memory=str(_EMPTY_MEMORY),
                onboot=0,
                description=guest_config.with_guard(None, wanted),
            )
        )
    else:
        guest.report("its guard is taken back, and it is cut from its network")
        guest.change(lambda found: _cut(found, wanted))
    return {"changed": True, "guard": guest.guard(guest.config()).to_dict(), "reason": "its guard was taken back"}


def _cut(config: Config, wanted: GuardState) -> Mapping[str, Any]:
    nets = guest_config.nets(config)
    return {
        "description": described(config.get("description"), wanted),
        "onboot": 0,
        **{name: guest_config.with_link(net, up=False) for name, net in nets.items()},
    }
