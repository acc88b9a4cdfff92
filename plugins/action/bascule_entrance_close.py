"""Have a person do it where no driver can; see the module's DOCUMENTATION."""

from __future__ import annotations

from bascule.plugin.by_hand import ByHandAction


class ActionModule(ByHandAction):
    """What the module waits for is said, and waited for, on the controller."""

    MODULE = "bascule_entrance_close"
