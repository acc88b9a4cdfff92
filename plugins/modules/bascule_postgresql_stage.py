#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prepare the passive side of a database, and start its base backup."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_stage
short_description: Prepare the passive side of a database, and start its base backup
description:
  - Writes what a standby needs and starts the base backup as a unit, unless the side is a standby already.
  - A running base backup is found and left alone; an interrupted one starts again.
  - A side that moves by dump and restore is only closed here; the dump is restored by the switch.
options:
  password:
    description: Password of the replication role.
    type: str
    required: true
  settings:
    description: Settings that the standby must not have smaller, from M(bascule_postgresql_publish).
    type: dict
    required: true
  system_id:
    description: The system identifier of the active side.
    type: str
    required: true
  lost:
    description: Build the standby again, because it has lost log it needs.
    type: bool
    default: false
  oldest_segment:
    description: The oldest log file of the active side; a standby that needs older log is built again.
    type: str
    default: ""
  size_bytes:
    description: How much the base backup will bring, for the remaining time.
    type: int
    default: 0
  replace:
    description: Put aside a cluster that holds databases of its own.
    type: bool
    default: false
  max_rate:
    description: Limit of the base backup, as pg_basebackup takes it.
    type: str
    default: ""
  slot_keeps:
    description: >-
      How much log the slot keeps at the side that serves, where the description leaves that to be measured; this side's
      keeps as much, as far as its disk goes.
    type: str
    default: ""
  peer_guard:
    description: The guard of the other side; it tells a guard that was lost from one that never was.
    type: dict
extends_documentation_fragment:
  - bascule.spec
"""

EXAMPLES = r"""
- name: Prepare the passive side
  bascule_postgresql_stage:
    spec: "{{ __postgresql_replication_specs['db-tls'] }}"
    password: "{{ postgresql_replication_password }}"
    settings: "{{ __postgresql_replication_published.settings }}"
    system_id: "{{ __postgresql_replication_published.system_id }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
changes:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
seeded:
  description: Whether the side is a standby already.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.postgresql.io.standby import prepare
from ansible.module_utils.bascule.postgresql.spec import DUMP_RESTORE, Spec
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    params = module.params
    spec = Spec.from_dict(params["spec"])
    other = GuardState.from_dict(params["peer_guard"]) if params["peer_guard"] else None
    if spec.method == DUMP_RESTORE:
        return prepare.stage_closed(
            spec,
            params["password"],
            replace=params["replace"],
            slot_keeps=params["slot_keeps"],
            other=other,
            check=module.check_mode,
        )
    return prepare.stage(
        spec,
        params["password"],
        {str(name): int(value) for name, value in params["settings"].items()},
        system_id=params["system_id"],
        lost=params["lost"],
        oldest_segment=params["oldest_segment"],
        size_bytes=params["size_bytes"],
        replace=params["replace"],
        max_rate=params["max_rate"],
        slot_keeps=params["slot_keeps"],
        other=other,
        check=module.check_mode,
    )


if __name__ == "__main__":
    run_module(
        {
            "spec": {"type": "dict", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "peer_guard": {"type": "dict"},
            "settings": {"type": "dict", "required": True},
            "system_id": {"type": "str", "required": True},
            "lost": {"type": "bool", "default": False},
            "oldest_segment": {"type": "str", "default": ""},
            "size_bytes": {"type": "int", "default": 0},
            "replace": {"type": "bool", "default": False},
            "max_rate": {"type": "str", "default": ""},
            "slot_keeps": {"type": "str", "default": ""},
        },
        main,
    )
