#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a long operation on a file tree and follow it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_filetree_job
short_description: Run a long operation on a file tree and follow it
description:
  - V(push) brings the other side up to date and takes both manifests; V(verify) reads every byte at both sides
    again and compares; V(repair) writes again, at the passive side, what the last verification has found to differ
    there. They run as a transient unit on the leading side's host; a later run finds the unit and follows it.
  - V(preview) returns what a push would do, V(hello) asks for a sign of life, V(rate) measures SSH; nothing is changed.
  - V(scratch) sends a file to the other side, into a directory that is no part of the tree, and removes it there.
  - An action plugin of the same name follows the unit until it ends and shows its progress.
options:
  operation:
    description: What to do.
    type: str
    choices: [push, verify, repair, preview, hello, rate, scratch]
    required: true
  address:
    description: The other side's address over the link.
    type: str
    required: true
  port:
    description: The other side's SSH port.
    type: int
    default: 22
  final:
    description: The tree stands still. Files that vanish are an error, and both trees must be equal afterwards.
    type: bool
    default: false
  backup_dir:
    description: Where the other side keeps what is replaced, as M(bascule_filetree_receive) returned it.
    type: str
    default: ""
  max_delete:
    description: How many deletions are let through.
    type: int
    default: 1000
  bwlimit:
    description: Rate limit as rsync takes it; V(0) is none, and where it is empty O(link_percent) says it.
    type: str
    default: "0"
  link_percent:
    description:
      - The share of the measured link that a transfer takes; the last one, of a tree that stands still, takes all.
    type: float
    default: 0
  link_mbit:
    description: What the link was just measured to carry, to be remembered for a day; 0 when it was not measured.
    type: float
    default: 0
  checksum:
    description: Compare contents instead of size and time.
    type: bool
    default: false
  again:
    description: Go on with the last verification, which has ended; only what looks otherwise since is read.
    type: bool
    default: false
  retries:
    description: How often a transfer goes on after the link has failed.
    type: int
    default: 3
  stands_in:
    description:
      - Connect, then wait so many seconds for the tree to stand still, and only then transfer. The action plugin
        returns when everything is connected; the V(push) that comes later finds the operation, or its outcome.
    type: int
    default: 0
  stands_at:
    description:
      - The state in which the other side was seen, C(facts.agreed) of M(bascule_filetree_state) while nothing was
        received since. Where the link is gone, a O(final) V(push) ends well when both have agreed on that state last,
        and nothing has happened at this side since.
    type: str
    default: ""
  rate_seconds:
    description: How long V(rate) sends.
    type: int
    default: 4
  start:
    description: Start the unit, or find the one that runs; V(false) only looks.
    type: bool
    default: true
  id:
    description: The operation to look for, as an earlier call returned it.
    type: str
    default: ""
  wait:
    description: Seconds to wait for the end before returning.
    type: int
    default: 10
extends_documentation_fragment:
  - bascule.side
"""

EXAMPLES = r"""
- name: Bring the other side up to date
  bascule_filetree_job:
    component: course_files
    side: files-mtp
    operation: push
    address: 198.18.2.20
    bwlimit: 10m
  delegate_to: files-mtp
  become: true
"""

RETURN = r"""
running:
  description: Whether the operation is still running.
  returned: always
  type: bool
id:
  description: Names the operation for the next call.
  returned: always
  type: str
progress:
  description: How far it is.
  returned: while it runs
  type: dict
result:
  description: What it found; none when the two sides have not been set up (V(preview) and V(rate) only).
  returned: when it has ended
  type: dict
"""

from typing import Any

from ansible.module_utils.bascule.filetree.io.transfer import job
from ansible.module_utils.bascule.plugin.module import SIDE, run_module
from ansible.module_utils.basic import AnsibleModule

OPTIONS = (
    "address",
    "port",
    "final",
    "backup_dir",
    "max_delete",
    "bwlimit",
    "link_percent",
    "link_mbit",
    "checksum",
    "again",
    "retries",
    "stands_in",
    "stands_at",
    "rate_seconds",
)
OPERATIONS = ["push", "verify", "repair", "preview", "hello", "rate", "scratch"]


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    component, operation = module.params["component"], module.params["operation"]
    options = {name: module.params[name] for name in OPTIONS}
    if operation in ("preview", "rate") or (operation in ("hello", "scratch") and not module.check_mode):
        return job.at_once(component, operation, options)
    if module.check_mode:
        return job.foresee(component, operation, options)
    start, job_id, wait = (module.params[name] for name in ("start", "id", "wait"))
    return job.follow(component, operation, options, start=start, job_id=job_id, wait=wait)


if __name__ == "__main__":
    run_module(
        {
            **SIDE,
            "operation": {"type": "str", "required": True, "choices": OPERATIONS},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 22},
            "final": {"type": "bool", "default": False},
            "backup_dir": {"type": "str", "default": ""},
            "max_delete": {"type": "int", "default": 1000},
            "bwlimit": {"type": "str", "default": "0"},
            "link_percent": {"type": "float", "default": 0},
            "link_mbit": {"type": "float", "default": 0},
            "checksum": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
            "retries": {"type": "int", "default": 3},
            "stands_in": {"type": "int", "default": 0},
            "stands_at": {"type": "str", "default": ""},
            "rate_seconds": {"type": "int", "default": 4},
            "start": {"type": "bool", "default": True},
            "id": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 10},
        },
        main,
    )
