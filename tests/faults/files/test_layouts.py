"""Trees as people have them go there and back: on xfs, on btrfs, and as a part of a larger file system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import LAYOUTS, Pair

pytestmark = pytest.mark.long

TREE = "/srv/courses"
PRIVATE = "/var/lib/bascule/course_files/tree"
BIND = "/etc/systemd/system/srv-courses.mount"
ALLOWED = {"rsync_delta_sync_part_allowed": True}
# What stands at each side, and whether somebody else's mount is what the tree has for itself.
LAID = {
    "ext4 part": ("part", "part"),
    "xfs": ("xfs", "xfs"),
    "btrfs subvolume": ("subvolume", "subvolume"),
    "larger": ("shared subvolume", "xfs part"),
}
BIND_BY_US = ("part", "xfs part")
OTHER_WRITER = "while sleep 0.1; do date >/srv/other/written; done"


@pytest.fixture(params=LAID)
def laid(request: pytest.FixtureRequest, start_pair: StartPair) -> Iterator[Pair]:
    """A pair with one of the layouts; not prepared."""
    name = str(request.param)
    one, other = LAID[name]
    known = Path("/proc/filesystems").read_text().split()
    for layout in (one, other):
        if LAYOUTS[layout].kind not in known:
            pytest.skip(f"/proc/filesystems of this kernel names no {LAYOUTS[layout].kind}")
    parts = {"part", "xfs part", "shared subvolume"} & {one, other}
    pair = start_pair(
        "files",
        name.replace(" ", "-"),
        layouts={"source": one, "target": other},
        variables=ALLOWED if parts else {},
    )
    # Whoever else uses the larger file system, at either side.
    for side, layout in (("source", one), ("target", other)):
        if layout == "shared subvolume":
            pair.must_run(side, ["mkdir", "/srv/other"])
            pair.must_run(side, ["mount", "-o", "subvol=/other", "/dev/courses", "/srv/other"])
        if layout in parts:
            pair.must_run(side, ["mkdir", "-p", "/srv/other"])
            argv = ["systemd-run", "--quiet", "--unit=otherwriter", "bash", "-c", OTHER_WRITER]
            pair.must_run(side, argv)
    yield pair
    # Not all of them at once.
    pair.stop()


def writes(pair: Pair, side: str, path: str = TREE) -> str:
    """Try to write below a path; return what the kernel says."""
    done = pair.run(side, ["bash", "-c", f"LC_ALL=C; echo x >'{path}/.tried' && rm '{path}/.tried' && echo written"])
    return "written" if done.out == "written\n" else done.err.rpartition(": ")[2].strip()


def is_part(pair: Pair, side: str) -> bool:
    return pair.layouts[side] in ("part", "xfs part", "shared subvolume")


def others_go_on(pair: Pair, side: str) -> None:
    """See that whoever else uses the larger file system writes while the tree is closed."""
    if is_part(pair, side):
        pair.must_run(side, ["rm", "-f", "/srv/other/written"])
        pair.until(side, "test -s /srv/other/written", seconds=20)


def refused_and_named(pair: Pair) -> None:
    """A program that stood in the tree before it was mounted on itself writes past that mount: no freeze."""
    told = " ".join(pair.verb("freeze").stdout.split())
    assert "stands.service" in told, told[-3000:]
    assert "past the tree's own mount" in told
    assert "nothing was changed" in told
    assert (writes(pair, "source"), pair.guard("source")["frozen"]) == ("written", False)
    pair.must_run("source", ["systemctl", "stop", "stands"])
    # A second name of a file, outside the tree, and the larger file system once more.
    pair.must_run("source", ["bash", "-c", "mkdir /mnt/past; mount --bind /srv /mnt/past"])
    try:
        assert writes(pair, "source", "/mnt/past/courses") == "written"
        pair.must_run("source", ["bash", "-c", "ln /mnt/past/courses/content/1/index.html /mnt/past/other/linked"])
        told = " ".join(pair.verb("freeze").stdout.split())
    finally:
        pair.must_run("source", ["bash", "-c", "rm -f /srv/other/linked; umount /mnt/past"])
    assert "the mount /mnt/past, which shows the tree as a part of more" in told, told[-3000:]
    assert "a name outside the tree of content/1/index.html" in told, told[-3000:]
    assert (writes(pair, "source"), pair.guard("source")["frozen"]) == ("written", False)


def held_too_late(pair: Pair, *verbs: str) -> None:
    """Have the larger file system mounted as `nofail` does it, not before local-fs.target: each verb refuses."""
    unit = "/etc/systemd/system/srv.mount"
    late = f"cp {unit} /root/; sed -i 's/^Before=.*//; s/^Options=.*/Options=nofail/; s/RequiredBy/WantedBy/' {unit}"
    again = "systemctl daemon-reload; systemctl reenable -q srv.mount"
    bind = pair.run("source", ["cat", BIND])
    pair.must_run("source", ["bash", "-c", f"{late}; {again}"])
    try:
        for verb in verbs:
            for check in (False, True):
                done = pair.verb(verb, check=check)
                told = " ".join(done.stdout.split())
                assert not done.ok
                assert f"/srv, which holds {TREE}, is not mounted before local-fs.target (nofail" in told, told[-3000:]
                assert "take nofail and _netdev out of its line in /etc/fstab" in told, told[-3000:]
        assert pair.run("source", ["cat", BIND]) == bind
    finally:
        pair.must_run("source", ["bash", "-c", f"mv /root/srv.mount {unit}; {again}"])


def test_it_goes_there_and_back(laid: Pair) -> None:
    pair = laid
    ours = [side for side in ("source", "target") if pair.layouts[side] in BIND_BY_US]
    by_us = pair.layouts["source"] in BIND_BY_US
    if by_us:
        refused = pair.verb("audit", extra={"rsync_delta_sync_part_allowed": False})
        assert not refused.ok
        assert "rsync_delta_sync_part_allowed" in refused.stdout, refused.stdout[-3000:]
        argv = ["systemd-run", "--quiet", "--unit=stands", f"--working-directory={TREE}", "sleep", "infinity"]
        pair.must_run("source", argv)
        held_too_late(pair, "audit", "prepare")
    pair.must("audit")
    notes = " ".join(pair.fact("audit")["notes"])
    assert ("its fence is a bind of its own" in notes) == is_part(pair, "source"), notes
    pair.must("prepare", "sync")
    again = pair.must("prepare").stdout
    pushed = pair.must_run("source", ["cat", "/var/lib/bascule/course_files/jobs/push.result.json"])
    assert "changed=0" in again, (pushed, again)
    for side in ours:
        assert pair.must_run(side, ["head", "-n", "1", BIND]).startswith("# Bascule: the tree of course_files")
    if by_us:
        held_too_late(pair, "audit", "prepare")
        refused_and_named(pair)

    for direction, here, there in (("forward", "source", "target"), ("back", "target", "source")):
        pair.must_run(
            here, ["bash", "-c", f"cd {TREE}; date >uploads/{direction}; rm -rf content/9; mkdir -p content/9"]
        )
        pair.must("sync", "freeze", direction=direction)
        assert writes(pair, here) == writes(pair, here, PRIVATE) == "Read-only file system"
        others_go_on(pair, here)
        pair.must("sync", "switch", "thaw", "verify", direction=direction)
        found = pair.fact("verify")
        assert (found["files_different"], found["files_not_proved"], found["not_proved"]) == (0, 0, []), found
        assert found["files_compared"] > 100
        fences = {name for name in found["not_compared"] if name.startswith("the fence of")}
        assert fences == {f"the fence of {pair.host(side)}" for side in ("source", "target") if is_part(pair, side)}
        assert (writes(pair, there), writes(pair, here)) == ("written", "Read-only file system")
        assert pair.must_run(there, ["cat", f"{TREE}/uploads/{direction}"])
        others_go_on(pair, here)
        if direction == "forward":
            # The fence of the side that has closed holds after a reboot, before anybody writes.
            pair.kill(here)
            pair.boot(here)
            assert writes(pair, here) == "Read-only file system"
            pair.must("sync", direction="back")

    # What was mounted for the open side goes in the end, what was there before stays; a closed side stays closed.
    pair.must("retire", direction="back", extra={"scenario_phase": "decommission"})
    mounted = pair.run("source", ["mountpoint", "-q", TREE]).rc == 0
    assert mounted == (pair.layouts["source"] not in BIND_BY_US)
    assert writes(pair, "source") == "written"
    assert writes(pair, "target") == "Read-only file system"
