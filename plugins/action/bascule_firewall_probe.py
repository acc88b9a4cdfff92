"""Ask the ports of a firewall from a machine and from the controller; see the module's DOCUMENTATION."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from bascule.errors import BasculeError
from bascule.firewall.io import probe
from bascule.plugin.served import ModuleAction
from bascule.plugin.values import plain

_HERE = "the controller"


class ActionModule(ModuleAction):
    """Both are asked; what either has seen counts."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Ask from the machine first: its arguments are checked there."""
        super().run(tmp, task_vars)
        result = dict(self._execute_module("bascule_firewall_probe", dict(self._task.args), task_vars=task_vars))
        if result.get("failed"):
            return result
        args = plain(self._task.args)
        try:
            here = probe.look(args["rules"], args["side"], args["role"], args["address"], _HERE, must=False)
        except BasculeError as error:
            raise AnsibleActionFail(error.message(), result=error.fields()) from error
        return {
            **result,
            "checked": result["checked"] + here.checked,
            "wrong": [*result["wrong"], *here.wrong],
            "not_proved": [*result["not_proved"], *here.not_proved],
        }
