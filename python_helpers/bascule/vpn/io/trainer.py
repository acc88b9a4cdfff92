"""Try a VPN server from a trainer's machine: a handshake, what is behind it, and that without it nothing is reached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from ...system import polling
from ...system.io import process, reach, storage
from ...system.io.process import Runner
from .. import wireguard as config
from ..state import VpnError

# The interface of an attempt; a trainer's own tunnel has another name.
INTERFACE = "bascule-vpn"
# Seconds for one connection; what a tunnel does not carry may be silent.
_CONNECT = 3.0
# Seconds for the attempts of other components on this machine.
_TURN = 300.0

Places = Sequence[tuple[str, int]]
WhyNot = Callable[[str, int, float], str]


def attempt(
    file: str,
    server_key: str,
    endpoint: str,
    places: Places,
    wait: float,
    *,
    runner: Runner = process.run,
    why_not: WhyNot = reach.why_not,
    root: Path = Path("/"),
) -> dict[str, Any]:
    """Build a tunnel to one side, go through it to each place, and take it away again.

    Args:
        file: the trainer's own configuration on this machine; its secrets stay here, and its tunnel has to be down.
        server_key: the public key of the server.
        endpoint: ADDRESS:PORT of the side.
        places: address and port of what is behind the server.
        wait: seconds for the handshake.

    Returns:
        handshake, seconds until it; reached, reached_without: the places that were reached with the tunnel, and those
        that were before it was there; silent: why each other place was not reached through it.

    Raises:
        VpnError: this machine cannot try it.
    """
    path = root / "run/bascule" / f"{INTERFACE}.conf"
    # Another component's attempt on this machine has the same interface.
    with storage.locked(path.with_suffix(".lock"), _TURN):
        _away(path, runner, root)
        made = _client(file, server_key, endpoint, places, root)
        without = [_name(place) for place in places if not why_not(*place, _CONNECT)]
        began = time.monotonic()
        try:
            storage.write_durably(path, made, 0o600)
            _up(path, file, runner)
            seconds = _handshake(runner, server_key, wait, began)
            refusals = {_name(place): why_not(*place, _CONNECT) for place in places} if seconds is not None else {}
        finally:
            _away(path, runner, root)
    return {
        "handshake": seconds is not None,
        "seconds": seconds,
        "reached": [name for name, why in refusals.items() if not why],
        "reached_without": without,
        "silent": [why for why in refusals.values() if why],
    }


def _client(file: str, server_key: str, endpoint: str, places: Places, root: Path) -> str:
    """Return the configuration of an attempt, or raise VpnError where this machine cannot make one."""
    text = storage.read_text(file)
    made, faults = "", ["there is no such file"]
    if text is not None:
        made, faults = config.client(config.parse(text), server_key, endpoint, [address for address, _ in places])
    own = root / "sys/class/net" / Path(file).stem
    if storage.is_directory(own):
        faults.append(f"the tunnel {own.name} is up here, and the server would take the attempt for it")
    if faults:
        raise VpnError(
            expected=f"the configuration {file} of a trainer's own, by which the server can be tried from here",
            found="; ".join(faults),
            state="nothing was tried",
            next_command="mend it on the trainer's machine, then run the same playbook again",
        )
    return made


def _up(path: Path, file: str, runner: Runner) -> None:
    # What wg says of a configuration may quote it.
    if rc := runner(["wg-quick", "up", str(path)], check=False).rc:
        raise VpnError(
            expected=f"wg-quick to bring up {INTERFACE} out of {file}",
            found=f"exit status {rc}",
            state="the tunnel of this attempt is gone, and nothing else was changed",
            next_command=f"wg-quick up {file} on the trainer's machine, then wg-quick down {file}",
        )


def _handshake(runner: Runner, server_key: str, wait: float, began: float) -> float | None:
    while True:
        waited = time.monotonic() - began
        if config.last_handshake(runner(["wg", "show", INTERFACE, "latest-handshakes"]).stdout, server_key):
            return round(waited, 2)
        if waited >= wait:
            return None
        time.sleep(polling.pause(waited, 0.5))


def _away(path: Path, runner: Runner, root: Path) -> None:
    """Take the tunnel of an attempt away, also one that a killed attempt has left; its key goes with it."""
    device = root / "sys/class/net" / INTERFACE
    if storage.is_directory(device) and storage.is_file(path):
        runner(["wg-quick", "down", str(path)], check=False)
    if storage.is_directory(device):
        runner(["ip", "link", "delete", "dev", INTERFACE], check=False)
    with contextlib.suppress(OSError):
        storage.remove(path)


def _name(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"
