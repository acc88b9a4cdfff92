"""`boot [COMPONENT]`: bring every side, or one, back to what its guard says, before anything that could serve starts.

What is not open is closed; what is open but frozen is frozen: mounts, for one, do not outlive the kernel. A fence is
durable by itself where it can be; this is for what a reboot, an upgrade or a service manager may have undone. How a
component is closed or frozen is known to `fence_KIND`; KIND stands in its fence.json, which prepare has left.
"""

from __future__ import annotations

import sys
import traceback

from ..errors import BasculeError, StoreError
from ..guard import state as rule
from ..guard.io import fence_settings, store
from ..system.io import storage
from . import commands


def boot(components: list[str]) -> int:
    """Fence what is not open, or these components alone; one that fails does not keep the others from being fenced."""
    failed = 0
    for path in storage.children(store.GUARD_DIRECTORY):
        if path.suffix != ".json" or (components and path.stem not in components):
            continue
        try:
            sys.stdout.write(f"{path.stem}: {fence(path.stem)}\n")
        except (BasculeError, OSError) as error:
            failed += 1
            sys.stderr.write(f"{path.stem}: NOT FENCED: {error}\n")
        except (Exception, SystemExit) as error:
            # Whatever it is: what comes after it in the alphabet must not serve because of it.
            failed += 1
            sys.stderr.write(traceback.format_exc())
            sys.stderr.write(
                f"{path.stem}: NOT FENCED: expected: its fence to come to an end; found: {type(error).__name__}: "
                f"{error}; state now: not known; next safe command: close it by hand, then systemctl "
                "restart bascule-boot\n"
            )
    return 1 if failed else 0


def fence(component: str) -> str:
    """Close or freeze the component's side of this host again, unless its guard says that it may be written to."""
    guard = store.read_any(component, root=store.GUARD_DIRECTORY)
    if guard.status == rule.OPEN and not guard.frozen:
        return "open: left alone"
    settings = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
    kind = settings.get("kind") if settings is not None else None
    if not isinstance(kind, str) or not kind.isidentifier():
        raise StoreError(
            expected=f"how {component} is fenced, in its fence.json",
            found=repr(settings),
            state=f"{guard.describe()}; nothing was done",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    name = f"{commands.FENCE}{kind}"
    if name not in commands.COMMANDS:
        raise StoreError(
            expected=f"a host agent that knows how to fence {kind}, as {component} is",
            found="one without it: it was built from other sources than those that prepared the component",
            state=f"{guard.describe()}; nothing was done",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    rc = commands.run(name, [component])
    if rc != 0:
        raise StoreError(
            expected=f"fence_{kind} to bring {component} to what its guard says",
            found=f"exit status {rc}",
            state=guard.describe(),
            next_command="journalctl -u bascule-boot; then systemctl restart bascule-boot",
        )
    return "open, frozen: kept frozen" if guard.status == rule.OPEN else f"{guard.status}: fenced"
