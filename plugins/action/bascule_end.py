"""Record that a verb has come to its end."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_end
short_description: Record that a verb has come to its end
description:
  - Stands after the role in every play of a phase. Runs on the controller.
  - Writes the outcome to the local journal and to the journal host of both sites. Between freeze and thaw it comes to
    the sites with the next begin, or while that waits for others.
  - The end of a verb that failed is written by the callback C(bascule_journal).
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Record the outcome
  bascule_end:
"""

RETURN = r"""# """

from typing import Any

from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.run import order
from bascule.run.io.journal import Journal
from bascule.run.progress import OK


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Record the end."""
        journal = Journal.current()
        about = scope.announced
        journal_entry(journal, "end", about, {"result": OK, "check_mode": self.check_mode})
        if self.check_mode:
            return {}
        if order.goes_on(about.phase, about.verb):
            return {}
        # The deed is done: a copy that is missing is said loudly, and brought with the next one.
        failed = journal.copy_to(scope.journal_targets(), insist=False)
        warnings = [f"The end of {about.verb} of {about.component} has NO COPY at {s}: {e}" for s, e in failed.items()]
        return {"warnings": warnings} if warnings else {}
