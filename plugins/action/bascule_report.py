"""Make the report of a run again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_report
short_description: Make the report of a run again
description:
  - Makes C(summary.json), C(report.md), C(report.html), and the same pages in French
    (C(report.fr.md)) and Arabic (C(report.ar.md)), in the run's folder, from its journal here and at
    every site that answers. What was moved, verified and let pass is judged as C(bascule_judge) judges it.
  - Prints the pages of HTML as PDF where WeasyPrint is installed; a page for whose letters no font is installed
    is named, and stays HTML.
  - C(-e run=RUN) names the run; without it it is the one that goes on.
  - C(-e client=DIRECTORY) names what a client outside has written of the move, if there was one. Without it the report
    says that nobody outside measured.
  - C(report_language) says in which language the operator is told of it, V(en), V(fr) or V(ar).
  - Runs on the controller, and changes nothing at either site. With C(--check) it makes no report.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Make the report
  bascule_report:
  run_once: true
"""

RETURN = r"""
result:
  description: The verdict.
  returned: when a report was made
  type: str
path:
  description: The page, in the operator's language.
  returned: when a report was made
  type: str
"""

import os
from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.plugin import reporting
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io import identity
from bascule.run.io.journal import Journal, read_copies


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Read, judge, write."""
        lang = reporting.language(scope)
        name = identity.checked_name(self.typed("run") or identity.current_run())
        # `latest` is one as well.
        run = os.path.basename(os.path.realpath(identity.runs_directory() / name))
        journal = Journal(identity.runs_directory(), run, identity.controller(), identity.current())
        readings, silent = read_copies(run, scope.journal_targets())
        copies = {reporting.HERE: journal.read(), **readings}
        unread = [f"The journal's copy at {site} was not read: {why}" for site, why in sorted(silent.items())]
        if not any(copy.entries for copy in copies.values()):
            raise BasculeError(
                expected=f"a run {run}, here or at a site",
                found=f"no entry of it in {journal.path} or at {', '.join(readings) or 'any site'}",
                state="; ".join(["no report was made", *unread]),
                next_command="name one of those in runs/ with -e run=RUN, or one that playbooks/status.yml names",
            )
        if self.check_mode:
            return {"warnings": unread} if unread else {}
        made = reporting.make(scope, run, copies, self.typed("client"), silent)
        page = reporting.write(journal.directory, made, lang, reporting.entries_of(copies))
        for line in reporting.lines(made, page, lang):
            Display().display(line)
        for printed in reporting.write_pdf(page):
            Display().display(f"  {os.path.relpath(printed)}")
        for left in reporting.not_printed(page):
            Display().display(f"  {os.path.relpath(left)}: no PDF, as no font that is installed has its letters")
        return {"result": made["result"], "path": str(page), **({"warnings": unread} if unread else {})}
