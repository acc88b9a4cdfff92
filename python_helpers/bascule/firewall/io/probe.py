"""Ask ports of a machine from another one: is anything let through to them?"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import rules
from ..rules import Judged, Place

# Attempts, and seconds for each: packets may be lost.
ATTEMPTS = 3
SECONDS = 1.0


def source(address: str) -> str:
    """Return the address of this machine with which it asks another one; nothing is sent.

    Raises OSError when no way leads there.
    """
    family, kind, _, _, where = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as sock:
        sock.connect(where)
        return str(sock.getsockname()[0])


def ask(address: str, place: Place) -> str:
    """Return ANSWERED, REFUSED, SILENT or PROHIBITED; only silence is asked again."""
    kind = socket.SOCK_STREAM if place[0] == rules.TCP else socket.SOCK_DGRAM
    for _ in range(ATTEMPTS):
        family, _, protocol, _, where = socket.getaddrinfo(address, place[1], type=kind)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(SECONDS)
            try:
                sock.connect(where)
                if kind == socket.SOCK_DGRAM:
                    sock.send(b"\xff" + os.urandom(7))
                    sock.recv(2048)
            except ConnectionRefusedError:
                return rules.REFUSED
            except socket.timeout:
                continue
            except OSError:
                # "No route to host" is also what a machine says that the filter there forbids.
                return rules.PROHIBITED
            return rules.ANSWERED
    return rules.SILENT


def ask_all(address: str, places: Iterable[Place]) -> dict[Place, str]:
    """Return what each place comes to; they are asked side by side."""
    wanted = list(places)
    with ThreadPoolExecutor(max_workers=min(16, len(wanted) or 1)) as pool:
        return dict(zip(wanted, pool.map(lambda place: ask(address, place), wanted)))


def look(
    entries: Sequence[Mapping[str, Any]], side: str, role: str, address: str, whose: str, *, must: bool = True
) -> Judged:
    """Ask everything that the rules of a side decide on for this machine, and judge it.

    Args:
        entries: firewall_rules.
        side: the side that is asked.
        role: ACTIVE or PASSIVE, what that side is now.
        address: where this machine reaches it.
        whose: this machine's name.
        must: whether it has to get through.
    """
    declared = rules.parse(entries, side, role)
    try:
        wanted = rules.expected(declared, source(address))
    except OSError as error:
        said = f"no way leads from {whose} to {address}: {error}"
        return Judged(0, [said] if must else [], [] if must else [said])
    return rules.judge(wanted, ask_all(address, wanted), address, whose, must)
