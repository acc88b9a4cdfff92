"""Proxmox's protection of a guest (`protection: 1`): lifted while a passive guest is replaced, and given back.

Proxmox removes no protected guest and restores over none, so that no tool does so by mistake. Bascule lifts that of a
guest only which its own guard says is closed, and in one change with a line in the guest's description: whoever reads
that line knows that the protection is to be given back, also when the run that has lifted it is gone. The guest that
serves is never touched. The setting belongs to the guest of its side; one that opens has that of the guest that served
as well. So no run leaves less protection than it has found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from ..errors import BasculeError, GuardRefused
from ..guard import state as guard
from . import config as guest_config
from .errors import ProxmoxError
from .guest import Config, Guest
from .observed import View


def notes(view: View) -> list[str]:
    """Return what should be known of a side's protection before a move."""
    said = f"the guest {view.vmid} at {view.machine} is protected (protection: 1)"
    if guest_config.is_lifted(view.config):
        return [
            f"the protection of the guest {view.vmid} at {view.machine} was lifted by a run that was cut short: the "
            "next freeze gives it back, as does what replaces that guest"
        ]
    if not guest_config.protected(view.config):
        return []
    if view.guard.status in (guard.UNKNOWN, guard.OPEN):
        return [
            f"{said}: it stays so while it serves; its copy is made without, and has that as soon as it serves; "
            "take it away before decommission, which removes the guest at the side that was left"
        ]
    return [f"{said}: that is lifted while the guest is replaced, and what comes in its place has it again"]


def of(home: Optional[Mapping[str, str]]) -> dict[str, int]:
    """Return the setting of a copy: that of the guest in whose place it comes (`home`), else none."""
    return {"protection": int(guest_config.protected(home or {}))}


def when_open(config: Config, values: Mapping[str, Any], carried: bool) -> dict[str, Any]:
    """Return the change that opens a side, with its protection: its own, or that of the guest that served (`carried`).

    What is not protected is left as it is.
    """
    if not (carried or guest_config.keeps_protection(config)):
        return dict(values)
    return {**values, "description": guest_config.without_lifted(values["description"]), "protection": 1}


@contextmanager
def lifted(guest: Guest) -> Iterator[None]:
    """Lift the protection of the passive guest of this component while it is replaced or removed.

    When that fails, what still stands there is given it back. A failure to do so is told, and hides no other: the line
    in the description stays, and the next run sees it.
    """
    lift(guest)
    try:
        yield
    except BaseException:
        give_back_or_tell(guest)
        raise


def lift(guest: Guest) -> bool:
    """Take the protection away, if there is one, from a guest that is closed, stopped and cut from its network."""
    config = guest.config_if_any()
    if config is None or not guest_config.protected(config):
        return False
    guest.wait_unlocked()
    # The guard is read with the change, after this: what does not run now is started by nobody else while it is closed.
    running = guest.running()

    def decide(found: Config) -> Optional[Mapping[str, Any]]:
        if not guest_config.protected(found):
            return None
        state = guest.guard(found)
        if state.status != guard.CLOSED or running or guest_config.links_up(found):
            raise GuardRefused(
                expected=f"the guest {guest.side.vmid} at {guest.side.machine}, which is protected, closed by its "
                "guard, stopped and cut from its network before its protection is lifted",
                found=f"{state.describe()}, {'running' if running else 'stopped'}, "
                f"link {'up' if guest_config.links_up(found) else 'down'}",
                state="nothing was changed",
                next_command="look at that guest; only if nobody needs it, take the protection away "
                f"('{guest.kind.tool} set {guest.side.vmid} --protection 0' at {guest.side.machine}), then run the "
                "same command again",
            )
        return {"protection": 0, "description": guest_config.with_lifted(found.get("description"))}

    decide(guest.config())
    guest.record("its protection is lifted, as it is about to be replaced")
    return guest.change(decide)


def give_back(guest: Guest, check: bool = False) -> bool:
    """Protect a guest again whose protection was lifted, and was not replaced; return whether it had to be.

    One that is locked is left as it is: what holds the lock may be what replaces it.
    """
    config = guest.config_if_any()
    if config is None or not guest_config.is_lifted(config):
        return False
    if config.get("lock"):
        guest.report(f"its protection is given back later: {guest.lock_holder(str(config['lock']))} holds it now")
        return False
    if check:
        return True

    def decide(found: Config) -> Optional[Mapping[str, Any]]:
        if not guest_config.is_lifted(found):
            return None
        return {"protection": 1, "description": guest_config.without_lifted(found.get("description"))}

    changed = guest.change(decide)
    guest.record("its protection was given back")
    return changed


def give_back_or_tell(guest: Guest, check: bool = False) -> bool:
    """Do so, and tell when that fails: it stops nobody, as the line in the description stays for the next run."""
    try:
        return give_back(guest, check)
    except BasculeError as error:
        guest.report(f"its protection could not be given back: {error.message()}")
        return False


def must_be_gone(guest: Guest, config: Config) -> None:
    """Refuse to remove a protected guest for good: a person takes the protection away before."""
    if guest_config.keeps_protection(config):
        raise ProxmoxError(
            expected=f"the guest {guest.side.vmid} at {guest.side.machine} without protection: it is to be removed for "
            "good",
            found="protection: 1" if guest_config.protected(config) else "protection that was lifted for a while only",
            state="nothing was changed there",
            next_command="take the protection away "
            f"('{guest.kind.tool} set {guest.side.vmid} --protection 0' at {guest.side.machine}, and the line "
            "'bascule-protection' out of its Notes), then run the same command again",
        )
