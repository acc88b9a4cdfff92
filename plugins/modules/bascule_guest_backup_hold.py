#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say on a node who holds off its scheduled backups."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest_backup_hold
short_description: Say on a node who holds off its scheduled backups
description:
  - Several components may move guests of one node at the same time. Its backup jobs are switched off by the first and
    switched on by the last of them; who that is, stands in C(/var/lib/bascule/backup-holds.json) on the node. A job
    that Bascule did not switch off is never switched on.
options:
  state:
    description:
      - V(held) holds the jobs in O(enabled) and returns those to be switched off. V(leaving) returns those that nobody
        else holds, to be switched on. V(left) lets go after that.
    type: str
    choices: [held, leaving, left]
    required: true
  enabled:
    description: The jobs of the node that are enabled now.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Hold off the backups of the node
  bascule_guest_backup_hold:
    component: courses_guest
    state: held
    enabled: [backup-1a2b]
  delegate_to: pve-mtp
  become: true
"""

RETURN = r"""
jobs:
  description: The jobs to switch off, or on.
  returned: with O(state=held) and O(state=leaving)
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.guest.io import backup_holds
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the state says."""
    component, check = module.params["component"], module.check_mode
    if module.params["state"] == "held":
        return {"changed": False, "jobs": backup_holds.hold(component, module.params["enabled"], check)}
    if module.params["state"] == "leaving":
        return {"changed": False, "jobs": backup_holds.leave(component, check)}
    return {"changed": backup_holds.left(component, check)}


if __name__ == "__main__":
    run_module(
        {
            **COMPONENT,
            "state": {"type": "str", "choices": ["held", "leaving", "left"], "required": True},
            "enabled": {"type": "list", "elements": "str", "default": []},
        },
        main,
    )
