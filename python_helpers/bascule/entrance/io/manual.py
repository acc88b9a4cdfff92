"""A balancer that a person drives: this host keeps its guard, and believes what it sees when it asks as a user does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from .. import manual
from .. import mode as modes
from ..manual import ByHand, Seen
from ..requests import Answer
from .https import HTTPS, Target

# How often a balancer is asked each time: one of several nodes may not have followed yet.
LOOKS = 3
# Seconds for one answer.
PATIENCE = 5.0


class Manual:
    """The balancer of one side. A mode is what is seen, and set only by being seen."""

    def __init__(self, options: Mapping[str, Any], side: str, ask: Callable[..., Answer]) -> None:
        self._options = options
        self._ask = ask
        self.here = manual.place(options, side)
        self.there = manual.place(options)
        # What a person would have been asked in check mode.
        self.would_ask: list[str] = []

    @property
    def forwards(self) -> bool:
        """Whether a closed balancer is made to forward."""
        return bool(self._options["forward"])

    def look(self, address: str) -> Seen:
        """Ask a balancer as users do, and as one that was forwarded once."""
        options = self._options
        where = Target(address, options["name"], options["ca_file"], options["port"], options.get("scheme") or HTTPS)
        plain, again = self._answers(where, {}), self._answers(where, {str(options["forwarded_header"]): "1"})
        return manual.judge(plain, again)

    def _answers(self, where: Target, headers: Mapping[str, str]) -> list[Answer]:
        """Ask until one gives no answer: the guard's lock is held meanwhile."""
        found: list[Answer] = []
        while len(found) < LOOKS and not any(answer.error for answer in found):
            found.append(self._ask(where, headers=headers, timeout=PATIENCE))
        return found

    def durable(self) -> str:
        """Return the mode; what the balancer will do after a start is not known."""
        return self.mode()

    def runtime(self) -> str:
        """Return the mode that users get now."""
        return self.mode()

    def mode(self) -> str:
        """Return the mode that users get now, `unknown` where it cannot be seen."""
        return self.look(self._options["address"]).mode

    def set_mode(self, mode: str, check: bool = False) -> bool:
        """See that the balancer is in a mode; check mode remembers what a person would be asked.

        Raises:
            ByHand: it is not, or the other one serves where this one has to.
        """
        modes.checked(mode)
        own, other = self.look(self._options["address"]), self.look(self._options["other_address"])
        found = manual.faults(mode, self.here, own, self.there, other, self.forwards)
        if not found:
            return False
        asked = manual.instruction(mode, self.here, self.there, str(self._options["forwarded_header"]))
        if not check:
            raise ByHand(asked, "; ".join(found), manual.consequence(mode))
        self.would_ask.append(asked)
        return True

    def ready(self, mode: str) -> None:
        """See that the balancer is in a mode before the guard says so, as this host cannot take it back."""
        self.set_mode(mode)

    def keep_out(self) -> None:
        """Change nothing: only a person can, who is asked when the side is frozen or closed next."""

    def drain(self, seconds: float, cut: bool) -> tuple[Optional[int], float]:
        """Let time pass for the requests in flight, which nobody here can count or cut; return (None, seconds)."""
        time.sleep(seconds)
        return None, round(seconds, 3)

    def measure(self, backends: Sequence[str], cut: bool) -> tuple[dict[str, Any], list[str]]:
        """Return what was seen, what is not done with such a balancer, and what keeps it from being moved."""
        seen = self.look(self._options["address"])
        found = [] if seen.whole else [f"{self.here} {seen.why}"]
        if cut:
            found.append("nothing can cut requests in flight at a balancer: leave web_entrance_drain_cut off")
        return {
            "version": "",
            "mode": seen.mode,
            "mode_durable": seen.mode,
            "servers": [],
            "in_flight": None,
            "config_sha256": "",
            "seen": f"{self.here} {seen.why}",
            "not_done": dict(manual.NOT_DONE),
        }, found
