"""After the checks: a gate that the plan declares and nobody has put a sample to is NO-GO."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_gates
short_description: Fail when a gate of the plan has no sample
description:
  - Stands after the roles' verb C(check). Demands of every gate in C(plan_gates) that a sample was put to it under this
    decision.
  - Says what was not sampled instead, and goes on, where only some components take part (C(--limit)), and where a move
    has begun already, so that there is nothing left to sample before it.
  - A person lets a gate pass with the variable C(gate_overrides), a reason by gate; it stands in the journal.
  - Runs on the controller and connects to no host.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Refuse gates that nobody has put a sample to
  bascule_gates:
  run_once: true
"""

RETURN = r"""
unsampled:
  description: The gates without a sample.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from bascule.errors import GateError
from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.run import gates
from bascule.run.io.journal import Journal


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Look, journal, and fail."""
        journal = Journal.current()
        missing = gates.unsampled(scope.get("plan_gates"), journal.own(), scope.announced.phase)
        if not missing or self.check_mode:
            return {"unsampled": missing}
        why = _excuse(scope)
        given = scope.get("gate_overrides")
        reasons = {
            name: str(given[name]).strip()
            for name in missing
            if isinstance(given, dict) and isinstance(given.get(name), str) and given[name].strip()
        }
        for name in missing:
            found = {"name": name, "go": False, "reason": "nobody has put a sample to it"}
            journal_entry(journal, "sample", scope.announced, {**found, "override": why or reasons.get(name, "")})
        left = [name for name in missing if name not in reasons]
        if left and not why:
            raise GateError(
                expected="a sample at every gate of the plan",
                found=f"NO-GO: nobody has put a sample to {', '.join(left)}",
                state="nothing was changed",
                next_command="declare the component that it is for, or take the gate out of plan_gates, then run this "
                f'phase again; or override with a reason: -e \'{{"gate_overrides": {{"{left[0]}": "why"}}}}\'',
            )
        said = [f"Gate {name} has no sample: {why or reasons[name]}" for name in missing]
        return {"unsampled": missing, "warnings": said}


def _excuse(scope: Scope) -> str:
    """Say why not every gate can have a sample; nothing when each has to."""
    if set(scope.in_play) != set(scope.components):
        return "not all components take part"
    begun = [name for name in scope.components if not standing.untouched(scope, name)]
    return f"the move has begun: {', '.join(begun)}" if begun else ""
