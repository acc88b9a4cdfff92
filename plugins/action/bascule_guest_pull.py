"""Follow the transfer that the module of the same name starts on a node; see the module's DOCUMENTATION."""

from __future__ import annotations

from typing import Any

from bascule.plugin.follow import FollowAction


class ActionModule(FollowAction):
    """Each question waits a little at the node."""

    MODULE = "bascule_guest_pull"

    def about(self, arguments: dict[str, Any], task_vars: Any) -> str:
        """Name the transfer, as a guest has several."""
        return f"{task_vars['inventory_hostname']}: {arguments.get('job', {}).get('name', 'transfer')}"

    def ended(self, arguments: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
        """Return the outcome of the transfer."""
        return None if result.get("state") == "running" else result

    def again(self, arguments: dict[str, Any], result: dict[str, Any]) -> None:
        """Ask for the same transfer."""
        arguments["job_id"] = result["job_id"]
