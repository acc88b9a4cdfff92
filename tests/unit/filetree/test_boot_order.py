"""Which mount units let a tree be fenced before services start, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree import boot_order
from bascule.filetree.io import boot
from bascule.filetree.io.fence.side import Side
from bascule.filetree.mounts import TreeError
from bascule.system.io.process import Result
from bascule.system.mountinfo import parse_mountinfo

PATH, NAME = "/srv/courses", "srv-courses.mount"
# As systemd prints two units; the first one is a plain line of /etc/fstab.
SHOWN = """Id=srv-courses.mount
RequiredBy=local-fs.target coursefiles.service
WantedBy=
Before=local-fs.target umount.target coursefiles.service bascule-course_files-recorder.service
After=-.mount local-fs-pre.target dev-sdb1.device
TriggeredBy=
FragmentPath=/run/systemd/generator/srv-courses.mount
ActiveEnterTimestampMonotonic=700

Id=local-fs.target
Before=sysinit.target
ActiveEnterTimestampMonotonic=500
"""
FSTAB, LOCAL = boot_order.parse_show(SHOWN)
NOFAIL = {**FSTAB, "RequiredBy": "", "WantedBy": "local-fs.target", "Before": "umount.target coursefiles.service"}
NETDEV = {**NOFAIL, "WantedBy": "remote-fs.target", "After": "remote-fs-pre.target network-online.target"}
NETWORK = [
    {"Id": NAME, "After": NETDEV["After"]},
    {"Id": "remote-fs-pre.target", "After": "open-iscsi.service remote-fs-pre.target"},
    {"Id": "open-iscsi.service", "After": "network-online.target"},
    {"Id": "network-online.target", "After": "network.target"},
]
WITH_BASIC = [
    *NETWORK,
    {"Id": "network.target", "After": "cloud.service"},
    {"Id": "cloud.service", "After": "basic.target"},
]


def test_what_comes_before_services_is_in_order() -> None:
    found = boot_order.judge(PATH, FSTAB, LOCAL, WITH_BASIC)
    assert (found.unit, found.fault, found.advice) == (NAME, "", "")
    # What waits for the mount waits for its fence as well; what is ours does so in its own way.
    assert found.services == ("coursefiles.service",)


def test_a_mount_that_the_fence_can_wait_for_is_in_order() -> None:
    assert boot_order.judge(PATH, NOFAIL, LOCAL, []).fault == ""
    assert boot_order.judge(PATH, NETDEV, LOCAL, NETWORK).fault == ""


def test_a_mount_that_waits_for_what_starts_after_the_fence_is_refused() -> None:
    advice = boot_order.judge(PATH, NETDEV, LOCAL, WITH_BASIC).advice
    assert "mounted after network-online.target after network.target after cloud.service after basic.target" in advice
    assert f"systemctl show -p After '{NAME}'" in advice


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"TriggeredBy": "srv-courses.automount"}, "x-systemd.automount"),
        ({"RequiredBy": "coursefiles.service"}, "noauto"),
        ({"RequiredBy": ""}, "add-wants local-fs.target"),
        ({"FragmentPath": ""}, "give it a line in /etc/fstab"),
    ],
)
def test_a_mount_that_no_boot_makes_in_time_is_refused(changed: dict[str, str], said: str) -> None:
    assert said in boot_order.judge(PATH, {**FSTAB, **changed}, LOCAL, []).advice


def test_what_was_mounted_before_systemd_started_is_in_order() -> None:
    for since in ("", "0", "499"):
        mount = {**FSTAB, "FragmentPath": "", "ActiveEnterTimestampMonotonic": since}
        assert boot_order.judge(PATH, mount, LOCAL, []).fault == ""


# The file system at /srv, of which the tree at /srv/courses is a part: the lines of /etc/fstab that people write.
HELD = {**FSTAB, "Id": "srv.mount", "Before": "local-fs.target umount.target srv-courses.mount"}
LATE = "srv-courses.mount umount.target"


def test_what_holds_a_part_may_be_a_plain_line_of_fstab_or_older_than_systemd() -> None:
    found = boot_order.judge_holder(PATH, "/srv", HELD, LOCAL)
    assert (found.unit, found.advice) == ("srv.mount", "")
    root = {**HELD, "Id": "-.mount", "FragmentPath": "", "ActiveEnterTimestampMonotonic": "0"}
    assert boot_order.judge_holder(PATH, "/", root, LOCAL).advice == ""


@pytest.mark.parametrize(
    ("changed", "said", "mend"),
    [
        ({"Before": LATE, "RequiredBy": "", "WantedBy": "local-fs.target"}, "not mounted before local-fs", "nofail"),
        ({"Before": f"{LATE} remote-fs.target", "RequiredBy": "remote-fs.target"}, "not mounted before", "_netdev"),
        ({"TriggeredBy": "srv.automount"}, "mounted by srv.automount when somebody", "x-systemd.automount"),
        # Beside the targets, the tree's own bind asks for it: that alone is no boot.
        ({"RequiredBy": "srv-courses.mount"}, "not mounted at boot, but whenever", "noauto"),
        ({"FragmentPath": ""}, "mounted by hand", "give it a line in /etc/fstab"),
    ],
    ids=["nofail", "_netdev", "automount", "noauto", "by hand"],
)
def test_what_holds_a_part_and_may_come_later_than_its_bind_is_refused(
    changed: dict[str, str], said: str, mend: str
) -> None:
    found = boot_order.judge_holder(PATH, "/srv", {**HELD, **changed}, LOCAL)
    assert found.unit == "srv.mount"
    assert found.fault.startswith(f"/srv, which holds {PATH},"), found.fault
    assert said in found.fault
    assert mend in found.mend
    # A mount of a tree's own that the fence can wait for is in order all the same.
    if mend in ("nofail", "_netdev"):
        assert boot_order.judge("/srv", {**HELD, **changed}, LOCAL, []).advice == ""


TABLE = """22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 8:17 / /srv rw - ext4 /dev/sdb1 rw
41 40 8:17 /courses /srv/courses ro - ext4 /dev/sdb1 rw
"""


def test_the_holder_of_a_bind_is_what_lies_under_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boot, "mounts_of", lambda name: parse_mountinfo(TABLE))
    asked: list[str] = []
    held = SHOWN.replace(NAME, "srv.mount")

    def systemctl(argv: Sequence[str], **_: Any) -> Result:
        asked.extend(argv[-2:])
        return Result(tuple(argv), 0, held, "")

    side = Side("files", "files-mtp", PATH, ".sentinel", tmp_path, part=True)
    assert boot.check_holder(side, systemctl).unit == "srv.mount"
    assert asked == ["/srv", "local-fs.target"]
    held = held.replace("Before=local-fs.target umount.target", "Before=umount.target")
    with pytest.raises(
        TreeError, match=r"mounted before local-fs.target; found: /srv, which holds .*nothing was changed"
    ):
        boot.check_holder(side, systemctl)
