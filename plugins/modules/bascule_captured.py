#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep what a return must restore, durably, on a host of the component."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_captured
short_description: Keep what a return must restore
description:
  - Writes V(captured.json) of a component on its host, durably, or reads it.
options:
  data:
    description: What to keep, added to what is kept already under other keys; without it the file is only read.
    type: dict
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Keep how the entrance was before
  bascule_captured:
    component: entrance
    data:
      mode: open
  delegate_to: "{{ bascule_from }}"
  become: true
"""

RETURN = r"""
captured:
  description: What is kept; null when nothing is.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.guard.io import store
from ansible.module_utils.bascule.plugin.module import COMPONENT, run_module
from ansible.module_utils.bascule.system.io import storage
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Write, or read."""
    path = store.GUARD_DIRECTORY.parent / module.params["component"] / "captured.json"
    before, data = storage.read_json(path), module.params["data"]
    if data is None:
        return {"changed": False, "captured": before}
    data = {**(before or {}), **data}
    if before == data:
        return {"changed": False, "captured": before}
    if not module.check_mode:
        storage.write_json(path, data)
    return {"changed": True, "captured": data, "diff": {"before": before or {}, "after": data}}


if __name__ == "__main__":
    run_module({**COMPONENT, "data": {"type": "dict"}}, main)
