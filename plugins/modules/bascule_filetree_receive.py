#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the passive side of a file tree ready to receive."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_receive
short_description: Make the passive side of a file tree ready to receive
description:
  - Services see the tree read-only in every mount namespace, while root's private path takes what the other
    side sends. Only a side whose guard is closed is made ready.
  - Returns where a transfer must keep what it replaces, as a side that was active once never loses what it held.
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Make the passive side ready
  bascule_filetree_receive:
    component: course_files
    side: files-tls
  delegate_to: files-tls
  become: true
"""

RETURN = r"""
done:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
backup_dir:
  description: Where the next transfer must keep what it replaces; empty when this side was never active.
  returned: always
  type: str
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import transitions
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    done, backup_dir = transitions.make_ready(
        module.params["component"], module.params["side"], check=module.check_mode
    )
    return {"changed": bool(done), "done": done, "backup_dir": backup_dir}


if __name__ == "__main__":
    run_module({**SIDE}, main)
