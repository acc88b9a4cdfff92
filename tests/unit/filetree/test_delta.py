"""A delta by names: whatever happens to a tree, carrying the names that were told makes the copy equal again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.filetree import changes, delta, events
from bascule.filetree.changes import Changes, Log, Mark
from bascule.filetree.delta import Found, ScanNeeded
from bascule.filetree.events import CREATE, DELETE, MODIFY, MOVED_FROM, MOVED_TO, ONDIR, Event

ROOT = changes.ROOT


@dataclass
class Node:
    """A file or directory: what its content is, and which inode it has."""

    directory: bool
    inode: int
    content: int = 0


@dataclass
class Model:
    """A tree whose every change is told as the kernel tells it, to a recorder that may read late."""

    nodes: dict[bytes, Node] = field(default_factory=lambda: {ROOT: Node(True, 1)})
    inodes: int = 1
    # Directories by their inode, as the kernel knows them; None once removed.
    waiting: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    log: Log = field(default_factory=lambda: Log(1 << 30))

    def tell(self, path: bytes, mask: int) -> None:
        above = next(iter(changes.parents(path)))
        target = self.nodes[path].inode if path in self.nodes else 0
        self.waiting.append((self.nodes[above].inode, path.rpartition(b"/")[2], mask, target))

    def read(self) -> None:
        """Let the recorder read its queue: directories are found where they are now."""
        places = {node.inode: path for path, node in self.nodes.items() if node.directory}
        for inode, name, mask, target in self.waiting:
            told = events.path_of(places[inode], name) if inode in places else b""
            if mask & MODIFY and self.links(target) not in ([], [told]):
                self.log.note(changes.INODE + b"%d" % target, changes.CHANGED)
            if inode in places:
                event = Event(mask, b"handle", name)
                for kind in event.kinds():
                    self.log.note(events.path_of(places[inode], name), kind)
        self.waiting.clear()

    def below(self, path: bytes) -> list[bytes]:
        start = b"" if path == ROOT else path + b"/"
        return [name for name in self.nodes if name != ROOT and name.startswith(start)]

    def entries(self, directories: Iterable[bytes]) -> list[bytes]:
        wanted = {path for path in directories if path in self.nodes and self.nodes[path].directory}
        return [name for name in self.nodes if name != ROOT and next(iter(changes.parents(name))) in wanted]

    def links(self, inode: int) -> list[bytes]:
        return [path for path, node in self.nodes.items() if node.inode == inode]

    def look(self, path: bytes) -> Optional[Found]:
        node = self.nodes.get(path)
        return None if node is None else Found(node.directory, len(self.links(node.inode)), node.inode)

    def make(self, path: bytes, directory: bool) -> None:
        self.inodes += 1
        self.nodes[path] = Node(directory, self.inodes)
        self.tell(path, CREATE | (ONDIR if directory else 0))

    def write(self, path: bytes, content: int) -> None:
        self.nodes[path].content = content
        self.tell(path, MODIFY)

    def link(self, path: bytes, other: bytes) -> None:
        self.nodes[other] = self.nodes[path]
        self.tell(other, CREATE)

    def remove(self, path: bytes) -> None:
        """Remove a path with all below it, from the deepest on, as rm -r does."""
        for name in sorted([*self.below(path), path], reverse=True):
            directory = self.nodes[name].directory
            self.tell(name, DELETE | (ONDIR if directory else 0))
            del self.nodes[name]

    def move(self, path: bytes, other: bytes) -> None:
        extra = ONDIR if self.nodes[path].directory else 0
        self.tell(path, MOVED_FROM | extra)
        self.tell(other, MOVED_TO | extra)
        moved = {other + name[len(path) :]: self.nodes.pop(name) for name in [path, *self.below(path)]}
        for name in list(self.nodes):
            if name == other:
                del self.nodes[name]
        self.nodes.update(moved)

    def state(self) -> Mapping[bytes, tuple[bool, int, tuple[bytes, ...]]]:
        """What two trees have in common when they are equal: kinds, contents, and which names are one file."""
        return {
            path: (node.directory, node.content, tuple(sorted(self.links(node.inode))) if not node.directory else ())
            for path, node in self.nodes.items()
        }


KINDS = ["make", "directory", "directory", "write", "write", "link", "remove", "move", "move", "read", "fold"]
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(0, 99), st.integers(1, 9)), max_size=30
)


def take(model: Model, step: tuple[str, int, int, int]) -> None:
    """Do a step to things that are there, in a place that may be taken already."""
    what, first, second, content = step
    every = sorted(name for name in model.nodes if name != ROOT)
    directories = sorted(name for name, node in model.nodes.items() if node.directory)
    path = every[first % len(every)] if every else b""
    node = model.nodes.get(path)
    place = events.path_of(directories[second % len(directories)], b"xyz"[content:][:1])
    there = model.nodes.get(place)
    if what == "read":
        model.read()
    elif what == "fold":
        model.read()
        model.log.missing = lambda _, names: {name for name in names if name not in model.nodes}
        model.log.fold(1 + content // 5)
    elif what in ("make", "directory") and there is None:
        model.make(place, what == "directory")
    elif what == "write" and node and not node.directory:
        model.write(path, content)
    elif what == "link" and node and not node.directory and there is None:
        model.link(path, place)
    elif what == "remove" and node:
        model.remove(path)
    elif what == "move" and node and not (place + b"/").startswith(path + b"/"):
        replaced = there is not None and not there.directory and not node.directory and there is not node
        if there is None or replaced:
            model.move(path, place)


def carry(source: Model, target: Model, found: delta.Delta) -> None:
    """Do what rsync does with the list: delete what is missing, then make what is there what it is at the source."""
    for name in sorted(found.missing):
        for below in [name, *target.below(name)]:
            target.nodes.pop(below, None)
    for name in found.names:
        if name in found.present:
            node = source.nodes[name]
            there = target.nodes.get(name)
            if there and there.directory and not node.directory:
                for below in target.below(name):
                    del target.nodes[below]
            if not (there and there.directory and node.directory):
                # As with a new file beside the old one that takes its place: other names of the old one stay theirs.
                target.nodes[name] = replace(node)


def relink(target: Model, source: Model, found: delta.Delta) -> None:
    """Names in the list that are one file at the source become one."""
    made: dict[int, Node] = {}
    for name in found.linked:
        target.nodes[name] = made.setdefault(
            source.nodes[name].inode, replace(source.nodes[name], inode=-len(made) - 9)
        )


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_a_copy_that_takes_over_the_names_that_were_told_is_equal_again(then: list[tuple[str, int, int, int]]) -> None:
    source = Model()
    for name in (b"x", b"y", b"x/y", b"x/y/z"):
        source.make(name, True)
    for name in (b"x/z", b"x/y/x", b"x/y/z/y", b"y/z"):
        source.make(name, False)
    source.link(b"x/z", b"y/x")
    source.read()
    begin = source.log.sequence
    target = Model({}, 0)
    for number, inode in enumerate(sorted({node.inode for node in source.nodes.values()})):
        shared: Optional[Node] = None
        for name in source.links(inode):
            shared = shared or replace(source.nodes[name], inode=1000 + number)
            target.nodes[name] = shared
    index = {name: node.inode for name, node in source.nodes.items() if not node.directory}
    assert source.state() == target.state()
    for step in then:
        take(source, step)
    source.read()
    told = changes.read([source.log.records()], "g", Mark("g", begin), source.log.sequence)

    def links_of(inodes: frozenset[int]) -> dict[int, list[bytes]]:
        return {inode: [name for name, known in index.items() if known == inode] for inode in inodes}

    found = delta.plan(told, (), source.look, source.below, links_of)
    delta.add_unwanted(found, {below for name in found.swept for below in target.below(name)})
    delta.add_gone(found, target.entries(found.listed), source.look)
    carry(source, target, found)
    relink(target, source, found)
    assert source.state() == target.state()
    # No more than what was told, what is above or below it, and the names of the same files.
    assert all(name in source.nodes for name in found.present)
    assert not any(name in source.nodes for name in found.missing)


def tree(**kinds: Found) -> dict[bytes, Found]:
    return {ROOT: Found(True), **{name.replace("_", "/").encode(): found for name, found in kinds.items()}}


def plan(told: Changes, now: dict[bytes, Found], index: Optional[dict[int, list[bytes]]] = None) -> delta.Delta:
    def below(path: bytes) -> Iterator[bytes]:
        return (name for name in now if name.startswith(path + b"/"))

    return delta.plan(
        told, (), now.get, below, lambda inodes: {inode: (index or {}).get(inode, []) for inode in inodes}
    )


def told(*changed: bytes, deleted: tuple[bytes, ...] = (), whole: tuple[bytes, ...] = ()) -> Changes:
    return Changes(0, 9, frozenset(changed), frozenset(deleted), True, "", frozenset(whole), "g")


def test_a_name_behind_a_link_is_never_looked_up_through_it() -> None:
    now = tree(a=Found(False, 1, 5))
    found = plan(told(b"a/etc/passwd", b"a"), now)
    assert (sorted(found.present), found.missing) == ([ROOT, b"a"], set())
    assert plan(told(b"gone/x/y"), tree()).missing == {b"gone"}


def test_one_name_of_a_file_brings_all_and_a_file_of_which_some_are_unknown_needs_a_scan() -> None:
    now = tree(a=Found(False, 2, 5), d=Found(True), d_b=Found(False, 2, 5), c=Found(False, 1, 6))
    assert sorted(plan(told(b"a"), now, {5: [b"a", b"d/b", b"c", b"gone"]}).present) == [ROOT, b"a", b"d", b"d/b"]
    with pytest.raises(ScanNeeded, match="1 files of which some names are not known"):
        plan(told(b"a"), now, {5: [b"a"]})


def test_what_the_file_system_keeps_for_itself_stays_out() -> None:
    assert plan(told(b"lost+found", b"lost+found/#12"), tree()).names == []


def test_what_the_other_side_has_beside_a_moved_directory_goes() -> None:
    now = tree(d=Found(True), d_x=Found(False, 1, 7))
    found = plan(told(b"d", whole=(b"d",)), now)
    assert found.swept == {b"d"}
    delta.add_unwanted(found, [b"d/old", b"d/old/deep", b"d/x"])
    assert found.missing == {b"d/old"}
    assert found.names == [ROOT, b"d", b"d/old", b"d/x"]


def test_the_list_keeps_odd_names_and_leaves_the_root_out() -> None:
    assert (
        delta.list_for_rsync([ROOT, b"#no comment", b"two\nlines", b"-rf"]) == b"./#no comment\0./two\nlines\0./-rf\0"
    )


@pytest.mark.parametrize("path", [b"", b"/etc", b"a//b", b"../x", b"a/../../x", b"a/.", b"./a"])
def test_a_path_that_leads_elsewhere_is_not_inside(path: bytes) -> None:
    assert not delta.is_inside(path)
    assert delta.is_inside(b"a/..b/c.")
    assert delta.is_inside(ROOT)


def test_answers_are_compared_one_by_one() -> None:
    assert delta.unequal([b"a", b"b", b"c"], ["1", "", "3"], ["1", "", "4"]) == [b"c"]
    with pytest.raises(ScanNeeded, match="2 answers"):
        delta.unequal([b"a", b"b"], ["1", "2"], ["1"])
