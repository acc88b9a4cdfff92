#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lay out copies of one side's SQLite databases for the other side."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_sqlite_publish
short_description: Lay out copies of one side's SQLite databases for the other side
description:
  - Copies each database by SQLite's backup API, while it is written or closed, and says what is in each copy.
  - Only a side that its guard calls open does.
  - Runs on the host of the databases.
extends_documentation_fragment:
  - bascule.side
  - bascule.sqlite
"""

EXAMPLES = r"""
- name: Lay out copies
  bascule_sqlite_publish:
    component: ops_store
    side: "{{ bascule_from }}"
    sqlite: {databases: [/srv/ops/database.sqlite], units: [ops.service]}
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
copies:
  description: Path, file, owner, mode and content of each copy; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.sqlite.io import side as sqlite_side
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Copy, and say what is in each copy."""
    params = module.params
    side = sqlite_side.Side(params["component"], params["side"], params["sqlite"], check=module.check_mode)
    return side.publish()


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "sqlite": {"type": "dict", "required": True, "options": sqlite_side.OPTIONS},
        },
        main,
    )
