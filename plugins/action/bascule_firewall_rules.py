"""Load firewall rules, and confirm them by a new connection; see the module's DOCUMENTATION."""

from __future__ import annotations

from bascule.plugin.confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """What the module has loaded is undone at the host unless this comes back."""
