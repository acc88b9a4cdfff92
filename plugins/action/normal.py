"""How every module runs that has no action of its own: ours by way of the machine's module server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: normal
short_description: Run a module
description:
  - Ansible asks for an action of this name for each module that has none of its own.
  - A module of Bascule runs through a server on the machine, started over SSH when a playbook first needs it and gone
    when the playbook ends. Where there can be none, and for all other modules, this is what Ansible does by itself.
  - With C(bascule_module_server=false) a machine is served as Ansible does it.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Read the state of a side
  bascule_guard:
    component: accounts_db
    side: db-mtp
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
result:
  description: What the module returns.
  returned: always
  type: dict
"""

from typing import Any

from ansible import constants

from bascule.plugin.served import ModuleAction


class ActionModule(ModuleAction):
    """See DOCUMENTATION. The action of that name in Ansible cannot be extended: this one stands in its place."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Run the module of the task, in the background where the task says so."""
        known = super().run(tmp, task_vars)
        background = bool(self._task.async_val and not self._connection.has_native_async)
        result = {**known, **self._execute_module(task_vars=task_vars, wrap_async=background)}
        if self._task.action in constants._ACTION_SETUP:
            # With -v the facts of a machine would fill the screen.
            result["_ansible_verbose_override"] = True
        if not background:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
