"""A container moves between two nodes by archive and by changed blocks: real namespaces, real file systems, real tar.

The tests of this file go on from one another: whichever way it moves, what was written in it before is there after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bascule_lab import shell

from bascule.guest.io import archive
from tests.faults.guests.containers import BOXES, ContainerNodes
from tests.faults.guests.test_guest import said

MOVE = ("check", "capture", "freeze", "sync", "switch", "thaw", "verify")
RETURN = MOVE[2:]
# What a copy of bytes and names alone would lose.
WRITE = (
    "cd /srv/data && echo $0 > word && ln -f word same && ln -sf word link && chown 1001:1002 word && chmod 4750 word "
    "&& mkdir -p deep/er && dd if=/dev/urandom of=deep/er/random bs=1k count=300 2>/dev/null && mkfifo -m 600 pipe$0"
)
TELL = "cd /srv/data && stat -c '%n %u:%g %a %F %h' word same link pipe* && md5sum word same link deep/er/random"


@pytest.fixture(scope="module")
def boxes(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerNodes]:
    """Two nodes; the container serves at the source."""
    pair = ContainerNodes(
        "pve",
        "boxes",
        tmp_path_factory.mktemp("boxes"),
        variables={"proxmox_guest_move": "archive"},
        gates={"guest_boots": {"equals": True, "max_age": 600}, "guest_differences": {"max": 0}},
    )
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


@pytest.fixture(autouse=True)
def afterwards(boxes: ContainerNodes) -> Iterator[None]:
    """After every test: all faults forgotten, and never two containers connected."""
    yield
    boxes.mend()
    assert len(boxes.connected()) <= 1


def attribute(boxes: ContainerNodes, side: str, *words: str) -> str:
    """Run a command of the node on a file of the running container; what is inside has no such command."""
    pid = boxes.must_run(side, ["cut", "-d", " ", "-f", "1", f"/run/qemu-server/ct-{BOXES[side]}.pid"]).strip()
    return boxes.must_run(side, [*words, f"/proc/{pid}/root/srv/data/word"])


def write(boxes: ContainerNodes, side: str, word: str) -> str:
    """Write things of every kind inside; return what is told of them."""
    boxes.must_run(side, ["pct", "exec", str(BOXES[side]), "--", "/bin/sh", "-c", WRITE, word])
    attribute(boxes, side, "setfattr", "-n", "user.note", "-v", word)
    attribute(boxes, side, "setfacl", "-m", "u:1003:r")
    return told(boxes, side)


def told(boxes: ContainerNodes, side: str) -> str:
    found = boxes.inside(side, TELL)
    names = attribute(boxes, side, "getfattr", "--only-values", "-n", "user.note")
    access = attribute(boxes, side, "getfacl", "-cnp")
    return f"{found}\n{names}\n{access}"


def proved(boxes: ContainerNodes, active: str) -> None:
    """The container runs at one side alone, both its volumes were compared, and the other's are nobody's."""
    proof: dict[str, Any] = boxes.fact("verify")
    assert (proof["disks_compared"], proof["disks_different"], proof["details"]) == (2, 0, [])
    assert proof["disks_unmoved"] == 0
    assert boxes.connected() == [active]
    passive = "target" if active == "source" else "source"
    assert (boxes.status(active), boxes.status(passive)) == ("open", "closed")
    assert not boxes.running(passive)
    assert (len(boxes.users(active)), boxes.users(passive)) == (2, [])


def move(boxes: ContainerNodes, way: str, word: str) -> None:
    """There and back by one way, with what was written at each side."""
    boxes.write_inventory(proxmox_guest_move=way)
    before = write(boxes, "source", f"{word}there")
    boxes.must(*MOVE)
    proved(boxes, "target")
    assert told(boxes, "target") == before
    before = write(boxes, "target", f"{word}back")
    boxes.must(*RETURN, direction="back")
    proved(boxes, "source")
    assert told(boxes, "source") == before
    assert f"{word}there" in before
    assert f"{word}back" in before


def test_a_container_moves_by_archive_there_and_back_with_its_data(boxes: ContainerNodes) -> None:
    boxes.must("audit")
    boxes.must("prepare")
    assert boxes.connected() == ["source"]
    move(boxes, "archive", "tar")


def test_a_container_moves_by_changed_blocks_there_and_back_with_its_data(boxes: ContainerNodes) -> None:
    move(boxes, "delta", "block")


@pytest.mark.long
def test_a_container_that_does_not_start_is_no_go_and_nothing_was_closed(boxes: ContainerNodes) -> None:
    boxes.order("target", "task_fails", type="vzstart", text="startup for container '163' failed")
    said(boxes.verb("check"), "guest_boots", "NO-GO", "startup for container '163' failed")
    assert boxes.connected() == ["source"]


@pytest.mark.long
@pytest.mark.parametrize("way", ["archive", "delta"])
def test_an_opening_that_broke_goes_on_and_still_compares_both_volumes(boxes: ContainerNodes, way: str) -> None:
    boxes.write_inventory(proxmox_guest_move=way)
    before = write(boxes, "source", f"broken{way}")
    boxes.must("check", "capture", "freeze", "sync")
    boxes.order("target", "task_fails", type="vzstart", text="startup for container '163' failed")
    said(boxes.verb("switch"), "startup for container '163' failed")
    assert (boxes.status("source"), boxes.status("target")) == ("closed", "opening")
    boxes.must("switch", "thaw", "verify")
    proved(boxes, "target")
    assert told(boxes, "target") == before
    boxes.must(*RETURN, direction="back")
    proved(boxes, "source")


@pytest.mark.long
def test_a_restore_that_breaks_in_the_window_is_done_again(boxes: ContainerNodes) -> None:
    boxes.write_inventory(proxmox_guest_move="archive")
    before = write(boxes, "source", "restored")
    boxes.order("target", "storage_full", at="restore")
    said(boxes.verb("check", "capture", "freeze", "sync"), "No space left on device")
    # As with Proxmox nothing is left of it, not even its number.
    assert boxes.config("target") == ""
    assert (boxes.status("source"), boxes.connected()) == ("open", [])
    boxes.must("sync", "switch", "thaw", "verify")
    proved(boxes, "target")
    assert told(boxes, "target") == before
    boxes.must(*RETURN, direction="back")
    proved(boxes, "source")


@pytest.mark.long
def test_a_shutdown_that_fails_leaves_the_container_serving(boxes: ContainerNodes) -> None:
    boxes.order("source", "task_fails", type="vzshutdown", text="command 'lxc-stop' failed: exit code 1")
    said(boxes.verb("capture", "freeze"), "to shut down cleanly", "lxc-stop")
    boxes.must("thaw", direction="back")
    assert boxes.connected() == ["source"]
    assert "onboot: 1" in boxes.config("source")


@pytest.mark.long
def test_a_node_that_comes_back_starts_what_is_open_and_nothing_else(boxes: ContainerNodes) -> None:
    before = told(boxes, "source")
    for side in ("source", "target"):
        boxes.kill(side)
        boxes.boot(side)
    boxes.until("source", f"pct exec {BOXES['source']} -- true")
    assert boxes.connected() == ["source"]
    assert not boxes.running("target")
    assert told(boxes, "source") == before


@pytest.mark.long
def test_an_archive_with_a_changed_byte_is_refused(boxes: ContainerNodes, tmp_path: Any) -> None:
    """A real archive, made by the programs that Proxmox runs."""
    (name, *_) = [name for name in boxes.volumes("source") if name.endswith(".tar.zst")]
    copy = tmp_path / name
    shell.run(["podman", "cp", f"{boxes.host('source')}:/var/lib/vz/dump/{name}", str(copy)])
    assert archive.verify_archive(str(copy)).result == "proved"
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 0xFF
    copy.write_bytes(data)
    assert archive.verify_archive(str(copy)).result == "damaged"
