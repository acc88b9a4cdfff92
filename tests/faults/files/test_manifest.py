"""What two trees may differ in unnoticed: it is named, nothing is overwritten, then it is repaired on demand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.faults.pair import Pair

ROOT = "/srv/courses"
PRIVATE = "/var/lib/bascule/course_files/tree"
HERE = "equality"
# Files of the source, each for one thing that will be broken at the target.
MAKE = f"""set -e
mkdir -p {ROOT}/{HERE} && cd {ROOT}/{HERE}
for name in below rewritten acl xattr linked missing owner quiet; do
  head -c 9000 /dev/urandom >$name
done
setfacl -m u:games:r acl
setfattr -n user.checked -v yes xattr
ln linked linked-too
chown -R courses:courses .
touch -d '2026-01-01 00:00:00.123456789' *
sync -f .
"""
# A bit flipped on the disk itself: no time stamp, no size, no cache tells of it.
FLIP = f"""
import fcntl, os, struct
path = "{PRIVATE}/{HERE}/below"
descriptor = os.open(path, os.O_RDONLY)
extents = bytearray(struct.pack("=QQIIII", 0, 1 << 20, 1, 0, 1, 0) + bytes(56))
fcntl.ioctl(descriptor, 0xC020660B, extents)
logical, physical = struct.unpack_from("=QQ", extents, 32)
assert struct.unpack_from("=I", extents, 20)[0] == 1 and logical == 0
os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
os.close(descriptor)
disk = os.open("/dev/courses", os.O_RDWR)
byte = os.pread(disk, 1, physical + 4321)[0]
os.pwrite(disk, bytes([byte ^ 4]), physical + 4321)
os.fsync(disk)
"""
BREAK = f"""set -e
cd {PRIVATE}/{HERE}
printf X | dd of=rewritten bs=1 seek=77 conv=notrunc status=none
setfacl -b acl
setfattr -n user.checked -v no xattr
cp -a linked-too copy && mv copy linked-too
rm missing
chown root owner
echo more >extra
touch -d '2026-01-01 00:00:00.123456789' rewritten linked-too owner
sync -f .
"""
NAMED = {
    "below": "digest",
    "rewritten": "digest",
    "acl": "acl",
    "xattr": "xattrs",
    "linked": "links",
    "linked-too": "links, first",
    "owner": "uid",
    "missing": "missing at the passive side",
    "extra": "missing at the active side",
}


@pytest.fixture(scope="module")
def pair(compared: Pair) -> Pair:
    pair = compared
    pair.must_run("source", ["bash", "-c", MAKE])
    pair.must("prepare", "verify")
    assert pair.fact("verify")["files_different"] == 0
    assert pair.fact("verify")["files_compared"] > len(NAMED)
    return pair


@pytest.fixture(autouse=True)
def only_the_source_is_open(pair: Pair) -> Iterator[None]:
    yield
    assert [pair.guard(side)["status"] for side in ("source", "target")] == ["open", "closed"]


def state_of(pair: Pair, side: str) -> str:
    """All that a person could compare by hand."""
    look = "find . -printf '%P %y %m %u %g %s %T@ %n %l\\n' | sort; getfacl -- . * ; getfattr -d -- . * ; "
    look += "find . -type f -print0 | sort -z | xargs -0 sha256sum"
    return pair.must_run(side, ["bash", "-c", f"cd {PRIVATE}/{HERE} && ({look})"])


def test_every_difference_is_named_repaired_on_demand_and_verified_again(pair: Pair) -> None:
    equal = state_of(pair, "source")
    assert state_of(pair, "target") == equal
    pair.must_run("target", ["python3", "-c", FLIP])
    pair.must_run("target", ["bash", "-c", BREAK])
    broken = state_of(pair, "target")
    assert broken != equal

    refused = pair.verb("verify")
    assert not refused.ok
    found = pair.fact("verify")
    for name, what in NAMED.items():
        assert any(f"{HERE}/{name}: {what}" in one for one in found["details"]), (name, found["details"])
        assert f"{HERE}/{name}: " in refused.stdout.replace("\n", " ")
    assert "rsync_delta_sync_repair=true" in refused.stdout
    # The directory of what was added and removed is the tenth.
    assert found["files_different"] == len(NAMED) + 1
    assert not any(f"{HERE}/quiet" in one for one in found["details"])
    assert state_of(pair, "target") == broken, "a verification has changed something"

    repaired = pair.must("verify", extra={"rsync_delta_sync_repair": True})
    assert "Write again what differs" in repaired.stdout
    found = pair.fact("verify")
    assert (found["files_different"], found["files_repaired"]) == (0, len(NAMED) + 1)
    assert state_of(pair, "target") == state_of(pair, "source") == equal
    done = pair.fact("repair")
    assert (done["state"], done["left"]) == ("written", [])
    # What the active side has not is removed, and only then the rest is written again: each keeps what it replaces.
    removed, replaced = done["kept_in"]
    for place, names in ((removed, "extra"), (replaced, "rewritten below")):
        kept = pair.must_run("target", ["bash", "-c", f"cd {place}/{HERE} && sha256sum {names}"])
        assert len(kept.splitlines()) == len(names.split())
        assert all(line.split()[0] in broken for line in kept.splitlines())

    pair.must("verify")
    assert pair.fact("verify")["files_different"] == 0


@pytest.mark.long
def test_a_repair_needs_a_verification_that_found_something(pair: Pair) -> None:
    pair.must("verify", extra={"rsync_delta_sync_repair": True})
    found = pair.fact("verify")
    assert (found["files_different"], found["files_repaired"]) == (0, 0)


@pytest.mark.long
def test_a_file_that_changes_while_it_is_read_is_not_called_equal(pair: Pair) -> None:
    writer = f"exec >>{ROOT}/{HERE}/growing; while :; do printf x; done"
    unit = ["systemd-run", "--unit=writer", "--collect", "bash", "-c", writer]
    before = pair.fact("verify")["files_compared"]
    pair.must_run("source", unit)
    try:
        pair.must("verify")
    finally:
        pair.must_run("source", ["systemctl", "stop", "writer"])
    found = pair.fact("verify")
    # The file and the directory in which it was made: of neither anything is claimed.
    assert found["files_not_proved"] >= 2
    assert found["files_compared"] < before
    assert found["files_different"] == 0
    pair.must("sync", "verify")
    assert pair.fact("verify")["files_not_proved"] == 0


def test_a_frozen_tree_comes_back_frozen_after_a_reboot(pair: Pair) -> None:
    pair.must("freeze")
    try:
        pair.kill("source")
        pair.boot("source")
        refused = pair.run("source", ["touch", f"{ROOT}/{HERE}/quiet"])
        assert refused.rc != 0
        assert "Read-only file system" in refused.err
        said = pair.must_run("source", ["journalctl", "-u", "bascule-boot", "--no-pager", "-o", "cat"])
        assert "course_files: open, frozen: kept frozen" in said
    finally:
        subprocess.run(["podman", "start", pair.host("source")], stdin=subprocess.DEVNULL, check=False, timeout=60)
        pair.must("thaw", direction="back")
    pair.must_run("source", ["touch", "-d", "2026-01-01 00:00:00.123456789", f"{ROOT}/{HERE}/quiet"])
