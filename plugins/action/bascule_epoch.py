"""Choose the epoch of a switch: above everything either side has promised, unique to this decision."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_epoch
short_description: Choose the epoch of a switch
description:
  - Runs on the controller and connects to nothing.
  - Refuses where a guard is lost that the other side cannot do without, or a side has yet to give way.
  - The epoch is above everything that either guard has promised, opened under, or given a receipt for, and carries the
    decision id of this ansible-playbook process, so that no other controller can choose the same one.
options:
  from_guard:
    description: The guard of the side to close, as M(bascule_guard) returned it.
    type: dict
    required: true
  to_guard:
    description: The guard of the side to open.
    type: dict
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Choose the epoch of this switch
  bascule_epoch:
    from_guard: "{{ __example_from.guard }}"
    to_guard: "{{ __example_to.guard }}"
  register: __example_epoch
"""

RETURN = r"""
epoch:
  description: The epoch, as text.
  returned: always
  type: str
  sample: 3.9f2c44d1a0b7e655
leader:
  description: The side that holds the latest data; empty when neither side was ever open.
  returned: always
  type: str
"""

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from bascule.errors import BasculeError
from bascule.guard import lost
from bascule.guard.state import GuardState, leader, next_epoch
from bascule.run.io import identity


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the epoch; nothing is changed."""
        super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            {"from_guard": {"type": "dict", "required": True}, "to_guard": {"type": "dict", "required": True}}
        )
        try:
            source, target = (GuardState.from_dict(args[key]) for key in ("from_guard", "to_guard"))
            lost.must_be_known(source, target)
            epoch = next_epoch(source, target, identity.current())
            first = leader(source, target)
        except BasculeError as error:
            raise AnsibleActionFail(error.message(), result=error.fields()) from error
        return {"changed": False, "epoch": str(epoch), "leader": first or ""}
