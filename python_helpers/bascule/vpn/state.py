"""What is seen of a VPN server at its host, and what that comes to: open, closed, or neither. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import GuardState

OPEN = "open"
CLOSED = "closed"
# Neither: it does not serve, but a start of the host, or of its unit, may change that; or it serves in part.
STOPPED = "stopped"
ANY = "any"
# What a datagram to the port comes to, asked from another host.
REFUSED = "refused"
SILENT = "silent"
ANSWERED = "answered"


class VpnError(BasculeError):
    """The VPN server does not do what it was told, or cannot be asked."""


@dataclass(frozen=True)
class Seen:
    """What is seen of one side at its own host.

    running: its unit is neither inactive nor failed. enabled: the unit starts at boot. masked: the unit cannot be
    started, at boot or otherwise. interface: its network interface exists. bound: a socket takes datagrams at its port.
    configured: its configuration lies where wg-quick looks for it, so that whoever calls wg-quick brings it up.
    """

    running: bool
    enabled: bool
    masked: bool
    interface: bool
    bound: bool
    configured: bool

    @property
    def mode(self) -> str:
        """Return OPEN, CLOSED or STOPPED."""
        if self.running and self.interface and self.bound:
            return OPEN
        return STOPPED if self.not_closed() else CLOSED

    def not_closed(self) -> list[str]:
        """Return why this side is not closed, a few words each; nothing when it is."""
        found = {
            "its unit runs": self.running,
            "its unit starts at boot": self.enabled,
            "its unit is not masked": not self.masked,
            "its interface exists": self.interface,
            "a socket takes datagrams at its port": self.bound,
            "its configuration lies where wg-quick finds it": self.configured,
        }
        return [words for words, is_so in found.items() if is_so]

    def only_bound(self) -> bool:
        """Tell whether nothing but a socket at its port keeps it from being closed."""
        return self.bound and len(self.not_closed()) == 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {**asdict(self), "mode": self.mode}


def seen(shown: Mapping[str, str], interface: bool, bound: bool, configured: bool) -> Seen:
    """Read what `systemctl show` says of the unit (ActiveState, UnitFileState).

    A mask below /run is none: it is gone after a start.
    """
    file_state = shown.get("UnitFileState", "")
    return Seen(
        running=shown.get("ActiveState", "") not in ("inactive", "failed"),
        enabled=file_state in ("enabled", "enabled-runtime"),
        masked=file_state == "masked",
        interface=interface,
        bound=bound,
        configured=configured,
    )


def service_faults(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> list[str]:
    """Return why it is not one side alone that serves, as its guard says and its host sees; nothing when it is.

    Args:
        guards: the guard of each of the two sides.
        modes: what is seen of each, OPEN, CLOSED or STOPPED.
    """
    found = []
    for name, guard in guards.items():
        if guard.status == rule.UNKNOWN:
            found.append(f"{name} was not taken over: ansible-playbook playbooks/20_prepare.yml")
        elif guard.status not in (rule.OPEN, rule.CLOSED):
            found.append(f"the guard of {name} says {guard.status}")
        elif guard.status == rule.OPEN and guard.frozen:
            found.append(f"{name} is frozen: nobody is let in")
        elif modes[name] != guard.status:
            found.append(f"the guard of {name} says {guard.status}, and its server is {modes[name]}")
    statuses = [guard.status for guard in guards.values()]
    for status in (rule.OPEN, rule.CLOSED):
        if statuses == [status, status]:
            found.append(f"the guards of both sides say {status}")
    if list(modes.values()) == [OPEN, OPEN]:
        found.append("the servers of both sides run")
    return found


def interrupted(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> bool:
    """Tell whether a move was interrupted between its freeze and its thaw: nobody is let in, on purpose, and nobody is.

    Such a move goes on, and its gate has nothing to say of who serves.
    """
    return all(
        guard.status != rule.UNKNOWN
        and (guard.status != rule.OPEN or guard.frozen)
        and modes[name] in ((CLOSED,) if guard.status == rule.CLOSED else (CLOSED, STOPPED))
        for name, guard in guards.items()
    )


def udp_ports(*tables: str | None) -> set[int]:
    """Return the local ports of the UDP sockets that hear everybody, out of /proc/net/udp and /proc/net/udp6 (proc(5)).

    One that is connected hears its own partner alone.
    """
    ports = set()
    for line in "\n".join(table or "" for table in tables).splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[0].endswith(":") and ":" in fields[1] and not fields[2].strip("0:"):
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def endpoint(address: str, port: int) -> str:
    """Return both as one text."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def probe_fault(expect: str, found: str, where: str) -> str | None:
    """Return what is wrong with what a datagram came to; None when it is as expected.

    A refusal (ICMP port unreachable) is said by the host itself: nothing takes datagrams there. Silence proves nothing,
    but it is how a VPN server meets somebody whom it does not know; so the open side must not refuse.
    """
    if expect == CLOSED and found == SILENT:
        return f"{where} is silent, which proves nothing: it is open, or no ICMP port unreachable comes from there"
    if expect == CLOSED and found == ANSWERED:
        return f"{where} answers"
    if expect == OPEN and found == REFUSED:
        return f"{where} refuses: nothing takes datagrams there"
    return None


