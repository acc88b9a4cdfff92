#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Knock at the other side of a database as a client."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_probe
short_description: Knock at the other side of a database as a client
description:
  - Connects over TLS to the other side, from the host on which the module runs, and asks to come in.
  - Only an answer counts; silence proves nothing. Needs no password and changes nothing.
options:
  answers:
    description: Which refusals are accepted, V(28000) by pg_hba.conf, V(ECONNREFUSED) by the host.
    type: list
    elements: str
  timeout:
    description: Seconds to wait for an answer.
    type: float
    default: 5.0
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Prove from outside that the old side refuses clients
  bascule_postgresql_probe:
    component: accounts_db
    side: db-tls
    answers: ["28000", ECONNREFUSED]
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
proof:
  description: The answer.
  returned: always; empty in check mode
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.switchover import freeze
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    if module.check_mode:
        return {"changed": False, "proof": ""}
    answers = tuple(params["answers"] or freeze.REFUSED_AT_ALL)
    proof = freeze.prove_from_outside(params["component"], params["side"], answers, params["timeout"])
    return {"changed": False, "proof": proof}


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "answers": {"type": "list", "elements": "str"},
            "timeout": {"type": "float", "default": 5.0},
        },
        main,
    )
