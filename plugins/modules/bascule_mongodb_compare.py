#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare both sides of a MongoDB pair document by document."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mongodb_compare
short_description: Compare both sides of a MongoDB pair document by document
description:
  - Reads both sides range by range of _id, each range at one cluster time, and compares every document, the users' and
    roles' as well, options and indexes. Clients write on.
  - Runs on the host of the closed side.
options:
  wait:
    description: Seconds in which this side has to reach what is compared.
    type: float
    default: 60
extends_documentation_fragment:
  - bascule.side
  - bascule.mongodb
"""

EXAMPLES = r"""
- name: Compare
  bascule_mongodb_compare:
    component: orders
    side: "{{ bascule_from }}"
    mongodb: "{{ __example_mongodb_from }}"
  delegate_to: "{{ bascule_from }}"
  become: true
  register: __example_compared
"""

RETURN = r"""
comparison:
  description: Its position, collections_compared, documents_compared, collections_different, and differences in words.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.mongodb.io import side as mongodb_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Compare."""
    params = module.params
    side = mongodb_side.Side(params["component"], params["side"], params["mongodb"], check=module.check_mode)
    return {"comparison": side.compare(params["wait"])}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mongodb": {"type": "dict", "required": True, "options": mongodb_side.OPTIONS},
            "wait": {"type": "float", "default": 60},
        },
        main,
    )
