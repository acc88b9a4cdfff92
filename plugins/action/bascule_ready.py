"""Before anybody waits: build what the verbs of the window will send to machines."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_ready
short_description: Build what the verbs of the window will send to machines
description:
  - Stands before the first freeze of a phase, while users are served. Runs on the controller and connects to nothing.
  - Where a machine has no module server (docs/design.md), packs every module that the component's role may use in
    freeze, sync, switch and thaw, so that none of it is done while users wait. Changes nothing.
  - Refuses fewer forks than components that move. In the window each takes one, also while it waits for others.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Build what the window will send
  bascule_ready:
"""

RETURN = r"""
modules:
  description: What was built, or had been built before.
  returned: always
  type: list
  elements: str
not_built:
  description: Why nothing was built ahead; the window takes longer then, and the phase goes on.
  returned: when it could not be built
  type: str
"""

from pathlib import Path
from typing import Any

from ansible import constants, context

from bascule.errors import PlanError
from bascule.plugin import ahead, served
from bascule.plugin.action import ControllerAction, Scope
from bascule.run import order
from bascule.run.verbs import POINTING


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Build it."""
        _refuse_few_forks(scope)
        role = str(scope.get("component_role"))
        folders = (Path(root) / role / "tasks" for root in constants.DEFAULT_ROLES_PATH)
        tasks = next((folder for folder in folders if folder.is_dir()), None)
        # A machine's server has them already.
        modules = ahead.modules_of(tasks, order.VERBS) if tasks and not served.serves_all() else []
        try:
            ahead.build(modules)
        # It saves time and decides nothing: no return waits for it. What was not built now is built when it is sent.
        except Exception as error:
            return {"modules": [], "not_built": f"{type(error).__name__}: {error}"}
        return {"modules": modules}


def _refuse_few_forks(scope: Scope) -> None:
    moving = [name for name in scope.in_play if scope.hostvars[name].get("component_role") not in POINTING]
    forks = int(context.CLIARGS["forks"])
    if forks < len(moving):
        raise PlanError(
            expected=f"at least {len(moving)} forks, one for each component that moves",
            found=f"{forks}",
            state="nothing was changed",
            next_command=f"run the same command again with --forks {len(moving)}, or set forks in ansible.cfg",
        )
