"""Follow a long operation on a file tree until it ends, and show how far it is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_filetree_job
short_description: Follow a long operation on a file tree until it ends
description:
  - Takes the options of the module M(bascule_filetree_job) and calls it again and again until the operation has ended.
    A lost connection loses nothing, as the operation is a unit of its own.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Bring the other side up to date
  bascule_filetree_job:
    component: course_files
    side: files-mtp
    operation: push
    address: 198.18.2.20
  delegate_to: files-mtp
  become: true
"""

RETURN = r"""
result:
  description: What the operation found.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from bascule.filetree.transfer import ARMED, describe_progress

# An operation that waits for its tree is left alone after this time: it only saves time.
PATIENCE = 15.0


def _stage(result: dict[str, Any]) -> str:
    return str((result.get("progress") or {}).get("stage", ""))


def _is_set_up(result: dict[str, Any], begun: float) -> bool:
    """Tell whether an operation that is to wait for its tree does so, or will not come to it."""
    over = time.monotonic() - begun > PATIENCE
    return bool(result.get("failed") or not result.get("running") or _stage(result) == ARMED or over)


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Start, then look again until it has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        shown = ""
        begun = time.monotonic()
        while True:
            result = self._execute_module("bascule_filetree_job", arguments, task_vars=task_vars)
            if arguments.get("stands_in") and _is_set_up(result, begun):
                return {"changed": False, "result": None, "connected": _stage(result) == ARMED}
            if result.get("failed") or not result.get("running"):
                return dict(result)
            # Without an id something else runs, which must end first: the next call starts ours.
            pause = 1 if arguments.get("stands_in") else 10
            arguments.update(start=not result.get("id"), id=result.get("id", ""), wait=pause)
            text = describe_progress(result.get("progress") or {})
            if text and text != shown:
                Display().display(f"{arguments.get('component')}: {text}")
                shown = text
