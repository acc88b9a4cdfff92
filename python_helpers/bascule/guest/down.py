"""Whether a guest is really down: its node's word, an attempt that must be refused, and the silence of its address."""

from __future__ import annotations

from .errors import ProxmoxError
from .guest import Guest

# How long the address of a guest that has just stopped is asked; it answered sooner while the guest ran.
OUTSIDE_SECONDS = 1.0


def prove_stopped(guest: Guest) -> None:
    """The node's own word, and an attempt that it must refuse; no answer is no proof."""
    if guest.running():
        raise ProxmoxError(
            expected=f"the guest at {guest.side.machine} stopped",
            found="the node says running",
            state="not closed; nothing was opened",
            next_command="look at the guest, then run the same command again",
        )
    refused = guest.refusal_when_stopped()
    if not refused:
        raise ProxmoxError(
            expected=f"the node to say that nothing of the stopped guest at {guest.side.machine} runs",
            found="its agent answered" if guest.kind.agent else "interfaces exist inside the container",
            state="not closed; nothing was opened",
            next_command="look at the guest, then run the same command again",
        )


def outside_before(guest: Guest, running: bool) -> str:
    """Ask the guest's address while it serves; return an empty text when it does, else why silence proves nothing."""
    if not guest.side.health_url:
        return "no health_url is declared for this side"
    if not running:
        return "the guest was stopped before anybody asked"
    said = guest.health()
    return f"the address did not serve while the guest ran: {said}" if said else ""


def prove_silent(guest: Guest, before: str) -> str:
    """Ask the same address again: what answered before and answers still is this guest, or another one in its place."""
    if before:
        return f"not proved from outside: {before}"
    if guest.serves_within(OUTSIDE_SECONDS):
        raise ProxmoxError(
            expected=f"nobody to serve at {guest.side.health_url}: the guest at {guest.side.machine} is stopped",
            found="it answers 200 as before",
            state="the node says stopped; somebody else serves at that address, or the node is not the one asked",
            next_command="find out who answers there, then run the same command again",
        )
    return f"{guest.side.health_url} answered 200 before and does not any more"


def proved_down(guest: Guest, served: str) -> str:
    """Prove that the guest has stopped, and say by what; `served` is why its silence from outside proves nothing."""
    prove_stopped(guest)
    outside = prove_silent(guest, served)
    word = "refuses the agent" if guest.kind.agent else "shows no interface of it"
    return f"shut down; the node says stopped and {word}; {outside}"
