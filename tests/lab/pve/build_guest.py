#!/usr/bin/env python3
"""Build the lab guest: a small bootable PC disk (MBR, extlinux, ext4) with Debian and the courses application.

Two stages are cached by the digest of what goes into them, so that a second `lab up` builds nothing:

    CACHE/guest-rootfs-<digest>.tar     Debian packages (mmdebstrap, about 30 s)
    CACHE/guest-<digest>/disk.raw       the disk, without any secret (about 5 s)

`personalise` copies the cached disk and writes the secrets of one lab into the copy.
Runs as root on Debian 12 or 13; needs the packages named in host-packages.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUEST = HERE / "guest"
SUITE = "bookworm"
PACKAGES = ("python3", "python3-psycopg2", "qemu-guest-agent", "busybox-static")
DISK_BYTES = 1 << 30
SIGNED = b"~Module signature appended~\n"
PARTITION_START = 1 << 20
# Loaded in this order by the initial RAM disk; dependencies are added from modules.dep.
MODULES = (
    "virtio_pci",
    "virtio_scsi",
    "sd_mod",
    "virtio_net",
    "virtio_console",
    "ata_piix",
    "sr_mod",
    "isofs",
    "button",
    "evdev",
)
# What the guest never reads: it is written by every backup and sent over every link, so it is left out.
UNNEEDED = (
    "kernel",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "usr/share/i18n",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl5",
    "var/cache",
    "var/lib/apt",
)
UNNEEDED_GLOBS = ("usr/lib/x86_64-linux-gnu/libperl.so*", "var/log/*.log", "var/log/apt/*")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a tool; its output is shown only when it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-4000:]}")


def digest_of(paths: list[Path], extra: str) -> str:
    """One digest over names, modes and contents."""
    total = hashlib.sha256(extra.encode())
    for path in sorted(paths):
        mode = path.stat().st_mode & 0o777
        total.update(f"{path.relative_to(HERE)}\0{mode:o}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def guest_files() -> list[Path]:
    return [path for path in GUEST.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@contextlib.contextmanager
def work_directory(cache: Path, prefix: str) -> Iterator[Path]:
    """A directory in the cache (same file system as the result), removed whatever happens."""
    cache.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=cache))
    # mkdtemp makes it private; mmdebstrap's sandboxed downloads and the guest's own root need it readable.
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def build_rootfs(cache: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """Debian's packages and the kernel package, as a tar file."""
    recipe = repr((SUITE, packages, 2))
    result = cache / f"guest-rootfs-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    if result.exists():
        return result
    fetch_kernel = (
        'mkdir -p "$1/kernel" && cd "$1/kernel" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && '
        "apt-get download \"$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p' | head -n 1)\""
    )
    with work_directory(cache, ".rootfs-") as work:
        run(
            "mmdebstrap",
            "--variant=essential",
            f"--include={','.join(packages)}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook={fetch_kernel}",
            SUITE,
            work / "rootfs.tar",
        )
        (work / "rootfs.tar").rename(result)
    return result


def module_order(tree: Path, names: tuple[str, ...] = MODULES) -> list[Path]:
    """Paths of the modules the guest needs, dependencies first."""
    base = next((tree / "lib/modules").iterdir())
    run("depmod", "-b", tree, base.name)
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        name, _, rest = line.partition(":")
        needs[name] = rest.split()
    by_name = {Path(name).name.split(".ko")[0]: name for name in needs}
    order: list[str] = []

    def add(name: str) -> None:
        for dependency in needs[name]:
            add(dependency)
        if name not in order:
            order.append(name)

    for wanted in names:
        add(by_name[wanted])
    return [base / name for name in order]


def without_signature(module: bytes) -> bytes:
    """Return a kernel module without what is appended to sign it: under emulation the check takes a moment of each.

    Format: scripts/sign-file.c of Linux: the signature, 12 bytes of which the last four are its length (big endian), a
    text.
    """
    if not module.endswith(SIGNED):
        return module
    head = module[: -len(SIGNED)]
    return head[: -12 - int.from_bytes(head[-4:], "big")]


