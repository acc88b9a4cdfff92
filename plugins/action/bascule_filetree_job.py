"""Follow a long operation on a file tree until it ends; see the module's DOCUMENTATION."""

from __future__ import annotations

import time
from typing import Any

from bascule.filetree.transfer import ARMED, describe_progress
from bascule.plugin.follow import FollowAction

# Seconds after which an operation that waits for its tree is left alone: it only saves time.
PATIENCE = 15.0


def _stage(result: dict[str, Any]) -> str:
    return str((result.get("progress") or {}).get("stage", ""))


class ActionModule(FollowAction):
    """An operation that stands in is only seen to be set up: it waits for its tree, or will not come to it."""

    MODULE = "bascule_filetree_job"

    def ended(self, arguments: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
        """Return its outcome, or whether it is set up."""
        over = time.monotonic() - self.begun > PATIENCE
        if arguments.get("stands_in") and (not result.get("running") or _stage(result) == ARMED or over):
            return {"changed": False, "result": None, "connected": _stage(result) == ARMED}
        return super().ended(arguments, result)

    def again(self, arguments: dict[str, Any], result: dict[str, Any]) -> None:
        """Ask for the operation by its id; without one something else runs, which must end before ours is started."""
        pause = 1 if arguments.get("stands_in") else 10
        arguments.update(start=not result.get("id"), id=result.get("id", ""), wait=pause)

    def progress(self, result: dict[str, Any]) -> str:
        """Return stage, files and bytes."""
        return describe_progress(result.get("progress") or {})
