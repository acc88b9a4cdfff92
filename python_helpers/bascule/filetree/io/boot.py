"""Make sure that a tree is fenced when it is mounted: at boot before services start, and by hand at any time."""

from __future__ import annotations

from ...system.io import storage, units
from ...system.io.process import Runner, run
from .. import boot_order
from ..boot_order import Order
from ..mounts import TreeError
from .fence.side import Side
from .recorder.client import UNITS

_PROPERTIES = (
    "Id",
    "FragmentPath",
    "Before",
    "After",
    "WantedBy",
    "RequiredBy",
    "TriggeredBy",
    "ActiveEnterTimestampMonotonic",
)

_UNIT = """# Whoever mounts the tree of a side that is not open finds it closed; the boot fence waits for this one.
[Unit]
Description=Bascule: fence the tree of {component} when it is mounted, unless it is open
DefaultDependencies=no
RequiresMountsFor=/var/lib/bascule /usr/local/lib/bascule
After={mount}
Before={before} shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/var/lib/bascule/guard/{component}.json

[Service]
Type=oneshot
ExecStart={agent} boot {component}

[Install]
WantedBy={mount}
"""


def order(path: str, runner: Runner = run) -> Order:
    """Return when a tree is mounted, and why it could not be fenced then."""
    asked = [f"--property={','.join(_PROPERTIES)}", "--"]
    mount, local = boot_order.parse_show(runner(["systemctl", "show", *asked, path, boot_order.LOCAL]).stdout)
    table = runner(["systemctl", "show", "--all", "--property=Id,After", "--", "*"]).stdout
    return boot_order.judge(path, mount, local, boot_order.parse_show(table))


def check(side: Side, runner: Runner = run) -> Order:
    """Raise when a tree that is mounted could be written to after a reboot, before it is fenced."""
    found = order(side.path, runner)
    if found.fault:
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} that is mounted at boot, before services start",
            found=found.fault,
            state="nothing was changed",
            next_command=f"{found.mend}; then run the same playbook again",
        )
    return found


def install(side: Side, found: Order, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Put the unit in place that fences the tree whenever it is mounted; it is enabled, never started."""
    name = f"bascule-{side.component}-fence.service"
    text = _UNIT.format(
        component=side.component,
        mount=found.unit,
        before=" ".join([boot_order.BOOT, *found.services]),
        agent=" ".join(units.AGENT),
    )
    if storage.read_text(UNITS / name) == text and (UNITS / f"{found.unit}.wants" / name).is_symlink():
        return []
    if not check:
        storage.write_durably(UNITS / name, text, 0o644)
        runner(["systemctl", "reenable", "--quiet", name])
        runner(["systemctl", "daemon-reload"])
    return [f"write {UNITS / name}: fences the tree whenever it is mounted"]
