#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare the addresses by which users come with keepalived's."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_addresses
short_description: Compare the addresses by which users come with keepalived's
description:
  - Reads the configuration of keepalived on this host, where there is one, and the addresses that the host has now.
    Changes nothing.
  - A virtual address that is not declared is a fault; users could come by it to a machine that nobody has closed.
  - Runs on the host of the entrance.
options:
  side:
    description: Inventory name of the host on which the module runs.
    type: str
    required: true
  address:
    description: The host's own address, of C(web_entrance_addresses).
    type: str
    required: true
  further:
    description: By which users come to this side as well, of C(web_entrance_further_addresses).
    type: list
    elements: str
    default: []
  others:
    description: Virtual addresses by which no user of the service comes, of C(web_entrance_other_virtual_addresses).
    type: list
    elements: str
    default: []
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Look which virtual addresses are at another machine of the pair
  bascule_entrance_addresses:
    side: "{{ bascule_from }}"
    address: 192.0.2.1
    further: [192.0.2.10]
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
virtual:
  description: The virtual addresses that keepalived has, each with the file and line that say so.
  returned: always
  type: dict
elsewhere:
  description: Those of O(further) that keepalived has and that another machine holds now.
  returned: always
  type: list
  elements: str
faults:
  description: What is declared otherwise than keepalived has it, a sentence each.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.entrance import keepalived as rules
from ansible.module_utils.bascule.entrance.io import keepalived
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Look and compare."""
    params = module.params
    found, held = keepalived.configuration(), keepalived.here()
    further = [str(one or "") for one in params["further"]]
    floating = [one for one in further if rules.same(one) in found.addresses]
    return {
        "virtual": found.addresses,
        "elsewhere": [one for one in floating if rules.same(one) not in held],
        "faults": rules.faults(found, params["side"], params["address"], further, params["others"]),
    }


if __name__ == "__main__":
    run_module(
        {
            "side": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "further": {"type": "list", "elements": "str", "default": []},
            "others": {"type": "list", "elements": "str", "default": []},
        },
        main,
    )
