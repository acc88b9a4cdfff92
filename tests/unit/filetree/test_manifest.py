"""The manifest: independent of the order of reading, sensitive to every attribute, safe with any bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.filetree import manifest
from bascule.filetree.manifest import DIRECTORY, FILE, LINK, ROOT, Digest, Entry, ManifestError, compare

COMPONENTS = st.binary(min_size=1, max_size=6).map(lambda raw: raw.replace(b"/", b"-").replace(b"\0", b"0"))
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(b"/".join)
SMALL = st.integers(0, 2**40)
# A number, or a name.
OWNERS = SMALL | st.binary(max_size=6).map(manifest.escape)
HEX = st.text("0123456789abcdef", max_size=4)


def entries() -> st.SearchStrategy[Entry]:
    """Entries with any bytes in every field that holds bytes."""
    return st.builds(
        Entry,
        path=PATHS,
        kind=st.sampled_from([FILE, DIRECTORY, LINK, "fifo"]),
        mode=st.integers(0, 0o7777),
        uid=OWNERS,
        gid=OWNERS,
        size=SMALL,
        mtime_ns=st.integers(-(2**62), 2**62),
        links=st.integers(0, 9),
        first=st.just(b"") | PATHS,
        target=st.binary(max_size=8),
        device=SMALL,
        acl=st.text("0123456789abcdef=;", max_size=8),
        xattrs=st.lists(st.tuples(st.binary(max_size=4), HEX), max_size=2).map(tuple),
        digest=st.text("0123456789abcdef", min_size=1, max_size=8),
        ctime_ns=SMALL,
        inode=SMALL,
        read_ns=SMALL,
    )


def tree() -> st.SearchStrategy[list[Entry]]:
    return st.lists(entries(), max_size=8, unique_by=lambda one: one.path)


def plain(path: bytes, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "path": path, "kind": FILE, "mode": 0o644, "uid": 1, "gid": 2, "size": 3, "mtime_ns": 4, "links": 1,
        "first": b"", "target": b"", "device": 0, "acl": "", "xattrs": (), "digest": "aa",
        "ctime_ns": 10, "inode": 5, "read_ns": 20,
    }  # fmt: skip
    return Entry(**{**values, **changes})


def directory(path: bytes, ctime_ns: int = 10) -> Entry:
    return plain(path, kind=DIRECTORY, size=0, digest="", ctime_ns=ctime_ns)


@given(tree(), st.randoms(use_true_random=False))
def test_digest_does_not_depend_on_the_order_of_reading(found: list[Entry], random: Any) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert manifest.digest_of(shuffled) == manifest.digest_of(found)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree(), st.data())
def test_every_attribute_changes_the_digest_and_is_named(found: list[Entry], data: st.DataObject) -> None:
    if not found:
        return
    index = data.draw(st.integers(0, len(found) - 1))
    name = data.draw(st.sampled_from([one for one in manifest.COMPARED if one != "path"]))
    other = data.draw(entries().filter(lambda one: getattr(one, name) != getattr(found[index], name)))
    changed = list(found)
    changed[index] = replace(found[index], **{name: getattr(other, name)})
    assert manifest.digest_of(changed) != manifest.digest_of(found)
    before, after = (sorted(one, key=lambda entry: entry.key) for one in (found, changed))
    result = compare(before, after)
    assert result.different == 1
    assert result.differences[0].attributes == (name,)


@given(tree(), entries())
def test_one_more_path_changes_the_digest(found: list[Entry], extra: Entry) -> None:
    if extra.path in {one.path for one in found}:
        return
    assert manifest.digest_of([*found, extra]) != manifest.digest_of(found)


@given(tree(), st.data())
def test_what_only_tells_when_something_changed_is_not_compared(found: list[Entry], data: st.DataObject) -> None:
    moved = [replace(one, ctime_ns=data.draw(SMALL), inode=data.draw(SMALL), read_ns=data.draw(SMALL)) for one in found]
    assert manifest.digest_of(moved) == manifest.digest_of(found)


@given(entries())
def test_a_line_comes_back_as_it_was(entry: Entry) -> None:
    line = manifest.to_line(entry)
    assert line.isascii()
    assert "\n" not in line
    assert manifest.from_line(line + "\n") == entry


@given(entries(), entries())
def test_different_entries_have_different_texts(one: Entry, other: Entry) -> None:
    same = manifest.differing(one, other) == ()
    assert (manifest.canonical(one) == manifest.canonical(other)) == same


@given(entries().filter(lambda one: one.kind == FILE), st.booleans(), st.booleans())
def test_a_file_that_changed_while_it_was_read_is_equal_to_nothing(entry: Entry, here: bool, there: bool) -> None:
    one = replace(entry, digest="") if here else entry
    other = replace(entry, digest="") if there else entry
    found = manifest.differing(one, other)
    assert found == ((manifest.UNSTEADY,) if here or there else ())
    assert compare([one], [other]).different == (1 if here or there else 0)


@given(entries())
def test_the_path_of_a_line_is_found_without_reading_the_rest(entry: Entry) -> None:
    assert manifest.path_of(manifest.to_line(entry)) == entry.path
    assert manifest.quoted(entry.path) == json.dumps(manifest.escape(entry.path))


@given(st.lists(PATHS, min_size=2, max_size=6, unique=True))
def test_long_lists_are_sorted_by_bytes_as_by_parts(paths: list[bytes]) -> None:
    assert sorted([ROOT, *paths], key=manifest.sort_key) == sorted([ROOT, *paths], key=manifest.order)


@given(st.binary())
def test_names_are_escaped_so_that_they_come_back(name: bytes) -> None:
    assert manifest.unescape(manifest.escape(name)) == name


@given(st.binary())
def test_printable_names_are_one_line_of_visible_characters(name: bytes) -> None:
    text = manifest.printable(name)
    assert text.isprintable()
    text.encode()


@given(st.lists(PATHS, min_size=2, max_size=6, unique=True))
def test_parents_come_before_children_and_siblings_by_bytes(paths: list[bytes]) -> None:
    ordered = sorted([ROOT, *paths], key=manifest.order)
    assert ordered[0] == ROOT
    for position, path in enumerate(ordered):
        assert all(not path.startswith(later + b"/") for later in ordered[position + 1 :])


def test_a_manifest_out_of_order_is_refused() -> None:
    digest = Digest()
    digest.add(plain(b"b"))
    with pytest.raises(ManifestError, match="a after b"):
        digest.add(plain(b"a"))
    with pytest.raises(ManifestError):
        digest.add(plain(b"b"))


def test_a_torn_line_is_refused_with_its_text() -> None:
    with pytest.raises(ManifestError, match="a line of a manifest"):
        manifest.from_line('["half a li')


def test_missing_paths_are_named_at_their_side() -> None:
    result = compare([plain(b"a"), plain(b"b")], [plain(b"b"), plain(b"c")])
    assert (result.compared, result.different) == (3, 2)
    assert result.to_dict()["details"] == ["a: missing at the passive side", "c: missing at the active side"]


def test_what_changed_after_the_moment_is_counted_and_not_compared() -> None:
    active = [directory(ROOT), plain(b"new", ctime_ns=60), plain(b"old"), plain(b"rewritten", ctime_ns=70, digest="bb")]
    passive = [directory(ROOT), plain(b"old"), plain(b"rewritten")]
    found = compare(active, passive, 50)
    assert (found.compared, found.different, found.moving, found.to_dict()["details"]) == (2, 0, 2, [])
    assert compare(active, passive, 65).different == 1
    assert compare(active, passive).different == 2


def test_other_owners_hide_no_content() -> None:
    """A service that gives everything to itself when it starts touches every file."""
    passive = [directory(ROOT), *(plain(name) for name in (b"same", b"rotten", b"unread", b"written"))]
    active = [
        directory(ROOT, ctime_ns=60),
        plain(b"same", ctime_ns=60, uid=7),
        plain(b"rotten", ctime_ns=60, uid=7, digest="bb"),
        plain(b"unread", ctime_ns=60, uid=7, digest=""),
        plain(b"written", ctime_ns=60, mtime_ns=60, digest="cc"),
    ]
    ours, theirs = (sorted(entries, key=lambda one: one.key) for entries in (active, passive))
    found = compare(ours, theirs, 50)
    assert (found.different, found.moving, found.alike, found.unlike) == (0, 5, 1, 2)


def test_a_deleted_path_is_explained_by_its_parent_only() -> None:
    passive = [directory(ROOT), directory(b"a"), plain(b"a/gone"), directory(b"b"), plain(b"b/gone")]
    active = [directory(ROOT, ctime_ns=99), directory(b"a", ctime_ns=60), directory(b"b")]
    found = compare(active, passive, 50)
    assert [one.path for one in found.differences] == [b"b/gone"]
    assert found.moving == 3


def test_a_directory_moved_here_explains_all_below_it_but_nothing_beside_it() -> None:
    active = [directory(ROOT, 99), directory(b"m", 60), plain(b"m/x"), directory(b"m/y"), plain(b"m/y/z"), plain(b"n")]
    found = compare(active, [directory(ROOT)], 50)
    assert [one.path for one in found.differences] == [b"n"]
    assert found.moving == 5


def test_only_the_first_differences_are_kept_by_name() -> None:
    result = compare([plain(b"%d" % number) for number in range(1, 10)], [], None, 3)
    assert (result.different, len(result.differences)) == (9, 3)
