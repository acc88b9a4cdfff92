"""A tree that is a part of a larger file system: who gets past the mount that closes it, by the kernel itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .test_real_file_systems import PRELUDE, run

SETUP = """
import mmap
from bascule.filetree.io import own_mount
from bascule.filetree.io.fence import past_part, way_past
from bascule.filetree.mounts import TreeError

large = path
path = large / "courses"
if sys.argv[3] == "btrfs":
    subprocess.run(["btrfs", "-q", "subvolume", "create", str(path)], check=True)
else:
    path.mkdir()
(path / "sub").mkdir()
(path / "file").write_text("x")
(large / "other").mkdir()
side = Side("files", "files-mtp", str(path), ".sentinel", base / "lib", recorder=False, part=True)
stands(rule.adopt_open(GuardState("files", "files-mtp")))


def bind(one, other, how="--bind"):
    subprocess.run(["mount", how, str(one), str(other)], check=True)


def refused():
    try:
        way_past.check(side)
    except TreeError as error:
        return error.found
    return ""


assert own_mount.is_part(str(path)) and own_mount.faults(str(path)) == []
"""
MOVES = """
before = {
    "directory": os.open(path, os.O_RDONLY),
    "reading": os.open(path / "file", os.O_RDONLY),
    "writing": os.open(path / "file", os.O_RDWR),
}
shared = mmap.mmap(before["writing"], 1)
bind(path, path)
fence_side.save(side)
assert fence_side.load("files", side.base).part
fence_side.apply_private(side)
view = fence_side.look(side)
assert (view.state, view.part, view.shared, view.others) == (ACTIVE, True, (), ()), view
me = f"(process {os.getpid()}), which holds "
for name in ("directory", "reading", "writing"):
    assert me in refused() and str(path) in refused(), refused()
    os.close(before[name])
assert f"mapped {path}/file" in refused(), refused()
# The kernel has let the mount be made read-only all the same: the proof finds it.
try:
    fence_side.apply(side, FROZEN)
except TreeError as error:
    assert f"mapped {path}/file" in error.found, error.found
else:
    raise AssertionError("a tree was frozen under a mapping")
assert writes(path) == "EROFS"
fence_side.undo_freeze(side)
assert (fence_side.look(side).state, writes(path), writes(side.tree)) == (ACTIVE, "written", "written")
shared.close()
assert refused() == "", refused()

# Its own mounts are closed by their flags, and opened again; what lies beside it goes on.
bind(path / "sub", large / "other")
with (large / "other" / "busy").open("w"):
    try:
        fence_side.apply(side, FROZEN)
    except TreeBusy as error:
        assert f"(process {os.getpid()}): {large}/other/busy" in error.found, error.found
    else:
        raise AssertionError("a tree was frozen under a writer")
fence_side.apply(side, FROZEN)
assert [writes(one) for one in (path, side.tree, large / "other", large)] == ["EROFS"] * 3 + ["written"]
assert fence_side.apply(side, FROZEN) == []
fence_side.apply(side, ACTIVE)
assert [writes(one) for one in (path, side.tree, large / "other")] == ["written"] * 3
subprocess.run(["umount", str(large / "other")], check=True)
# So is a mount of a single file of it.
(large / "single").touch()
bind(path / "file", large / "single")
assert fence_side.apply(side, FROZEN)
try:
    (large / "single").write_text("y")
except OSError as error:
    assert error.errno == errno.EROFS
else:
    raise AssertionError("a file of a frozen tree was written")
fence_side.apply(side, ACTIVE)
(large / "single").write_text("y")
subprocess.run(["umount", str(large / "single")], check=True)

