"""The bind of a tree on itself, where it is a part of a larger file system: made by a mount unit of Bascule's own.

systemd mounts it before local-fs.target, hence before the services that write to the tree, and what keeps a tree closed
at boot is a drop-in of this unit as of any other. A mount that stands at the path already is somebody else's (a bind of
/etc/fstab, a subvolume): it is used as it is, and never taken away.
"""

from __future__ import annotations

import os
from typing import Optional

from ...errors import BasculeError
from ...system.io import storage
from ...system.io.process import Runner, run
from ...system.mountinfo import mounted_at
from .. import part
from ..mounts import SYSTEM, TreeError
from .fence import durable, past_part
from .fence import mounts as fence_mounts
from .fence.mount_tables import mounts_of
from .fence.side import Side

_MARK = "# Bascule: the tree of {component}, mounted on itself, so that it can be closed alone."
_UNIT = """{mark}
# What keeps a side closed that is not open is this mount: with it, that goes. To take it away by hand, when the
# migration is over: systemctl disable --now '{name}'; remove this file; systemctl daemon-reload.
[Unit]
Description=Bascule: the tree of {component}
Before=local-fs.target

[Mount]
What={path}
Where={path}
Type=none
Options=bind

[Install]
RequiredBy=local-fs.target
"""


def is_part(path: str) -> bool:
    """Tell whether a tree is, or would be, only a part of the file system that holds it, or shares it with others."""
    view = fence_mounts.look(path, "")
    public = view.public_mount
    return public is None or (public.root != "/" and public.kind != "btrfs") or bool(view.shared)


def faults(path: str) -> list[str]:
    """Return why a path cannot be a part that is closed alone."""
    if not os.path.isdir(path) or os.path.realpath(path) != path:
        return [f"{path} is no directory by its plain path (without links, '..' and the like): {_plain(path)}"]
    hit = part.unfit(path, SYSTEM)
    if hit:
        return [f"this host's {hit} lies in it, which nothing may make read-only"]
    own = mounts_of("self")
    nested = sorted({one.path for one in own if one.path != path and part.inside(path, one.path)})
    found = [f"mounted inside it: {', '.join(nested)}"] if nested else []
    outside = past_part.names_outside(path)
    if outside:
        few = ", ".join(outside[:5])
        found.append(f"{len(outside)} of its files have names outside the tree as well, {few} among them")
    return found


def make(side: Side, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Mount the tree on itself, unless something is mounted there already; return what was done.

    Raises TreeError when it cannot be a part, or when somebody else's unit would mount something there.
    """
    found = faults(side.path)
    if found:
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} that can be closed alone",
            found="; ".join(found),
            state="nothing was changed",
            next_command="put that right, or give the tree a file system of its own, then run the same playbook again",
        )
    name = _unit_name(side.path, runner)
    file = durable.UNITS / name
    text = _text(side, name)
    mounted = mounted_at(mounts_of("self"), side.path) is not None
    before = storage.read_text(file)
    if mounted and not is_ours(side.component, before):
        return []
    if mounted and before == text:
        return []
    fragment = _show(name, "FragmentPath", runner)
    if fragment and not is_ours(side.component, before):
        raise TreeError(
            expected=f"nothing else to be mounted at {side.path} on {side.name}",
            found=f"the unit {fragment}, which is not mounted now",
            state="nothing was changed",
            next_command=f"systemctl start '{name}', or take it away; then run the same playbook again",
        )
    if not check:
        storage.write_durably(file, text, 0o644)
        runner(["systemctl", "daemon-reload"])
        runner(["systemctl", "enable", "--quiet", name])
        runner(["systemctl", "start", name])
        if mounted_at(mounts_of("self"), side.path) is None:
            raise TreeError(expected=f"{name} to mount {side.path} on itself", found="no mount there")
    return [f"mount {side.path} on itself, now and at every boot ({name})"]


def remove(side: Side, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Take the bind of an open side away again; one in use goes with the next boot. Return what was done.

    Nothing that somebody else has mounted is touched: only the mount that the unit with Bascule's mark stands for, and
    only while the topmost mount at the path is a bind of the tree on itself.
    """
    name = _unit_name(side.path, runner)
    file = durable.UNITS / name
    if not side.part or not is_ours(side.component, storage.read_text(file)):
        return []
    done = [f"remove {file}: nothing mounts {side.path} on itself any more"]
    if check:
        return done
    # Without its file the unit would be one of the kernel's table, and stays until it is unmounted.
    runner(["systemctl", "disable", "--quiet", name])
    if _is_on_itself(side.path):
        try:
            fence_mounts.unmount(side.path)
        except BasculeError as error:
            done.append(f"leave the mount at {side.path} until the next boot: it is in use ({error.found})")
    storage.remove(file)
    runner(["systemctl", "daemon-reload"])
    return done


def is_ours(component: str, text: Optional[str]) -> bool:
    """Tell whether the text of a unit is what `make` writes for a component."""
    return (text or "").startswith(_MARK.format(component=component))


def is_by_us(component: str, path: str, runner: Runner = run) -> bool:
    """Tell whether the bind of a part is, or would be, Bascule's own: nobody else has mounted anything at the path."""
    if mounted_at(mounts_of("self"), path) is None:
        return True
    return is_ours(component, storage.read_text(durable.UNITS / _unit_name(path, runner)))


def _is_on_itself(path: str) -> bool:
    """Tell whether the mount at a path shows what lies under it, and is the only one there."""
    own = mounts_of("self")
    there = [one for one in own if one.path == path]
    under = part.mount_of([one for one in own if one.path != path], path)
    return len(there) == 1 and under is not None and (there[0].device, there[0].root) == (under.device, under.root)


def _text(side: Side, name: str) -> str:
    if any(one in side.path for one in ("\n", '"', "\\")):
        raise TreeError(
            expected="a path of a tree without line ends, quotes and backslashes, as a mount unit writes it down",
            found=repr(side.path),
            state="nothing was changed",
            next_command="give the tree a file system of its own",
        )
    quoted = side.path.replace("%", "%%")
    mark = _MARK.format(component=side.component)
    return _UNIT.format(mark=mark, component=side.component, path=quoted, name=name)


def _unit_name(path: str, runner: Runner) -> str:
    return runner(["systemd-escape", "--path", "--suffix=mount", "--", path]).stdout.strip()


def _show(name: str, what: str, runner: Runner) -> str:
    return runner(["systemctl", "show", f"--property={what}", "--value", "--", name]).stdout.strip()


def _plain(path: str) -> str:
    real = os.path.realpath(path)
    return f"it is {real}" if os.path.isdir(real) else "there is none"
