"""Changed blocks from any disk into any other: real files, loop devices and images of the real QEMU.

Between the two nodes stands no SSH: what it would start runs as a process beside the test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guest import blocks
from bascule.guest.chunks import CHUNK
from bascule.guest.io import disk_blocks, disk_source, disk_target, disks, qemu_image
from bascule.system.rsync import Job

SIZE = 3 * CHUNK + 512 * 9
BLOCK = 16384
COMPONENT = "courses_guest"
Make = Callable[..., str]


def _content(seed: int = 5) -> bytes:
    """Data, a chunk of zeros, data to the end."""
    made = random.Random(seed)
    return made.randbytes(CHUNK) + bytes(CHUNK) + made.randbytes(CHUNK + 512 * 9)


def _changed(content: bytes) -> bytes:
    """The content with a few bytes changed, a block of zeros where data was, and data where zeros were."""
    made = bytearray(content)
    made[100:103] = b"abc"
    made[2 * CHUNK : 2 * CHUNK + BLOCK] = bytes(BLOCK)
    made[CHUNK + 5 * BLOCK : CHUNK + 5 * BLOCK + 4] = b"data"
    made[-1] ^= 1
    return bytes(made)


@pytest.fixture
def file(tmp_path: Path) -> Make:
    """Make a raw file."""

    def make(name: str, content: bytes) -> str:
        path = tmp_path / f"{name}.raw"
        path.write_bytes(content)
        return str(path)

    return make


@pytest.fixture
def device(file: Make) -> Iterator[Make]:
    """Make a real block device."""
    assert shutil.which("losetup"), "losetup is not installed: make packages"
    if os.geteuid():
        pytest.skip("only root makes a block device")
    made: list[str] = []

    def make(name: str, content: bytes) -> str:
        argv = ["losetup", "--find", "--show", file(f"behind-{name}", content)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device can be had here: {done.stderr.strip()}")
        made.append(done.stdout.strip())
        return made[-1]

    yield make
    for path in made:
        subprocess.run(["losetup", "--detach", path], check=True)


@pytest.fixture
def image(tmp_path: Path, file: Make) -> Make:
    """Make an image that QEMU alone reads."""
    for program in ("qemu-nbd", "qemu-img"):
        assert shutil.which(program), f"{program} is not installed: make packages"

    def make(name: str, content: bytes) -> str:
        path = tmp_path / f"{name}.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", file(f"of-{name}", content), str(path)], check=True)
        return str(path)

    return make


def _disk(path: str, length: int = SIZE) -> dict[str, Any]:
    kind = "qcow2" if path.endswith(".qcow2") else "raw"
    size = SIZE if kind == "qcow2" else _size(path)
    return {
        "name": "scsi0",
        "path": path,
        "format": kind,
        "volid": "fast:vm-100-disk-0",
        "length": length,
        "size": size,
    }


def _size(path: str) -> int:
    """Return how large a file or device is; of one that is not there yet the whole disk."""
    if not os.path.exists(path):
        return SIZE
    with open(path, "rb") as handle:
        return handle.seek(0, os.SEEK_END)


def _job(**values: Any) -> Job:
    given = {
        "component": COMPONENT, "name": "delta", "address": "198.18.1.30", "port": 22, "user": "root", "pairs": [],
        "compress": True, "block_size": BLOCK, "bwlimit": 0, "disks": True,
    }  # fmt: skip
    return Job.from_dict({**given, **values})


# What the forced command of the other node runs, with its folders below the test's own.
_OTHER_NODE = """
import os, sys
from pathlib import Path
from bascule.guest.io import disk_blocks, disk_source, ssh_key
disk_blocks.directory = lambda component: sys.argv[1]
disk_source.ACTIVATED = Path(sys.argv[1]) / "activated-there"
os.environ["SSH_ORIGINAL_COMMAND"] = sys.argv[2]
sys.exit(ssh_key.serve([], "courses_guest"))
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Job, blocks.Wish], list[str]]:
    """What stands in for SSH to the node that has the disk."""
    monkeypatch.setattr(disk_blocks, "directory", lambda component: str(tmp_path))
    return lambda job, wish: [sys.executable, "-c", _OTHER_NODE, str(tmp_path), wish.words()]


def _carried(source: dict[str, Any], target: dict[str, Any], other: Any, **values: Any) -> dict[str, int]:
    disk_blocks.lend(COMPONENT, [source])
    told: list[str] = []
    found = disk_blocks.carry(_job(**values), target, told.append, ask=other)
    assert told[-1].startswith("100% ")
    return found


def _made(kind: str, request: pytest.FixtureRequest, name: str, content: bytes) -> dict[str, Any]:
    return _disk(request.getfixturevalue(kind)(name, content))


