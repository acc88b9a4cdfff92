"""Make sure that a tree is fenced when it is mounted: at boot before services start, and by hand at any time."""

from __future__ import annotations

from ...system import mountinfo
from ...system.io import storage, units
from ...system.io.process import Runner, run
from .. import boot_order
from ..boot_order import Order
from ..mounts import TreeError
from .fence.mount_tables import mounts_of
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
    mount, local = _show(path, runner)
    table = runner(["systemctl", "show", "--all", "--property=Id,After", "--", "*"]).stdout
    return boot_order.judge(path, mount, local, boot_order.parse_show(table))


def order_of_holder(path: str, runner: Runner = run) -> Order:
    """Return when the file system is mounted of which a tree is a part, and why the tree's bind could not rely on it.

    What is mounted at the path itself is passed over: it is the bind.
    """
    holder = mountinfo.holder([one for one in mounts_of("self") if one.path != path], path)
    if holder is None:
        raise TreeError(expected=f"a file system that holds {path}", found="none in /proc/self/mountinfo")
    return boot_order.judge_holder(path, holder.path, *_show(holder.path, runner))


def check(side: Side, runner: Runner = run) -> Order:
    """Raise when a tree that is mounted could be written to after a reboot, before it is fenced."""
    return _refuse(side, order(side.path, runner), "that is mounted at boot, before services start")


def check_holder(side: Side, runner: Runner = run) -> Order:
    """Raise when the bind of a tree, a part of a larger file system, could be made at boot before what holds it."""
    return _refuse(
        side, order_of_holder(side.path, runner), f"in a file system that is mounted before {boot_order.LOCAL}"
    )


def _show(path: str, runner: Runner) -> tuple[dict[str, str], dict[str, str]]:
    asked = [f"--property={','.join(_PROPERTIES)}", "--"]
    mount, local = boot_order.parse_show(runner(["systemctl", "show", *asked, path, boot_order.LOCAL]).stdout)
    return mount, local


def _refuse(side: Side, found: Order, wanted: str) -> Order:
    if found.fault:
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} {wanted}",
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
