#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say how far a base backup is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_seed
short_description: Say how far a base backup is
description:
  - Fails when the base backup has failed or was interrupted; changes nothing.
  - It is called through the action of the same name, which calls it again and again until the base backup has ended.
options:
  wait:
    description: Seconds until it must have ended; the action's, the module itself never waits.
    type: float
    default: 86400
extends_documentation_fragment:
  - bascule.spec
"""

EXAMPLES = r"""
- name: Wait for the base backup
  bascule_postgresql_seed:
    spec: "{{ __postgresql_replication_specs['db-tls'] }}"
    wait: 3600
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
seed:
  description: Its state (running or done), the bytes it has, how fast they come, and the seconds that remain.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.postgresql.io.standby import basebackup
from ansible.module_utils.bascule.postgresql.spec import Spec
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    if module.check_mode:
        return {"changed": False, "seed": {"state": "done", "bytes": 0}}
    return {"changed": False, "seed": basebackup.seeding(Spec.from_dict(module.params["spec"]))}


if __name__ == "__main__":
    run_module(
        {
            "spec": {"type": "dict", "required": True},
            "wait": {"type": "float", "default": 86400.0},
        },
        main,
    )
