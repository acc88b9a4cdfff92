"""Who gets round the mounts of a tree: overlays over it, and processes in mounts that no table shows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.filetree.io.fence import mount_tables, mounts, side, writable_aliases
from bascule.filetree.io.fence.mount_tables import Tables
from bascule.filetree.mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, Step, TreeError, View, steps
from bascule.system.mountinfo import Mount

from .world import Kernel, adopt, host, mount

WAY = "the overlay at /merged, which writes to /srv/upper"


def overlay(upper: str, path: str = "/nowhere", super_options: str = "rw") -> Mount:
    options = f"{super_options},lowerdir=/l1:/l2,upperdir={upper},workdir={upper}-work,redirect_dir=on"
    return Mount(77, "0:77", "/", path, ("rw", "relatime"), "overlay", "overlay", tuple(options.split(",")))


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Tables]:
    """The device of the directory, and this machine's tables without any overlay."""
    # Only what a process holds on this device counts: the whole machine's processes are looked at.
    descriptor = os.open(tmp_path, os.O_PATH)
    everything, _ = mount_tables.read("")
    device = everything.devices[writable_aliases._mount_id(descriptor)]
    os.close(descriptor)
    everything.overlays.clear()
    monkeypatch.setattr(mount_tables, "read", lambda device: (everything, []))
    return device, everything


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works in the directory."""
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as process:
        yield process
        process.kill()


def test_an_overlay_says_where_its_upper_layer_lies() -> None:
    assert overlay(r"/srv/a\054b\040c").upper == ("/srv/a,b c", "/srv/a,b c-work")
    assert overlay("/srv/a", super_options="ro").upper == ()
    assert mount("/srv").upper == ()


def test_an_overlay_over_the_tree_is_named_once(tmp_path: Path, tables: tuple[str, Tables]) -> None:
    device, found = tables
    (tmp_path / "upper").mkdir()
    there = overlay(str(tmp_path / "upper"))
    found.overlays[there.device] = [("self", there), (str(os.getpid()), there)]
    said = f"the overlay at /nowhere, which writes to {tmp_path}/upper"
    assert writable_aliases.ways(str(tmp_path), device, found) == [said]


def test_an_overlay_of_which_nothing_can_be_told_is_named(tmp_path: Path, tables: tuple[str, Tables]) -> None:
    device, found = tables
    there = overlay("relative/upper")
    found.overlays[there.device] = [("self", there)]
    ways = writable_aliases.ways(str(tmp_path), device, found)
    assert len(ways) == 1
    assert "of which cannot be told where relative/upper, relative/upper-work lies" in ways[0]


def test_an_overlay_over_another_file_system_is_not_named(tables: tuple[str, Tables]) -> None:
    device, found = tables
    descriptor = os.open("/proc", os.O_PATH)
    there = overlay("/proc/sys", "/proc")
    there = Mount(writable_aliases._mount_id(descriptor), *list(vars(there).values())[1:])
    os.close(descriptor)
    found.overlays[there.device] = [("self", there)]
    assert writable_aliases._upper_in("/", device, found.overlays[there.device], found) == ""


def test_a_process_in_a_mount_that_no_table_shows_is_named(
    tmp_path: Path, tables: tuple[str, Tables], inside: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, found = tables
    assert writable_aliases.ways(str(tmp_path), device, found) == []
    lost = Tables([])
    monkeypatch.setattr(mount_tables, "read", lambda device: (lost, []))
    said = f"(process {inside.pid}), which has its working directory in a mount that was taken away while in use"
    assert any(said in way for way in writable_aliases.ways(str(tmp_path), device, lost))
    # What is mounted while the tables are read is in them the second time.
    monkeypatch.setattr(mount_tables, "read", lambda device: (found, []))
    assert writable_aliases.ways(str(tmp_path), device, lost) == []


def test_only_what_can_be_written_through_counts(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    path = tmp_path / "file"
    path.write_text("x")
    with path.open() as _, path.open("a") as written:
        held = [what for what, _ in writable_aliases._held(os.getpid(), device)]
        assert held.count(str(path)) == 1
        descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        assert str(tmp_path) in [what for what, _ in writable_aliases._held(os.getpid(), device)]
        os.close(descriptor)
        written.write("y")


def test_a_namespace_that_cannot_be_looked_into_is_named(tmp_path: Path, tables: tuple[str, Tables]) -> None:
    device, found = tables
    found.shut.append("/run/snapd/ns/one.mnt")
    assert writable_aliases.ways(str(tmp_path), device, found)[0].startswith(
        "/run/snapd/ns/one.mnt, which keeps a mount"
    )


def test_a_file_that_is_no_namespace_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "door").touch()
    with pytest.raises(OSError, match="cannot be entered"):
        mount_tables._mounts_behind(str(tmp_path / "door"))


def test_only_a_passive_tree_has_to_fear_them() -> None:
    view = View("/srv", "/private", mount("/srv", True), mount("/private"), beyond=(WAY,))
    assert view.writable == [WAY]
    with pytest.raises(TreeError, match=r"made passive.*the overlay at /merged.*nothing is received.*unmount the over"):
        steps(view, PASSIVE)
    for wanted in (ACTIVE, FROZEN, CLOSED):
        assert steps(view, wanted)
    shut = View("/srv", "/private", mount("/srv", True, True), mount("/private", True, True), beyond=(WAY,))
    assert shut.writable == []


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch, "files-tls")
    adopt(kernel.side, "closed")
    side.apply(kernel.side, CLOSED)
    return kernel


def test_a_closed_tree_is_not_made_passive_while_somebody_gets_round_it(closed: Kernel) -> None:
    closed.beyond, closed.taken = (WAY,), []
    with pytest.raises(TreeError, match="the overlay at /merged"):
        side.apply(closed.side, PASSIVE)
    assert not side.ready(closed.side)
    assert (closed.taken, side.look(closed.side).state) == ([], CLOSED)
    closed.beyond = ()
    side.apply(closed.side, PASSIVE)
    assert side.ready(closed.side)


def test_who_comes_while_a_tree_is_made_passive_finds_it_read_only_again(
    closed: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = mounts.take

    def taken(step: Step, view: View) -> None:
        take(step, view)
        closed.beyond = (WAY,) if step.what == "super" and not step.read_only else closed.beyond

    monkeypatch.setattr(mounts, "take", taken)
    with pytest.raises(TreeError, match="still writable: the overlay at /merged"):
        side.apply(closed.side, PASSIVE)
    assert closed.super_ro


def test_who_comes_to_a_passive_tree_finds_it_read_only_when_the_next_transfer_asks(closed: Kernel) -> None:
    side.apply(closed.side, PASSIVE)
    closed.beyond = (WAY,)
    with pytest.raises(TreeError, match="that no mount forbids"):
        side.apply(closed.side, PASSIVE)
    assert side.look(closed.side).state == CLOSED
