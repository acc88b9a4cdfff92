"""What a survey counts without reading, and what it finds by day that would stop a transfer in the evening."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.filetree import audit
from bascule.filetree.io import audit as filetree_audit
from bascule.filetree.io.fence import file_servers
from bascule.filetree.io.manifest import survey, take
from bascule.filetree.manifest import ManifestError
from bascule.guard.io import store
from bascule.guard.state import Epoch

from .world import adopt, host

GETFLAGS, SETFLAGS, APPEND, NODUMP = 0x80086601, 0x40086602, 0x20, 0x40


def set_flags(path: Path, flags: int) -> int:
    """Give a file flags as chattr does; return those it had."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        before = int(struct.unpack("=i", fcntl.ioctl(descriptor, GETFLAGS, bytes(8))[:4])[0])
        fcntl.ioctl(descriptor, SETFLAGS, struct.pack("=q", flags | before))
        return before
    finally:
        os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "file").write_bytes(b"12345")
    (path / "a" / "b" / "new\nline").write_bytes(b"678")
    (path / "link").symlink_to("nowhere")
    return path


def test_a_survey_counts_entries_and_bytes(root: Path) -> None:
    found = survey.survey(str(root))
    assert (found.entries, found.files, found.directories, found.bytes) == (6, 2, 3, 8)
    assert (found.largest_xattr, found.largest_xattrs) == (0, 0)
    assert {name: one["count"] for name, one in found.blocking().items()} == {
        "too_long": 0, "partial": 0, "unchangeable": 0, "apart": 0,
    }  # fmt: skip
    # Nobody is told that these are equal.
    told = {"not_carried": found.not_carried, "flags_unknown": found.flags_unknown}
    assert audit.left_out(told) == {"time of birth": "6 entries have it, no transfer carries it"}
    told = {"not_carried": {"project id": 2}, "flags_unknown": 3}
    assert audit.left_out(told) == {
        "project id": "2 entries have it, no transfer carries it",
        "flags": "neither the kernel nor the file system tells those of 3 entries",
    }
    assert audit.apart({"blocking": found.blocking()}) == []


@pytest.fixture
def deep(root: Path) -> Iterator[Path]:
    """A path of 8,040 bytes, as a program makes it that goes down step by step."""
    here = os.open(root, os.O_RDONLY)
    steps = [here]
    for number in range(40):
        name = chr(97 + number % 26) * 200
        os.mkdir(name, dir_fd=here)
        here = os.open(name, os.O_RDONLY, dir_fd=here)
        steps.append(here)
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    yield root
    os.unlink("bottom", dir_fd=here)
    for number in reversed(range(40)):
        os.close(steps.pop())
        os.rmdir(chr(97 + number % 26) * 200, dir_fd=steps[-1])
    os.close(steps[0])


def test_a_path_that_no_system_call_takes_is_counted_and_named(deep: Path, tmp_path: Path) -> None:
    found = survey.survey(str(deep))
    assert found.too_long.count == 1
    assert found.too_long.names[0].endswith("/" + "t" * 199) or len(found.too_long.names[0]) == 200
    # What is kept of it lies below a longer path still.
    assert survey.survey(str(deep), 100).too_long.count == 1
    said = audit.faults(
        "a", {"survey": {"blocking": found.blocking()}}, "b", {}, room_percent=0, clock_difference=0, clock_limit=1
    )
    assert any(one.startswith("a has 1 paths too long to be carried or kept") for one in said)
    with pytest.raises(ManifestError, match="bytes below the root, which is too long"):
        take.take_manifest(str(deep), tmp_path / "m.jsonl", workers=1)


def test_what_transfers_never_carry_is_named_before_the_evening(root: Path) -> None:
    (root / "a" / ".bascule-partial").mkdir()
    found = survey.survey(str(root))
    assert found.partial.names == ["a/.bascule-partial"]
    states = {"survey": {"blocking": found.blocking()}}
    options = {"room_percent": 0.0, "clock_difference": 0.0, "clock_limit": 1.0}
    said = "a has 1 directories with the name that transfers give to their parts"
    assert any(one.startswith(said) for one in audit.faults("a", states, "b", {}, **options))
    # What an interrupted transfer has left at a closed side is nobody's.
    closed = {**states, "guard": {"status": "closed"}}
    assert not any(said in one for one in audit.faults("a", closed, "b", closed, **options))


