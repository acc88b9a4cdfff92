"""Take a person's word that a site is lost: which, who says so, how it was fenced."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_lost
short_description: Take a person's word that a site is lost
description:
  - Stands first in C(site_lost). Runs on the controller and connects to nothing.
  - Nothing opens by it alone. It says who answers for what, and which direction leads away from the lost site.
  - What a person has to say comes with C(-e) and from nowhere else. C(site) is the name of the site that is lost, where
    case does not matter; C(by) is the name of who decides; C(fenced) says how it was made sure that nothing at the lost
    site accepts writes, now and when it comes back.
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Take the word of a person
  bascule_lost:
"""

RETURN = r"""
ansible_facts:
  description: C(bascule_given_up) with C(site), C(by), C(fenced) and C(direction).
  returned: always
  type: dict
"""

from typing import Any

from bascule.plugin.action import ControllerAction, Scope
from bascule.run.approval import give_up


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Check and keep the word."""
        plan = {name: scope.get(name) for name in ("plan_sites", "plan_source_site", "plan_target_site")}
        return {
            "ansible_facts": {
                "bascule_given_up": give_up(plan, self.typed("site"), self.typed("by"), self.typed("fenced"))
            }
        }
