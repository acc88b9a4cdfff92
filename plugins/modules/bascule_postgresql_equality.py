#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wait for, and read, the digest of one side of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_equality
short_description: Wait for, and read, the digest of one side of a database
description:
  - The digest is made by a unit from a snapshot of the switch, which another unit holds. This module waits for it and
    returns what it found. A unit that was killed while the snapshot is still held is started again and goes on where it
    was.
options:
  epoch:
    description: The epoch of the switch.
    type: str
    required: true
  wait:
    description: Seconds to wait.
    type: float
    default: 3600.0
  ask:
    description:
      - Ask about what differs, as the filters C(bascule_postgresql_compare) and C(bascule_postgresql_narrow) say.
    type: dict
  release:
    description: Let the snapshot go.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Read the digest of the active side
  bascule_postgresql_equality:
    component: accounts_db
    side: db-tls
    epoch: 1.3f2a
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
result:
  description: The digest; null when there is none.
  returned: always
  type: dict
ended:
  description: Whether the digest is as whole as it will ever be.
  returned: always
  type: bool
progress:
  description: How far it has come, as a line to read.
  returned: always
  type: str
rows:
  description: What was asked for, with masked keys; null when the snapshot is gone.
  returned: when asked
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.bascule.postgresql.io.rows import comparison
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    return comparison.collect(
        params["component"],
        params["side"],
        params["epoch"],
        wait=params["wait"],
        question=params["ask"],
        let_go=params["release"] and not module.check_mode,
        resume=not module.check_mode,
    )


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "epoch": {"type": "str", "required": True},
            "wait": {"type": "float", "default": 3600.0},
            "ask": {"type": "dict"},
            "release": {"type": "bool", "default": False},
        },
        main,
    )
