"""Before anything is frozen: find out what can only be let in again where it is; refuse what cannot come through."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_alone
short_description: Find out what can only be let in again where it is, and refuse what cannot come through
description:
  - Stands after the roles' verb C(state) in a cutover and a rollback, before anything is frozen. Takes the guards that
    were registered, reads the journal at both sites, and runs on the controller.
  - A component is alone when the side that is entered holds its permit, and the other side, or the journal of a site,
    does not answer. By the opening rule the other side has not opened since, so nothing was written there. Such a
    component is neither frozen, carried nor switched; it is let in again, with the one copy of the journal that can
    be had.
  - A side that was given up as lost is let in by nothing, until it has been closed by C(site_back).
  - Any other component needs both sides and both copies. Where one is silent, or a decommission has begun to remove the
    way, all of it is refused while users are still served. What only points to a site holds up nobody.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: See what is alone, and refuse what cannot come through
  bascule_alone:
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: C(bascule_alone), the names of the components that are alone.
  returned: always
  type: dict
"""

from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.plugin import standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io.journal import Journal


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge and say so."""
        phase = scope.announced.phase
        components, silent = standing.read(scope)
        alone = [c.name for c in components if standing.is_alone(c, bool(silent))]
        refused = [why for c in components if c.name not in alone and (why := standing.obstacle(c, bool(silent)))]
        if refused:
            lost = [f"the journal at {site}: {reason}" for site, reason in sorted(silent.items())]
            raise BasculeError(
                expected="both sides of every component that moves, and the journal of both sites, to answer",
                found="; ".join(refused + lost),
                state=f"the {phase} has changed nothing",
                next_command="ansible-playbook playbooks/status.yml",
            )
        for component in components:
            if component.name in alone:
                Display().display(
                    f"  {component.name} is open at {component.entered.host}, and {component.left.host} or a site's"
                    " journal does not answer: it is only let in again"
                )
        if alone:
            Journal.current().append("decision", phase=phase, data={"decision": "alone", "components": alone})
        return {"ansible_facts": {"bascule_alone": alone}}
