#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try to write to one side's SQLite databases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_probe
short_description: Try to write to one side's SQLite databases
description:
  - Commits a write that changes no value to each database as its owner; check mode tries nothing.
  - Runs on the host of the databases.
options:
  expect:
    description: What must come of it.
    type: str
    choices: [written, refused]
    required: true
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: See that a write passes
  bascule_sqlite_probe:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
    expect: written
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
seen:
  description: What came of it, by path; empty in check mode.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Try, and judge."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    return {"seen": side.tried(params["expect"] == "written")}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
            "expect": {"type": "str", "choices": ["written", "refused"], "required": True},
        },
        main,
    )
