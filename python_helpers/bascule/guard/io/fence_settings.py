"""What `prepare` leaves on a host for the boot fence: of which kind a component is, and what it has control of there.

No two components have control of the same thing. Each would be right by its own guard, and one of them would open, or
write to, what the other one keeps closed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

from ...errors import GuardRefused
from ...system.io import storage

STATE = Path("/var/lib/bascule")
_NAME = "fence.json"


def keep(
    component: str, side: str, kind: str, controls: str, *, base: Path = STATE, check: bool = False, **more: Any
) -> bool:
    """Write down how a component is fenced here; return whether that is new.

    Args:
        component: its name.
        side: the inventory name of this host.
        kind: `fence_KIND` of the host agent is its hook.
        controls: path of what it freezes, fences and opens: a file, a directory, a mount point.
        base: Bascule's folder on this host.
        check: write nothing.
        more: what else the hook needs.

    Raises GuardRefused when another component has control of the same thing.
    """
    if check:
        refuse_shared(component, side, kind, controls, base)
        return read(component, base) != _settings(component, side, kind, controls, more)
    storage.make_directory(base, 0o755)
    # Components are prepared side by side.
    with storage.locked(base / "fence.lock"):
        refuse_shared(component, side, kind, controls, base)
        if read(component, base) == _settings(component, side, kind, controls, more):
            return False
        write(component, side, kind, controls, base=base, **more)
    return True


def write(component: str, side: str, kind: str, controls: str, *, base: Path = STATE, **more: Any) -> None:
    """Write it down without a question: what is fenced already stays fenced whoever else has control of it."""
    storage.write_json(base / component / _NAME, _settings(component, side, kind, controls, more))


def read(component: str, base: Path = STATE) -> Optional[dict[str, Any]]:
    """Return what was written down; None when the component was not prepared here."""
    found = storage.read_json(base / component / _NAME)
    return found if isinstance(found, dict) else None


def refuse_shared(component: str, side: str, kind: str, controls: str, base: Path = STATE) -> None:
    """Refuse a thing of which another component of this host has control."""
    for place in storage.children(base):
        settings = read(place.name, base) if place.name != component and place.is_dir() else None
        if settings is None or settings.get("kind") != kind or not settings.get("controls"):
            continue
        if os.path.realpath(settings["controls"]) == os.path.realpath(controls):
            other = place.name
            raise GuardRefused(
                expected=f"{controls} on {side} to be of {component} alone",
                found=f"{other} has control of it: each of the two would open what the other one keeps closed",
                state="nothing was changed",
                next_command=f"give {component} something of its own, or {other} its name back; only when {other} was "
                f"decommissioned, remove {place / _NAME} and {base / 'guard' / other}.json on {side} (and nothing "
                "below them), then run the same command again",
            )


def _settings(component: str, side: str, kind: str, controls: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "component": component, "side": side, "controls": controls, **more}
