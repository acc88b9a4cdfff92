"""Follow a dump that is taken, or brought over and restored, until it ends, and show how far it is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_postgresql_dump
short_description: Follow a step of a move by dump and restore until it ends
description:
  - Takes the options of the module M(bascule_postgresql_dump) and calls it again and again until its unit has ended. A
    lost connection loses nothing, as the unit goes on.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Restore the dump and compare every row
  bascule_postgresql_dump:
    component: accounts_db
    side: db-tls
    step: bring
    name: "{{ __example_taken.result.name }}"
    manifest: "{{ __example_taken.result.manifest }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
result:
  description: What the unit came to.
  returned: for V(take) and V(bring)
  type: dict
"""

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Start, then look again until it has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        shown = ""
        while True:
            result = dict(self._execute_module("bascule_postgresql_dump", arguments, task_vars=task_vars))
            if result.get("failed") or not result.get("running"):
                return result
            arguments["begin"] = False
            text = str(result.get("progress") or "")
            if text and text != shown:
                Display().display(f"{arguments.get('component')}: {text}")
                shown = text
