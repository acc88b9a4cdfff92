"""What is agreed on, or opened, is on the disk first; a disk that did not take it is believed nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bascule.errors import GuardRefused
from bascule.filetree.changes import CHANGED, Mark
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.manifest import cache, flush
from bascule.filetree.io.transfer import by_name, verify
from bascule.filetree.mounts import TreeError
from bascule.filetree.transfer import LinkBroken, TransferError

from . import test_by_name, test_verify
from .test_by_name import Ends
from .world import COMPONENT, Kernel, adopt, fill, host, use

ends = test_by_name.ends


class Disk:
    """The disks of both sides: what was asked of them, and whether they fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.bad = False

    def sync(self, path: str) -> None:
        side = Path(path).parent
        known = side / "side.json"
        self.asked.append((path, known.read_text() if known.exists() else ""))
        if self.bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(flush, "sync", found.sync)
    return found


def test_a_file_system_is_written_to_its_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")
    flush.sync(str(tmp_path))
    with pytest.raises(NotADirectoryError):
        flush.sync(str(tmp_path / "file"))


def test_what_was_received_is_on_the_disk_before_the_passive_side_notes_the_agreement(disk: Disk, ends: Ends) -> None:
    (Path(ends.active.path) / "a").write_text("new")
    ends.tell((CHANGED, b"a"))
    disk.asked.clear()
    ends.carry(final=True)
    agreed = str(fence_side.facts(ends.passive)["agreed"])
    # Once while the names are read, once before the note.
    assert [path for path, _ in disk.asked] == [ends.passive.tree, ends.passive.tree]
    assert not any(agreed in known for _, known in disk.asked)
    assert by_name.stands_at(ends.passive, agreed)


def test_a_disk_that_fails_agrees_to_nothing_and_everything_is_read_from_it_next(disk: Disk, ends: Ends) -> None:
    cache.take_still(ends.passive)
    old = by_name.reference(ends.active)
    disk.bad = True
    with pytest.raises(LinkBroken):
        by_name.settle(ends.active, ends.talk, Mark("g1", 0), [])
    assert fence_side.facts(ends.passive)["agreed"] == ""
    assert by_name.reference(ends.active) == old
    assert flush.lost(ends.passive)
    disk.bad = False
    _, count = cache.take_still(ends.passive)
    assert count.read_files == count.files > 0
    assert not flush.lost(ends.passive)


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, dict[str, object]]:
    """A passive side with an equal tree, and the receipt of the other one."""
    active, passive = host(tmp_path, monkeypatch), host(tmp_path, monkeypatch, "files-tls")
    for kernel, status in ((active, "open"), (passive, "closed")):
        use(kernel, monkeypatch)
        fill(kernel.side, a="one")
        adopt(kernel.side, status)
    use(active, monkeypatch)
    receipt = transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]
    use(passive, monkeypatch)
    return passive, receipt


def test_a_disk_that_fails_opens_nothing(closed: tuple[Kernel, dict[str, object]], disk: Disk) -> None:
    passive, receipt = closed
    disk.bad = True
    with pytest.raises(TransferError, match=r"the disk below .* to take what was written.*nothing was opened"):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert passive.side.guard().status == "closed"
    assert not [step for step in passive.taken if "writable" in step]
    disk.bad = False
    assert transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)["guard"]["status"] == "open"


def test_what_a_failing_disk_has_not_taken_is_found_before_an_opening(
    closed: tuple[Kernel, dict[str, object]], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of before is not believed: size and times are in memory, the content is what the disk has."""
    passive, receipt = closed
    test_verify.settled(monkeypatch)
    fence_side.apply_private(passive.side)
    path = Path(passive.side.path) / "a"
    cache.take_still(passive.side)
    known = path.stat()
    line = passive.side.manifest.read_text()
    path.write_text("eno")
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    # As if the change time were the one of before, too.
    passive.side.manifest.write_text(line.replace(str(known.st_ctime_ns), str(path.stat().st_ctime_ns)))
    fence_side.note(passive.side, lost=True)
    with pytest.raises(GuardRefused, match="carry the changes over"):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)


def test_a_tree_without_its_sentinel_is_not_made_writable(closed: tuple[Kernel, dict[str, object]]) -> None:
    passive, receipt = closed
    (Path(passive.side.path) / passive.side.sentinel).unlink()
    with pytest.raises(TreeError, match="no sentinel"):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert passive.side.guard().status == "closed"
    assert not [step for step in passive.taken if "writable" in step]


def test_a_verification_reads_what_is_on_the_disk(closed: tuple[Kernel, dict[str, object]], disk: Disk) -> None:
    passive, _ = closed
    fence_side.apply_private(passive.side)
    verify.reread(passive.side, "0" * 16)
    assert [path for path, _ in disk.asked] == [passive.side.tree]
    disk.bad = True
    with pytest.raises(TransferError, match="to take what was written"):
        verify.reread(passive.side, "1" * 16)
