"""Keep what an audit, a check or a verification has found."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_record
short_description: Keep what an audit, a check, a transfer or a verification has found
description:
  - Adds to a verification the component's role, the epoch under which its active side was opened, and what the last
    return has left behind, which C(bascule_judge) asks for; to a canary that epoch.
  - Journals the data and stores it as C(runs/RUN/facts/COMPONENT.KIND.json) for reports. Runs on the controller.
  - With C(--check) it goes to C(runs/RUN/facts/check), so that what was found for real stays.
  - The last task of a role's audit and verify.
options:
  kind:
    description: What was done.
    type: str
    required: true
    choices: [audit, check, fence, transfer, repair, verify, canary]
  data:
    description: What was found.
    type: dict
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Record what the verification has found
  bascule_record:
    kind: verify
    data:
      rows_compared: 120000
      rows_different: 0
      rows_not_proved: 0
"""

RETURN = r"""
path:
  description: Where the data lies.
  returned: always
  type: str
"""

from typing import Any, ClassVar

from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.report import proof
from bascule.run import canary
from bascule.run.io.journal import Journal


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "kind": {
            "type": "str",
            "required": True,
            "choices": ["audit", "check", "fence", "transfer", "repair", "verify", "canary"],
        },
        "data": {"type": "dict", "required": True},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Keep the data."""
        if args["kind"] == proof.VERIFY:
            about = {
                proof.ROLE: scope.get("component_role"),
                proof.OPENED: standing.opened_under(scope, scope.component),
            }
            behind = []
            if scope.announced.verb == proof.VERIFY and not self.check_mode:
                # Another controller may have brought it back.
                behind = proof.left_behind(standing.entries(scope), scope.component)
            args["data"] = {**args["data"], **about, **({proof.LEFT_BEHIND: behind} if behind else {})}
        elif args["kind"] == canary.EVENT:
            args["data"] = {**args["data"], proof.OPENED: standing.opened_under(scope, scope.component)}
        journal = Journal.current()
        journal_entry(journal, "state", scope.announced, {"event": args["kind"], "found": args["data"]})
        return {"path": str(journal.write_facts(scope.component, args["kind"], args["data"], tried=self.check_mode))}
