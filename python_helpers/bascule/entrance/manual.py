"""What a person has to do at a balancer that Bascule does not drive, and what its answers say about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import mode as modes
from .mode import EntranceError
from .requests import Answer, refusal_fault

# What is not asked of a balancer that nobody drives, each with the reason. Audit, verify and report name it.
NOT_DONE: Mapping[str, str] = {
    "boot fence": "nothing closes a balancer again that comes up with an older configuration; the next verify sees it",
    "drain": "requests in flight at the balancer are not counted: the freeze waits web_entrance_drain_timeout",
    "late hand": "nothing but the next question finds out that a person changes the balancer without being asked",
}


class ByHand(EntranceError):
    """A balancer does not do yet what a person has to make it do.

    instruction: what the person has to do, as one text.
    """

    def __init__(self, instruction: str, found: str, state: str) -> None:
        self.instruction = instruction
        super().__init__(
            expected=f"this to be done by hand: {instruction}",
            found=found,
            state=state,
            next_command="make the balancers do it, then run the same playbook again",
        )

    def fields(self) -> dict[str, str]:
        """Return the fields, and what the action on the controller says to the person."""
        return {**super().fields(), "by_hand": self.instruction}


@dataclass(frozen=True)
class Seen:
    """What one balancer answers.

    mode: what that comes to, `unknown` where it comes to none. why: the same in words. whole: whether every answer is
    one of that mode. serves: whether anybody got the service of this very side, or may have. passes: whether any user
    got something else than the page.
    """

    mode: str
    why: str
    whole: bool
    serves: bool
    passes: bool = False


def judge(plain: Sequence[Answer], again: Sequence[Answer]) -> Seen:
    """Return what a balancer does, from answers to users and to requests that say they were forwarded once.

    An entrance that forwards shows its page to the latter. One answer that is not the page is enough to serve; silence
    says neither that it serves nor that it is closed.
    """
    silent = [answer.error for answer in (*plain, *again) if answer.error]
    through = [answer for answer in plain if not answer.error and refusal_fault(answer)]
    direct = [answer for answer in again if not answer.error and refusal_fault(answer)]
    got, asked = [*through, *direct], len(plain) + len(again)
    if direct or (through and any(answer.error for answer in again)):
        broken = any(answer.status >= 500 for answer in got)
        why = "shows no maintenance page, and no service" if broken else "serves users"
        some = "" if len(got) == asked else f" with {len(got)} of {asked} answers"
        return Seen(modes.OPEN, f"{why}{some}: {_said(got)}", whole=not broken and not some, serves=True, passes=True)
    if silent:
        why = f"gives no answer, which proves nothing: {silent[0]}"
        return Seen(modes.UNKNOWN, why, whole=False, serves=False, passes=bool(through))
    if not through:
        return Seen(modes.MAINTENANCE, "shows the maintenance page", whole=True, serves=False)
    if len(through) == len(plain):
        return Seen(modes.FORWARD, f"forwards users: {_said(got)}", whole=True, serves=False, passes=True)
    why = f"shows the page to some users and forwards the others: {_said(got)}"
    return Seen(modes.UNKNOWN, why, whole=False, serves=False, passes=True)


def instruction(mode: str, here: str, there: str, header: str) -> str:
    """Return what a person has to do so that the balancer `here` is in a mode while the other one is `there`."""
    if mode == modes.OPEN:
        return (
            f"At the balancer of {here}: serve users from this site. At the other one, {there}, leave the maintenance "
            "page, or the forwarding, as it is."
        )
    if mode == modes.FORWARD:
        return (
            f"At the balancer of {here}: hand users over to {there}, with the header {header}: 1. Show the maintenance "
            f"page to requests that have {header} already."
        )
    return (
        f"At the balancer of {here}: show the maintenance page to every user, status 503 with a header Retry-After in "
        "seconds. Do not switch it off: no answer proves nothing. Leave it so until you are asked to serve there. The "
        f"other balancer, {there}, stays as it is."
    )


def faults(mode: str, here: str, own: Seen, there: str, other: Seen, forwards: bool) -> list[str]:
    """Name what is not as a person was asked to make it; empty when the balancer `here` is seen in the mode.

    A side serves only while the other one does not: both are looked at. One that shows its page to forwarded requests
    alone may forward or serve by itself: that is let pass only where a closed one `forwards` as declared.
    """
    found = []
    if own.mode != mode or not own.whole:
        found.append(f"{here} {own.why}")
    if mode == modes.FORWARD and own.serves:
        found.append("those who were forwarded once have to get the page, and do not")
    if mode == modes.OPEN and other.serves:
        both = "as well, so that both are open" if own.serves else "instead: the wrong one was opened"
        found.append(f"{there} is not the side to open and serves {both} ({other.why})")
    elif mode == modes.OPEN and other.passes and not forwards:
        found.append(f"{there} has to show its page to every user, and does not ({other.why})")
    if mode == modes.OPEN and own.mode == modes.FORWARD:
        found.append("requests that were forwarded once get its page: while it is open they are to be served as well")
    if mode == modes.MAINTENANCE and found:
        found.append(f"the other one, {there}, {other.why}")
    return found


def consequence(mode: str) -> str:
    """Return the state in which things are while a mode is not seen."""
    if mode == modes.OPEN:
        return (
            "this run has let nobody in; if it ends without having seen that, nobody may open this balancer later "
            "without being asked again"
        )
    if mode == modes.FORWARD:
        return "users are served at the other side; who still comes here is not handed over"
    return (
        "it does not count as closed, and nothing opens by it; a side that was to be frozen is marked so until this "
        "ends, or until playbooks/rollback.yml lets it in again"
    )


def lost(here: str, by: str) -> str:
    """Return what a person has to make sure of at the balancer of a side that was given up."""
    return (
        f"The side of the balancer {here} was given up by the word of {by}, and silence proves nothing about it. Make "
        "sure that it serves nobody, and that it stays so: show the maintenance page, take it out of the routing, or "
        "switch it off."
    )


def place(options: Mapping[str, Any], side: str = "") -> str:
    """Return where a balancer is, in words: of a side by its inventory name, or the other one."""
    address = options["address"] if side else options["other_address"]
    return f"{f'{side}, ' if side else ''}{address}:{options['port']} ({options['name']})"


def _said(answers: Sequence[Answer]) -> str:
    texts = {f"status {answer.status}" for answer in answers if answer.status != 503}
    texts |= {str(refusal_fault(answer)) for answer in answers if answer.status == 503}
    return ", ".join(sorted(texts))
