"""Switch a database from one side to the other in one step, over connections that are opened before it starts."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_postgresql_switch
short_description: Switch a database from one side to the other in one step
description:
  - Runs on the controller. Opens one connection to each side, with the arguments Ansible itself uses, and drives the
    host agents there through the whole switch. Nothing starts before both agents have all their sessions open.
  - A failure before the receipt ends with the old side serving again, its held clients going on; so does the death of
    the controller or of an agent, by a timer at the old side. From the receipt on only the opening rule opens anything.
  - The environment variable E(BASCULE_TEST_SWITCH_HOLD) stops the switch at a step. It is for tests only.
options:
  action:
    description:
      - V(switch) moves the database; V(aim) only points the poolers of both sides at the side that serves.
      - V(stand_by) starts the agents that V(switch) talks to, waits for nothing, and opens nothing at the hosts. They
        end with the process that executes the task, which in a window stays.
    type: str
    choices: [switch, aim, stand_by]
    default: switch
  from:
    description: Inventory name of the machine that is left.
    type: str
    required: true
  to:
    description: Inventory name of the machine that is entered.
    type: str
    required: true
  epoch:
    description: The epoch of the switch, as M(bascule_epoch) chose it; needed for V(switch).
    type: str
    default: ""
  budget:
    description: Seconds from the promise to close until the old side serves again when no receipt was given.
    type: float
    default: 5.0
  patience:
    description: Seconds that a step after the receipt may take; giving up then would let nobody write.
    type: float
    default: 30.0
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Switch
  bascule_postgresql_switch:
    from: db-mtp
    to: db-tls
    epoch: 1.3f2a
"""

RETURN = r"""
following:
  description: Whether the old side has begun to follow the new one.
  returned: when switched on open sessions
  type: bool
live:
  description: Whether both sides ran as they should; else they were closed and opened the thorough way.
  returned: when switched
  type: bool
marks:
  description: Milliseconds to each step, as the driver and each side saw it.
  returned: when switched
  type: dict
proofs:
  description: The answers by which the old side refused, by who knocked.
  returned: when switched
  type: dict
receipt:
  description: The old side's receipt.
  returned: when switched
  type: dict
"""

import contextlib
import shlex
import time
from typing import Any, ClassVar

from bascule.errors import BasculeError
from bascule.plugin.action import ControllerAction, Scope
from bascule.postgresql.io.switchover import connections
from bascule.postgresql.switchover import LOOK_SECONDS, Drive
from bascule.system import work
from bascule.system.io.units import AGENT

# Component → (from, to) and the agents there that wait for its switch, in the process that goes on to that.
_STANDING_BY: dict[str, tuple[tuple[str, ...], float, list[connections.Agent]]] = {}
# Seconds after which a connection that has said nothing may be gone without a word.
_LONGEST = 120


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "action": {"type": "str", "choices": ["switch", "aim", "stand_by"], "default": "switch"},
        "from": {"type": "str", "required": True},
        "to": {"type": "str", "required": True},
        "epoch": {"type": "str", "default": ""},
        "budget": {"type": "float", "default": 5.0},
        "patience": {"type": "float", "default": 30.0},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Do what the arguments say."""
        if self.check_mode:
            return {"changed": args["action"] == "switch"}
        if args["action"] == "switch" and not args["epoch"]:
            raise BasculeError(expected="an epoch", found="none", state="nothing was changed")
        hold = connections.Hold()
        if args["action"] == "stand_by":
            _let_go(scope.component)
            _STANDING_BY[scope.component] = (args["from"], args["to"]), time.monotonic(), _agents(args, scope, hold)
            return {"changed": False}
        with contextlib.ExitStack() as stack:
            old, new = map(stack.enter_context, _standing_by(args, scope) or _agents(args, scope, hold))
            for agent in (old, new):
                agent.answer(LOOK_SECONDS)
            drive = Drive(
                old,
                new,
                budget=args["budget"],
                patience=args["patience"],
                clock=time.monotonic,
                reach=lambda name: hold.wait(f"driver.{name}"),
            )
            if args["action"] == "aim":
                return work.measured(lambda: {"changed": drive.aim()})
            return {"changed": True, **work.measured(lambda: drive.switch(args["epoch"]))}


def _agents(args: dict[str, Any], scope: Scope, hold: connections.Hold) -> list[connections.Agent]:
    sides = ((args["from"], "leave", "old"), (args["to"], "enter", "new"))
    # Both ways are known before the first is gone.
    ways = [(scope.target(host), _script(scope.component, host, part), label) for host, part, label in sides]
    return [connections.Agent(*way, hold) for way in ways]


def _standing_by(args: dict[str, Any], scope: Scope) -> list[connections.Agent]:
    """Return the agents that were started for this switch a while ago, where both still run."""
    sides, began, agents = _STANDING_BY.pop(scope.component, ((), 0.0, []))
    fresh = time.monotonic() - began <= _LONGEST and all(agent.is_alive() for agent in agents)
    if fresh and sides == (args["from"], args["to"]):
        return agents
    _end(agents)
    return []


def _let_go(component: str) -> None:
    *_, agents = _STANDING_BY.pop(component, ((), 0.0, []))
    _end(agents)


def _end(agents: list[connections.Agent]) -> None:
    for agent in agents:
        agent.drop()


def _script(component: str, side: str, part: str) -> str:
    words = [*AGENT, "pg_side", "--component", component, "--side", side, "--part", part]
    return f"exec {shlex.join(words)}"
