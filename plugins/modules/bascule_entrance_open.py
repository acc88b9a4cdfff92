#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give one side's entrance the permit to be open."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_open
short_description: Give one side's entrance the permit to be open
description:
  - Makes the smoke requests through this side's own entrance until they pass, then asks the other side from here as a
    user would, which must show its maintenance page, and takes the permit by the opening rule.
  - Users go on seeing the maintenance page until M(bascule_entrance_mode) thaws this side.
  - Where a person drives the entrance (V(manual)), the module fails until what it wants is seen; its action on the
    controller says what has to be done, and runs it again for as long as its C(manual_wait) says.
  - Runs on the host of the entrance to open.
options:
  epoch:
    description: The epoch of this decision, from the action bascule_epoch.
    type: str
    required: true
  receipt:
    description: The receipt of the other side for this epoch.
    type: dict
  word:
    description:
      - A person's word that the other side is lost and fenced, as M(bascule_word) made it; it takes the place of the
        O(receipt). Refused while the other side's entrance answers with anything but its maintenance page.
    type: dict
  other_address:
    description: The address at which users reach the other side.
    type: str
    required: true
  other_further_addresses:
    description: Further addresses by which users reach the other side, as the virtual one of a pair; all are asked.
    type: list
    elements: str
    default: []
  smoke:
    description: The smoke requests, as web_entrance_smoke declares them.
    type: list
    elements: dict
    required: true
  smoke_header:
    description: The header that carries the token.
    type: str
    required: true
  smoke_token:
    description: The token that lets a request through to the service in any mode.
    type: str
    required: true
  smoke_timeout:
    description: Seconds until every smoke request must have passed.
    type: float
    default: 60
extends_documentation_fragment:
  - bascule.side
  - bascule.entrance
"""

EXAMPLES = r"""
- name: Open the entrance we move to
  bascule_entrance_open:
    component: entrance
    side: "{{ bascule_to }}"
    epoch: "{{ __example_epoch.epoch }}"
    receipt: "{{ __example_closed.receipt }}"
    other_address: 192.0.2.1
    smoke: [{name: health, path: /healthz}]
    smoke_header: X-Bascule-Smoke
    smoke_token: "{{ vault_smoke_token }}"
    entrance: "{{ __example_entrances[bascule_to] }}"
  delegate_to: "{{ bascule_to }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
smoke:
  description: Name, status and duration of every smoke request.
  returned: always
  type: list
  elements: dict
would_ask:
  description: What a person would be asked to do.
  returned: in check mode, where a person drives the entrance
  type: list
  elements: str
by_hand_seconds:
  description: How long it took with the person.
  returned: when a person was asked
  type: float
"""

from typing import Any

from ansible.module_utils.bascule.entrance.io import side as entrance_side
from ansible.module_utils.bascule.entrance.requests import parse_requests
from ansible.module_utils.bascule.guard.state import Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Open by the rule."""
    params = module.params
    side = entrance_side.Side(params["component"], params["side"], params["entrance"], check=module.check_mode)
    asked = (
        parse_requests(params["smoke"], f"{params['component']}/{params['epoch']}"),
        (params["smoke_header"], params["smoke_token"]),
        params["smoke_timeout"],
        [
            entrance_side.target({**params["entrance"], "address": address})
            for address in (params["other_address"], *(params.get("other_further_addresses") or ()))
        ],
    )
    if params["word"]:
        return side.take_over(Word.from_dict(params["word"]), *asked)
    return side.open(params["epoch"], params["receipt"], *asked)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "entrance": {"type": "dict", "required": True, "options": entrance_side.OPTIONS},
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict"},
            "word": {"type": "dict"},
            "other_address": {"type": "str", "required": True},
            "other_further_addresses": {"type": "list", "elements": "str", "default": []},
            "smoke": {"type": "list", "elements": "dict", "required": True},
            "smoke_header": {"type": "str", "required": True},
            "smoke_token": {"type": "str", "required": True, "no_log": True},
            "smoke_timeout": {"type": "float", "default": 60},
        },
        main,
        required_one_of=[("receipt", "word")],
        mutually_exclusive=[("receipt", "word")],
    )
