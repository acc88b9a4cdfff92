#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare the active side of a database for replication."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_publish
short_description: Prepare the active side of a database for replication
description:
  - Sees to the replication role, its SCRAM verifier, TLS, the slot, who is let in, and the guard.
  - Only reloads the server; what needs a restart is refused by the audit.
options:
  password:
    description: Password of the replication role.
    type: str
    required: true
  peer_guard:
    description: The guard of the other side; it tells a guard that was lost from one that never was.
    type: dict
extends_documentation_fragment:
  - bascule.spec
"""

EXAMPLES = r"""
- name: Prepare the active side
  bascule_postgresql_publish:
    spec: "{{ __postgresql_replication_specs['db-mtp'] }}"
    password: "{{ postgresql_replication_password }}"
  delegate_to: db-mtp
  become: true
"""

RETURN = r"""
changes:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
settings:
  description: Settings that a standby must not have smaller.
  returned: always
  type: dict
lost:
  description: Whether the standby has lost log it needs, so that it has to be built again.
  returned: always
  type: bool
oldest_segment:
  description: The oldest log file it still has, from the last 16 digits of its name.
  returned: always
  type: str
slot_keeps:
  description: How much log the slot keeps, from what was measured where the description leaves it to that.
  returned: always
  type: str
size_bytes:
  description: The size of all databases.
  returned: always
  type: int
system_id:
  description: The cluster's system identifier.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.postgresql.io.standby import prepare
from ansible.module_utils.bascule.postgresql.spec import Spec
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    spec = Spec.from_dict(module.params["spec"])
    given = module.params["peer_guard"]
    other = GuardState.from_dict(given) if given else None
    return prepare.publish(spec, module.params["password"], other=other, check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            "spec": {"type": "dict", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "peer_guard": {"type": "dict"},
        },
        main,
    )
