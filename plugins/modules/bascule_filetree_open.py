#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Open one side of a file tree with the other side's receipt."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_open
short_description: Open one side of a file tree with the other side's receipt
description:
  - Under the guard, waits until nothing is being received, takes the tree's manifest, and opens only when it
    equals the receipt's; then makes the tree writable and proves it by a write that leaves nothing behind.
options:
  epoch:
    description: The epoch of this switch.
    type: str
    required: true
  receipt:
    description: The other side's receipt for this epoch.
    type: dict
  word:
    description:
      - A person's word that the other side is lost and fenced, as M(bascule_word) made it; it takes the place of the
        O(receipt), and nothing is compared.
    type: dict
  services:
    description: Services that serve the tree; one whose own mount namespace still shows it read-only is restarted.
    type: list
    elements: str
    default: []
  write_from_outside:
    description:
      - Words of a command that writes to the tree through the other side's service, C({address}) for its address. It
        runs here before anything is opened; when the write is let in, nothing is.
    type: list
    elements: str
    default: []
  address:
    description: The other side's address.
    type: str
    default: ""
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Open the side we go to
  bascule_filetree_open:
    component: course_files
    side: files-tls
    epoch: 3.9f2c44d1a0b7e655
    receipt: "{{ __example_close.receipt }}"
  delegate_to: files-tls
  become: true
"""

RETURN = r"""
guard:
  description: What this side has promised.
  returned: always
  type: dict
done:
  description: What was changed, or would be.
  returned: always
  type: list
  elements: str
still_read_only:
  description: Processes that still see the tree read-only and must be restarted by hand.
  returned: always
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io import transitions
from ansible.module_utils.bascule.guard.state import Word
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    values = [module.params[key] for key in ("component", "side", "epoch", "receipt", "services")]
    word = Word.from_dict(module.params["word"]) if module.params["word"] else None
    outside = (module.params["write_from_outside"], module.params["address"])
    return transitions.open_(*values, word=word, outside=outside, check=module.check_mode)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "epoch": {"type": "str", "required": True},
            "receipt": {"type": "dict"},
            "word": {"type": "dict"},
            "services": {"type": "list", "elements": "str", "default": []},
            "write_from_outside": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str", "default": ""},
        },
        main,
        required_one_of=[("receipt", "word")],
        mutually_exclusive=[("receipt", "word")],
    )