def proof_faults(mode: str, seen: str, where: str, unused: int, seen_unused: str) -> list[str]:
    """Return why a side could not be proved closed later, by the one that has asked it now; nothing when it could.

    Args:
        mode: what its own host says it is.
        seen: what its port has come to.
        where: its address and port.
        unused: another UDP port of that address, at which nothing takes datagrams; 0 when none is let through.
        seen_unused: what that one has come to.
    """
    if mode != OPEN:
        # A side that does not run has to refuse: its refusal is what proves a fence later.
        let_in = "let the port in, and ICMP port unreachable out"
        return [] if seen == REFUSED else [f"{where} does not refuse although nothing runs there: {let_in}"]
    if seen == REFUSED:
        return [f"{where} refuses although it runs there: let the port in"]
    if unused and seen_unused != REFUSED:
        return [
            f"the fence of {where} is not proved possible: UDP port {unused} there, where nothing should listen, is "
            f"{seen_unused} instead of refused: let it in, and ICMP port unreachable out; or set "
            "vpn_switchover_unused_port"
        ]
    return []


def endpoint_faults(name: str, found: Sequence[str], active: Sequence[str], passive: Sequence[str]) -> list[str]:
    """Return why a name does not lead peers to the active side, and to no other place; nothing when it does.

    Args:
        name: by which peers know the server.
        found: the addresses that a peer finds for it.
        active: those at which the active side is reached; what the name has of another family is not judged by them.
        passive: those of the passive side.
    """
    led, open_at, closed_at = ([_address(text) for text in texts] for texts in (found, active, passive))
    families = {address.version for address in open_at}
    same = [address for address in led if address.version in families]
    if not same or set(same) - set(open_at) or set(led) & set(closed_at):
        return [f"{name} is {', '.join(found) or 'unknown'} here, not {', '.join(active) or 'known'}"]
    return []


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text.partition("%")[0])


def attempt_faults(expect: str, found: Mapping[str, Any], where: str) -> list[str]:
    """Return what is wrong with an attempt from a trainer's machine, as `trainer.attempt` has described it."""
    if expect == ANY:
        return []
    if expect == CLOSED:
        return [f"{where} has answered a handshake after {found['seconds']:g} s"] if found["handshake"] else []
    if not found["handshake"]:
        return [f"{where} answers no handshake"]
    return [
        *found["silent"],
        *(f"{place} is reached without the tunnel as well" for place in found["reached_without"]),
        *([] if found["reached"] or found["silent"] else ["nothing behind it was tried"]),
    ]
