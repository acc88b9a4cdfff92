#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install the host agent and its boot unit."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_host_install
short_description: Install the host agent and its boot unit
description:
  - Puts the agent to C(/usr/local/lib/bascule/bascule.pyz) and enables C(bascule-boot.service).
  - The action of the same role, M(bascule_host_agent), builds the agent and calls this module; without O(content) it
    only says whether the agent is there.
options:
  digest:
    description: SHA-256 of the agent that shall be there.
    type: str
    required: true
  unit:
    description: Text of C(bascule-boot.service).
    type: str
    required: true
  content:
    description: The agent itself, in base64.
    type: str
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Install the host agent
  bascule_host_agent:
  delegate_to: "{{ bascule_to }}"
  become: true
"""

RETURN = r"""
needed:
  description: Whether the agent itself was missing or another one.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.bascule.agent.io import install
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Look, and install what is missing."""
    digest, unit, content = (module.params[key] for key in ("digest", "unit", "content"))
    missing = install.missing(digest, unit)
    if missing and content and not module.check_mode:
        install.install(content, digest, unit)
    return {"changed": bool(missing), "needed": bool(missing), "missing": missing}


if __name__ == "__main__":
    run_module(
        {
            "digest": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True},
            "content": {"type": "str"},
        },
        main,
    )
