#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try to write at the other side's MariaDB server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_probe
short_description: Try to write at the other side's MariaDB server
description:
  - Writes one row with Bascule's account at the other side, as a client from outside does, and says what came of it.
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
  - bascule.mysql
"""

EXAMPLES = r"""
- name: See that the other side refuses
  bascule_mysql_probe:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
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

from ansible.module_utils.bascule.mysql.io import probe
from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.mysql.refusals import MysqlError
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Try it, and judge."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    if module.check_mode:
        return {"seen": ""}
    seen = side.ask(side.account)
    kinds = {"written": (probe.WRITTEN,), "refused": (probe.READ_ONLY, probe.REFUSED), "any": (seen,)}
    if seen not in kinds[params["expect"]]:
        raise MysqlError(
            expected=f"a write at {params['mysql']['peer']}, tried from {params['side']}, to be {params['expect']}",
            found=seen,
            state="nothing else was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return {"seen": seen}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "expect": {"type": "str", "choices": ["any", "written", "refused"], "required": True},
        },
        main,
    )
