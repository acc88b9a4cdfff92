"""Names that the active side has no longer go at the passive one, by our own hand: a current rsync refuses to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.filetree.changes import CHANGED, GONE
from bascule.filetree.delta import ScanNeeded
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.transfer import by_name, peer, receivers, remove
from bascule.filetree.io.transfer.peer import Talk
from bascule.filetree.transfer import LinkBroken, Push, TransferError
from bascule.guard import state as rule
from bascule.system.io import storage

from . import test_by_name
from .test_by_name import Ends

ends = test_by_name.ends


def fill(side: Side) -> Path:
    root = Path(side.path)
    (root / "d" / "deep").mkdir(parents=True, exist_ok=True)
    (root / "d" / "deep" / "page").write_text("page")
    os.link(root / "a", root / "d" / "second")
    (root / "out").symlink_to("/etc")
    return root


def shared(side: Side) -> str:
    return str(fence_side.facts(side)["agreed"])


def test_a_name_goes_with_all_below_it_and_nothing_else(ends: Ends) -> None:
    root = fill(ends.passive)
    names = [b"d", b"out", b"b", b"not/there", b"."]
    assert remove.remove(ends.passive, names, "", shared(ends.passive)) == 7
    assert sorted(os.listdir(root)) == [".sentinel", "a"]
    assert Path("/etc/passwd").exists()
    assert fence_side.facts(ends.passive)["touched"] is True


def test_nothing_to_remove_leaves_the_agreement(ends: Ends) -> None:
    before = fence_side.facts(ends.passive)
    assert remove.remove(ends.passive, [b"not/there"], "", shared(ends.passive)) == 0
    assert fence_side.facts(ends.passive) == before


def test_a_link_in_the_way_is_not_followed(ends: Ends, tmp_path: Path) -> None:
    root, outside = fill(ends.passive), tmp_path / "outside"
    outside.mkdir()
    (outside / "page").write_text("of somebody else")
    (root / "way").symlink_to(outside)
    assert remove.remove(ends.passive, [b"way/page"], "", shared(ends.passive)) == 0
    assert remove.remove(ends.passive, [b"way"], "", shared(ends.passive)) == 1
    assert (outside / "page").read_text() == "of somebody else"


def test_what_is_removed_is_kept_as_it_was(ends: Ends) -> None:
    root = fill(ends.passive)
    (root / "d" / "deep" / "page").chmod(0o640)
    os.utime(root / "d" / "deep" / "page", ns=(5, 1_000_000_007))
    os.setxattr(root / "d" / "deep" / "page", "user.note", b"kept")
    # As rsync --fake-super leaves it in a tree of backups.
    os.setxattr(root / "d" / "deep" / "page", "user.rsync.%stat", b"100644 0,0 33:33")
    odd = "#odd\n*?["
    (root / odd).write_text("odd")
    asked = str(ends.passive.kept / "12.abc" / "0001")
    names = [b"d", os.fsencode(odd)]
    assert remove.remove(ends.passive, names, asked, shared(ends.passive)) == 6
    assert not (root / "d").exists()
    place = ends.passive.kept / "12.abc" / "0001"
    page = place / "d" / "deep" / "page"
    assert (page.read_text(), page.stat().st_mode & 0o777, page.stat().st_mtime_ns) == ("page", 0o640, 1_000_000_007)
    assert os.getxattr(page, "user.note") == b"kept"
    assert os.getxattr(page, "user.rsync.%stat") == b"100644 0,0 33:33"
    assert (place / odd).read_text() == "odd"
    assert (place / "d" / "second").read_text() == "one"
    # The next one has a place of its own, and one that removes nothing leaves none.
    (root / "again").touch()
    remove.remove(ends.passive, [b"again"], asked, shared(ends.passive))
    remove.remove(ends.passive, [b"again"], asked, shared(ends.passive))
    assert sorted(os.listdir(place.parent)) == ["0001", "0002"]


def test_a_side_that_was_active_removes_nothing_without_keeping_it(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = rule.GuardState("course_files", "files-tls", status=rule.CLOSED, opened=rule.Epoch.parse("1.a"))
    monkeypatch.setattr(Side, "guard", lambda side: guard)
    with pytest.raises(TransferError, match=r"keeps what it replaces.*nothing was received"):
        remove.remove(ends.passive, [b"b"], "", shared(ends.passive))
    assert (Path(ends.passive.path) / "b").exists()


def test_what_is_asked_of_an_earlier_state_is_refused(ends: Ends) -> None:
    """One that waited until another run had carried the tree over would remove what that has brought."""
    ends.talk.agreed()
    fence_side.note(ends.passive, agreed="of another run")
    with pytest.raises(TransferError, match="found: of another run"):
        ends.talk.remove([b"b"], "")
    assert (Path(ends.passive.path) / "b").exists()


@pytest.mark.parametrize("keep", ["/etc/12.abc/0001", "../0001", "x"])
def test_it_is_kept_where_such_things_are(ends: Ends, keep: str) -> None:
    ends.talk.agreed()
    with pytest.raises(LinkBroken):
        ends.talk.remove([b"b"], keep)
    assert (Path(ends.passive.path) / "b").exists()


def test_the_cap_holds_for_all_below_a_name(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what differs is written again or repaired: rsync, which counts as well, hears of no removal."""
    fill(ends.passive)

    @contextlib.contextmanager
    def talk(asked: Push) -> Iterator[Talk]:
        yield ends.talk

    monkeypatch.setattr(peer, "talk", talk)
    push = Push("course_files", ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h", max_delete=4)
    with pytest.raises(TransferError, match=r"more deletions than the cap allows: 5 names.*nothing of it was deleted"):
        peer.remove(push, [b"d"])
    assert (Path(ends.passive.path) / "d" / "deep" / "page").exists()
    assert peer.remove(replace(push, max_delete=5), [b"d"]) == 5


def test_a_name_outside_of_the_tree_is_refused(ends: Ends) -> None:
    ends.talk.agreed()
    with pytest.raises(TransferError, match="names below the root"):
        ends.talk.remove([b"../b"], "")


def test_nobody_begins_a_transfer_meanwhile(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def look(tree: object, name: bytes) -> int:
        with (
            pytest.raises(Exception, match="another command holds it"),
            storage.locked(ends.passive.home / "receiving.lock", 0.05),
        ):
            pass
        held.append(True)
        return 1

    monkeypatch.setattr(remove, "_remove", look)
    assert remove.remove(ends.passive, [b"b"], "", shared(ends.passive)) == 1
    assert held == [True]


def test_what_cannot_be_removed_is_told_at_once(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broken link: to try it again, with users outside, would not help."""

    def fail(path: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", fail)
    ends.talk.agreed()
    with pytest.raises(TransferError, match="Operation not permitted") as failed:
        ends.talk.remove([b"b"], "")
    assert not isinstance(failed.value, LinkBroken)
    assert ends.talk.agreed()


def test_what_cannot_be_kept_stays_and_leaves_no_part_of_a_copy(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_: object) -> None:
        (Path(argv[-1]) / "d").mkdir()
        raise CommandFailed(expected="rsync to end", found="No space left on device")

    fill(ends.passive)
    monkeypatch.setattr(remove, "run", run)
    asked = str(ends.passive.kept / "12.abc" / "0001")
    with pytest.raises(CommandFailed):
        remove.remove(ends.passive, [b"d"], asked, shared(ends.passive))
    assert os.listdir(Path(asked).parent) == []
    assert (Path(ends.passive.path) / "d" / "deep" / "page").exists()


def test_nothing_is_agreed_when_somebody_else_removed_names_since_the_proof(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose connection was lost may get its question late; what it removes the recorder never names again."""
    (Path(ends.active.path) / "b").write_text("again")
    ends.tell((CHANGED, b"b"))
    before, real = shared(ends.passive), by_name._moved

    def moved(*given: Any) -> Any:
        remove.remove(ends.passive, [b"b"], "", before)
        return real(*given)

    monkeypatch.setattr(by_name, "_moved", moved)
    with pytest.raises(LinkBroken):
        ends.carry()
    assert shared(ends.passive) == before


def test_what_a_dead_transfer_left_is_counted_with_all_below_it(ends: Ends) -> None:
    (Path(ends.active.path) / "a").write_text("new")
    ends.tell((CHANGED, b"a"))
    with receivers.begun(ends.passive, receivers.NAMED) as receiver:
        (Path(ends.passive.path) / "stray").mkdir()
        for number in range(5):
            (Path(ends.passive.path) / "stray" / str(number)).touch()
        receiver.ended(-9)
    with pytest.raises(ScanNeeded, match="found: 6"):
        ends.carry(final=True, max_delete=3)
    assert (Path(ends.passive.path) / "stray").exists()


def test_a_link_that_breaks_is_tried_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    @contextlib.contextmanager
    def talk(asked: Push) -> Iterator[Talk]:
        tries.append(1)
        if len(tries) < 3:
            raise LinkBroken(expected="an answer", found="none")
        yield ends.talk

    monkeypatch.setattr(peer, "talk", talk)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    push = Push("course_files", ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h")
    assert peer.remove(push, [b"b"]) == 1
    assert len(tries) == 3
    tries.clear()
    monkeypatch.setattr(peer, "_RETRIES", 1)
    with pytest.raises(LinkBroken):
        peer.remove(push, [b"b"])


def test_a_transfer_counts_what_it_has_removed(ends: Ends) -> None:
    root = Path(ends.active.path)
    (root / "d" / "x").unlink()
    (root / "d").rmdir()
    ends.tell((GONE, b"d/x"), (GONE, b"d"))
    found = ends.carry(final=True)
    assert (found["equal"], found["changed_entries"], found["names_missing"]) == (True, 3, 2)
    assert not (Path(ends.passive.path) / "d").exists()
    assert b"./d\0" not in (ends.active.home / "jobs" / "push.names").read_bytes()
