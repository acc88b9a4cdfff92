"""Put a sample to a gate of the plan: GO or NO-GO."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_gate
short_description: Put a sample to a gate of the plan
description:
  - Fails unless the sample is clearly within the limit that C(plan_gates) declares. A sample that is missing, stale,
    empty, unparsable, in another unit, below zero (in s, B, Mbit/s or %) or out of range is NO-GO, and so is a gate
    without a limit.
  - What the journal holds so far is sealed after the sample, by the key of this controller; not with C(--check).
  - A person lets a gate pass with the variable C(gate_overrides), a reason by gate; it stands in the journal.
options:
  name:
    description: Name of the gate.
    type: str
    required: true
  value:
    description: The sample.
    type: raw
  unit:
    description: Its unit, which must be the unit of the limit.
    type: str
    default: ""
  sampled_at:
    description: When it was taken, in seconds since the epoch.
    type: raw
  detail:
    description: Why the sample is as it is; told when the gate says NO-GO, and kept with the sample for the sheet.
    type: str
    default: ""
  limit:
    description: What holds where C(plan_gates) declares no limit for this gate.
    type: dict
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Put the link's rate to its gate
  bascule_gate:
    name: link_rate
    value: "{{ __example_rate.mbit }}"
    unit: Mbit/s
    sampled_at: "{{ __example_rate.sampled_at }}"
"""

RETURN = r"""
gate:
  description: What the gate decided, and why.
  returned: always
  type: dict
"""

import time
from typing import Any, ClassVar

from bascule.errors import GateError
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.run.gates import decide
from bascule.run.io import signing
from bascule.run.io.journal import Journal


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "name": {"type": "str", "required": True},
        "value": {"type": "raw"},
        "unit": {"type": "str", "default": ""},
        "sampled_at": {"type": "raw"},
        "detail": {"type": "str", "default": ""},
        "limit": {"type": "dict"},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Decide, journal, and fail on NO-GO."""
        about = scope.announced
        gates = scope.get("plan_gates")
        if args.get("limit"):
            gates = {args["name"]: args["limit"], **(gates or {})}
        verdict = decide(
            args["name"],
            args.get("value"),
            args["unit"],
            args.get("sampled_at"),
            gates,
            scope.get("gate_overrides"),
            time.time(),
        )
        journal = Journal.current()
        about_sample = {"detail": args["detail"]} if args["detail"] else {}
        journal_entry(journal, "sample", about, {**verdict.to_dict(), **about_sample})
        unsealed = "" if self.check_mode else signing.seal(journal, phase=about.phase)
        if not verdict.passes:
            raise GateError(
                expected=f"gate {verdict.name} to say GO for {about.component}",
                found=f"NO-GO: {verdict.reason}" + (f" ({args['detail']})" if args["detail"] else ""),
                state=f"nothing was changed; limit {verdict.limit}",
                next_command="mend the cause and run this phase again, or override with a reason: "
                f'-e \'{{"gate_overrides": {{"{verdict.name}": "why"}}}}\'',
            )
        warnings = [unsealed] if unsealed else []
        if verdict.override:
            warnings.append(f"Gate {verdict.name} was overridden: {verdict.override} ({verdict.reason})")
        return {"gate": verdict.to_dict(), **({"warnings": warnings} if warnings else {})}
