"""Which names a file has: while transfers add to what is written down, and somebody walks over the tree again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.filetree.changes import Changes
from bascule.filetree.delta import Found, ScanNeeded, plan
from bascule.filetree.io import transitions
from bascule.filetree.io.transfer import hard_links
from bascule.filetree.io.transfer.entries import Tree

from .world import COMPONENT, Kernel, adopt, fill, host

GENERATION = "g1"


@pytest.fixture
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, "open")
    Path(kernel.side.tree).symlink_to(kernel.side.path)
    kernel.recording = True
    return kernel


def inode(kernel: Kernel, name: str) -> int:
    return (Path(kernel.side.path) / name).stat().st_ino


def names(kernel: Kernel, name: str) -> list[bytes]:
    number = inode(kernel, name)
    return sorted(hard_links.links_of(kernel.side, frozenset({number})).get(number, []))


def test_every_name_is_found_by_its_inode(active: Kernel) -> None:
    os.link(Path(active.side.path) / "a", Path(active.side.path) / "a b\n")
    assert hard_links.index_links(active.side) == 4
    assert (names(active, "a"), names(active, "b")) == ([b"a", b"a b\n"], [b"b"])
    hard_links.add_links(active.side, {b"c": inode(active, "b")})
    assert names(active, "b") == [b"b", b"c"]


def test_what_is_added_during_a_walk_is_in_both(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer goes on while somebody writes all names down anew: what it adds is not lost with the old ones."""
    hard_links.index_links(active.side)
    walk, seen = hard_links._walk, []

    def meanwhile(tree: Tree, fresh: Path) -> int:
        hard_links.add_links(active.side, {b"in/the/middle": inode(active, "a")})
        seen.append(names(active, "a"))
        count = walk(tree, fresh)
        seen.append(names(active, "a"))
        return count

    monkeypatch.setattr(hard_links, "_walk", meanwhile)
    hard_links.index_links(active.side)
    assert [*seen, names(active, "a")] == [[b"a", b"in/the/middle"]] * 3
    monkeypatch.setattr(hard_links, "_walk", walk)
    hard_links.index_links(active.side)
    assert names(active, "a") == [b"a"]


def test_a_walk_that_was_killed_leaves_the_earlier_names(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    hard_links.index_links(active.side)

    def killed(tree: Tree, fresh: Path) -> int:
        (fresh / "00").write_bytes(b"half a rec")
        raise KeyboardInterrupt

    walk = hard_links._walk
    monkeypatch.setattr(hard_links, "_walk", killed)
    with pytest.raises(KeyboardInterrupt):
        hard_links.index_links(active.side)
    hard_links.add_links(active.side, {b"later": inode(active, "b")})
    assert hard_links.links_known(active.side, GENERATION)
    assert names(active, "b") == [b"b", b"later"]
    monkeypatch.setattr(hard_links, "_walk", walk)
    hard_links.index_links(active.side)
    # The tree itself was walked over since, and has no such name.
    assert names(active, "b") == [b"b"]


def test_it_holds_for_one_generation_of_the_recorder(active: Kernel) -> None:
    assert not hard_links.links_known(active.side, GENERATION)
    hard_links.index_links(active.side)
    assert hard_links.links_known(active.side, GENERATION)
    assert not hard_links.links_known(active.side, "g2")
    active.recording = False
    hard_links.index_links(active.side)
    assert not hard_links.links_known(active.side, GENERATION)
    assert not hard_links.links_known(active.side, "")


def test_a_side_that_closes_relies_on_it_no_longer(active: Kernel) -> None:
    hard_links.index_links(active.side)
    transitions.close(COMPONENT, active.side.name, "1.a")
    assert not hard_links.links_known(active.side, GENERATION)
    assert names(active, "a") == [b"a"]


def test_what_is_not_whole_says_nothing(active: Kernel) -> None:
    assert names(active, "a") == []
    hard_links.index_links(active.side)
    bucket = active.side.home / "links" / f"{inode(active, 'a') % 256:02x}"
    with bucket.open("ab") as out:
        out.write(b"12")
    hard_links.add_links(active.side, {b"next": inode(active, "a")})
    assert names(active, "a") == [b"a", b"next"]
    bucket.unlink()
    with pytest.raises(ScanNeeded, match="not all of them are"):
        names(active, "a")


def test_a_file_that_came_and_went_brings_nothing_and_one_that_stays_brings_all_its_names() -> None:
    tree = {b".": Found(True), b"kept": Found(False, 2, 7), b"other": Found(False, 2, 7)}
    known = {7: [b"kept", b"other"]}
    changes = Changes(0, 9, frozenset(), frozenset({b"lock"}), True, "", inodes=frozenset({7, 8}))
    found = plan(changes, (), tree.get, lambda _: (), lambda asked: {one: known[one] for one in asked if one in known})
    assert (set(found.present), found.missing) == ({b".", b"kept", b"other"}, {b"lock"})