def build_initrd(root: Path, kernel_tree: Path, target: Path, work: Path, drivers: tuple[str, ...] = MODULES) -> None:
    """busybox, the modules and one script: nothing else is needed before the root is there."""
    ram = work / "initrd"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (ram / name).mkdir(parents=True)
    shutil.copy2(root / "bin/busybox", ram / "bin/busybox")
    modules = module_order(kernel_tree, drivers)
    for module in modules:
        (ram / "modules" / module.name).write_bytes(without_signature(module.read_bytes()))
    (ram / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    shutil.copy2(GUEST / "initrd/init", ram / "init")
    # Only what `init` calls: a link for each of busybox's 400 programs takes a moment of every boot.
    for applet in ("insmod", "mount", "sh", "switch_root", "usleep"):
        (ram / "bin" / applet).symlink_to("busybox")
    archive = work / "initrd.cpio"
    with archive.open("wb") as out:
        names = sorted(str(path.relative_to(ram)) for path in ram.rglob("*"))
        pack = [str(root / "bin/busybox"), "cpio", "-o", "-H", "newc", "-R", "0:0"]
        subprocess.run(
            pack, cwd=ram, input="\n".join(names).encode() + b"\n", stdout=out, stderr=subprocess.DEVNULL, check=True
        )
    # lz4 and gzip unpack fastest under emulation; gzip needs no tool beyond Debian's essential ones.
    with target.open("wb") as out:
        subprocess.run(["gzip", "-6", "-n", "-c", str(archive)], stdout=out, check=True)


def fill_root(root: Path, work: Path) -> None:
    """Turn the Debian tree into the guest's root."""
    kernel_tree = work / "kernel"
    run("dpkg-deb", "-x", next((root / "kernel").glob("*.deb")), kernel_tree)
    boot = root / "boot"
    boot.mkdir(exist_ok=True)
    shutil.copy2(next((kernel_tree / "boot").glob("vmlinuz-*")), boot / "vmlinuz")
    build_initrd(root, kernel_tree, boot / "initrd", work)
    shutil.copy2(GUEST / "extlinux.conf", boot / "extlinux.conf")
    for name in UNNEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    for pattern in UNNEEDED_GLOBS:
        for path in root.glob(pattern):
            path.unlink()
    (root / "var/cache").mkdir()
    shutil.copytree(GUEST / "rootfs", root, dirs_exist_ok=True)
    applets = subprocess.run([str(root / "bin/busybox"), "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if not any((root / place / applet).exists() for place in ("usr/bin", "usr/sbin")):
            (root / "usr/bin" / applet).symlink_to("/bin/busybox")
    init = root / "sbin/init"
    init.unlink(missing_ok=True)
    init.symlink_to("/bin/busybox")
    application = root / "opt/courses"
    application.mkdir(parents=True)
    for source in sorted(GUEST.glob("*.py")):
        shutil.copy2(source, application / source.name)
    (root / "etc/courses").mkdir(mode=0o700)
    (root / "var/lib/courses").mkdir(parents=True)
    # Compiled here once: under emulation the guest would spend a second on it at every boot.
    run("chroot", root, "python3", "-m", "compileall", "-q", "/opt/courses")
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.rmtree(root / "dev", ignore_errors=True)
    for name in ("dev", "proc", "sys", "run"):
        (root / name).mkdir(exist_ok=True)


def partition_table(disk: Path, size: int = DISK_BYTES) -> None:
    """One active Linux partition, and syslinux's boot code in front of it."""
    code = Path("/usr/lib/EXTLINUX/mbr.bin")
    if not code.exists():
        code = Path("/usr/lib/syslinux/mbr/mbr.bin")
    sectors = (size - PARTITION_START) // 512
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", PARTITION_START // 512, sectors)
    mbr = (
        code.read_bytes()[:440].ljust(440, b"\0")
        + struct.pack("<IH", 0x0BA5C01E, 0)
        + entry.ljust(64, b"\0")
        + b"\x55\xaa"
    )
    with disk.open("r+b") as out:
        out.write(mbr)


def install_boot_loader(disk: Path, work: Path, size: int = DISK_BYTES) -> None:
    mount = work / "mount"
    mount.mkdir()
    run("mount", "-o", f"loop,offset={PARTITION_START},sizelimit={size - PARTITION_START}", disk, mount)
    try:
        run("extlinux", "--install", mount / "boot")
    finally:
        run("umount", mount)


def make_disk(root: Path, image: Path, work: Path, size: int = DISK_BYTES) -> None:
    """A bootable disk with this tree on it."""
    with image.open("wb") as out:
        out.truncate(size)
    # Features extlinux cannot read are off; nothing is left for the guest to initialise in the background, so that a
    # resting guest writes nothing.
    run(
        "mkfs.ext4",
        "-q",
        "-F",
        "-L",
        "courses",
        "-d",
        root,
        "-b",
        "4096",
        "-m",
        "0",
        "-O",
        "^64bit,^metadata_csum",
        "-E",
        f"offset={PARTITION_START},lazy_itable_init=0,lazy_journal_init=0",
        image,
        f"{(size - PARTITION_START) // 1024}k",
    )
    partition_table(image, size)
    install_boot_loader(image, work, size)


def build_disk(cache: Path) -> Path:
    """The bootable disk without secrets; returns its path in the cache."""
    rootfs = build_rootfs(cache)
    result = cache / f"guest-{digest_of([*guest_files(), Path(__file__).resolve()], rootfs.name)}"
    disk = result / "disk.raw"
    if disk.exists():
        return disk
    with work_directory(cache, ".guest-") as work:
        root = work / "root"
        root.mkdir()
        run("tar", "-C", root, "--numeric-owner", "-xpf", rootfs)
        fill_root(root, work)
        made = work / "out"
        made.mkdir()
        make_disk(root, made / "disk.raw", work)
        # Somebody else may have built the same disk meanwhile: it has the same content.
        if not disk.exists():
            made.rename(result)
    return disk


def personalise(disk: Path, target: Path, secrets: dict[str, Path]) -> None:
    """Copy the cached disk to `target` and write the secrets (name in /etc/courses -> file) into the copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(descriptor)
    fresh = Path(name)
    try:
        run("cp", "--sparse=always", disk, fresh)
        fresh.chmod(0o600)
        commands = []
        for inside, source in sorted(secrets.items()):
            commands += [
                f"write {source} /etc/courses/{inside}",
                f"set_inode_field /etc/courses/{inside} mode 0100600",
                f"set_inode_field /etc/courses/{inside} uid 0",
                f"set_inode_field /etc/courses/{inside} gid 0",
            ]
        with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
            script.write("".join(f"{command}\n" for command in commands))
            script.flush()
            run("debugfs", "-w", "-f", script.name, f"{fresh}?offset={PARTITION_START}")
        # debugfs answers 0 even when a command failed: look at the result.
        for inside in secrets:
            listing = subprocess.run(
                ["debugfs", "-R", f"stat /etc/courses/{inside}", f"{fresh}?offset={PARTITION_START}"],
                capture_output=True,
                text=True,
                check=True,
            )
            if "Type: regular" not in listing.stdout:
                raise SystemExit(f"expected /etc/courses/{inside} in the guest's disk, found: {listing.stderr.strip()}")
        fresh.rename(target)
    finally:
        fresh.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=HERE.parents[2] / ".lab/cache")
    parser.add_argument("--output", type=Path, help="write a personalised copy here")
    parser.add_argument("--secret", action="append", default=[], metavar="NAME=FILE", help="file for /etc/courses/NAME")
    options = parser.parse_args(arguments)
    disk = build_disk(options.cache)
    if options.output:
        secrets = {name: Path(source) for name, _, source in (item.partition("=") for item in options.secret)}
        personalise(disk, options.output, secrets)
        disk = options.output
    print(disk)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
