"""What an audit cannot look at where nobody becomes root."""

from __future__ import annotations

from collections.abc import Mapping

from .action import Scope

# The fact that keeps a role's audit from being called, and the event in the journal that says why.
FACT, EVENT = "bascule_looks", "not_looked_at"
# By role, what of its audit needs root on the machines of both sides. A role without an entry needs it for all.
_NEEDS: Mapping[str, str] = {
    "web_entrance": "mode, configuration and requests of what serves there, keepalived, the guard",
    "rsync_delta_sync": "mounts, the tree and who has it open, the trial of a transfer, the guard",
    "postgresql_replication": "the server's settings, accounts and files, the guard",
    "proxmox_guest": "what the node keeps of the guest, its tools, the link between the nodes",
    "vpn_switchover": "interface, unit and configuration of the server, the guard",
    "firewall": "the rules in the kernel, the guard",
}
# These are looked at from the controller alone.
_NEED_NONE = frozenset({"dns_switchover"})


# A role looks at both sides in one, to compare them.
_OTHER = "not looked at either: both sides are looked at together"


def unseen(scope: Scope) -> dict[str, str]:
    """Return both machines of a component of which one lets nobody become root, each with what is not looked at there.

    Nothing where both let root in.
    """
    role = str(scope.get("component_role"))
    if role in _NEED_NONE:
        return {}
    what = f"what needs root there: {_NEEDS.get(role, 'all of its audit')}"
    sides = dict.fromkeys(str(scope.get(key)) for key in ("source_host", "target_host"))
    bound = {host for host in sides if host in scope.hostvars and scope.is_without_root(host)}
    return {host: what if host in bound else _OTHER for host in sides} if bound else {}
