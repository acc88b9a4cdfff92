"""Follow a base backup until it ends; see the module's DOCUMENTATION."""

from __future__ import annotations

import time
from typing import Any

from bascule.plugin.follow import FollowAction


class ActionModule(FollowAction):
    """Also takes `wait`: seconds until it must have ended, a day by default."""

    MODULE = "bascule_postgresql_seed"
    PAUSE = 1.0
    EVERY = 5.0

    def prepare(self, arguments: dict[str, Any]) -> None:
        """Take the time limit out, which is not the module's."""
        self.patience = float(arguments.pop("wait", 86400))

    def ended(self, arguments: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
        """Return what it came to; one that takes too long goes on, and the task fails."""
        seed = result.get("seed") or {}
        if seed.get("state") == "done":
            if seed.get("aside"):
                component = str(dict(arguments.get("spec") or {}).get("component", ""))
                self.say(component, f"what lay there before was put aside, to {seed['aside']}")
            return result
        if time.monotonic() - self.begun > self.patience:
            return {**result, "failed": True, "msg": f"the base backup has not ended in time; it goes on: {seed}"}
        return None

    def progress(self, result: dict[str, Any]) -> str:
        """Return bytes, rate and remaining time."""
        return describe(result.get("seed") or {})


def describe(seed: dict[str, Any]) -> str:
    """Return how far a base backup is, for people."""
    done, total, rate = (int(seed.get(name) or 0) / 1e6 for name in ("bytes", "total", "bytes_per_second"))
    left = seed.get("remaining_seconds")
    share = f" of about {total:.0f} MB" if total else ""
    remaining = f", about {left} s left" if left is not None else ""
    return f"{seed.get('step')}: {done:.0f} MB{share}, {rate:.1f} MB/s{remaining}"
