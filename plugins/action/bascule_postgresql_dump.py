"""Follow a dump that is taken, or brought over and restored, until it ends; see the module's DOCUMENTATION."""

from __future__ import annotations

from typing import Any

from bascule.plugin.follow import FollowAction


class ActionModule(FollowAction):
    """Only the first call begins a step."""

    MODULE = "bascule_postgresql_dump"

    def again(self, arguments: dict[str, Any], result: dict[str, Any]) -> None:
        """Follow what runs."""
        arguments["begin"] = False
