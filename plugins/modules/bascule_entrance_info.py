#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure one side's entrance."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_info
short_description: Measure one side's entrance
description:
  - Reads HAProxy's version, the mode in its map file and in the running process, the health of the servers behind it,
    its certificate and its TLS version, and the guard. Changes nothing.
  - Runs on the host of the entrance.
options:
  backends:
    description: Names of the backends that must be there.
    type: list
    elements: str
    default: []
  certificate_days:
    description: How many days the certificate must still be good for.
    type: int
    default: 14
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

from ansible.module_utils.bascule.entrance import mode, requests
from ansible.module_utils.bascule.entrance.io import https
from ansible.module_utils.bascule.entrance.io import side as entrance_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Measure."""
    params = module.params
    side = entrance_side.Side(params["component"], params["side"], params["entrance"])
    haproxy, info, rows = side.haproxy, side.haproxy.info(), side.haproxy.stat()
    durable, runtime = haproxy.durable(), haproxy.runtime()
    answer = https.request(side.target)
    faults = [f"HAProxy has no backend {name}" for name in params["backends"] if name not in mode.backends(rows)]
    if durable != runtime:
        faults.append(f"the map file says {durable}, the running HAProxy {runtime}")
    if answer.error and not answer.tls:
        # A slow service behind the entrance is not the entrance's fault: it has shown its certificate by then.
        faults.append(answer.error)
    now = time.time()
    faults += requests.certificate_faults(answer.certificate, side.target.name, now, params["certificate_days"])
    measured = {
        "version": info.get("Version", ""),
        "mode": runtime or mode.MAINTENANCE,
        "mode_durable": durable or mode.MAINTENANCE,
        "servers": [server.to_dict() for server in mode.servers(rows)],
        "in_flight": mode.in_flight(rows, params["entrance"]["backend"]),
        "tls": answer.tls,
        "certificate_names": requests.names(answer.certificate),
        "certificate_days_left": requests.days_left(answer.certificate, now) if answer.certificate else None,
        "config_sha256": haproxy.config_digest(),
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
        },
        main,
    )
