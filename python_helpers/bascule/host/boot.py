"""`boot`: bring every side that is not open back to closed, before anything that could serve starts.

A fence is durable by itself; this is for what a reboot, an upgrade or a service manager may have undone. How a
component is closed is known to `fence_KIND`; KIND stands in the component's fence.json, which prepare has left.
"""

from __future__ import annotations

import importlib
import sys

from ..errors import BasculeError, StoreError
from ..guard import state as rule
from ..io import files, guard_store


def main(argv: list[str]) -> int:
    """Fence what is not open; one that fails does not keep the others from being fenced."""
    failed = 0
    for path in files.children(guard_store.GUARD_DIRECTORY):
        if path.suffix != ".json":
            continue
        try:
            sys.stdout.write(f"{path.stem}: {fence(path.stem)}\n")
        except (BasculeError, OSError) as error:
            failed += 1
            sys.stderr.write(f"{path.stem}: NOT FENCED: {error}\n")
    return 1 if failed else 0


def fence(component: str) -> str:
    """Close the component's side of this host again unless its guard says that it is open."""
    guard = guard_store.read_any(component, root=guard_store.GUARD_DIRECTORY)
    if guard.status == rule.OPEN:
        return "open: left alone"
    settings = files.read_json(guard_store.GUARD_DIRECTORY.parent / component / "fence.json")
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if not isinstance(kind, str) or not kind.isidentifier():
        raise StoreError(
            expected=f"how {component} is fenced, in its fence.json",
            found=repr(settings),
            state=f"{guard.describe()}; nothing was done",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    hook = importlib.import_module(f".fence_{kind}", __package__)
    rc = int(hook.main([component]))
    if rc != 0:
        raise StoreError(
            expected=f"fence_{kind} to close {component}", found=f"exit status {rc}", state=guard.describe()
        )
    return f"{guard.status}: fenced"
