"""Errors that tell a tired reader what was expected, what was found, what state things are in, and what to do next."""

from __future__ import annotations


class BasculeError(Exception):
    """An error with the four things its reader needs.

    Fields that are not known stay empty; `expected` alone is enough for an error in an argument.
    """

    def __init__(self, expected: str, found: str = "", state: str = "", next_command: str = "") -> None:
        self.expected = expected
        self.found = found
        self.state = state
        self.next_command = next_command
        super().__init__(self.message())

    def message(self) -> str:
        """Return the whole error as one text."""
        parts = [f"expected: {self.expected}"]
        if self.found:
            parts.append(f"found: {self.found}")
        if self.state:
            parts.append(f"state now: {self.state}")
        if self.next_command:
            parts.append(f"next safe command: {self.next_command}")
        return "; ".join(parts)

    def brief(self) -> str:
        """Return what was expected and what was found, as one line."""
        return " ".join(f"expected: {self.expected}; found: {self.found}".split())

    def fields(self) -> dict[str, str]:
        """Return the fields, as a module hands them to fail_json."""
        return {
            "expected": self.expected,
            "found": self.found,
            "state": self.state,
            "next_command": self.next_command,
        }


class GuardRefused(BasculeError):
    """The opening rule says no."""


class StoreError(BasculeError):
    """A durable file is missing, unreadable, or held by another process."""


class CommandFailed(BasculeError):
    """A command could not be started, ran too long, or ended with an exit status that was not expected."""


class JournalError(BasculeError):
    """A journal cannot be written, or its chain does not hold."""


class PlanError(BasculeError):
    """The plan contradicts itself; every contradiction is named."""


class NoGo(PlanError):
    """Whoever was asked for the GO has not given it."""


class GateError(BasculeError):
    """A gate says NO-GO."""
