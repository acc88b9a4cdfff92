"""Put load on the entrance from the controller, and its samples to their gates."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_load_test
short_description: Put load on the entrance, and its samples to their gates
description:
  - Runs k6 on the controller against the address of C(plan_load_test), with starts that are scheduled, and puts five
    samples to gates whose limits come from that block (C(load_started), C(load_dropped), C(load_generator_cpu),
    C(load_errors), C(load_p95)). Without k6, without a start, with dropped starts, with a summary that
    cannot be read, or with a generator that was at its limit, it is NO-GO.
  - Does nothing where the plan declares no address for it. With C(--check) it puts no load on anything and says so.
  - A person lets a gate pass with the variable C(gate_overrides), a reason by gate; it stands in the journal.
  - Runs on the controller and connects to no host of the play.
options:
  url:
    description: Which address of C(plan_load_test) gets the load.
    type: str
    choices: [url, pretest_url]
    default: url
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Put load on the entrance
  bascule_load_test:
  run_once: true
"""

RETURN = r"""
msg:
  description: What was measured, or why nothing was; empty where the plan asks for no load.
  returned: always
  type: list
  elements: str
gates:
  description: What each gate decided, and why.
  returned: when load was put on
  type: list
  elements: dict
"""

import time
from typing import Any, ClassVar

from bascule.errors import CommandFailed, GateError, PlanError
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.run import load_test
from bascule.run.gates import decide
from bascule.run.io.journal import Journal
from bascule.run.io.load_test import measure


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "url": {"type": "str", "choices": ["url", "pretest_url"], "default": "url"},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Measure, journal each sample, and fail on the first NO-GO with all of them named."""
        declared = scope.get("plan_load_test")
        if wrong := load_test.problems(declared):
            raise PlanError(
                expected="a plan_load_test that can be carried out",
                found="; ".join(wrong),
                state="no load was put on anything",
                next_command="mend plan_load_test, then run this phase again",
            )
        if declared is None or args["url"] not in declared:
            return {"msg": []}
        want = load_test.wanted(declared, args["url"])
        if self.check_mode:
            return {"msg": [f"no load test with --check: {want.scheduled} requests would go to {want.urls[0]}"]}
        why = ""
        try:
            found = measure(want)
        except CommandFailed as error:
            # Nothing was measured: each gate says so by itself.
            found, why = load_test.samples("", 0, 0, 0), f"{error.expected}: {error.found}"
        at, limits, overrides = time.time(), load_test.limits(want), scope.get("gate_overrides")
        verdicts = [decide(one.name, one.value, one.unit, at, limits, overrides, at) for one in found]
        for verdict in verdicts:
            journal_entry(Journal.current(), "sample", scope.announced, verdict.to_dict())
        if refused := [one for one in verdicts if not one.passes]:
            raise GateError(
                expected=f"{want.users:g} users to be served by {want.urls[0]}",
                found="NO-GO: "
                + "; ".join(f"{one.name}: {one.reason}" for one in refused)
                + (f" ({why})" if why else ""),
                state="nothing was changed",
                next_command="mend the cause and run this phase again, or override with a reason: "
                f'-e \'{{"gate_overrides": {{"{refused[0].name}": "why"}}}}\'',
            )
        passed = [f"Gate {one.name} was overridden: {one.override} ({one.reason})" for one in verdicts if one.override]
        told = [f"gate {one.name}: GO, {one.reason}" for one in verdicts if one.go]
        return {"msg": told, "gates": [one.to_dict() for one in verdicts], **({"warnings": passed} if passed else {})}
