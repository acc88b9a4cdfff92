"""What an action does whose module may cut this controller off: come back by a new connection, or have it undone."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from ..errors import BasculeError
from ..firewall.rules import FirewallError
from ..system.io import remote, units
from ..system.ssh import Target
from .action import Scope
from .served import ModuleAction

# A connection that is kept would prove nothing about a new one.
FRESH = ("-o", "ControlPath=none", "-o", "ControlMaster=no")
# Seconds for the new connection, and the longest part of the time until the undo that it may take.
_SECONDS, _PART = 30.0, 0.7


class ConfirmedAction(ModuleAction):
    """An action that runs the module of its own name, and confirms the change whose token that returns."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Run the module, then say over a new connection that its change stays."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        result = dict(self._execute_module(self._task.action, arguments, task_vars=task_vars))
        token = result.pop("token", "")
        if result.get("failed") or not token:
            return result
        seconds = float(arguments.get("undo_seconds") or 60)
        host = str(self._task.delegate_to)
        try:
            where = Scope(task_vars, self._play_context.become_pass).way_in(host)
            confirm(where, str(arguments["component"]), str(token), seconds)
        except BasculeError as error:
            return {**result, "failed": True, "msg": error.message(), **error.fields()}
        return result


def fresh(where: Target) -> Target:
    """Return the way to a machine by a connection of its own; there is none to a machine that is this one."""
    return where if where.argv[0] == "sh" else replace(where, argv=(where.argv[0], *FRESH, *where.argv[1:]))


def confirm(where: Target, component: str, token: str, seconds: float) -> None:
    """Confirm a change at a machine.

    Args:
        where: the machine.
        component: whose rules were changed.
        token: what the change has returned.
        seconds: after how many the change is undone.

    Raises:
        FirewallError: no new connection came through, or the change was undone before.
    """
    script = shlex.join([*units.AGENT, "firewall_confirm", component, token])
    answer = remote.run_on({"": fresh(where)}, {"": script}, {}, min(_SECONDS, _PART * seconds))[""]
    if answer.error:
        raise FirewallError(
            expected=f"a new connection to {where.host} that confirms its new rules",
            found=answer.error,
            state=f"a timer at {where.host} restores the rules of before, {seconds:g} s after the change",
            next_command=f"wait {seconds:g} s, correct firewall_rules (the controller has to be let in), then run the "
            "same playbook again",
        )
