"""Drive a switch over two connections: in which order the sides are asked, and what a failure leaves; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..errors import BasculeError
from ..guard import state as rule

LOOK_SECONDS = 60.0
# Checkpoints, of any size, are before the pause.
READY_SECONDS = 1300.0
# How much of the budget the pause may take to drain.
PAUSE_SHARE = 0.3
# How much of it the new side may take to see the fence and the end of the log.
ARRIVE_SHARE = 0.2


class Line(Protocol):
    """A connection to the agent at one side."""

    def send(self, do: str, **arguments: Any) -> int:
        """Ask, without waiting; return the question's number."""

    def answer(self, timeout: float, number: int) -> dict[str, Any]:
        """Wait for the answer to a question; an error at the other end is raised as one here."""


class Drive:
    """One switch."""

    def __init__(
        self,
        old: Line,
        new: Line,
        *,
        budget: float,
        patience: float,
        clock: Callable[[], float],
        reach: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.old = old
        self.new = new
        self.budget = budget
        self.patience = patience
        self.marks: dict[str, float] = {}
        self.proofs: dict[str, str] = {}
        self._clock = clock
        self._reach = reach
        self._first = clock()

    def switch(self, epoch: str) -> dict[str, Any]:
        """Do it whole."""
        facts = self._both("look", LOOK_SECONDS)
        status = facts[0]["guard"]["status"]
        live = status == rule.OPEN and facts[0]["primary"]
        done = self._live(epoch) if live else self._thorough(epoch, serves=status == rule.OPEN)
        return {"live": live, "marks": {"driver": self.marks, **done.pop("marks", {})}, "proofs": self.proofs, **done}

    def aim(self) -> bool:
        """Point both poolers at the side that serves; return whether anything changed."""
        self._both("look", LOOK_SECONDS)
        return any(found["changed"] for found in self._both("aim", self.patience))

    def _live(self, epoch: str) -> dict[str, Any]:
        try:
            self._ask(self.old, "settle", READY_SECONDS, budget=self.budget)
            # The old side comes last: its promise sets the dead-man's timer.
            self._ask(self.new, "ready", READY_SECONDS, epoch=epoch, budget=self.budget)
            self._ask(self.old, "ready", READY_SECONDS, epoch=epoch, budget=self.budget)
            self._first = self._clock()
            self._mark("ready")
            self._both("pause", self.budget, seconds=PAUSE_SHARE * self.budget)
            self._mark("paused")
            closed = self._ask(self.old, "close", self.budget)
            # Before the receipt: whatever fails until here ends with the old side serving again.
            arrived = self._ask(
                self.new,
                "arrived",
                self.budget,
                position=closed["position"],
                seconds=ARRIVE_SHARE * self.budget,
            )
            receipt = self._ask(self.old, "give_receipt", self.budget)["receipt"]
        except BasculeError as error:
            raise self._taken_back(error) from error
        self._mark("closed")
        self.proofs.update({**closed["proofs"], **arrived["proofs"]})
        try:
            # Its clients are held: where the pooler points meanwhile harms nobody.
            pointed = self.old.send("point")
            opened = self._ask(
                self.new, "open", self.patience * 3, epoch=epoch, receipt=receipt, patience=self.patience
            )
            self._mark("opened")
            self.old.answer(self.patience, pointed)
            self._ask(self.old, "resume", self.patience)
        except BasculeError as error:
            raise self._after_receipt(error, receipt) from error
        self._mark("resumed")
        ends = self._both("finish", self.patience)
        return {
            "receipt": receipt,
            "guard": opened["guard"],
            "marks": {"old": ends[0]["marks"], "new": ends[1]["marks"]},
            "warnings": ends[1]["warnings"],
            "following": bool(ends[0].get("following")),
        }

    def _thorough(self, epoch: str, *, serves: bool) -> dict[str, Any]:
        """What a crash has left: every step looks first, and takes its time."""
        warnings: list[str] = []
        try:
            self._both("pause", self.patience * 2, seconds=self.budget)
        except BasculeError as error:
            if serves:
                raise self._taken_back(error) from error
            warnings.append(f"the clients of the poolers are not held: {error}")
        try:
            closed = self._ask(self.old, "close_thoroughly", self.patience * 6, epoch=epoch, patience=self.patience)
        except BasculeError as error:
            raise self._taken_back(error) from error
        self._mark("closed")
        self.proofs.update(closed["proofs"])
        receipt = closed["receipt"]
        try:
            proved = self._ask(
                self.new, "prove_thoroughly", self.patience * 2, patience=self.patience, unopened=closed["unopened"]
            )
            self.proofs.update(proved["proofs"])
            opened = self._ask(
                self.new, "open_thoroughly", self.patience * 6, epoch=epoch, receipt=receipt, patience=self.patience
            )
            self._mark("opened")
            self._both("aim", self.patience)
        except BasculeError as error:
            raise self._after_receipt(error, receipt) from error
        self._mark("resumed")
        return {
            "receipt": receipt,
            "guard": opened["guard"],
            "marks": {"old": closed["marks"], "new": opened["marks"]},
            "warnings": [*warnings, *closed["notices"], *opened["warnings"]],
        }

    def _taken_back(self, error: BasculeError) -> BasculeError:
        """Have both sides undo what has no receipt, and say what that came to."""
        said = []
        for line in (self.old, self.new):
            try:
                found = self._ask(line, "back", max(self.patience, 60))
                said.append(str(found.get("guard") or "its receipt was given: only the opening rule opens it"))
            except BasculeError as second:
                said.append(f"no answer ({second.found or second.expected}): its dead-man's timer takes it back")
        return BasculeError(
            expected=error.expected,
            found=error.found,
            state="; ".join([error.state, *said] if error.state else said),
            next_command=error.next_command or "ansible-playbook playbooks/status.yml",
        )

    @staticmethod
    def _after_receipt(error: BasculeError, receipt: Mapping[str, Any]) -> BasculeError:
        return BasculeError(
            expected=error.expected,
            found=error.found,
            state=f"{error.state or 'the new side is not known to be open'}; {receipt['side']} has closed and given "
            "its receipt; clients wait at the poolers",
            next_command="run the same playbook again to go on, or playbooks/rollback.yml to go back",
        )

    def _ask(self, line: Line, do: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        return line.answer(timeout, line.send(do, **arguments))

    def _both(self, do: str, timeout: float, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask both sides at once; both answers are read before an error is raised."""
        found: list[dict[str, Any]] = []
        errors: list[BasculeError] = []
        asked = [(line, line.send(do, **arguments)) for line in (self.old, self.new)]
        for line, number in asked:
            try:
                found.append(line.answer(timeout, number))
            except BasculeError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return found[0], found[1]

    def _mark(self, name: str) -> None:
        self.marks[name] = round((self._clock() - self._first) * 1000, 1)
        self._reach(name)
