"""From where somebody has come to this host by SSH."""

from __future__ import annotations

import os
from pathlib import Path

from ...system.io import storage

_VARIABLE = "SSH_CONNECTION="


def came_from(root: Path = Path("/"), process: int | None = None) -> str:
    """Return the address from which the SSH connection comes that has started this process; nothing without one.

    sudo takes the variable away, so its parents are asked as well. Formats: proc(5), environment of ssh(1).
    """
    number = os.getpid() if process is None else process
    while number > 1:
        place = root / "proc" / str(number)
        try:
            variables = (storage.read_text(place / "environ") or "").split("\0")
            status = storage.read_text(place / "status") or ""
        except OSError:
            return ""
        for variable in variables:
            if variable.startswith(_VARIABLE) and variable != _VARIABLE:
                return variable[len(_VARIABLE) :].split()[0]
        parents = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
        number = int(parents[0]) if parents else 0
    return ""
