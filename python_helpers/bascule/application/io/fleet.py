"""The machines of a deployment, asked side by side over connections of our own: one that is silent is an answer too."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ...run.io import presence
from ...system import moments
from ...system.io import remote
from ...system.io.units import AGENT
from ...system.ssh import Target
from ..fleet import Answer, Order

# Seconds for an order, beside those that it waits for by itself.
_SECONDS = {"stage": 7200.0, "activate": 240.0, "put": 30.0}
_OTHERS = 60.0


class Fleet:
    """The machines, by inventory name."""

    def __init__(self, targets: Mapping[str, Target], agent: Sequence[str] = AGENT) -> None:
        self._targets = targets
        self._script = shlex.join([*agent, "application"])

    def ask(self, orders: Mapping[str, Order]) -> dict[str, Answer]:
        """Give each machine its order; every one gets an answer."""
        targets = {host: self._targets[host] for host in orders}
        given = {host: json.dumps(order) for host, order in orders.items()}
        patience = max(map(_patience, orders.values()), default=0.0)
        answers = remote.run_on(targets, dict.fromkeys(orders, self._script), given, patience)
        return {host: _read(answer) for host, answer in answers.items()}


def _patience(order: Order) -> float:
    waits = order.get("seconds", 0) + order.get("health", {}).get("seconds", 0)
    return float(_SECONDS.get(str(order["do"]), _OTHERS) + waits)


def _read(answer: remote.Answer) -> Answer:
    if answer.error:
        return Answer(error={"expected": "an answer", "found": answer.error}, silent=True)
    try:
        said: Mapping[str, Any] = json.loads(answer.output)
    except ValueError:
        return Answer(error={"expected": "an answer in JSON", "found": answer.output[:200]}, silent=True)
    return Answer(done=said.get("done"), error=said.get("error") or {})


def note(what: str) -> dict[str, Any]:
    """Return the note of this very process for a lock: `presence.lives` tells of it whether it still lives."""
    return {
        **presence.process(os.getpid()),
        "user": presence.user(),
        "since": moments.now(),
        "what": what,
        "token": secrets.token_hex(16),
    }
