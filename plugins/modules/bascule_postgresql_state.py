#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what one side of a database really is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_state
short_description: Read what one side of a database really is
description:
  - Reads guard, control file, server and replication of one side; changes nothing.
options:
  audit:
    description: Measure everything that an audit compares as well.
    type: bool
    default: false
  seconds:
    description: How long to watch the log grow, with O(audit).
    type: float
    default: 2.0
  controller_time:
    description: What the controller's clock says right now, with O(audit); the clocks of both sides are compared by it.
    type: float
  unlogged:
    description: Look as well for what no log carries to the other side.
    type: bool
    default: false
  places:
    description: >-
      First refuse a cluster that is not where it is declared to be, a major version that is not moved, and a host that
      lacks what it needs.
    type: bool
    default: false
  leaving:
    description: Name as well what a return would leave behind here; a database that does not answer is named too.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.spec
"""

EXAMPLES = r"""
- name: Read the side we move to
  bascule_postgresql_state:
    spec: "{{ __postgresql_replication_specs['db-tls'] }}"
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
loss:
  description: Where its log ends and how old that is, should the other side be lost.
  returned: always
  type: str
guard:
  description: The side's guard.
  returned: always
  type: dict
state:
  description: What the side is.
  returned: always
  type: dict
apart:
  description: Why what is written here does not come to the other side; empty where it does, or need not.
  returned: always
  type: str
carried:
  description: How what is written here comes to the other side, and how far that is behind; empty where it does not.
  returned: always
  type: str
unseen:
  description: Why this side, which its guard says is open, was not seen to serve; empty where it was, or serves nobody.
  returned: always
  type: str
not_replicated:
  description: What its databases hold that no log carries to the other side; nothing when nobody looked.
  returned: always
  type: list
left_behind:
  description: >-
    What no log carries and a return would lose, by name; null when nobody looked, or this side is not open. From here
    M(bascule_alone) takes it.
  returned: always
  type: list
"""

from typing import Any

from ansible.module_utils.bascule.guard.state import GuardState
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.postgresql import decisions
from ansible.module_utils.bascule.postgresql.io.cluster import settings
from ansible.module_utils.bascule.postgresql.io.standby import audit, state
from ansible.module_utils.bascule.postgresql.spec import Spec
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    spec = Spec.from_dict(module.params["spec"])
    if module.params["places"]:
        settings.require_places(spec)
    if module.params["audit"]:
        found = audit.audit(spec, module.params["seconds"], module.params["controller_time"])
    else:
        found = state.read(spec, keep=not module.check_mode)
    guard = GuardState.from_dict(found["guard"])
    return {
        "changed": False,
        "apart": decisions.not_followed(found, guard),
        "carried": decisions.followed(found, guard),
        "unseen": decisions.unseen(found, guard),
        "guard": found["guard"],
        "state": found,
        "loss": decisions.may_lack(found),
        "not_replicated": audit.not_replicated(spec) if module.params["unlogged"] else [],
        "left_behind": (audit.left_behind(spec, guard) if module.params["leaving"] else None),
    }


if __name__ == "__main__":
    run_module(
        {
            "spec": {"type": "dict", "required": True},
            "audit": {"type": "bool", "default": False},
            "seconds": {"type": "float", "default": 2.0},
            "controller_time": {"type": "float"},
            "unlogged": {"type": "bool", "default": False},
            "places": {"type": "bool", "default": False},
            "leaving": {"type": "bool", "default": False},
        },
        main,
    )
