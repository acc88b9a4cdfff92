"""The durable part of a tree's fence: what keeps a side that is not open read-only at the next boot.

Two things fence a tree after a reboot. The boot fence (bascule-boot, and the unit that waits for the tree's mount) puts
every mount right, in whatever state it is. It needs Python, the agent and /var, and what waits for it does not require
it: a side that holds its permit serves also when the agent is broken (rule 14). So it fails open, and must not be all
there is. These files are the other thing. They lie in /etc/systemd/system, need nothing of Bascule's, and exist only
while this side is not open: from before it gives its receipt until it may open again. An open side has none of them,
so no fault of Bascule's keeps it from booting. A frozen side is open: the receipt that lets the other side open comes
later, from a closing that looks at the tree. The fence of a freeze is the boot fence alone.

The system's own mount options are nowhere changed; taking the files away restores them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import BasculeError
from ....system.io import storage
from ....system.io.process import Runner, run
from ... import boot_order, closed_at_boot
from ...mounts import TreeError

UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True)
class MountUnit:
    """A mount as systemd knows it, with the texts that configure it; none when something else mounts it."""

    name: str
    path: str
    configuration: tuple[str, ...]


def mount_units(component: str, paths: Sequence[str], runner: Runner = run) -> list[MountUnit]:
    """Return the mount units of paths, without what this component has added to them."""
    show = ["systemctl", "show", "--property=Id,FragmentPath,DropInPaths", "--", *paths]
    found = []
    for path, unit in zip(paths, boot_order.parse_show(runner(show).stdout)):
        files = [*unit.get("FragmentPath", "").split(), *unit.get("DropInPaths", "").split()]
        own = set(held(component))
        texts = [storage.read_text(name) or "" for name in files if Path(name) not in own]
        found.append(MountUnit(unit.get("Id", ""), path, tuple(texts) if unit.get("FragmentPath") else ()))
    return found


def held(component: str) -> list[Path]:
    """Return the files that keep a tree closed at boot."""
    return sorted(path for pattern in closed_at_boot.names(component) for path in UNITS.glob(pattern))


def held_paths(component: str) -> list[str]:
    """Return the mount points that come up read-only by drop-ins."""
    folders = [path.parent.name.removesuffix(".d") for path in held(component)]
    return [closed_at_boot.path_of(name) for name in folders if name.endswith(".mount")]


def hold(component: str, path: str, others: Sequence[str] = (), *, check: bool = False) -> list[str]:
    """Have a tree come up read-only; `others` are further places where this host mounts it. Return what was done."""
    todo = [(name, text) for name, text in _files(component, path, others) if storage.read_text(UNITS / name) != text]
    if todo and not check:
        with _changing(path, "closed now, and not after a reboot"):
            for name, text in todo:
                storage.make_directory((UNITS / name).parent, 0o755)
                storage.write_durably(UNITS / name, text, 0o644)
        reload()
    return [f"write {UNITS / name}: {path} comes up read-only at every boot" for name, _ in todo]


def release(component: str, *, check: bool = False) -> list[str]:
    """Have a tree come up as its own mount options say; return what was done."""
    files = held(component)
    if files and not check:
        with _changing(", ".join(held_paths(component)), "still closed"):
            for path in files:
                storage.remove(path)
                # Somebody else's drop-ins may lie in the same folder.
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        reload()
    return [f"remove {path}: the tree comes up writable at every boot" for path in files]


@contextlib.contextmanager
def _changing(path: str, state: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TreeError(
            expected=f"to change files in {UNITS}, which say how {path} comes up at boot",
            found=str(error),
            state=state,
            next_command=f"make {UNITS} writable, then run the same playbook again",
        ) from error


def _files(component: str, path: str, others: Sequence[str]) -> list[tuple[str, str]]:
    tree, *further = mount_units(component, [path, *others])
    if not tree.name:
        raise TreeError(
            expected=f"systemd to know the mount of {path}",
            found="it does not",
            state="nothing makes it come up read-only after a reboot",
            next_command=f"systemctl status '{path}'",
        )
    options = closed_at_boot.options_of(tree.configuration)
    files = []
    if tree.configuration:
        files.append(closed_at_boot.drop_in(component, tree.name, path, options))
    else:
        files += closed_at_boot.remount(component, path)
    for one in further:
        options = closed_at_boot.options_of(one.configuration)
        if one.configuration and not closed_at_boot.is_read_only(options):
            # A file system that one mount has made writable cannot be mounted read-only by the next.
            files.append(closed_at_boot.drop_in(component, one.name, one.path, options))
    return files


def reload(runner: Runner = run) -> None:
    """Have systemd read the files when nobody waits for it: for a boot they only have to lie there."""
    later = ["--on-active=5", "--timer-property=AccuracySec=1"]
    with contextlib.suppress(BasculeError):
        runner(["systemd-run", "--quiet", "--no-block", "--collect", *later, "systemctl", "daemon-reload"])