def test_a_subvolume_inside_the_tree_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no mount, and yet no transfer enters it and no manifest holds it."""
    lstat = os.lstat

    def other_device(path: Any, **more: Any) -> Any:
        found = lstat(path, **more)
        there = isinstance(path, bytes) and path.endswith(b"/a/b")
        return SimpleNamespace(st_dev=found.st_dev + 1) if there else found

    monkeypatch.setattr(os, "lstat", other_device)
    found = survey.survey(str(root))
    assert (found.apart.names, found.files) == (["a/b"], 1)
    said = audit.faults(
        "a", {"survey": {"blocking": found.blocking()}}, "b", {}, room_percent=0, clock_difference=0, clock_limit=1
    )
    assert any("a has 1 directories of another device" in one for one in said)
    (unproved,) = audit.apart({"blocking": found.blocking()})
    assert unproved.startswith("not entered: the active side has 1 directories of another device")
    assert unproved.endswith("among them a/b")


def test_what_nobody_can_replace_and_what_has_flags_is_counted(root: Path) -> None:
    set_flags(root / "a" / "b" / "new\nline", NODUMP)
    path = root / "a" / "file"
    before = set_flags(path, APPEND)
    try:
        found = survey.survey(str(root))
    finally:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.ioctl(descriptor, SETFLAGS, struct.pack("=q", before))
        os.close(descriptor)
    assert (found.unchangeable.count, found.unchangeable.names) == (1, ["a/file"])
    assert found.not_carried["flag nodump"] == 1
    said = audit.faults(
        "a", {}, "b", {"survey": {"blocking": found.blocking()}}, room_percent=0, clock_difference=0, clock_limit=1
    )
    assert any("b has 1 entries that are immutable or append-only" in one for one in said)


def test_the_largest_extended_attributes_are_known_and_tried_at_the_other_side(root: Path) -> None:
    os.setxattr(root / "a" / "file", "user.one", b"x" * 300)
    os.setxattr(root / "a" / "file", "user.two", b"y" * 200)
    os.setxattr(root / "a", "user.three", b"z" * 310)
    found = survey.survey(str(root))
    assert (found.largest_xattr, found.largest_xattrs) == (310, 500 + 2 * len("user.one"))
    before = sorted(os.listdir(root))
    assert survey.xattr_room(str(root), found.largest_xattr, found.largest_xattrs) == ""
    # More than any file system of Linux holds.
    assert survey.xattr_room(str(root), 70_000, 70_010).startswith("70000 of 70000 bytes: E")
    assert survey.xattr_room(str(root / "none"), 1, 1).startswith("could not be tried")
    assert sorted(os.listdir(root)) == before
    said = audit.faults(
        "a", {"survey": {"attributes": {"largest": 65000, "together": 65010}}}, "b",
        {"survey": {"attribute_room": "65000 of 65000 bytes: ENOSPC"}},
        room_percent=0, clock_difference=0, clock_limit=1,
    )  # fmt: skip
    assert any("b cannot hold the largest extended attributes of a (65000 bytes in one" in one for one in said)


def test_a_side_that_is_closed_as_a_whole_cannot_be_tried_and_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a move and the way back the passive side is read-only until the next transfer."""
    kernel = host(tmp_path, monkeypatch)
    adopt(kernel.side, "open")
    root, epoch = kernel.side.base / "guard", Epoch.parse("1.c")
    with store.closing(kernel.side.component, kernel.side.name, epoch, root=root) as closing:
        closing.closed({})
    too_much = {"largest": 70_000, "together": 70_010}
    said = {}
    for read_only in (False, True):
        kernel.public_ro, kernel.super_ro = True, read_only
        view = kernel.look(kernel.side.path, kernel.side.tree)
        said[view.state] = filetree_audit._attribute_room(kernel.side, view, too_much)
    assert said["closed"] == ""
    assert said["passive"].startswith("70000 of 70000 bytes: E")


