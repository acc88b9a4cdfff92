"""A small machine whose kernel has LVM-thin, as the one that tests may not have it: it boots, runs one script, ends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from bascule_lab import paths, shell
from pve import build_guest

HERE = Path(__file__).resolve().parent / "lvm"
IMAGE = "localhost/bascule-lab:latest"
PACKAGES = ("python3", "busybox-static", "lvm2", "thin-provisioning-tools", "udev")
MODULES = ("virtio_pci", "virtio_scsi", "sd_mod", "virtio_blk", "dm-mod", "dm-thin-pool")
ROOT_BYTES, POOL_BYTES = 1 << 30, 192 << 20
# Emulated, and beside other tests: what takes longer has come to a stop.
SECONDS = 1500


def run(work: Path) -> dict[str, Any]:
    """Build the machine, run `inside.py` in it, and return what that has found.

    Raises:
        AssertionError: the machine came to no end, or to none of its own; with the last of its console.
    """
    _build(work)
    name = f"bascule-lvm-{os.environ.get('BASCULE_TEST_MARK', '')}"
    shell.attempt(["podman", "rm", "--force", "--ignore", "--time", "0", name])
    drives = []
    for number, disk in enumerate(("one", "two")):
        with (work / f"{disk}.raw").open("wb") as made:
            made.truncate(POOL_BYTES)
        drives += ["-drive", f"file=/machine/{disk}.raw,format=raw,if=none,id=pool{number}"]
        drives += ["-device", f"virtio-blk-pci,drive=pool{number}"]
    qemu = [
        "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,tb-size=256", "-cpu", "max", "-smp", "1", "-m", "512",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-kernel", "/machine/vmlinuz", "-initrd", "/machine/initrd.gz", "-append", "console=ttyS0 quiet panic=-1",
        "-device", "virtio-scsi-pci", "-drive", "file=/machine/root.raw,format=raw,if=none,id=root",
        "-device", "scsi-hd,drive=root", *drives,
    ]  # fmt: skip
    try:
        done = shell.attempt(
            ["podman", "run", "--rm", "--name", name, "--network=none", "--volume", f"{work}:/machine", IMAGE, *qemu],
            timeout=SECONDS,
        )
    finally:
        shell.attempt(["podman", "rm", "--force", "--ignore", "--time", "0", name])
    lines = [line for line in done.out.splitlines() if line.startswith("RESULT ")]
    assert lines, f"status {done.code}; {done.err[-2000:]}; its console:\n{done.out[-6000:]}"
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT ")) or {"failed": done.out[-6000:]}
    return found


def _build(work: Path) -> None:
    debian, kernel = work / "debian", work / "kernel"
    archive = build_guest.build_rootfs(paths.private_directory(paths.CACHE), PACKAGES)
    debian.mkdir()
    build_guest.run("tar", "-xf", archive, "-C", debian)
    build_guest.run("dpkg-deb", "-x", next((debian / "kernel").glob("*.deb")), kernel)
    shutil.copy2(next((kernel / "boot").glob("vmlinuz-*")), work / "vmlinuz")
    build_guest.build_initrd(debian, kernel, work / "initrd.gz", work, MODULES)
    for name in ("kernel", "usr/share/doc", "usr/share/locale", "var/cache", "var/lib/apt", "dev"):
        shutil.rmtree(debian / name, ignore_errors=True)
    for name in ("dev", "proc", "sys", "run", "tmp"):
        (debian / name).mkdir(exist_ok=True)
    (debian / "sbin/init").unlink(missing_ok=True)
    shutil.copy2(HERE / "init", debian / "sbin/init")
    (debian / "sbin/init").chmod(0o755)
    for name in ("poweroff", "mount"):
        if not (debian / "usr/sbin" / name).exists() and not (debian / "usr/bin" / name).exists():
            (debian / "usr/sbin" / name).symlink_to("/bin/busybox")
    shutil.copytree(
        paths.PROJECT / "python_helpers/bascule", debian / "opt/bascule", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy2(HERE / "inside.py", debian / "opt/inside.py")
    (debian / "opt/perl/PVE").mkdir(parents=True)
    shutil.copy2(HERE / "Storage.pm", debian / "opt/perl/PVE/Storage.pm")
    disk = work / "root.raw"
    with disk.open("wb") as made:
        made.truncate(ROOT_BYTES)
    start = build_guest.PARTITION_START
    build_guest.run(
        "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", debian, "-E", f"offset={start}", disk,
        f"{(ROOT_BYTES - start) // 1024}k",
    )  # fmt: skip
    build_guest.partition_table(disk, ROOT_BYTES)
    shutil.rmtree(debian)
