"""Move the schemas of services by their numbered SQL files."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_schema
short_description: Move the schemas of services by their numbered SQL files
description:
  - Does what C(bascule schema) does, by the same code. Runs on the controller, which reaches the databases by the ways
    that the services declare, with their own clients.
  - In production a backup is taken, restored and compared first. The whole plan is tried on the restored copy, there,
    back and there again, by the catalogue's fingerprint.
  - A plan that destroys data says what, and needs a word for it.
  - With C(--check) it reads files and databases in transactions that cannot write, and says what would run. It takes no
    lock, no backup and makes no copy, so what a plan would destroy is not known then.
options:
  services:
    description: The services by name, as C(schema_services) of an inventory has them.
    type: dict
    required: true
  service:
    description: The service, or V(all) in the order of their dependencies.
    type: str
    default: all
  order:
    description:
      - V(status) changes nothing. V(applied) changes nothing, and fails where a file is not applied yet.
      - V(up) applies what is not applied, V(down) takes back the last file, V(to) goes there or back to O(number).
    type: str
    required: true
    choices: [status, applied, up, down, to]
  number:
    description: For V(to), the last file that is to be applied, of one service.
    type: int
  confirm:
    description: The word that lets exactly this plan destroy exactly what it names.
    type: str
    default: ""
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Apply what is not applied yet
  bascule_schema:
    order: up
    services: "{{ schema_services }}"
    service: auth-service
"""

RETURN = r"""
histories:
  description: By service, how many files there are (C(files)), how many of them are applied (C(applied)), which are not
    (C(pending)), and which one has begun and not ended (C(unsettled)), before anything ran.
  returned: always
  type: dict
steps:
  description: The files of the plan, in their order.
  returned: always
  type: list
  elements: str
ran:
  description: How many files have run.
  returned: always
  type: int
backups:
  description: The backups that were restored, compared and tried on, before anything ran.
  returned: always
  type: list
  elements: str
destroys:
  description: What data the plan destroys, with how many rows; found on the restored copy.
  returned: always
  type: dict
"""

from typing import Any, ClassVar

from ansible.utils.display import Display

from bascule.errors import PlanError
from bascule.plugin.action import ControllerAction, Scope
from bascule.schema import services
from bascule.schema.io.runner import Look, NeedsWord, Order, Runner

_CHANGING = ("up", "down", "to")
_NOTHING = "nothing was changed"


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "services": {"type": "dict", "required": True},
        "service": {"type": "str", "default": "all"},
        "order": {"type": "str", "required": True, "choices": ["status", "applied", *_CHANGING]},
        "number": {"type": "int"},
        "confirm": {"type": "str", "default": ""},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Look, and do what is asked for."""
        what, number = args["order"], args["number"]
        if (what == "to") != (number is not None) or (what == "to" and args["service"] == "all"):
            raise PlanError("a number and one service for 'to', and a number for nothing else", state=_NOTHING)
        runner = Runner(args["service"], services.read(args["services"], "the inventory"), Display().display)
        order = Order(what, number or 0, args["confirm"]) if what in _CHANGING else None
        look = runner.look(order)
        found: dict[str, Any] = {"histories": _told(look), "steps": [str(step) for step, _ in look.steps], "ran": 0}
        if order is None:
            for line in _lines(look):
                Display().display(line)
            if what == "applied":
                _refuse_pending(look, args["service"])
        elif self.check_mode:
            for step in found["steps"] or ["nothing"]:
                Display().display(f"would run {step}")
            found["changed"] = bool(look.steps) or any(one.unsettled for one in look.histories.values())
        else:
            found["ran"] = _run(runner, order)
            found["changed"] = bool(found["ran"])
        return {**found, "backups": [str(path) for path in runner.backups], "destroys": dict(runner.destroys)}


def _run(runner: Runner, order: Order) -> int:
    """Do it; a plan that needs a word says what it would destroy, and the variable that takes the word."""
    try:
        return runner.run(order)
    except NeedsWord as error:
        what = ", ".join(f"{name} ({rows} rows)" for name, rows in sorted(error.destroys.items()))
        raise NeedsWord(
            expected=f"schema_migration_confirm: {error.word}, as this would destroy {what or 'no rows'}",
            found=error.found,
            state=error.state,
            next_command=f"the same playbook with -e schema_migration_confirm={error.word}, if that may be destroyed",
        ) from error


def _told(look: Look) -> dict[str, Any]:
    return {
        name: {
            "files": len(one.migrations),
            "applied": one.applied,
            "pending": [migration.up.name for migration in one.pending],
            "unsettled": f"{one.unsettled.number:03d}_{one.unsettled.name}" if one.unsettled else "",
        }
        for name, one in look.histories.items()
    }


def _lines(look: Look) -> list[str]:
    """Return where each service stands, as lines to be read."""
    said = []
    for name, one in look.histories.items():
        said.append(f"{name}: {one.applied} of {len(one.migrations)} applied")
        said += [f"  not applied  {migration.up.name}" for migration in one.pending]
        if one.unsettled:
            said.append(f"  {one.unsettled.state}: {one.unsettled.number:03d}_{one.unsettled.name}")
        said += [f"  note  {note}" for note in one.notes]
    return said + [f"{label}: locked by {books.holder}" for label, books in look.books.items() if books.holder]


def _refuse_pending(look: Look, service: str) -> None:
    left = [f"{name} {file}" for name, one in _told(look).items() for file in one["pending"]]
    left += [f"{name} {one['unsettled']}" for name, one in _told(look).items() if one["unsettled"]]
    if left:
        raise PlanError(
            expected=f"every file of {service} applied",
            found=f"not applied, or not ended: {', '.join(left)}",
            state=_NOTHING,
            next_command="ansible-playbook playbooks/schema_up.yml",
        )
