"""One ext4 image per file server, on a loop device handed into the container, which mounts it itself."""

from __future__ import annotations

import json
from pathlib import Path

from bascule_lab import paths, shell
from bascule_lab.errors import LabError

BASE_SIZE = 2 << 30


def image_of(host: str) -> Path:
    return paths.IMAGES / f"{host}.ext4"


def image_size(scale: int) -> int:
    """Room for the data, what a return keeps aside, and what is uploaded. The image is sparse."""
    return BASE_SIZE * max(1, scale)


def attached(image: Path) -> str | None:
    """The loop device of this image now, if any."""
    out = shell.run(["losetup", "--associated", str(image), "--noheadings", "--output", "NAME"])
    return out.split()[0] if out.split() else None


def recorded() -> dict[str, str]:
    loops: dict[str, str] = json.loads(paths.LOOPS.read_text()) if paths.LOOPS.exists() else {}
    return loops


def ensure(host: str, scale: int) -> str:
    """Make and attach the host's file system; returns the loop device. A stopped machine's device keeps its number."""
    image = image_of(host)
    paths.private_directory(image.parent)
    if not image.exists():
        fresh = image.with_suffix(".new")
        with fresh.open("wb") as handle:
            handle.truncate(image_size(scale))
        shell.run(["mkfs.ext4", "-q", "-F", "-L", "courses", "-m", "0", str(fresh)])
        fresh.rename(image)
    device = attached(image)
    if device is None:
        known = recorded().get(host)
        if known:
            if shell.attempt(["losetup", known, str(image)]).code:
                raise LabError(
                    f"{host} was made for {known}, which something else uses now", "make lab-down && make lab-up"
                )
            device = known
        else:
            device = shell.run(["losetup", "--find", "--show", str(image)]).strip()
    loops = recorded()
    if loops.get(host) != device:
        paths.LOOPS.write_text(json.dumps({**loops, host: device}, indent=1) + "\n")
    return device


def detach_all() -> list[str]:
    """Detach every loop device that holds a file of the lab's state, also one that a crash left behind."""
    out = shell.run(["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"])
    detached = []
    for line in out.splitlines():
        name, _, backing = line.partition(" ")
        if backing.removesuffix(" (deleted)").startswith(f"{paths.STATE}/"):
            shell.run(["losetup", "--detach", name])
            detached.append(name)
    return detached


def unmount_all() -> list[str]:
    """Unmount what is still mounted below the lab's state, deepest first."""
    points = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1].encode().decode("unicode_escape")
        if point.startswith(f"{paths.STATE}/"):
            points.append(point)
    for point in sorted(points, reverse=True):
        shell.run(["umount", point])
    return points
