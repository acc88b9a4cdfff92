"""What a deployment asks of its machines, and what they answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .releases import DeployError

Order = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a machine has answered: `done`, or an error with its fields. silent: there is no proof of either."""

    done: Any = None
    error: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


class Fleet(Protocol):
    """The machines."""

    def ask(self, orders: Mapping[str, Order]) -> dict[str, Answer]:
        """Give each machine its order; every one gets an answer."""
        ...


def must(answers: Mapping[str, Answer], what: str) -> dict[str, Any]:
    """Return what was done, by machine; raise DeployError where one says otherwise, with all of them named."""
    wrong = {host: answer for host, answer in answers.items() if answer.error}
    if not wrong:
        return {host: answer.done for host, answer in answers.items()}
    host, first = next(iter(wrong.items()))
    told = "; ".join(f"{name}: {one.error.get('found') or one.error.get('expected')}" for name, one in wrong.items())
    raise DeployError(
        expected=f"{what}: {first.error.get('expected', 'an answer')}",
        found=told,
        state=first.error.get("state") or f"{host} has not said what it did",
        next_command=first.error.get("next_command", ""),
    )
