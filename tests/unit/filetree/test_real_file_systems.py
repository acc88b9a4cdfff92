"""The fence of a tree on the kernel's own ext4 and xfs, each on a loop device in a mount namespace of its own.

What keeps a tree closed at boot is systemd's and stands in for itself here; containers with systemd try that elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import errno, json, os, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, TreeBusy
from bascule.guard import state as rule
from bascule.guard.state import GuardState

base, device = Path(sys.argv[1]), sys.argv[2]
path = base / "srv"
path.mkdir()
subprocess.run(["mount", "-o", "loop", device, str(path)], check=True)
side = Side("files", "files-mtp", str(path), ".sentinel", base / "lib")
# Stands in for systemd's unit of the mount.
fence_side.durable = SimpleNamespace(
    hold=lambda *_, **__: [], release=lambda *_, **__: [], held=lambda _: True, held_paths=lambda _: []
)
fence_side.BUSY_WAIT = 0.2


def stands(guard):
    place = side.base / "guard"
    place.mkdir(parents=True, exist_ok=True)
    (place / "files.json").write_text(json.dumps(guard.to_dict()))


def writes(where):
    try:
        (Path(where) / "written").write_text("x")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"
"""
MOVES = """
stands(rule.adopt_open(GuardState("files", "files-mtp")))
fence_side.save(side)
fence_side.apply_private(side)
assert (fence_side.look(side).state, writes(side.path), writes(side.tree)) == (ACTIVE, "written", "written")
with (path / "busy").open("w"):
    try:
        fence_side.apply(side, FROZEN)
    except TreeBusy as error:
        assert f"(process {os.getpid()}): {path}/busy" in error.found, error.found
    else:
        raise AssertionError("a tree was frozen under a writer")
fence_side.apply(side, FROZEN)
assert (fence_side.look(side).state, writes(side.path), writes(side.tree)) == (FROZEN, "EROFS", "EROFS")
assert fence_side.apply(side, FROZEN) == []
fence_side.apply(side, ACTIVE)
assert writes(side.path) == "written"
stands(rule.adopt_closed(GuardState("files", "files-mtp")))
fence_side.apply(side, CLOSED)
assert (fence_side.look(side).state, writes(side.path), writes(side.tree)) == (CLOSED, "EROFS", "EROFS")
fence_side.apply(side, PASSIVE)
assert (fence_side.look(side).state, writes(side.path), writes(side.tree)) == (PASSIVE, "EROFS", "written")
os.setxattr(path.parent / "lib/files/tree/written", "user.small", b"x" * 100)
stands(rule.adopt_open(GuardState("files", "files-mtp")))
fence_side.apply(side, ACTIVE)
assert writes(side.path) == "written"
print("moved")
"""
KINDS = ("ext4", "xfs")


def run(script: str, *arguments: str, alone: bool = False) -> str:
    """Run a program in a mount namespace of its own, which ends with it; `alone`: no other processes are seen there."""
    more = ["--pid", "--fork", "--mount-proc"] if alone else []
    command = ["unshare", "--mount", "--propagation", "private", *more, sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_of_the_fence_is_reached_and_proved_by_writing(tmp_path: Path, kind: str) -> None:
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    assert shutil.which(f"mkfs.{kind}"), f"mkfs.{kind} is not installed: make packages"
    image = tmp_path / "image"
    with image.open("wb") as file:
        # The least that mkfs.xfs takes is 300 MB; hardly any of it is written.
        file.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    assert run(PRELUDE + MOVES, str(tmp_path), str(image)) == "moved\n"


ATTRIBUTES = """
from bascule.filetree import transfer
from bascule.filetree.io.manifest import attributes

held, one = path / "held", base / "one"
one.mkdir()
for place in (one, path):
    (place / "held").write_text("x")
    subprocess.run(["setfacl", "-m", "u:1234:rw", str(place / "held")], check=True)
assert "trusted.SGI_ACL_FILE" in os.listxattr(held)
assert attributes.listed(os.fsencode(held)) == ["system.posix_acl_access"]
os.setxattr(one / "held", "user.new", b"y")
push = transfer.Push("c", str(one), str(path), "192.0.2.1", "/key", "/known")
rules = [word for word in transfer.rsync_command(push) if word.startswith("--filter")]
command = f"{transfer.RECEIVE} none --server -vlHogDtpAXXrSe.iLsfxCIvu --numeric-ids . {path}"
received = [*transfer.parse_request(command, str(path), "/kept").argv]
assert [word for word in received if word.startswith("--filter")] == rules != []
shell = base / "rsh"
given = " ".join(f"'{rule}'" for rule in rules)
start = 'while [ "$1" != --server ]; do shift; done'
shell.write_text(f'#!/bin/bash\\n{start}; exec rsync "$1" {given} "${{@:2}}"\\n')
shell.chmod(0o755)
sent = ["rsync", "-aHAXXS", *rules, "-e", str(shell), "--from0", "--files-from=-"]
for _ in range(3):
    subprocess.run([*sent, f"{one}/", f"host:{path}/"], input=b"held\\0", check=True)
    assert os.getxattr(held, "system.posix_acl_access") == os.getxattr(one / "held", "system.posix_acl_access")
assert os.getxattr(held, "user.new") == b"y"
print("kept")
"""


def test_an_acl_stays_when_a_file_comes_to_xfs_from_elsewhere(tmp_path: Path) -> None:
    if "xfs" not in Path("/proc/filesystems").read_text().split():
        pytest.skip("this kernel has no xfs")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    assert run(PRELUDE + ATTRIBUTES, str(tmp_path), str(image)) == "kept\n"
