"""Keep what a guest writes to its serial console while it is booted to prove that it boots.

Proxmox gives a guest with `serial0: socket` a socket on its node, and keeps nothing of what comes out of it. A unit of
its own reads it, from before the guest is started until it is stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...system.io import storage, units
from ...system.io.process import Runner, run
from ...system.rsync import directory

SOCKETS = "/var/run/qemu-server"
# A guest that boots again and again writes for ever.
LARGEST = 1 << 20
_LAST_LINES = 3
_LINE_LENGTH = 160
# What a terminal would do, and nobody wants to read.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def unit_name(component: str) -> str:
    """Return the systemd unit that reads the console."""
    return f"bascule-{component}-console"


def output_path(component: str) -> Path:
    """Return where the output is kept; what became of the reading stands beside it."""
    return Path(directory(component)) / "console.log"


def _result_path(component: str) -> Path:
    return output_path(component).with_suffix(".json")


def begin(component: str, vmid: int, seconds: float, runner: Runner = run) -> None:
    """Read the console of the guest that is about to be started; what was kept before goes."""
    units.stop(unit_name(component), runner)
    storage.remove(_result_path(component))
    storage.remove(output_path(component))
    arguments = [component, str(vmid), str(seconds)]
    units.start(unit_name(component), [*units.AGENT, "guest_console", *arguments], runner)


def end(component: str, runner: Runner = run) -> dict[str, Any]:
    """Stop reading; return where the output is, how much there is, and its last lines."""
    units.stop(unit_name(component), runner)
    found = storage.read_json(_result_path(component)) or {}
    path = output_path(component)
    size = path.stat().st_size if path.exists() else 0
    return {
        "connected": bool(found.get("connected")),
        "path": str(path) if size else "",
        "size": size,
        "last": last_lines(path.read_bytes()[-8192:]) if size else [],
    }


def last_lines(data: bytes) -> list[str]:
    """Return the last lines as they can be printed."""
    text = _CONTROL.sub("", data.decode("utf-8", "replace").replace("\r", "\n"))
    lines = [line.strip()[:_LINE_LENGTH] for line in text.split("\n")]
    return [line for line in lines if line][-_LAST_LINES:]


def record(
    component: str, vmid: int, seconds: float, sockets: str = SOCKETS, clock: Callable[[], float] = time.monotonic
) -> int:
    """Wait for the guest's console and write down what comes, until it ends or the time is over; return the bytes."""
    deadline = clock() + seconds
    storage.write_json(_result_path(component), {"connected": False})
    console = _connect(Path(sockets) / f"{vmid}.serial0", deadline, clock)
    if console is None:
        return 0
    storage.write_json(_result_path(component), {"connected": True})
    written = 0
    with console, output_path(component).open("wb", buffering=0) as out:
        os.chmod(out.fileno(), 0o600)
        while clock() < deadline and written < LARGEST:
            console.settimeout(max(0.1, deadline - clock()))
            with contextlib.suppress(TimeoutError, socket.timeout):
                data = console.recv(65536)
                if not data:
                    break
                written += out.write(data[: LARGEST - written]) or 0
    return written


def _connect(path: Path, deadline: float, clock: Callable[[], float]) -> socket.socket | None:
    while clock() < deadline:
        console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            console.connect(str(path))
        except OSError:
            console.close()
            time.sleep(0.02)
        else:
            return console
    return None


def work(component: str, vmid: str, seconds: str) -> None:
    """Keep what a guest writes to its serial console until it has ended, or the time is over."""
    record(component, int(vmid), float(seconds))
