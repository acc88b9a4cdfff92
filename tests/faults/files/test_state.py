"""What both sides have agreed on is there: after a power cut, after a found difference, after a dead receiver."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.pair import Pair

HOME = "/var/lib/bascule/course_files"
TREE = "/srv/courses"
MANIFEST = f"cd /; python3 /usr/local/lib/bascule/bascule.pyz manifest {HOME}/tree /root/whole.jsonl --all"
# A power cut, as far as the file system can tell: what is not on the disk by now never gets there.
POWER_CUT = f"""
import fcntl, os, struct
fcntl.ioctl(os.open("{HOME}/tree", os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
"""
# A bit flipped on the disk itself: no time stamp, no size, no cache tells of it.
FLIP = f"""
import fcntl, os, struct
descriptor = os.open("{HOME}/tree/content/5/rotten", os.O_RDONLY)
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


@pytest.fixture(scope="module")
def pair(compared: Pair) -> Pair:
    pair = compared
    pair.must("prepare", "sync")
    assert pair.fact("transfer")["found_by"] == "names"
    return pair


def shell(pair: Pair, side: str, text: str) -> str:
    return pair.must_run(side, ["bash", "-c", f"set -eu -o pipefail\ncd {TREE}\n{text}"], timeout=300)


def sync(pair: Pair, **extra: Any) -> dict[str, Any]:
    """Bring the other side up to date and return what was recorded about it."""
    pair.must("sync", extra=extra)
    return pair.fact("transfer")


def digest(pair: Pair, side: str) -> str:
    found: dict[str, Any] = json.loads(pair.must_run(side, ["bash", "-c", MANIFEST], timeout=300))
    return str(found["manifest"])


def assert_same(pair: Pair) -> None:
    assert digest(pair, "source") == digest(pair, "target")


def test_a_power_cut_takes_back_nothing_that_was_agreed_on(pair: Pair) -> None:
    shell(
        pair,
        "source",
        "mkdir new; for n in $(seq 300); do echo $n >new/$n; done; mv content/3 content/three; "
        "dd if=/dev/urandom of=uploads/large bs=1M count=8 status=none",
    )
    found = sync(pair)
    assert (found["scan_because"], found["proved_equal"]) == ("", True)
    pair.must_run("target", ["python3", "-c", POWER_CUT])
    shell(pair, "target", f"cd /; umount {HOME}/tree {TREE}; mount /dev/courses {TREE}")
    pair.must_run("target", ["systemctl", "restart", "bascule-boot"])
    found = sync(pair)
    # It stands where both agreed, and so it does.
    assert (found["scan_because"], found["entries_changed"]) == ("", 0)
    assert_same(pair)


def test_what_a_verification_has_found_does_not_open_as_equal(pair: Pair) -> None:
    shell(pair, "source", "head -c 9000 /dev/urandom >content/5/rotten")
    assert sync(pair)["proved_equal"]
    pair.must_run("target", ["python3", "-c", FLIP])
    good = shell(pair, "source", "sha256sum content/5/rotten").split()[0]
    bad = shell(pair, "target", f"sha256sum {HOME}/tree/content/5/rotten").split()[0]
    assert good != bad
    refused = pair.verb("verify")
    assert not refused.ok
    assert "content/5/rotten: digest" in refused.stdout.replace("\n", " ")
    # The target has given no receipt yet that it could be compared with.
    assert pair.fact("verify")["kept_side_as_at_its_receipt"] is None
    # Nobody repairs it. What follows must not rest on what both sides had agreed on before.
    pair.must("freeze", "sync", "switch", "thaw")
    found = pair.fact("transfer")
    assert (found["found_by"], found["proved_equal"]) == ("names", True)
    assert shell(pair, "target", "sha256sum content/5/rotten").split()[0] == good
    # The last of them: the file before this one has had its tree repaired, too.
    kept = f"cd $(ls -td {HOME}/kept/*.repair | head -n 1)/0001; sha256sum content/5/rotten"
    assert shell(pair, "target", kept).split()[0] == bad
    assert_same(pair)
    # A service that starts there gives everything to itself: the content is compared all the same.
    shell(pair, "target", "chown -R courses:games content/5")
    pair.must("verify")
    found = pair.fact("verify")
    assert (found["files_different"], found["files_not_proved"]) == (0, 0)
    assert found["changed_since_switch"] > 1
    assert found["kept_side_as_at_its_receipt"] is True
    pair.must("freeze", "sync", "switch", "thaw", direction="back")
    assert_same(pair)


@pytest.mark.long
def test_a_receiver_that_was_killed_in_a_file_leaves_nothing_in_what_opens(pair: Pair) -> None:
    shell(pair, "source", "dd if=/dev/urandom of=uploads/killed bs=1M count=24 status=none")
    started = pair.start_verb("sync", extra={"rsync_delta_sync_bwlimit": "4m", "rsync_delta_sync_retries": 0})
    stray = f"find {HOME}/tree/uploads -name '.killed.*'"
    pair.until("target", f"{stray} -size +2M | grep -q .")
    pair.must_run("target", ["bash", "-c", "kill -KILL $(pgrep -x rsync)"])
    assert not pair.finish(started).ok
    assert shell(pair, "target", stray) != ""
    pair.must("freeze", "sync", "switch", "thaw")
    found = pair.fact("transfer")
    assert (found["found_by"], found["proved_equal"]) == ("names", True)
    assert shell(pair, "target", stray) == ""
    assert_same(pair)
    pair.must("freeze", "sync", "switch", "thaw", direction="back")


@pytest.mark.long
def test_a_receiver_that_lives_on_is_ended_before_both_agree(pair: Pair) -> None:
    shell(pair, "source", "dd if=/dev/urandom of=uploads/stale bs=1M count=24 status=none")
    started = pair.start_verb("sync", extra={"rsync_delta_sync_bwlimit": "4m", "rsync_delta_sync_retries": 0})
    stray = f"find {HOME}/tree/uploads -name '.stale.*'"
    pair.until("target", f"{stray} -size +2M | grep -q .")
    stopped = shell(pair, "target", "kill -STOP $(pgrep -x rsync); pgrep -x rsync").split()
    pair.must_run("source", ["systemctl", "stop", "bascule-course_files-push"])
    assert not pair.finish(started).ok
    assert shell(pair, "target", "pgrep -x rsync").split() == stopped
    found = sync(pair)
    assert (found["found_by"], found["proved_equal"]) == ("names", True)
    assert pair.run("target", ["pgrep", "-x", "rsync"]).out == ""
    assert shell(pair, "target", stray) == ""
    assert_same(pair)


@pytest.mark.long
def test_a_look_at_the_whole_tree_that_was_killed_is_followed_by_another(pair: Pair) -> None:
    shell(pair, "source", "dd if=/dev/urandom of=content/5/killed bs=1M count=24 status=none")
    options = {"rsync_delta_sync_bwlimit": "4m", "rsync_delta_sync_retries": 0, "rsync_delta_sync_checksum": True}
    started = pair.start_verb("sync", extra=options)
    stray = f"find {HOME}/tree/content/5 -name '.killed.*'"
    pair.until("target", f"{stray} -size +2M | grep -q .")
    pair.must_run("target", ["bash", "-c", "kill -KILL $(pgrep -x rsync)"])
    assert not pair.finish(started).ok
    found = sync(pair)
    assert found["found_by"] == "scan"
    assert shell(pair, "target", stray) == ""
    assert_same(pair)
