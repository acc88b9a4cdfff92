"""What counts of the files of a container's volume: everything that an archive carries, and no time."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.agent import commands
from bascule.errors import BasculeError, CommandFailed
from bascule.guest.io import disks, volume_files
from bascule.system.io import loops
from bascule.system.io.process import run

DIGEST = "files-sha256:" + "1" * 64


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the same files below a folder of that name."""

    def make(name: str) -> Path:
        root = tmp_path / name
        for folder in ("etc", "srv/data", "dev", "lost+found", "etc/vzdump"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "etc/hostname").write_text("courses\n")
        (root / "etc/shadow").write_bytes(b"root:x\n" * 3)
        (root / "etc/mtab").symlink_to("/proc/mounts")
        os.link(root / "etc/hostname", root / "etc/hostname.same")
        (root / "srv/data/big").write_bytes(b"x" * (2 << 20))
        # Whatever the process that runs the tests gives to new files.
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        return root

    return make


def test_two_volumes_with_the_same_files_are_equal_whatever_their_times(tree: Any) -> None:
    here, there = tree("here"), tree("there")
    os.utime(there / "etc/hostname", (0, 0))
    found = volume_files.of_folder(str(here))
    assert found == volume_files.of_folder(str(there))
    assert found.startswith("files-sha256:")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "etc/shadow").write_bytes(b"root:y\n" * 3),
        lambda root: (root / "etc/shadow").chmod(0o600),
        lambda root: (root / "srv").chmod(0o700),
        lambda root: (root / "etc/new").touch(),
        lambda root: (root / "etc/shadow").unlink(),
        lambda root: (root / "etc/shadow").rename(root / "etc/shadow-"),
        lambda root: [(root / "etc/mtab").unlink(), (root / "etc/mtab").symlink_to("/proc/self/mounts")],
        lambda root: [(root / "etc/hostname.same").unlink(), (root / "etc/hostname.same").write_text("courses\n")],
        lambda root: (root / "srv/empty").mkdir(),
        lambda root: os.mkfifo(root / "srv/pipe"),
    ],
)
def test_whatever_an_archive_carries_counts(tree: Any, change: Callable[[Path], Any]) -> None:
    here, there = tree("here"), tree("there")
    change(there)
    assert volume_files.of_folder(str(here)) != volume_files.of_folder(str(there))


def test_attributes_count(tree: Any) -> None:
    here, there = tree("here"), tree("there")
    try:
        os.setxattr(there / "etc/shadow", "user.note", b"1")
    except OSError:
        pytest.skip("this file system has no attributes of users")
    assert volume_files.of_folder(str(here)) != volume_files.of_folder(str(there))


def test_what_proxmox_neither_archives_nor_restores_does_not_count(tree: Any, monkeypatch: Any) -> None:
    here, there = tree("here"), tree("there")
    (there / "dev/null").touch()
    (there / "etc/vzdump/pct.fw").touch()
    (there / "lost+found/1").touch()
    monkeypatch.chdir(there)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("srv/socket")
        assert volume_files.of_folder(str(here)) == volume_files.of_folder(str(there))


def test_what_another_volume_is_mounted_over_does_not_count(tree: Any) -> None:
    here, there = tree("here"), tree("there")
    (there / "srv/data").chmod(0o700)
    (there / "srv/data/big").unlink()
    assert volume_files.of_folder(str(here)) != volume_files.of_folder(str(there))
    mounts = ["/srv/data"]
    assert volume_files.of_folder(str(here), "/", mounts) == volume_files.of_folder(str(there), "/", mounts)
    # Of a volume below, only its own are meant.
    assert volume_files.of_folder(str(here / "srv"), "/srv", ["/", "/srv/data"]) == volume_files.of_folder(
        str(there / "srv"), "/srv", ["/", "/srv/data"]
    )
    assert volume_files.of_folder(str(here / "srv"), "/srv", ["/"]) != volume_files.of_folder(
        str(there / "srv"), "/srv", ["/"]
    )
    # `dev` of another volume is one of its folders.
    (there / "dev/x").touch()
    assert volume_files.of_folder(str(here), "/opt", mounts) != volume_files.of_folder(str(there), "/opt", mounts)


def test_a_directory_is_read_where_it_lies_and_its_stamp_is_its_content(tree: Any) -> None:
    here = tree("here")
    disk = {"name": "rootfs", "path": str(here), "format": "subvol", "files": True, "at": "/", "mounts": ["/srv/data"]}
    assert disks.digest(disk) == volume_files.of_folder(str(here), "/", ["/srv/data"])
    before = disks.stamp([disk])
    (here / "etc/shadow").write_bytes(b"root:y\n" * 3)
    assert disks.stamp([disk]) != before


def test_any_other_volume_is_mounted_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    image = tmp_path / "vm-100-disk-0.raw"
    image.write_bytes(b"")
    said: list[list[str]] = []

    def noted(argv: list[str], **given: Any) -> Any:
        said.append(argv)
        return SimpleNamespace(stdout=f"{DIGEST}\n", rc=0)

    runner: Any = noted

    disk = {"name": "mp0", "path": str(image), "format": "raw", "at": "/srv/data", "mounts": ["/"]}
    assert volume_files.digest(disk, runner) == DIGEST
    assert said[0][:6] == ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    assert "ro,noload,nodev,nosuid,noexec" in said[0][6]
    assert said[0][7:9] == [str(image), ",loop"]
    assert said[0][-3:] == ["guest_files", "/srv/data", "/"]
    volume_files.digest({**disk, "path": "/dev/pve/vm-100-disk-1"}, runner)
    assert said[1][7:9] == ["/dev/pve/vm-100-disk-1", ""]


