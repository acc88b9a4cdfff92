"""What can go wrong while a tree is carried over by names, and where it then stands."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.faults.pair import Pair

HOME = "/var/lib/bascule/course_files"
TREE = "/srv/courses"
RECORDER = "bascule-course_files-recorder"
# How many names its recorder has noted since the reference that both sides share.
NOTED = f"""
import json, socket
asked = socket.socket(socket.AF_UNIX)
asked.connect("/run/bascule-recorder-course_files/socket")
asked.sendall(b"{{}}")
now = json.loads(asked.makefile("rb").read())["sequence"]
print(now - json.load(open("{HOME}/side.json"))["reference"]["sequence"])
"""
MANIFEST = f"cd /; python3 /usr/local/lib/bascule/bascule.pyz manifest {HOME}/tree /root/whole.jsonl --all"


@pytest.fixture(scope="module")
def pair(fenced: Pair) -> Pair:
    pair = fenced
    pair.must("prepare", "sync")
    found = pair.fact("transfer")
    assert found["found_by"] == "names"
    # A share of the link as it was measured; the rest is for others.
    assert found["rate_limit"].endswith("k")
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


def test_what_has_changed_is_carried_over_by_its_names(pair: Pair) -> None:
    shell(
        pair,
        "source",
        """
        mv content/3 content/three
        ln content/4/index.html content/4/linked
        printf more >>content/4/linked
        ln content/14/index.html uploads/other && printf more >>uploads/other && rm uploads/other
        rm -r content/8 && ln -s /etc content/8
        rm content/9/index.html && mkdir content/9/index.html && touch content/9/index.html/inside
        rm -r content/10 && mkdir content/10 && touch content/10/only
        old=$(stat -c %y content/11/index.html)
        sed -i s/h1/h2/ content/11/index.html && touch -d "$old" content/11/index.html
        setfacl -m u:1234:r content/5/index.html && setfattr -n user.seen -v yes content/6/index.html
        printf odd >"$(printf 'uploads/odd\\nname \\377')" && printf c >'uploads/#c'
        chmod 0750 . && mkfifo uploads/fifo && truncate -s 3M uploads/sparse
        """,
    )
    found = sync(pair)
    assert (found["scan_because"], found["proved_equal"]) == ("", True)
    assert_same(pair)


@pytest.mark.long
def test_a_name_that_is_no_longer_another_files_is_not_there_either(pair: Pair) -> None:
    """Copied with its times and moved back over itself: the last transfers, by names and by a scan, write it again."""
    for extra in ({}, {"rsync_delta_sync_checksum": True}):
        shell(pair, "source", "ln -f content/7/index.html uploads/linked")
        sync(pair)
        inodes = "stat -c %i content/7/index.html uploads/linked | uniq | wc -l"
        assert shell(pair, "target", inodes) == "1\n"
        shell(pair, "source", "cp -p uploads/linked uploads/copy && mv uploads/copy uploads/linked")
        pair.must("freeze", "sync", extra=extra)
        assert pair.fact("transfer")["proved_equal"]
        assert shell(pair, "target", inodes) == "2\n"
        assert_same(pair)
        pair.must("thaw", direction="back")


@pytest.mark.long
def test_a_link_that_is_cut_in_a_large_file_goes_on_where_it_was(pair: Pair) -> None:
    shell(pair, "source", "dd if=/dev/urandom of=uploads/large bs=1M count=24 status=none")
    started = pair.start_verb("sync", extra={"rsync_delta_sync_bwlimit": "4m", "rsync_delta_sync_retries": 0})
    pair.until("target", f"find {HOME}/tree/uploads -name '.large.*' -size +2M | grep -q .")
    pair.cut()
    try:
        broken = pair.finish(started)
    finally:
        pair.restore()
    assert not broken.ok
    assert "expected: " in broken.stdout
    pair.until("target", f"! pgrep -x rsync && find {HOME}/tree -path '*/.bascule-partial/large' -size +1M | grep -q .")
    assert sync(pair)["found_by"] == "names"
    result = json.loads(pair.must_run("source", ["cat", f"{HOME}/jobs/push.result.json"]))
    assert result["bytes_literal"] < 23 << 20
    assert_same(pair)


def test_a_full_disk_at_the_target_is_said_and_nothing_is_switched(pair: Pair) -> None:
    fill = f"cd {HOME}/tree; touch -r . /run/before; dd if=/dev/zero of=ballast bs=1M status=none || true"
    shell(pair, "target", fill)
    try:
        shell(pair, "source", "dd if=/dev/urandom of=uploads/larger bs=1M count=8 status=none")
        refused = pair.verb("sync")
        assert not refused.ok
        assert "No space left on device" in refused.stdout
        assert (pair.guard("source")["status"], pair.guard("target")["status"]) == ("open", "closed")
    finally:
        # Nobody but this test writes there: the directory is what it was.
        shell(pair, "target", f"cd {HOME}/tree; rm -f ballast; touch -r /run/before .")
    assert sync(pair)["scan_because"] == ""
    assert_same(pair)


@pytest.mark.long
def test_a_queue_that_overflows_is_noticed_and_everything_is_looked_at(pair: Pair) -> None:
    unit = pair.must_run("source", ["systemctl", "cat", RECORDER])
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    dropin = f"/run/systemd/system/{RECORDER}.service.d"
    shell(
        pair,
        "source",
        f"mkdir -p {dropin}; printf '[Service]\\nExecStart=\\n%s --queue system\\n' '{command}' >{dropin}/small.conf; "
        f"systemctl daemon-reload; systemctl restart {RECORDER}",
    )
    assert "the recorder was stopped" in sync(pair)["scan_because"]
    assert sync(pair)["found_by"] == "names"
    shell(
        pair,
        "source",
        f"systemctl kill -s STOP {RECORDER}; mkdir flood; "
        'python3 -c \'for n in range(20000): open(f"flood/{n % 50}-{n}", "w").close(); __import__("os").unlink('
        'f"flood/{n % 50}-{n}")\'; '
        f"printf last >uploads/last; systemctl kill -s CONT {RECORDER}",
    )
    found = sync(pair)
    assert found["found_by"] == "scan"
    assert "the kernel's queue overflowed" in found["scan_because"]
    assert_same(pair)
    shell(pair, "source", f"rm -r {dropin}; systemctl daemon-reload; systemctl restart {RECORDER}")
    sync(pair)


def test_a_recorder_that_was_killed_starts_again_and_owns_up(pair: Pair) -> None:
    shell(pair, "source", f"systemctl kill -s KILL {RECORDER}; printf unseen >uploads/unseen")
    pair.until("source", f"systemctl is-active {RECORDER}")
    found = sync(pair)
    assert found["found_by"] == "scan"
    assert "killed" in found["scan_because"]
    assert_same(pair)
    assert sync(pair)["found_by"] == "names"


@pytest.mark.long
def test_a_file_that_changes_while_it_is_read_is_carried_over_next_time(pair: Pair) -> None:
    shell(pair, "source", "dd if=/dev/urandom of=uploads/moving bs=1M count=12 status=none")
    writer = "while :; do printf x | dd of=uploads/moving bs=1 seek=$((RANDOM * 300)) conv=notrunc status=none; done"
    shell(pair, "source", f"systemd-run --quiet --unit writer --working-directory={TREE} bash -c '{writer}'")
    try:
        assert sync(pair)["proved_equal"] is False
    finally:
        shell(pair, "source", "systemctl stop writer")
    found = sync(pair)
    assert (found["scan_because"], found["proved_equal"]) == ("", True)
    assert_same(pair)


def test_a_source_that_is_not_mounted_empties_nothing(pair: Pair) -> None:
    before = digest(pair, "target")
    shell(pair, "source", f"cd /; systemctl stop coursefiles; umount {HOME}/tree; umount {TREE}")
    try:
        refused = pair.verb("sync")
        assert not refused.ok
        assert "no file system mounted there" in refused.stdout
        assert "nothing deleted at the other side" in refused.stdout
    finally:
        pair.must_run("source", ["bash", "-c", f"mount /dev/courses {TREE}; systemctl start coursefiles"])
    assert digest(pair, "target") == before
    found = sync(pair)
    assert found["found_by"] == "scan"
    assert "unmounted" in found["scan_because"]
    assert_same(pair)


def test_writing_after_the_freeze_is_refused_and_the_way_back_goes_by_names(pair: Pair) -> None:
    shell(pair, "source", "printf final >uploads/final; mv content/12 content/twelve")
    pair.must("freeze", "sync", "switch", "thaw")
    found = pair.fact("transfer")
    assert (found["found_by"], found["rate_limit"]) == ("names", "0")
    # Nobody looked at the tree to close it: the receipt names what both sides were proved to share.
    position = pair.guard("source")["receipt"]["position"]
    assert set(position) == {"opened", "recorder", "agreed"}
    pair.until("source", f"ls {HOME}/manifest/fence-*.jsonl")
    assert pair.run("source", ["touch", f"{TREE}/uploads/x"]).rc != 0
    pair.until("source", f"! systemctl is-active {RECORDER}")
    # Opened, tried and let in; nobody has written anything: a return would need no link.
    assert pair.must_run("target", ["python3", "-c", NOTED]) == "0\n"
    shell(pair, "target", "printf back >uploads/back; rm -r content/13; mv content/twelve content/12")
    time.sleep(0.1)
    pair.must("freeze", "sync", "switch", "thaw", direction="back")
    assert pair.fact("transfer")["found_by"] == "names"
    assert shell(pair, "source", "cat uploads/back; ls -d content/12") == "backcontent/12\n"
    assert_same(pair)
