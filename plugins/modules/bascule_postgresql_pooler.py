#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""See to the connection pooler of a database host, look at it, or take it away."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_postgresql_pooler
short_description: See to the connection pooler of a database host
description:
  - C(present) writes Bascule's own instance of PgBouncer (or the one included file of somebody else's), starts it and
    points it to the active side. A second run changes nothing.
  - C(audited) says how it is set up and used, and what of that stands in the way of a switch. It changes nothing.
  - C(absent) takes Bascule's own instance away. Somebody else's is left as it is.
options:
  state:
    description: What to do.
    type: str
    choices: [present, absent, audited]
    default: present
  active:
    description: The side that the pooler points to; needed for C(present).
    type: str
    default: ""
  budget:
    description: Seconds that a switch may take; C(audited) measures waiting times against it.
    type: float
    default: 5
extends_documentation_fragment:
  - bascule.spec
"""

EXAMPLES = r"""
- name: See to the pooler of the passive side
  bascule_postgresql_pooler:
    spec: "{{ __postgresql_replication_specs['db-tls'] }}"
    active: db-mtp
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
changes:
  description: What was changed, or would be; of files only the names.
  returned: with state present or absent
  type: list
  elements: str
pooler:
  description: How the pooler is set up and used, with warnings.
  returned: with state audited
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.postgresql.io.pooler import install
from ansible.module_utils.bascule.postgresql.spec import Spec
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    spec = Spec.from_dict(module.params["spec"])
    if module.params["state"] == "audited":
        return {"pooler": install.audit(spec, module.params["budget"])}
    if module.params["state"] == "absent":
        return install.remove(spec, check=module.check_mode)
    return install.prepare(spec, module.params["active"], check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            "spec": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "audited"], "default": "present"},
            "active": {"type": "str", "default": ""},
            "budget": {"type": "float", "default": 5},
        },
        main,
        required_if=[("state", "present", ("active",))],
    )
