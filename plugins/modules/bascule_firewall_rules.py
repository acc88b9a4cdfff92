#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's firewall rules, or load them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_firewall_rules
short_description: Measure one side's firewall rules, or load them
description:
  - The rules lie in a table of the component's own, which is replaced at once. No other table is touched, by the undo
    neither.
  - What was loaded is undone by a timer at the host. An action of the same name on the controller comes back by a new
    connection, which confirms it; only then a start of the host loads it as well. Without that action every change is
    undone.
  - Runs on the host of the firewall.
options:
  state:
    description:
      - V(measured) changes nothing.
      - V(prepared) leaves what the boot fence needs.
      - V(applied) loads the rules that this side has to have now, as its guard says whether it is the active one.
    type: str
    choices: [measured, prepared, applied]
    required: true
  undo_seconds:
    description: Seconds after which a change is undone that was not confirmed.
    type: float
    default: 60
extends_documentation_fragment:
  - bascule.side
  - bascule.firewall
"""

EXAMPLES = r"""
- name: Load the rules of the side we move to
  bascule_firewall_rules:
    component: edge
    side: "{{ bascule_to }}"
    state: applied
    rules: [{name: ssh, port: 22, verdict: accept}]
  delegate_to: "{{ bascule_to }}"
  become: true
"""

RETURN = r"""
role:
  description: Whether this side is the active or the passive one.
  returned: when O(state=measured) or O(state=applied)
  type: str
faults:
  description: What keeps the rules from being loaded, or from being as declared.
  returned: when O(state=measured)
  type: list
  elements: str
notes:
  description: Who else decides on what comes in, and what others have changed since the rules were captured.
  returned: when O(state=measured)
  type: list
  elements: str
tables:
  description: A digest of each table of the host.
  returned: when O(state=measured)
  type: dict
guard:
  description: The guard of this side.
  returned: always
  type: dict
token:
  description: What confirms the change; the action takes it away.
  returned: when O(state=applied)
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.firewall.io import side as firewall_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    side = firewall_side.Side(params["component"], params["side"], params["rules"], check=module.check_mode)
    if params["state"] == "measured":
        return side.measure()
    if params["state"] == "prepared":
        side.wanted()
        return {"changed": side.prepare(), "guard": side.guard().to_dict()}
    return side.apply(params["undo_seconds"])


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "rules": {"type": "list", "elements": "dict", "required": True},
            "state": {"type": "str", "choices": ["measured", "prepared", "applied"], "required": True},
            "undo_seconds": {"type": "float", "default": 60},
        },
        main,
    )
