#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare both sides of a MariaDB pair row by row."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_compare
short_description: Compare both sides of a MariaDB pair row by row
description:
  - Takes a snapshot at the active side, has this side apply exactly up to it, and compares rows, definitions and
    accounts. Clients write on.
  - Runs on the host of the closed side.
options:
  wait:
    description: Seconds in which this side has to reach the snapshot.
    type: float
    default: 60
extends_documentation_fragment:
  - bascule.side
  - bascule.mysql
"""

EXAMPLES = r"""
- name: Compare
  bascule_mysql_compare:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
  delegate_to: "{{ bascule_from }}"
  become: true
  register: __example_compared
"""

RETURN = r"""
comparison:
  description: Its position, tables_compared, rows_compared, tables_different, and differences in words.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.mysql.io import comparison
from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Compare."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    return {"comparison": comparison.run(side.server, side.account, params["wait"])}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "wait": {"type": "float", "default": 60},
        },
        main,
    )
