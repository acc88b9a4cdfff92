"""Shutdowns of a node in memory that go on for some looks at their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

OK = "OK"
Answer = tuple[int, str, Any, Optional[Mapping[str, str]]]


class Shutdowns:
    """What a node has of them."""

    tasks: dict[str, tuple[str, list[str]]]
    active: list[dict[str, Any]]
    running: set[int]
    task: Any

    def __init__(self) -> None:
        super().__init__()
        # How many looks at its task a shutdown takes; none: it ends at once.
        self.shutdown_takes = 0
        self.shutting: dict[str, int] = {}

    def locked(self, vmid: int) -> Answer:
        """Refuse what needs the lock that a shutdown has."""
        return 500, f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout", None, None

    def _begin_shutdown(self, vmid: int) -> Answer:
        """Begin a shutdown that goes on; one beside it, and a start, wait for its lock in vain."""
        if self.shutting:
            return self.locked(vmid)
        answer: Answer = self.task("qmshutdown", vmid)
        upid = answer[2]
        self.active.append({"upid": upid, "type": "qmshutdown", "id": str(vmid), "user": "bascule@pve!move"})
        self.shutting[upid] = self.shutdown_takes
        return answer

    def _shuts(self, upid: str) -> bool:
        """Let a shutdown go on by one look; say whether it still does."""
        if self.shutting.get(upid, 0) > 1:
            self.shutting[upid] -= 1
            return True
        if self.shutting.pop(upid, 0):
            self.active = [row for row in self.active if row.get("upid") != upid]
            if self.tasks[upid][0] == OK:
                self.running.discard(int(upid.split(":")[6]))
        return False