def test_a_side_that_was_never_open_and_cannot_be_tried_is_not_taken_for_one_that_can_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prepared machine that was started again comes up closed as a whole."""
    kernel = host(tmp_path, monkeypatch)
    adopt(kernel.side, "closed")
    kernel.public_ro, kernel.super_ro = True, True
    view = kernel.look(kernel.side.path, kernel.side.tree)
    assert view.state == "closed"
    told = filetree_audit._attribute_room(kernel.side, view, {"largest": 70_000, "together": 70_010})
    assert told.startswith("could not be tried, as it is read-only as a whole: ansible-playbook playbooks/30_sync.yml")
    assert filetree_audit._attribute_room(kernel.side, view, {}) == ""


def test_what_the_kernel_exports_of_a_tree_is_found(tmp_path: Path) -> None:
    table, nothing = tmp_path / "exports", tmp_path / "no NFS server here"
    table.write_text(
        "# Version 1.1\n# Path Client(Flags) # IPs\n"
        "/srv/courses\t10.0.0.0/8(rw,no_root_squash,sync)\n"
        "/srv/courses/a\\040b\t*(ro)\n"
        "/srv\tbackup.example.org(rw)\n"
        "/srv/courses2\t*(rw)\n/home\t*(rw)\n"
    )
    assert file_servers.exports("/srv/courses", table, nothing, nothing) == [
        "/srv/courses to 10.0.0.0/8",
        "/srv/courses/a b to *",
        "/srv to backup.example.org",
    ]
    assert file_servers.exports("/srv/courses", nothing, nothing, nothing) == []


def test_what_no_client_has_asked_for_yet_is_exported_as_well(tmp_path: Path) -> None:
    """The kernel's own table has only what clients have pulled in."""
    nothing, etab, etc = tmp_path / "nothing", tmp_path / "etab", tmp_path / "etc"
    (etc / "exports.d").mkdir(parents=True)
    (etc / "exports").write_text("# /srv/courses *(rw)\n/srv/courses \\\n  10.0.0.0/8(rw) *(ro)\n/home *(rw)\n")
    (etc / "exports.d" / "more.exports").write_text('"/srv/courses/a b" *(rw)\n')
    (etc / "exports.d" / "passed over").write_text("/srv *(rw)\n")
    assert file_servers.exports("/srv/courses", nothing, nothing, etc) == [
        "/srv/courses to 10.0.0.0/8",
        "/srv/courses/a b to *",
    ]
    etab.write_text("/srv\t*(rw,sync,wdelay)\n")
    assert file_servers.exports("/srv/courses", nothing, etab, etc) == ["/srv to *"]
    etab.write_text("")
    assert len(file_servers.exports("/srv/courses", nothing, etab, etc)) == 2


@pytest.mark.parametrize("name", ["ganesha.nfsd", "ksmbd.mountd"])
def test_a_file_server_whose_open_files_cannot_be_seen_is_named(tmp_path: Path, name: str) -> None:
    # A program of the same name stands in for the server.
    program = tmp_path / name
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([str(program), "60"]) as process:
        try:
            found = [one for one in file_servers.ways("/nowhere") if f"({name}, process {process.pid})" in one]
        finally:
            process.kill()
    assert len(found) == 1
    assert "cannot be seen" in found[0]


def test_the_survey_names_who_has_files_of_the_tree_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch)
    # Others have files open on this machine's file system as well.
    monkeypatch.setattr(filetree_audit, "_WRITERS", 10**6)
    monkeypatch.setattr(filetree_audit, "_version", lambda command: "1")
    with (Path(kernel.side.path) / "written").open("w"):
        found = filetree_audit.survey(kernel.side, {}, {})
    told = found["writers"]
    assert found["distribution"] == Path("/etc/os-release").read_text()
    assert any(f"(process {os.getpid()})" in one and "/written" in one for one in told)
