#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare one side of a MongoDB pair."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_setup
short_description: Prepare one side of a MongoDB pair
description:
  - Leaves on the host the unit that loads the fence, and what the boot fence needs.
  - At the side that serves, makes the other side a member that neither votes nor can be elected; a closed side that is
    no member yet is shut to everybody but the other side's host, which makes it one.
  - Runs on the host of the server.
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Prepare the server
  bascule_mongodb_setup:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Leave what the other verbs need."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    return {"changed": side.prepare(), "guard": side.guard().to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
        },
        main,
    )