def test_the_shell_of_that_namespace_hands_the_folder_on(tmp_path: Path) -> None:
    """Everything but the mount itself, for which one has to be root: a program of that name notes what it is told."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("mount", "umount"):
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n')
        program.chmod(0o755)
    words = ["env", f"PATH={bin_folder}:{os.environ['PATH']}", "sh", "-c", volume_files._MOUNTED]
    done = run([*words, "/dev/pve/x", ",loop", "echo", "said", "/"], timeout=30)
    place = str(done.stdout).split()[-1]
    assert str(done.stdout).split()[:2] == ["said", "/"]
    assert not Path(place).exists()
    assert (tmp_path / "log").read_text().splitlines() == [
        f"mount --types ext4 --options ro,noload,nodev,nosuid,noexec,loop /dev/pve/x {place}",
        f"umount {place}",
    ]
    failed = run([*words, "/dev/pve/x", "", "false"], timeout=30, check=False)
    assert failed.rc == 1


def test_what_cannot_be_mounted_is_told(tmp_path: Path) -> None:
    def refused(argv: list[str], **given: Any) -> Any:
        raise CommandFailed(expected="unshare to end well", found="mount: wrong fs type", state="unknown")

    runner: Any = refused

    with pytest.raises(BasculeError, match=r"read-only and to read all files in it; found: .*wrong fs type"):
        volume_files.digest({"path": str(tmp_path), "format": "raw"}, runner)
    with pytest.raises(BasculeError, match="switch krbd on"):
        volume_files.digest({"path": "rbd:pool/vm-100-disk-0:conf=x", "format": "raw", "volid": "rbd:vm-100-disk-0"})


def test_a_volume_that_a_container_uses_by_a_loop_device_is_not_quiet(tmp_path: Path, monkeypatch: Any) -> None:
    """No process has it open: a container that was started, or mounted by `pct mount`, is seen by its loop device."""
    image, other = tmp_path / "vm-100-disk-0.raw", tmp_path / "vm-101-disk-0.raw"
    image.write_bytes(b"x")
    other.write_bytes(b"x")
    device = tmp_path / "block/loop3/loop"
    device.mkdir(parents=True)
    (device / "backing_file").write_text(f"{image}\n")
    monkeypatch.setattr(disks, "LOOPS", tmp_path / "block")
    monkeypatch.setattr(disks, "_LOOP_SECONDS", 0.0)
    monkeypatch.setattr(loops, "backing", lambda name: None)
    assert [line for line in disks.held_by(str(image)) if "loop3 is on it" in line]
    with pytest.raises(BasculeError, match="loop3 is on it"):
        disks.must_be_quiet(str(image))
    assert not [line for line in disks.held_by(str(other)) if "loop" in line]
    # Another container's file may have the same name: the kernel's own word of which file it is counts.
    found = other.stat()
    monkeypatch.setattr(loops, "backing", lambda name: {"loop3": (found.st_dev, found.st_ino)}[name])
    assert not [line for line in disks.held_by(str(image)) if "loop" in line]
    assert [line for line in disks.held_by(str(other)) if "loop3 is on it" in line]
    (device / "backing_file").unlink()
    assert not [line for line in disks.held_by(str(other)) if "loop" in line]


def test_a_loop_device_tells_its_file(tmp_path: Path) -> None:
    """On a real device where one can be had; without a node of it nothing is told."""
    assert loops.backing("loop-that-is-not-there") is None
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device can be had here: {made.stderr.strip()}")
    try:
        found = image.stat()
        assert loops.backing(Path(made.stdout.strip()).name) == (found.st_dev, found.st_ino)
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@pytest.mark.parametrize("said", ["", "\n", "files-sha256:", "umount: busy\n"])
def test_no_digest_is_no_equality(tmp_path: Path, said: str) -> None:
    def runner(argv: Any, **given: Any) -> Any:
        return SimpleNamespace(stdout=said, rc=0)

    with pytest.raises(BasculeError, match="expected: the digest of all files in"):
        volume_files.digest({"path": str(tmp_path), "format": "raw"}, runner)


def test_a_file_system_inside_a_volume_is_refused_as_no_archive_takes_it(tree: Any, monkeypatch: Any) -> None:
    here = tree("here")
    asked = os.lstat

    def another(path: Any) -> Any:
        found = asked(path)
        return SimpleNamespace(st_dev=found.st_dev + 1, st_mode=found.st_mode)

    monkeypatch.setattr(os, "lstat", another)
    with pytest.raises(BasculeError, match=r"here/(etc|srv) is a file system of its own"):
        volume_files.of_folder(str(here))


def test_the_agent_knows_how(tree: Any, capsys: Any) -> None:
    here = tree("here")
    assert commands.run("guest_files", ["/", "/srv/data", str(here)]) == 0
    assert capsys.readouterr().out.strip() == volume_files.of_folder(str(here), "/", ["/srv/data"])
