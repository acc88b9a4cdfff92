"""Follow the transfer that the module of the same name starts on a node, and show its progress."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """See the module's DOCUMENTATION."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Start or find the unit, then ask until it has ended; each question waits a little at the node."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        name = args.get("job", {}).get("name", "transfer")
        said = ""
        while True:
            result: dict[str, Any] = self._execute_module(
                module_name="bascule_guest_pull", module_args=args, task_vars=task_vars
            )
            if result.get("failed") or result.get("state") != "running":
                return result
            progress = str(result.get("progress") or "")
            if progress and progress != said:
                said = progress
                display.display(f"    {task_vars['inventory_hostname']}: {name} {progress}")
            args["job_id"] = result["job_id"]
