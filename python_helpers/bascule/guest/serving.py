"""Whether a guest serves: who can be asked, what they answer, and who must not answer any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from . import config as guest_config
from .errors import ProxmoxError
from .guest import Config, Guest
from .observed import agent_enabled, unasked

Result = dict[str, Any]
# How long the address of a closed side is asked by a verification, for which nobody waits.
VERIFIED_SECONDS = 10.0


def _must_be_connected(guest: Guest, config: Config) -> None:
    """Refuse a guest that runs with its interfaces cut although its config says connected: that waits for a start."""
    now = guest.config(current=True)
    waiting = [
        name
        for name, net in guest_config.nets(config).items()
        if guest_config.link_is_up(net) and not guest_config.link_is_up(str(now.get(name, net)))
    ]
    if waiting:
        raise ProxmoxError(
            expected=f"the running guest at {guest.side.machine} connected",
            found=f"{', '.join(waiting)} is cut until its next start (hotplug: {now.get('hotplug', 'as by default')})",
            state="it has the permit and runs, and nobody reaches it",
            next_command=f"shut the guest {guest.side.vmid} down at {guest.side.machine}, then run the same command "
            "again",
        )


def wait(guest: Guest, config: Config) -> Result:
    """Wait until the running guest serves; return the seconds that took, by who was asked."""
    _must_be_connected(guest, config)
    # The application first: it is what users wait for, and a guest often serves before its agent answers.
    waited: Result = {"health_seconds": round(guest.wait_health(), 1)}
    if agent_enabled(config):
        waited["agent_seconds"] = round(guest.wait_up(), 1)
    return waited


def askable(guest: Guest, config: Config) -> list[str]:
    """Return whom one can ask whether the guest serves: its application at its address, its agent."""
    return [
        *([guest.side.health_url] if guest.side.health_url else []),
        *(["guest agent"] if agent_enabled(config) else []),
    ]


def unaskable(source: Guest, target: Guest, config: Optional[Config]) -> list[str]:
    """Name the sides at which nobody could be asked whether the guest serves: a move there would be green unseen."""
    if config is None:
        return []
    agent = ", or enable the guest's agent" if source.kind.agent else " (a container has no agent)"
    return [
        f"nobody could be asked at {side.side.machine} whether the guest serves: declare health_url for it in "
        f"proxmox_guest_sides{agent}"
        for side in (source, target)
        if not askable(side, config)
    ]


def silence(guest: Guest, config: Config) -> str:
    """Return an empty text when the guest's application or agent was asked and answers, else what came instead."""
    if not guest.running():
        return f"the guest at {guest.side.machine} is stopped"
    try:
        wait(guest, config)
    except ProxmoxError as error:
        return error.message()
    return unasked(guest, config)


def asked(active: Guest, passive: Guest, found: Mapping[str, Any]) -> Result:
    """Return what a comparison has found, with what both sides' guests answer now, and who was asked."""
    config = active.config()
    silent = silence(active, config)
    alarms, unasked_there = outside(passive, active)
    return {
        **found,
        "details": [*found["details"], *([silent] if silent else []), *alarms],
        "asked": askable(active, config),
        "not_compared": {**found["not_compared"], **unasked_there},
    }


def outside(passive: Guest, active: Guest) -> tuple[list[str], dict[str, str]]:
    """Ask the address of the side that is not open; return the alarms, and why nobody could be asked there."""
    url, where = passive.side.health_url, f"the fence of {passive.side.machine} from outside"
    if not url:
        return [], {where: "no health_url is declared for that side: only its node was asked"}
    if url == active.side.health_url:
        return [], {where: "the side that is open answers at the same health_url: only its node was asked"}
    if passive.serves_within(VERIFIED_SECONDS):
        return [f"{url} answers 200, and the guest at {passive.side.machine} is not the one that is open"], {}
    return [], {}