@pytest.mark.parametrize(
    ("here", "there", "compress"),
    [
        ("device", "device", True), ("file", "device", False), ("device", "file", True), ("image", "device", True),
        ("device", "image", False), ("image", "image", True),
    ],
)  # fmt: skip
def test_changed_blocks_travel_from_any_disk_to_any_other(
    request: pytest.FixtureRequest, other: Any, here: str, there: str, compress: bool
) -> None:
    old, new = _content(), _changed(_content())
    source = _made(here, request, "source", new)
    # A qcow2 image is a whole number of sectors; so is every disk.
    target = _made(there, request, "target", old)
    found = _carried(source, target, other, compress=compress)
    assert found["literal"] == 3 * BLOCK + 512 * 9 % BLOCK
    assert found["matched"] == SIZE - found["literal"]
    assert disks.digest(target) == disks.digest(source)
    assert found["received"] < 8 * BLOCK
    again = _carried(source, target, other, compress=compress)
    assert (again["literal"], again["matched"]) == (0, SIZE)


def test_what_is_written_is_on_the_device_itself(device: Make, file: Make, other: Any, tmp_path: Path) -> None:
    target = device("target", _content(6))
    _carried(_disk(file("source", _content())), _disk(target), other)
    argv = ["dd", f"if={target}", "iflag=direct", "bs=512", "status=none"]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == _content()


