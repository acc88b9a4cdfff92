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
# Files that are open by a name which they do not have any more, but have another one.
UNNAMED = """
def lose(name, other):
    descriptor = os.open(large / name, os.O_CREAT | os.O_RDWR)
    os.ftruncate(descriptor, 1)
    os.link(large / name, other)
    os.unlink(large / name)
    return descriptor


before = [lose("one", path / "linked"), os.open(large, os.O_TMPFILE | os.O_RDWR), lose("mapped", path / "third")]
# With a directory given, Python follows the link of /proc.
os.link(f"/proc/self/fd/{before[1]}", path / "loose", src_dir_fd=before[0])
shared = mmap.mmap(before[2], 1)
os.close(before[2])
lose("beside", large / "still beside")
bind(path, path)
fence_side.save(side)
told = refused()
assert f"{large}/one (deleted) (which has another name in the tree)" in told, told
assert f"mapped {large}/mapped (deleted) (which has another" in told and "beside" not in told, told
for descriptor in before[:1]:
    os.close(descriptor)
shared.close()
told = refused()
assert f"{large}/#" in told and told.count("another name in the tree") == 1, told
os.close(before[1])
shared.close()
assert refused() == "", refused()
print("told by inode")
"""
# What a thread has for itself, and what a process sees that has another root.
HIDDEN = """
import ctypes, threading
held = os.open(path, os.O_RDONLY)
unshared, end = [threading.Event(), threading.Event()], threading.Event()


def apart(number, flag):
    assert ctypes.CDLL(None).unshare(flag) == 0
    if number:
        subprocess.run(["umount", str(path)], check=True)
    unshared[number].set()
    end.wait()


threads = [threading.Thread(target=apart, args=(0, 0x400), daemon=True)]
threads[0].start()
unshared[0].wait()
os.close(held)
bind(path, path)
fence_side.save(side)
assert f"(process {os.getpid()}), which holds {path} past" in refused(), refused()
end.set()
threads[0].join()
assert refused() == "", refused()
end.clear()
threads.append(threading.Thread(target=apart, args=(1, 0x20000), daemon=True))
threads[1].start()
unshared[1].wait()
assert f"the mount {large} of " in refused(), refused()
end.set()
threads[1].join()
assert refused() == "", refused()

JAILED = '''
import ctypes, os, subprocess, sys
large, path = sys.argv[1:]
assert ctypes.CDLL(None).unshare(0x20000) == 0
subprocess.run(["umount", path], check=True)
held = os.open(path + "/file", os.O_RDWR)
subprocess.run(["mount", "--bind", path, path], check=True)
os.chroot(large)
print("ready", flush=True)
sys.stdin.readline()
'''
jailed = subprocess.Popen(
    [sys.executable, "-c", JAILED, str(large), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
assert jailed.stdout.readline() == b"ready\\n"
told = refused()
assert f"(process {jailed.pid}), which holds" in told, told
assert f"{path}/file (of which cannot be told where it lies)" in told, told
jailed.communicate(b"\\n")
assert refused() == "", refused()
print("seen")
"""
OVERLAYS = """
def overlay(where, relative=False):
    for name in ("lower", "upper", "work"):
        (where / name).mkdir(exist_ok=True)
    below = "" if relative else f"{where}/"
    options = f"lowerdir={below}lower,upperdir={below}upper,workdir={below}work"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, str(merged)], check=True, cwd=where)
    try:
        return refused()
    finally:
        subprocess.run(["umount", str(merged)], check=True)


merged, ram = base / "merged", base / "ram"
merged.mkdir()
ram.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "none", str(ram)], check=True)
bind(path, path)
fence_side.save(side)
assert f"which writes to {path}/sub/upper" in overlay(path / "sub")
# It may have been moved there since it was mounted: its path is no proof.
assert f"of which cannot be told where {large}/other/upper lies" in overlay(large / "other")
assert "where upper lies, a relative path (mount it again with absolute paths" in overlay(large / "other", True)
assert (overlay(ram), overlay(ram, True)) == ("", "")
print("overlays")
"""
ODD = """
from bascule.filetree.io.fence import mounts
import shutil
os.mkfifo(path / "pipe")
shutil.copy(shutil.which("sleep"), path / "program")
bind(path, path)
fence_side.save(side)
fence_side.apply_private(side)
for name in ("pipe", "program"):
    (large / name).touch()
    bind(path / name, large / name)
running = subprocess.Popen([str(path / "program"), "60"])
assert [mounts.refused_at(str(large / name)) for name in ("pipe", "program")] == [False, False]
assert fence_side.apply(side, FROZEN)
assert [mounts.refused_at(str(large / name)) for name in ("pipe", "program")] == [True, True]
running.kill()
running.wait()
print("odd")
"""


@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.long), "btrfs"])
@pytest.mark.parametrize(("script", "said"), [(MOVES, "moved\n"), (WAYS, "refused\n")], ids=["moves", "ways"])
def test_a_part_is_closed_by_its_mounts_and_who_gets_past_them_is_named(
    tmp_path: Path, kind: str, script: str, said: str
) -> None:
    on(kind, tmp_path, script, said)


@pytest.mark.parametrize(
    ("script", "said"),
    [(UNNAMED, "told by inode\n"), (HIDDEN, "seen\n"), (OVERLAYS, "overlays\n"), (ODD, "odd\n")],
    ids=["unnamed", "hidden", "overlays", "odd"],
)
def test_what_no_plain_path_shows_of_a_part_is_judged(tmp_path: Path, script: str, said: str) -> None:
    on("ext4", tmp_path, script, said)


def on(kind: str, tmp_path: Path, script: str, said: str) -> None:
    """Run a script on a file system of a kind, of which the tree is a part."""
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    assert shutil.which(f"mkfs.{kind}"), f"mkfs.{kind} is not installed: make packages"
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    assert run(PRELUDE + SETUP + script, str(tmp_path), str(image), kind, alone=True) == said
