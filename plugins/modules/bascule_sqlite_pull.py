#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring copies of SQLite databases over from the other side."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_pull
short_description: Bring copies of SQLite databases over from the other side
description:
  - Fetches each copy by rsync over SSH, proves it whole and the same row by row, and puts it in its place.
  - Only a side that its guard calls closed takes any.
  - Runs on the host of the databases.
options:
  copies:
    description: The RV(bascule_sqlite_publish#module:copies) of the other side.
    type: list
    elements: dict
    required: true
  address:
    description: Address of the other side.
    type: str
    required: true
  port:
    description: SSH port of the other side.
    type: int
    default: 22
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Bring them over
  bascule_sqlite_pull:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
    copies: "{{ __example_published.copies }}"
    address: 192.0.2.2
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
comparison:
  description: How many tables and rows were compared, what was not, and the digest of each database.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Fetch, prove, and put in place."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    fetch = sqlite_side.fetcher(params["component"], params["address"], params["port"])
    return side.pull(params["copies"], fetch)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "copies": {"type": "list", "elements": "dict", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 22},
        },
        main,
    )
