"""How every module runs that has no action of its own; Ansible looks for it under this name.

A module of Bascule runs through a server on the machine, started over SSH when a playbook first needs it and gone when
the playbook ends. Where there can be none, and for all other modules, this is what Ansible does by itself.
"""

from __future__ import annotations

from typing import Any

from ansible import constants

from bascule.plugin.served import ModuleAction


class ActionModule(ModuleAction):
    """Stands in the place of the action of that name in Ansible, which cannot be extended under its own name."""

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
