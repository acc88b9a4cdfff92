"""Close an entrance whose guard does not say open, at boot, before HAProxy reads its mode: `fence_entrance COMPONENT`.

Only the file is looked at: nothing runs yet. A closed side may forward, which serves nobody by itself; whatever else is
not the maintenance page is taken back to it.
"""

from __future__ import annotations

import sys

from ..entrance import mode as modes
from ..errors import BasculeError
from ..guard import state as rule
from ..io import fence_settings, files, guard_store


def main(argv: list[str]) -> int:
    """Make the mode file say what the guard allows; a failure is told by the exit status."""
    component = argv[-1]
    try:
        sys.stdout.write(fence(component) + "\n")
    except (BasculeError, OSError, KeyError) as error:
        sys.stderr.write(f"{component}: {error}\n")
        return 1
    return 0


def fence(component: str) -> str:
    """Return what was found or done."""
    spec = fence_settings.read(component, guard_store.GUARD_DIRECTORY.parent)
    if spec is None:
        return f"{component}: no entrance was prepared here"
    guard = guard_store.read(component, spec["side"])
    mode = modes.parse_map(files.read_text(spec["controls"]), spec["key"]) or modes.MAINTENANCE
    allowed = {
        rule.OPEN: (modes.MAINTENANCE,) if guard.frozen else modes.MODES[:2],
        rule.CLOSED: (modes.MAINTENANCE, modes.FORWARD),
    }.get(guard.status, (modes.MAINTENANCE,))
    if mode in allowed:
        return f"{component}: mode {mode} stays, {guard.describe()}"
    files.write_durably(spec["controls"], modes.render_map(spec["key"], modes.MAINTENANCE), 0o644)
    return f"{component}: mode {mode} became {modes.MAINTENANCE}, {guard.describe()}"
