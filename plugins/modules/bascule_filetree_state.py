#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at one side of a file tree."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_state
short_description: Look at one side of a file tree
description:
  - Returns the guard, the mounts, and, when asked, how much there is and how much room. Changes nothing of the tree.
options:
  path:
    description: Public path of the tree.
    type: path
    required: true
  survey:
    description:
      - Count the tree's entries as well, which walks over all of it, and try a small transfer in a scratch directory in
        root's home.
    type: bool
    default: false
  owners:
    description: Whether owners travel and are compared as numbers or as names; a survey tells who they are, by names.
    type: str
    choices: [numbers, names]
    default: numbers
  owners_there:
    description: Who owns something at the other side, as its survey told; this one tells who is not the same here.
    type: dict
    default: {}
  attributes_there:
    description:
      - Sizes in bytes of the other side's largest extended attribute (C(largest)) and of the largest sum at one entry
        (C(together)), as its survey told. This side then tells whether its file system can hold them; it tries with a
        file that never has a name.
    type: dict
    default: {}
  address:
    description: The other side's address over the link; then what is known of its rate is returned as well.
    type: str
    default: ""
  peer:
    description: The other side's address over the link; a survey then asks the SSH server here whether it is let in.
    type: str
    default: ""
  reach:
    description: The other side's address over the link; then it is tried whether a connection to O(port) comes about.
    type: str
    default: ""
  port:
    description: The port at O(reach).
    type: int
    default: 22
  outside:
    description:
      - Write to the tree through the other side's service with O(write_from_outside) and remove it again. V(look), from
        a closed side while the other is open, fails unless the write is let in, and notes that; V(proof), from the open
        side, returns whether the closed one refuses whom it has let in. Not in check mode.
    type: str
    choices: [look, proof]
  write_from_outside:
    description: Words of that command, C({address}) for O(address).
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - bascule.side
  - bascule.tree
"""

EXAMPLES = r"""
- name: Look at the side we move to
  bascule_filetree_state:
    component: course_files
    side: files-tls
    path: /srv/courses
    sentinel: .bascule-sentinel
    survey: true
  delegate_to: files-tls
  become: true
"""

RETURN = r"""
guard:
  description: What this side has promised.
  returned: always
  type: dict
mounts:
  description: State of the mounts (C(active), C(frozen), C(closed), C(passive) or C(absent)), file system and options.
  returned: always
  type: dict
owners:
  description: How prepare has set this side up to tell owners; empty when it was not set up.
  returned: always
  type: str
facts:
  description: Moments this side noted about itself.
  returned: always
  type: dict
loss:
  description: What this side may lack, should the other one be lost.
  returned: always
  type: str
ready:
  description: Whether this side can receive as it is.
  returned: always
  type: bool
backup_dir:
  description: Where the next transfer must keep what it replaces here; empty when this side was never active.
  returned: always
  type: str
link_mbit:
  description: What the link to O(address) was measured to carry lately, in Mbit/s; 0 when it was not measured.
  returned: when an address was given
  type: float
apart:
  description: Why no connection to O(reach) comes about; empty where one does.
  returned: when an address was given
  type: str
survey:
  description:
    - Counts, room, versions and clock, what would stop a transfer, and what no transfer carries and no manifest
      compares; only with O(survey).
  returned: when asked
  type: dict
outside:
  description: The word of a O(outside=proof), C(refused), C(off), C(not_proved) or C(admitted), and its C(reason).
  returned: when asked
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.filetree import decisions
from ansible.module_utils.bascule.filetree.io import audit, own_mount
from ansible.module_utils.bascule.filetree.io.fence import outside
from ansible.module_utils.bascule.filetree.io.fence import side as fence_side
from ansible.module_utils.bascule.filetree.io.transfer import receivers
from ansible.module_utils.bascule.plugin.module import SIDE, TREE, run_module
from ansible.module_utils.bascule.system.io import reach
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, name, path, sentinel = (module.params[key] for key in ("component", "side", "path", "sentinel"))
    part = fence_side.part_set(component)
    if part is None:
        part = module.params["part_allowed"] and own_mount.is_part(path)
    side = fence_side.Side(
        component, name, path, sentinel, owners=module.params["owners"], part=part, account=module.params["account"]
    )
    facts = fence_side.facts(side)
    result: dict[str, Any] = {
        "guard": side.guard().to_dict(),
        "mounts": audit.mounts_of(side),
        "owners": fence_side.owners_set(side),
        "facts": facts,
        "loss": decisions.may_lack(facts, bool(receivers.standing(side))),
        "ready": fence_side.ready(side),
        "backup_dir": fence_side.backup_dir(side),
    }
    if module.params["address"]:
        result["link_mbit"] = fence_side.link_mbit(side, module.params["address"])
    if module.params["survey"]:
        there = (module.params[key] for key in ("owners_there", "attributes_there", "peer"))
        result["survey"] = audit.survey(side, *there)
    if module.params["outside"] and not module.check_mode:
        asked = (module.params["write_from_outside"], module.params["address"])
        if module.params["outside"] == "proof":
            result["outside"] = outside.proof(side, *asked)
        else:
            outside.look(side, *asked)
    if module.params["reach"]:
        result["apart"] = reach.why_not(module.params["reach"], module.params["port"])
    return result


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            **TREE,
            "path": {"type": "path", "required": True},
            "survey": {"type": "bool", "default": False},
            "owners": {"type": "str", "default": "numbers", "choices": ["numbers", "names"]},
            "owners_there": {"type": "dict", "default": {}},
            "attributes_there": {"type": "dict", "default": {}},
            "address": {"type": "str", "default": ""},
            "peer": {"type": "str", "default": ""},
            "reach": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 22},
            "outside": {"type": "str", "choices": ["look", "proof"]},
            "write_from_outside": {"type": "list", "elements": "str", "default": []},
        },
        main,
    )
