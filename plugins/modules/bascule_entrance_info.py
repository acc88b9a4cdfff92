#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's entrance."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_info
short_description: Measure one side's entrance
description:
  - Reads the version of HAProxy or nginx, the mode that it follows now and after a start, the servers behind it, its
    certificate and its TLS version, and the guard. Changes nothing.
  - Runs on the host of the entrance.
options:
  backends:
    description: Names of the backends that HAProxy must have.
    type: list
    elements: str
    default: []
  certificate_days:
    description: How many days the certificate must still be good for.
    type: int
    default: 14
  drain_cut:
    description: Whether a freeze would have to cut requests; a fault where what serves there has no way to.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.entrance
"""

EXAMPLES = r"""
- name: Measure the entrance
  bascule_entrance_info:
    component: entrance
    side: "{{ bascule_from }}"
    entrance: "{{ __example_entrances[bascule_from] }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
entrance:
  description: What was measured.
  returned: always
  type: dict
faults:
  description: What keeps this entrance from being moved, empty when nothing does.
  returned: always
  type: list
  elements: str
guard:
  description: The guard of this side.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.module_utils.bascule.entrance import requests
from ansible.module_utils.bascule.entrance.io import https
from ansible.module_utils.bascule.entrance.io import side as entrance_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure."""
    params = module.params
    side = entrance_side.Side(params["component"], params["side"], params["entrance"])
    measured, faults = side.driver.measure(params["backends"], params["drain_cut"])
    answer = https.request(side.target)
    now = time.time()
    if side.target.scheme == https.HTTP:
        faults += requests.plain_faults(answer)
        measured["not_done"] = {**measured.get("not_done", {}), **requests.NOT_ENCRYPTED}
    else:
        if answer.error and not answer.tls:
            # A slow service behind the entrance is not the entrance's fault: it has shown its certificate by then.
            faults.append(answer.error)
        faults += requests.certificate_faults(answer.certificate, side.target.name, now, params["certificate_days"])
    measured |= {
        "tls": answer.tls,
        "certificate_names": requests.names(answer.certificate),
        "certificate_days_left": requests.days_left(answer.certificate, now) if answer.certificate else None,
        "status": answer.status,
    }
    return {"entrance": measured, "faults": faults, "guard": side.guard().to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "entrance": {"type": "dict", "required": True, "options": entrance_side.OPTIONS},
            "backends": {"type": "list", "elements": "str", "default": []},
            "certificate_days": {"type": "int", "default": 14},
            "drain_cut": {"type": "bool", "default": False},
        },
        main,
    )
