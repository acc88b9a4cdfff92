#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a machine's own key for dumps, and keep for whom they are encrypted."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_recipients
short_description: Make a machine's own key for dumps
description:
  - Makes an age key on the machine unless it has one; the private key never leaves it.
  - Keeps for whom dumps of the component are encrypted there.
options:
  component:
    description: The component.
    type: str
    required: true
  others:
    description: Recipients besides the machine itself; empty ones do not count.
    type: list
    elements: str
    default: []
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Make a key
  bascule_recipients:
    component: accounts_db
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
recipient:
  description: The machine's own recipient; empty in check mode when it has no key yet.
  returned: always
  type: str
changes:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.system.io import age_keys
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    return age_keys.ensure(module.params["component"], module.params["others"], check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            "component": {"type": "str", "required": True},
            "others": {"type": "list", "elements": "str", "default": []},
        },
        main,
    )
