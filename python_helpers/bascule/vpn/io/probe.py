"""Ask the port of a VPN server from another host: does anything take datagrams there?"""

from __future__ import annotations

import os
import socket
import time

from .. import state

# Attempts, and seconds for each: a host says how often it refuses (net.ipv4.icmp_ratelimit), and packets may be lost.
ATTEMPTS = 4
SECONDS = 0.4
# Seconds for which a server that was just stopped may be silent: its kernel may have refused often enough for now.
PATIENCE = 30.0


def ask_closed(address: str, port: int) -> str:
    """Return what a port comes to that ought to refuse: only silence is asked again."""
    return ask(address, port, patience=PATIENCE)


def ask(address: str, port: int, attempts: int = ATTEMPTS, seconds: float = SECONDS, patience: float = 0.0) -> str:
    """Return REFUSED, SILENT or ANSWERED, after at most `attempts` datagrams of `seconds` each.

    A silent one is asked on until `patience` seconds are over.

    What is sent is no packet of any VPN, so that no server takes it for one. Raises OSError when the address is none.
    """
    family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    asked, until = 0, time.monotonic() + patience
    while asked < attempts or time.monotonic() < until:
        asked += 1
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(seconds)
            began = time.monotonic()
            try:
                sock.connect(where)
                sock.send(b"\xff" + os.urandom(7))
                sock.recv(2048)
            except ConnectionRefusedError:
                return state.REFUSED
            except OSError:
                # Silence, or a way that is not there, which proves as little; the next attempt comes no sooner.
                time.sleep(max(0.0, began + seconds - time.monotonic()))
                continue
            return state.ANSWERED
    return state.SILENT
