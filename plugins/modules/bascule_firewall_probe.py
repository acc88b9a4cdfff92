#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the ports of a firewall from another machine, and from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_firewall_probe
short_description: Ask the ports of a firewall from another machine, and from the controller
description:
  - Asks every port that the rules decide on for the machine that asks. Changes nothing.
  - A port that has to be open answers or is refused, one that has to be closed does neither. Silence proves a closed
    port only where an open one has let the same machine through.
  - Runs on any machine that reaches the address. An action of the same name asks from the controller as well, which is
    blamed for nothing where no port at all lets it through.
options:
  address:
    description: Where the side is reached.
    type: str
    required: true
  side:
    description: Inventory name of the side that is asked.
    type: str
    required: true
  role:
    description: Whether that side is the active or the passive one, as M(bascule_firewall_rules) tells.
    type: str
    choices: [active, passive]
    required: true
  asked_from:
    description: The name of the machine that asks.
    type: str
    required: true
extends_documentation_fragment:
  - bascule.firewall
"""

EXAMPLES = r"""
- name: Ask the side we move to
  bascule_firewall_probe:
    address: 192.0.2.1
    side: "{{ bascule_to }}"
    role: passive
    asked_from: "{{ bascule_from }}"
    rules: [{name: ssh, port: 22, verdict: accept}]
  delegate_to: "{{ bascule_from }}"
"""

RETURN = r"""
checked:
  description: How many ports came out as they have to.
  returned: always
  type: int
wrong:
  description: A sentence for each port that did not.
  returned: always
  type: list
  elements: str
not_proved:
  description: A sentence for each port of which nothing can be said.
  returned: always
  type: list
  elements: str
sampled_at:
  description: When this was seen, in seconds since 1970.
  returned: always
  type: int
"""

import time
from typing import Any

from ansible.module_utils.bascule.firewall.io import probe
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Ask and judge."""
    params = module.params
    began = int(time.time())
    judged = probe.look(params["rules"], params["side"], params["role"], params["address"], params["asked_from"])
    return {"checked": judged.checked, "wrong": judged.wrong, "not_proved": judged.not_proved, "sampled_at": began}


if __name__ == "__main__":
    run_module(
        {
            "address": {"type": "str", "required": True},
            "rules": {"type": "list", "elements": "dict", "required": True},
            "side": {"type": "str", "required": True},
            "role": {"type": "str", "choices": ["active", "passive"], "required": True},
            "asked_from": {"type": "str", "required": True},
        },
        main,
    )
