#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare one side of a MariaDB pair."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_mysql_setup
short_description: Prepare one side of a MariaDB pair
description:
  - Leaves on the host the option file of Bascule's account, the other side's certificate, the unit that loads the
    fence, and what the boot fence needs.
  - At the side that serves, O(account=true) makes the account, written to the binary log, so that the other side has
    it as well.
  - Runs on the host of the server.
options:
  password:
    description: The password of Bascule's account.
    type: str
    required: true
  certificate:
    description: What was measured as certificate at the other side.
    type: str
    required: true
  account:
    description: Whether the account is made here.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
  - bascule.mysql
"""

EXAMPLES = r"""
- name: Prepare the server
  bascule_mysql_setup:
    component: orders
    side: "{{ bascule_from }}"
    mysql: {peer: 192.0.2.2}
    password: "{{ mysql_replication_password }}"
    certificate: "{{ __example_info.certificate }}"
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
guard:
  description: The guard after the module has run.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.mysql.io import side as mysql_side
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Leave what the other verbs need."""
    params = module.params
    side = mysql_side.Side(params["component"], params["side"], params["mysql"], check=module.check_mode)
    changed = side.prepare(params["password"], params["certificate"])
    if params["account"] and not module.check_mode:
        changed = side.server.account(params["password"]) or changed
    return {"changed": changed, "guard": side.guard().to_dict()}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "mysql": {"type": "dict", "required": True, "options": mysql_side.OPTIONS},
            "password": {"type": "str", "required": True, "no_log": True},
            "certificate": {"type": "str", "required": True},
            "account": {"type": "bool", "default": False},
        },
        main,
    )
