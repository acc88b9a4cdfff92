"""The processes that a unit's main process has started."""

from __future__ import annotations

from pathlib import Path

from ...system.io import storage
from ...system.io.process import Runner


def main_and_children(unit: str, run: Runner, proc: Path) -> tuple[str, list[str]]:
    """Return the process of a unit and its children; nothing where the unit does not run."""
    done = run(["systemctl", "show", "--property", "MainPID", "--value", unit], check=False)
    main = done.stdout.strip()
    if not main.isdigit() or main == "0":
        return "", []
    return main, (storage.read_text(proc / f"{main}/task/{main}/children") or "").split()
