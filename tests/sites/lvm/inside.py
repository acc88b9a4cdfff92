"""Runs in a machine whose kernel has LVM-thin: changed blocks travel between two volume groups by what nodes run.

Prints one line, `RESULT` and what was found as JSON. The two nodes are this machine twice, with a folder each.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from bascule.errors import BasculeError
from bascule.guest.io import disk_blocks, disk_source, disks
from bascule.system.rsync import Job

MIB = 1 << 20
SIZE = 64 * MIB
CHUNK = 64 << 10
BLOCK = 16 << 10
THERE = Path("/tmp/there")
JOB = Job("shop_guest", "delta", "192.0.2.1", 22, "root", (), True, BLOCK, 0, True)
# What the forced command of the other node runs.
OTHER_NODE = """
import os, sys
from bascule.guest.io import disk_blocks, ssh_key
disk_blocks.directory = lambda component: sys.argv[1]
os.environ["SSH_ORIGINAL_COMMAND"] = sys.argv[2]
sys.exit(ssh_key.serve([], "shop_guest"))
"""
DISK = "vm-100-disk-0"


def lvm(*command: str) -> str:
    """Run a program of LVM; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout.strip()


def device(group: str, name: str = DISK) -> str:
    return f"/dev/{group}/{name}"


def put(path: str, *pieces: tuple[int, bytes]) -> None:
    with open(path, "r+b", buffering=0) as disk:
        for offset, data in pieces:
            os.pwrite(disk.fileno(), data, offset)
        os.fsync(disk.fileno())


def content(path: str) -> str:
    """The SHA-256 of a device, by nothing of Bascule's."""
    sha = hashlib.sha256()
    with open(path, "rb") as disk:
        while block := disk.read(MIB):
            sha.update(block)
    return sha.hexdigest()


def mapped(group: str, name: str = DISK) -> int:
    """How many of a thin volume's chunks have a place in the pool."""
    percent = float(lvm("lvs", "--noheadings", "-o", "data_percent", f"{group}/{name}"))
    return round(percent / 100 * SIZE / CHUNK)


def active(group: str, name: str = DISK) -> bool:
    return lvm("lvs", "--noheadings", "-o", "lv_active", f"{group}/{name}") == "active"


def disk_of(group: str, name: str = DISK, kind: str = "thin", size: int = SIZE, length: int = SIZE) -> dict[str, Any]:
    """A disk as the API describes it."""
    return {
        "name": "scsi0", "path": device(group, name), "format": "raw", "volid": f"{kind}-{group}:{name}",
        "size": size, "length": length,
    }  # fmt: skip


def carry(source: dict[str, Any], target: dict[str, Any]) -> dict[str, int]:
    """Carry the changed blocks of a disk of one volume group onto that of the other."""
    with mock.patch.object(disk_blocks, "directory", return_value=str(THERE)):
        disk_blocks.lend("shop_guest", [source])
        return disk_blocks.carry(
            JOB, target, lambda text: None,
            ask=lambda job, wish: [sys.executable, "-c", OTHER_NODE, str(THERE), wish.words()],
        )  # fmt: skip


def refused(work: Callable[[], object]) -> str:
    """What Bascule says of work that it has to refuse; what another error says is marked as such."""
    try:
        work()
    except BasculeError as error:
        return str(error)
    except Exception as error:
        return f"NOT BASCULE'S: {error!r}"
    return ""


def make() -> None:
    for group, path in (("one", "/dev/vda"), ("two", "/dev/vdb")):
        lvm("pvcreate", "-q", path)
        lvm("vgcreate", "-q", group, path)
        lvm("lvcreate", "-q", "--type", "thin-pool", "-L", "96M", "--chunksize", "64k", "-n", "data", group)
        lvm("lvcreate", "-q", "-V", "64M", "--thin", f"{group}/data", "-n", DISK)
    same, rest = random.Random(1).randbytes(MIB), random.Random(2)
    changed = same[:BLOCK] + rest.randbytes(BLOCK) + same[2 * BLOCK :]
    put(device("one"), (0, changed), (20 * MIB, rest.randbytes(4 * CHUNK)), (SIZE - CHUNK, rest.randbytes(CHUNK)))
    # The copy was made before: it lacks what is new, and has what was zeroed since.
    put(device("two"), (0, same), (40 * MIB, rest.randbytes(2 * CHUNK)))


def changed_blocks() -> dict[str, Any]:
    before = {"mapped": [mapped("one"), mapped("two")], "content": content(device("one"))}
    for group in ("one", "two"):
        lvm("lvchange", "-an", f"{group}/{DISK}")
    there = [os.path.exists(device(group)) for group in ("one", "two")]
    totals = carry(disk_of("one"), disk_of("two"))
    again = carry(disk_of("one"), disk_of("two"))
    return {
        "before": before["mapped"],
        "inactive_before": not any(there),
        "literal": totals["literal"],
        "literal_again": again["literal"],
        "equal": content(device("two")) == content(device("one")) == before["content"],
        "digests_equal": disks.digest(disk_of("one")) == disks.digest(disk_of("two")),
        "mapped": [mapped("one"), mapped("two")],
        "active_after": [active("one"), active("two")],
        "notes": [path.name for path in disk_source.ACTIVATED.iterdir()],
    }


