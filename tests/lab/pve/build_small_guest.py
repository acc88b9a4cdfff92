#!/usr/bin/env python3
"""Build the lab's small guest: kernel, busybox, guest agent and a web server on a disk of 64 MiB.

What is in it beyond the big guest's start scripts stands in `small/`. It carries no secret: every lab and scenario uses
the cached disk as it is: CACHE/guest-small-<digest>/disk.raw.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pve.build_guest import GUEST, HERE, build_initrd, build_rootfs, digest_of, make_disk, run, work_directory

SMALL = HERE / "small"
DISK_BYTES = 64 << 20
AGENT = "usr/sbin/qemu-ga"


def sources() -> list[Path]:
    """What the disk is made of, besides Debian's packages."""
    shared = (GUEST / "rootfs", GUEST / "initrd", SMALL)
    return [path for base in shared for path in base.rglob("*") if path.is_file()] + [GUEST / "extlinux.conf"]


def libraries(root: Path, program: str) -> list[str]:
    """The shared libraries a program of the tree needs, as paths in the tree."""
    done = subprocess.run(["chroot", str(root), "ldd", f"/{program}"], capture_output=True, text=True, check=True)
    found = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return [path.lstrip("/") for path in found]


def fill(root: Path, debian: Path, work: Path) -> None:
    """Make the small tree out of a Debian one."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "boot", "dev", "proc", "sys", "run", "tmp", "root"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/lib/small").mkdir(parents=True)
    kernel_tree = work / "kernel"
    run("dpkg-deb", "-x", next((debian / "kernel").glob("*.deb")), kernel_tree)
    shutil.copy2(next((kernel_tree / "boot").glob("vmlinuz-*")), root / "boot/vmlinuz")
    build_initrd(debian, kernel_tree, root / "boot/initrd", work)
    shutil.copy2(GUEST / "extlinux.conf", root / "boot/extlinux.conf")
    shutil.copy2(debian / "bin/busybox", root / "bin/busybox")
    for path in (AGENT, *libraries(debian, AGENT)):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(debian / path, target)
    shutil.copytree(GUEST / "rootfs", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("courses"))
    shutil.copytree(SMALL / "rootfs", root, dirs_exist_ok=True)
    applets = subprocess.run([str(root / "bin/busybox"), "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if not any((root / place / applet).exists() for place in ("bin", "sbin")):
            (root / "bin" / applet).symlink_to("/bin/busybox")
    (root / "sbin/init").symlink_to("/bin/busybox")


def build(cache: Path) -> Path:
    """The bootable disk; returns its path in the cache."""
    rootfs = build_rootfs(cache)
    made_by = f"{rootfs.name} {Path(__file__).read_text()} {(HERE / 'build_guest.py').read_text()}"
    result = cache / f"guest-small-{digest_of(sources(), made_by)}"
    disk = result / "disk.raw"
    if disk.exists():
        return disk
    with work_directory(cache, ".guest-small-") as work:
        debian, root, made = work / "debian", work / "root", work / "out"
        for path in (debian, root, made):
            path.mkdir()
        root.chmod(0o755)
        run("tar", "-C", debian, "--numeric-owner", "-xpf", rootfs)
        fill(root, debian, work)
        make_disk(root, made / "disk.raw", work, DISK_BYTES)
        # Somebody else may have built the same disk meanwhile: it has the same content.
        if not disk.exists():
            made.rename(result)
    return disk


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=HERE.parents[2] / ".lab/cache")
    parser.add_argument("--output", type=Path, help="put a copy here")
    options = parser.parse_args(arguments)
    disk = build(options.cache.resolve())
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "--sparse=always", disk, options.output)
        disk = options.output
    print(disk)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
