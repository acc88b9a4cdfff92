#!/usr/bin/env python3
"""Build the lab's container: busybox, its web server and an init of its own, on an ext4 file system of 16 MiB.

Busybox comes out of the tree that the lab's guests are made of; what else is in it stands in `container/` and `small/`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pve.build_guest import HERE, build_rootfs, run

SIZE = "16M"
FOLDERS = ("bin", "sbin", "etc", "dev", "proc", "sys", "tmp", "var/lib/small", "root", "srv")


def build(cache: Path, output: Path) -> None:
    """Make the volume, a raw file."""
    rootfs = build_rootfs(cache)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as work:
        root = Path(work) / "root"
        root.mkdir(mode=0o755)
        for name in FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
        run("tar", "-C", root, "-xpf", rootfs, "./usr/bin/busybox")
        (root / "usr/bin/busybox").rename(root / "bin/busybox")
        shutil.rmtree(root / "usr")
        listed = subprocess.run([str(root / "bin/busybox"), "--list"], capture_output=True, text=True, check=True)
        for applet in listed.stdout.split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        shutil.copytree(HERE / "small/rootfs/srv", root / "srv", dirs_exist_ok=True)
        shutil.copy2(HERE / "container/init", root / "sbin/init")
        # What a copy by bytes of names alone would lose: an owner, an attribute, one file under two names.
        (root / "var/lib/small/first").write_text("first\n")
        (root / "var/lib/small/second").hardlink_to(root / "var/lib/small/first")
        fresh = output.with_suffix(".new")
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "root_owner=0:0", "-d", root, fresh, SIZE)
        fresh.rename(output)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=HERE.parents[2] / ".lab/cache")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    build(options.cache.resolve(), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