def thick() -> dict[str, Any]:
    """Volumes of plain LVM are inactive while their guest is stopped, and are so again."""
    for group in ("one", "two"):
        lvm("lvcreate", "-q", "-y", "-Wn", "-L", "8M", "-n", "vm-101-disk-0", group)
        put(device(group, "vm-101-disk-0"), (0, bytes(8 * MIB)))
    put(device("one", "vm-101-disk-0"), (MIB, random.Random(4).randbytes(CHUNK)))
    wanted = content(device("one", "vm-101-disk-0"))
    for group in ("one", "two"):
        lvm("lvchange", "-an", f"{group}/vm-101-disk-0")
    pair = [disk_of(group, "vm-101-disk-0", "thick", 8 * MIB, 8 * MIB) for group in ("one", "two")]
    totals = carry(*pair)
    after = [active(group, "vm-101-disk-0") for group in ("one", "two")]
    digests = [disks.digest(disk) for disk in pair]
    nodes = [os.path.exists(disk["path"]) for disk in pair]
    lvm("lvchange", "-ay", "two/vm-101-disk-0")
    found = content(device("two", "vm-101-disk-0"))
    lvm("lvchange", "-an", "two/vm-101-disk-0")
    return {
        "literal": totals["literal"],
        "active_after": after,
        "nodes_after": nodes,
        "equal": found == wanted and len(set(digests)) == 1,
        "notes": [path.name for path in disk_source.ACTIVATED.iterdir()],
    }


def larger() -> dict[str, Any]:
    """A copy's volume that its storage has rounded up: what is behind the disk becomes zeros."""
    lvm("lvcreate", "-q", "-V", "68M", "--thin", "two/data", "-n", "vm-102-disk-0")
    put(device("two", "vm-102-disk-0"), (66 * MIB, b"left over"))
    totals = carry(disk_of("one"), disk_of("two", "vm-102-disk-0", size=68 * MIB))
    with open(device("two", "vm-102-disk-0"), "rb") as disk:
        equal = hashlib.sha256(disk.read(SIZE)).hexdigest() == content(device("one"))
        rest = disk.read()
    lvm("lvremove", "-q", "-y", "two/vm-102-disk-0")
    return {"literal": totals["literal"], "equal": equal, "rest_is_zeros": rest == bytes(4 * MIB)}


def in_use() -> dict[str, Any]:
    """A volume below another device, or open in a process, is neither written nor read."""
    before = content(device("two"))
    lvm("dmsetup", "create", "above", "--table", f"0 {SIZE // 512} linear {device('two')} 0")
    below = refused(lambda: carry(disk_of("one"), disk_of("two")))
    lvm("dmsetup", "remove", "--retry", "above")
    with (
        open(device("one"), "rb") as held,
        subprocess.Popen(["sleep", "600"], stdin=held) as process,
    ):
        held.close()
        opened = refused(lambda: carry(disk_of("one"), disk_of("two")))
        process.kill()
    return {"below": below, "opened": opened, "unchanged": content(device("two")) == before}


def unknown() -> dict[str, Any]:
    return {"said": refused(lambda: carry(disk_of("one"), disk_of("two", "vm-109-disk-0")))}


def full() -> dict[str, Any]:
    """A pool without room: the transfer fails, whatever the kernel had taken into its memory before."""
    lvm("lvcreate", "-q", "--type", "thin-pool", "-L", "8M", "-n", "tiny", "two")
    # Otherwise the kernel waits a minute for somebody to make the pool larger.
    lvm("lvchange", "-q", "--errorwhenfull", "y", "two/tiny")
    lvm("lvcreate", "-q", "-V", "64M", "--thin", "two/tiny", "-n", "vm-103-disk-0")
    put(device("one"), (2 * MIB, random.Random(5).randbytes(24 * MIB)))
    said = refused(lambda: carry(disk_of("one"), disk_of("two", "vm-103-disk-0")))
    return {"said": said, "percent": float(lvm("lvs", "--noheadings", "-o", "data_percent", "two/tiny"))}


def main() -> int:
    THERE.mkdir()
    found: dict[str, Any] = {"kernel": os.uname().release, "lvm": lvm("lvm", "version").splitlines()[0].split()[2]}
    try:
        make()
        for check in (changed_blocks, thick, larger, in_use, unknown, full):
            found[check.__name__] = check()
            print("done:", check.__name__, flush=True)
    except Exception:
        found["failed"] = traceback.format_exc()
    print("RESULT", json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