def test_it_is_durable_before_it_is_said(device: Make, file: Make, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = device("target", _content(6))
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    _carried(_disk(file("source", _content())), _disk(target), other)
    assert target in flushed


def test_of_a_larger_target_the_rest_is_zeros_and_its_size_stays(device: Make, file: Make, other: Any) -> None:
    rest = random.Random(1).randbytes(CHUNK + 4096)
    target = device("target", _content(6) + rest)
    found = _carried(_disk(file("source", _content())), _disk(target), other)
    assert found["literal"] > SIZE
    assert Path(target).read_bytes() == _content() + bytes(len(rest))
    assert _carried(_disk(file("source", _content())), _disk(target), other)["literal"] == 0


def test_of_a_larger_source_so_much_travels_as_counts(device: Make, file: Make, other: Any) -> None:
    target = file("target", bytes(540672))
    _carried(_disk(device("source", _content()), 540672), _disk(target, 540672), other)
    assert Path(target).read_bytes() == _content()[:540672]


@pytest.mark.parametrize("kind", ["device", "file", "image"])
def test_a_smaller_target_is_refused_and_not_made_larger(
    request: pytest.FixtureRequest, file: Make, other: Any, kind: str
) -> None:
    target = _made(kind, request, "target", _content(6)[: SIZE - 512])
    before = disks.digest({**target, "length": 0})
    with pytest.raises(BasculeError, match=f"expected: at least {SIZE} bytes in .*; found: {SIZE - 512};"):
        _carried(_disk(file("source", _content())), target, other)
    assert disks.digest({**target, "length": 0}) == before


def test_a_source_that_is_too_small_is_refused(file: Make, device: Make, other: Any) -> None:
    target = device("target", _content(6))
    with pytest.raises(BasculeError, match=f"expected: .*{SIZE} bytes in .*source.raw; found: {SIZE - 512}"):
        _carried(_disk(file("source", _content()[: SIZE - 512])), _disk(target), other)
    assert Path(target).read_bytes() == _content(6)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_device_that_a_process_has_open_is_neither_read_nor_written(device: Make, other: Any, side: str) -> None:
    paths = {"source": device("source", _content()), "target": device("target", _content(6))}
    with subprocess.Popen(["sleep", "60"], stdin=open(paths[side], "rb")) as holder:
        with pytest.raises(BasculeError, match=f"no process to have {paths[side]} open.*process {holder.pid}"):
            _carried(_disk(paths["source"]), _disk(paths["target"]), other)
        holder.kill()
    assert Path(paths["target"]).read_bytes() == _content(6)


def test_a_device_that_the_kernel_uses_is_not_written(device: Make, file: Make, other: Any) -> None:
    """What a mount does, and a device on top of it; also one that began after the look for processes."""
    target = device("target", _content(6))
    claimed = os.open(target, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(BasculeError, match=r"the kernel .it is mounted"):
            _carried(_disk(file("source", _content())), _disk(target), other)
        with pytest.raises(BasculeError, match=r"the kernel does: it is mounted"):
            disk_target._claimed(target)
    finally:
        os.close(claimed)
    assert Path(target).read_bytes() == _content(6)


def test_a_device_is_claimed_while_it_is_written(device: Make) -> None:
    target = device("target", _content())
    with disk_target.opened(_disk(target)), pytest.raises(OSError, match="busy"):
        os.open(target, os.O_RDONLY | os.O_EXCL)
    os.close(os.open(target, os.O_RDONLY | os.O_EXCL))


@pytest.mark.parametrize("look", [0.0, 3600.0])
def test_who_opens_the_target_meanwhile_is_told(
    device: Make, file: Make, other: Any, look: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before more is written, and at the end at the latest."""
    monkeypatch.setattr(disk_target, "_LOOK", look)
    target = device("target", _content(6))
    held: list[Any] = []

    def tell(text: str) -> None:
        if not held:
            with open(target, "rb") as opened:
                held.append(subprocess.Popen(["sleep", "60"], stdin=opened))

    disk_blocks.lend(COMPONENT, [_disk(file("source", _content()))])
    with pytest.raises(BasculeError, match=f"no process to have {target} open"):
        disk_blocks.carry(_job(), _disk(target), tell, ask=other)
    held[0].kill()
    held[0].wait()
    assert (Path(target).read_bytes() == _content()) == bool(look)


@pytest.mark.parametrize("path", ["/dev/shm/bascule-test-no-device", "/dev/null"])
def test_what_is_no_device_is_never_written(path: str) -> None:
    Path("/dev/shm/bascule-test-no-device").write_bytes(b"x" * 512)
    try:
        with pytest.raises(BasculeError, match=f"expected: a block device at {path}"):
            disk_target._claimed(path)
    finally:
        Path("/dev/shm/bascule-test-no-device").unlink()


def test_an_image_that_qemu_has_open_is_not_written(image: Make, file: Make, other: Any) -> None:
    target = image("target", _content(6))
    with qemu_image.opened_to_write(target, "qcow2"):
        with pytest.raises(BasculeError, match=r"no process to have .*qemu-nbd"):
            _carried(_disk(file("source", _content())), _disk(target), other)
        with (
            pytest.raises(BasculeError, match=r'Failed to get "?write"? lock'),
            qemu_image.opened_to_write(target, "qcow2"),
        ):
            pass


def test_a_guest_may_start_on_an_image_while_blocks_of_it_are_read(image: Make) -> None:
    """A transfer that a dead controller has left keeps no guest from serving again."""
    source = image("source", _content())
    with disk_source.opened(_disk(source), shared=True) as reader, qemu_image.opened_to_write(source, "qcow2") as guest:
        guest.write(0, b"x" * 512)
        assert reader.read(CHUNK, 512) == bytes(512)


def test_a_linked_clone_is_read_as_its_guest_sees_it(image: Make, device: Make, other: Any, tmp_path: Path) -> None:
    image("base", _content())
    clone = tmp_path / "clone.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", str(clone)]
    subprocess.run(argv, check=True)
    target = device("target", _content(6))
    _carried(_disk(str(clone)), _disk(target), other)
    assert Path(target).read_bytes() == _content()


def test_an_image_on_a_device_is_written_as_its_guest_sees_it(device: Make, file: Make, other: Any) -> None:
    """As Proxmox VE 9 keeps disks with snapshots on LVM."""
    target = {**_disk(device("target", bytes(2 * SIZE))), "format": "qcow2", "size": SIZE}
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", target["path"], str(SIZE)], check=True)
    source = _disk(file("source", _content()))
    _carried(source, target, other)
    assert disks.digest(target) == disks.digest(source)


def _library(folder: Path, place: Path, real: str) -> None:
    """Put what stands in for Proxmox's library into a folder: it makes and removes the name of the device."""
    perl = folder / "perl"
    on, off = f"ln -sf {real} {place}; echo on >> {folder}/log", f"rm -f {place}; echo off >> {folder}/log"
    perl.write_text(f'#!/bin/sh\ncase "$*" in *deactivate*) {off};; *) {on};; esac\n')
    perl.chmod(0o755)


def test_an_inactive_source_is_activated_and_left_as_it_was(
    device: Make, file: Make, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("/dev") / f"bascule-source-{os.getpid()}"
    _library(tmp_path, place, device("source", _content()))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    target = file("target", _content(6))
    _carried(_disk(str(place)), _disk(target), other)
    assert Path(target).read_bytes() == _content()
    assert (tmp_path / "log").read_text().split() == ["on", "off"]
    assert not place.is_symlink()
    assert list((tmp_path / "activated-there").iterdir()) == []


_PULL = """
import json, sys, time
from pathlib import Path
from bascule.guest.io import disk_blocks, disk_source, pull
disk_blocks.directory = lambda component: sys.argv[1]
disk_source.ACTIVATED = Path(sys.argv[1]) / "activated"
other, carry = sys.argv[2], disk_blocks.carry
ask = lambda job, wish: [sys.executable, "-c", other, sys.argv[1], wish.words()]
pull.disk_blocks.carry = lambda job, disk, tell: carry(job, disk, tell, ask=ask)
sys.exit(pull.work(sys.argv[1] + "/pull-delta.job.json"))
"""


def _unit(place: Path, disk: dict[str, Any], environment: dict[str, str], **values: Any) -> subprocess.Popen[bytes]:
    """Begin what the unit runs at the node that receives."""
    job = {**vars(_job(**values)), "blocks": [disk]}
    (place / "pull-delta.job.json").write_text(json.dumps({"job_id": "1", "job": job}))
    (place / "pull-delta.status.json").unlink(missing_ok=True)
    return subprocess.Popen([sys.executable, "-c", _PULL, str(place), _OTHER_NODE], env=environment)


def _status(place: Path) -> str:
    path = place / "pull-delta.status.json"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_killed_halfway_goes_on_and_leaves_the_volume_as_it_was(
    device: Make, file: Make, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, place = device("target", bytes(SIZE)), Path("/dev") / f"bascule-blocks-{os.getpid()}"
    _library(tmp_path, place, real)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    monkeypatch.setattr(disk_blocks, "directory", lambda component: str(tmp_path))
    disk_blocks.lend(COMPONENT, [_disk(file("source", _content()))])
    try:
        # At this speed ten seconds lie between the first chunk of data and what follows.
        cut = _unit(tmp_path, _disk(str(place)), environment, bwlimit=400, compress=False)
        deadline = time.monotonic() + 120
        while "scsi0 (1/1) 33%" not in _status(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        cut.send_signal(number)
        assert cut.wait(60) != 0
        assert place.is_symlink() == (number == signal.SIGKILL), "killed, it could not deactivate the volume"
        assert Path(real).read_bytes() != _content()
        whole = _unit(tmp_path, _disk(str(place)), environment)
        assert whole.wait(120) == 0
        status = json.loads((tmp_path / "pull-delta.status.json").read_text())
        assert (status["state"], status["literal"]) == ("done", CHUNK + 512 * 9)
        assert Path(real).read_bytes() == _content()
        assert not place.is_symlink()
        assert list((tmp_path / "activated").iterdir()) == []
    finally:
        place.unlink(missing_ok=True)


def test_a_transfer_that_fails_says_so_in_its_status(file: Make, device: Make, tmp_path: Path) -> None:
    target = _disk(device("target", _content(6)))
    assert _unit(tmp_path, target, dict(os.environ)).wait(60) == 1
    status = json.loads((tmp_path / "pull-delta.status.json").read_text())
    assert status["state"] == "failed"
    assert "a disk that was lent to the other node, to read scsi0 of courses_guest; found: no such disk" in (
        status["error"].replace("\\n", " ")
    )


# ---- what the other node may ask for


def test_only_lent_disks_are_read(file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_blocks, "directory", lambda component: str(tmp_path))
    disk = _disk(file("source", _content()))
    assert disk_blocks.lend(COMPONENT, [disk], check=True) is True
    words = blocks.Wish("scsi0", SIZE, BLOCK, True, 0).words().split()
    assert blocks.Wish.from_words(words).words().split() == words
    for component in (COMPONENT, ""):
        with pytest.raises(BasculeError, match="expected: a disk that was lent"):
            disk_blocks.serve(component, words)
    assert disk_blocks.lend(COMPONENT, [disk]) is True
    assert disk_blocks.lend(COMPONENT, [disk]) is False
    with pytest.raises(BasculeError, match="to read scsi1 of"):
        disk_blocks.serve(COMPONENT, [words[0], "scsi1", *words[2:]])


# ---- what they say to each other


def test_a_node_that_ends_in_the_middle_is_told(file: Make, tmp_path: Path) -> None:
    target = _disk(file("target", _content(6)))

    def dies(job: Job, wish: blocks.Wish) -> list[str]:
        said = f"printf '%s\\n' '{blocks.hello(SIZE).decode().strip()}'; echo 'Connection closed' >&2"
        return ["sh", "-c", said]

    with pytest.raises(BasculeError, match=r"changed blocks of scsi0; found: Connection closed; state now: what has"):
        disk_blocks.carry(_job(), target, lambda text: None, ask=dies)


def test_nothing_is_written_behind_the_end(file: Make) -> None:
    path = file("target", bytes(1024))
    descriptor = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(BasculeError, match="no byte to be written behind the 1024"):
            disk_target.RawTarget(descriptor, path).write(1000, bytes(100))
    finally:
        os.close(descriptor)
    assert os.stat(path).st_size == 1024


def test_the_agent_takes_the_component_of_its_forced_command() -> None:
    argv = [sys.executable, "-m", "bascule.agent", "guest_serve", "--component=courses_guest", "/var/lib/vz"]
    for asked, answer in (("hello", "bascule guest_serve"), ("hello disks", "bascule guest_serve disks")):
        environment = {**os.environ, "SSH_ORIGINAL_COMMAND": asked}
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.strip() == answer
    old = subprocess.run([*argv[:4], "/var/lib/vz"], capture_output=True, text=True, check=False, env=environment)
    assert (old.returncode, "state now: refused" in old.stderr) == (1, True)
