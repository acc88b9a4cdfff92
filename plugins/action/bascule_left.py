"""Before a site is given up: see that it is silent, and say what may be lost, in figures of the side that is left."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_left
short_description: See that a site is silent, and say what may be lost
description:
  - Stands after the roles' verb C(state) in C(site_lost), before the person is asked. Runs on the controller.
  - Refuses while the side of a component at the lost site answers, and where the side that is left does not, or was
    never taken over. One machine is given up with C(--limit).
  - Says for each component where the side that is left stands, as its role has registered it in C(loss), and when the
    journal says that it was brought up to date last.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Say what may be lost
  bascule_left:
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: C(bascule_alone), the names of the components, which go on with one copy of the journal.
  returned: always
  type: dict
lines:
  description: What was printed.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.run import position


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge and say so."""
        given = scope.get("bascule_given_up")
        components, _ = standing.read(scope)
        refused = [why for c in components if not c.points_only and (why := position.not_lost(c.entered, c.left))]
        if refused:
            raise BasculeError(
                expected=f"no machine of {given['site']} to answer, and the other side of every component to answer",
                found="; ".join(refused),
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml; what answers is not lost: it goes by cutover and "
                "rollback; one machine is given up with --limit COMPONENT",
            )
        entries = standing.entries(scope)
        losses = standing.losses(scope)
        lines = [f"{given['site']} is given up as lost by {given['by']}, fenced: {given['fenced']}. What may be lost:"]
        for component in components:
            fresh = position.last_fresh(entries, component.name)
            said = losses.get((component.name, component.entered.host), "")
            lines.append("  " + position.loss(component.name, component.entered, component.points_only, fresh, said))
        for line in lines:
            Display().display(line)
        return {"ansible_facts": {"bascule_alone": [c.name for c in components]}, "lines": lines}