stands(rule.adopt_closed(GuardState("files", "files-mtp")))
fence_side.apply(side, CLOSED)
assert (fence_side.look(side).state, writes(path), writes(side.tree)) == (CLOSED, "EROFS", "EROFS")
fence_side.apply(side, PASSIVE)
assert (fence_side.look(side).state, writes(path), writes(side.tree)) == (PASSIVE, "EROFS", "written")
fence_side.apply(side, CLOSED)
assert writes(side.tree) == "EROFS"
stands(rule.adopt_open(GuardState("files", "files-mtp")))
fence_side.apply(side, ACTIVE)
assert writes(path) == "written"
print("moved")
"""
WAYS = """
bind(path, path)
fence_side.save(side)
fence_side.apply_private(side)
assert refused() == "", refused()
# The larger file system once more: with what stands on it, and without, and read-only.
past = base / "past"
past.mkdir()
bind(large, past, "--rbind")
assert refused() == "", refused()
subprocess.run(["umount", "-R", str(past)], check=True)
bind(large, past)
assert f"the mount {past}, which shows the tree as a part of more" in refused(), refused()
assert writes(past / "courses") == "written"
try:
    fence_side.apply(side, FROZEN)
except TreeError as error:
    assert f"the mount {past}" in error.found, error.found
else:
    raise AssertionError("a tree was frozen that is written to by another mount")
fence_side.undo_freeze(side)
subprocess.run(["mount", "-o", "remount,bind,ro", str(past)], check=True)
assert refused() == "", refused()
subprocess.run(["umount", str(past)], check=True)

# A directory that somebody stands in, below a mount that is gone from the table.
bind(large, past)
os.chdir(past / "courses")
subprocess.run(["umount", "--lazy", str(past)], check=True)
assert "its working directory" in refused() and "taken away while in use" in refused(), refused()
os.chdir("/")

# The same in another namespace, whose mounts ours does not reach.
other = subprocess.Popen(
    ["unshare", "--mount", "sh", "-c", f"umount {path}; echo ready; read line; exit 0"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
assert other.stdout.readline() == b"ready\\n"
assert f"the mount {large} of sh (process {other.pid})" in refused(), refused()
other.communicate(b"\\n")
assert refused() == "", refused()

subprocess.run(["mkfs.ext4", "-q", "-F", str(path / "disk"), "4m"], check=True, capture_output=True)
subprocess.run(["mount", "-o", "loop", str(path / "disk"), str(past)], check=True)
assert f", a loop device on {path}/disk" in refused(), refused()
subprocess.run(["umount", str(past)], check=True)

subprocess.run(["umount", side.tree], check=True)
subprocess.run(["umount", str(path)], check=True)
if sys.argv[3] != "btrfs":
    # Between subvolumes there are no hard links.
    os.link(path / "file", path / "sub" / "second")
    assert own_mount.faults(str(path)) == []
    os.link(path / "file", large / "outside")
    assert own_mount.faults(str(path)) == ["1 of its files have names outside the tree as well, file among them"]
    bind(path, path)
    assert refused() == "ways past it: a name outside the tree of file", refused()
    (large / "outside").unlink()
    (path / "sub" / "second").unlink()
    subprocess.run(["umount", str(path)], check=True)
subprocess.run(["mount", "-t", "tmpfs", "none", str(path / "sub")], check=True)
assert own_mount.faults(str(path)) == [f"mounted inside it: {path}/sub"]
subprocess.run(["umount", str(path / "sub")], check=True)
(base / "link").symlink_to(path)
for odd in (base / "link", f"{path}/../courses", f"{path}/", base / "none"):
    assert "no directory by its plain path" in own_mount.faults(str(odd))[0], odd
assert own_mount.faults("/var") == ["this host's /var lies in it, which nothing may make read-only"]
print("refused")
"""


@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.long), "btrfs"])
@pytest.mark.parametrize(("script", "said"), [(MOVES, "moved\n"), (WAYS, "refused\n")], ids=["moves", "ways"])
def test_a_part_is_closed_by_its_mounts_and_who_gets_past_them_is_named(
    tmp_path: Path, kind: str, script: str, said: str
) -> None:
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    assert shutil.which(f"mkfs.{kind}"), f"mkfs.{kind} is not installed: make packages"
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    assert run(PRELUDE + SETUP + script, str(tmp_path), str(image), kind, alone=True) == said
