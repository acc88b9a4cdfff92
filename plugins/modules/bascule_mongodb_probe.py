#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try to write at the other side's MongoDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_probe
short_description: Try to write at the other side's MongoDB server
description:
  - Writes one document with the key of the set at the other side, as a client from outside does, and says what came of it.
  - Check mode tries nothing.
  - Runs on a host of the pair, and asks the other one.
options:
  expect:
    description: What must come of it; V(any) fails for nothing.
    type: str
    choices: [any, written, refused]
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: See that the other side refuses
  bascule_mongodb_probe:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
    expect: refused
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
seen:
  description: What came of it.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import server
from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.mongodb.refusals import MongoError
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Try it, and judge."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    if module.check_mode:
        return {"seen": ""}
    seen = side.ask(side)
    kinds = {"written": (server.WRITTEN,), "refused": (server.NOT_WRITABLE, mongodb_side.REFUSED), "any": (seen,)}
    if seen not in kinds[params["expect"]]:
        raise MongoError(
            expected=f"a write at {params['mongodb']['peer']}, tried from {params['side']}, to be {params['expect']}",
            found=seen,
            state="nothing else was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return {"seen": seen}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "expect": {"type": "str", "choices": ["any", "written", "refused"], "required": True},
        },
        main,
    )
