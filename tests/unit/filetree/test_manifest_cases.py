"""The manifest by examples: the text that both sides write, and where each count begins and ends."""

from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from bascule.filetree import manifest
from bascule.filetree.manifest import (
    DIRECTORY,
    FILE,
    LINK,
    ROOT,
    Comparison,
    Difference,
    Digest,
    Entry,
    ManifestError,
    compare,
)

from .test_manifest import directory, plain

ODD = plain(
    b'dir/a "quoted" \\ name \xff\n', uid=33, gid="www-data", size=7, mtime_ns=-1, links=2, first=b"dir/a", device=0,
    acl="6=rw", xattrs=((b"user.\xe9", "00ff"), (b"user.x", "")), digest="blake3:ab",
)  # fmt: skip
# As every host has written it: one of another version reads it, and compares its digest.
LINE = (
    r'["dir/a \"quoted\" \\\\ name \\xff\n","file",420,33,"www-data",7,-1,2,"dir/a","",0,"6=rw",'
    r'[["user.\\xe9","00ff"],["user.x",""]],"blake3:ab"]'
)


def test_a_line_is_written_as_it_always_was_and_read_back() -> None:
    assert manifest.canonical(ODD) == LINE
    assert manifest.to_line(ODD) == f"{LINE}\t10 5 20"
    assert manifest.from_line(f"{LINE}\t10 5 20\n") == ODD
    assert manifest.path_of(f"{LINE}\t10 5 20") == ODD.path


def test_the_digest_is_that_of_the_header_and_the_lines() -> None:
    text = f"bascule manifest 2 sha256, blake3:16777216\n{manifest.canonical(plain(b'a'))}\n{LINE}\n"
    assert manifest.digest_of([ODD, plain(b"a")]) == hashlib.sha256(text.encode()).hexdigest()
    one, other = Digest(), Digest()
    for entry in (plain(b"a"), ODD):
        one.add(entry)
    other.add_lines(text.partition("\n")[2], 2)
    assert (one.entries, one.hexdigest()) == (other.entries, other.hexdigest()) == (2, one.hexdigest())
    known = Digest()
    known.add(ODD, "what the caller has made")
    assert known.hexdigest() != manifest.digest_of([ODD])


@pytest.mark.parametrize(
    "name",
    [
        b'a","b',
        b'"',
        b"\\",
        b'\\"',
        b'x\\","',
        b"\\\\",
        b"\xc3\xa9",
        b"\xff",
        b"a\tb",
        b"!",
        b"~",
        b"\x7f",
        b" ",
        b"#[]",
    ],
)
def test_an_odd_name_is_one_name(name: bytes) -> None:
    line = manifest.to_line(plain(name, target=b'","'))
    assert manifest.path_of(line) == name
    assert manifest.from_line(line).path == name
    assert manifest.quoted(name) == json.dumps(manifest.escape(name))


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"plain", "plain"), (b"\xff\xfe", r"\xff\xfe"), (b"\\xff", r"\\xff"), ("é".encode(), "é"), (b"a\\", "a\\\\")],
)
def test_what_is_no_text_is_escaped_and_comes_back(name: bytes, text: str) -> None:
    assert manifest.escape(name) == text
    assert manifest.unescape(text) == name


def test_what_a_terminal_cannot_show_is_escaped_in_a_message() -> None:
    assert manifest.printable(b"a\n\x1b[0m\xff b") == r"a\x0a\x1b[0m\xff b"


@pytest.mark.parametrize(
    "line",
    [
        "", "[]\t1 2 3", "{}\t1 2 3", LINE, f"{LINE}\t1 2", f"{LINE}\t1 2 3 4", f"{LINE}\ta b c", f"{LINE}\t1  3",
        LINE.replace("33", "null", 1) + "\t1 2 3", LINE.replace('"www-data"', "[7]") + "\t1 2 3",
        LINE.replace("420", '"x"') + "\t1 2 3", LINE.replace("33", "3.5", 1) + "\t1 2 3", "7\t1 2 3",
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused_and_shown(line: str) -> None:
    with pytest.raises(ManifestError) as refused:
        manifest.from_line(line)
    assert repr(line) in str(refused.value)


def test_a_long_line_is_shown_in_part() -> None:
    with pytest.raises(ManifestError) as refused:
        manifest.from_line("x" * 200 + "y")
    assert "x" * 200 in str(refused.value)
    assert "xy" not in str(refused.value)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (b"a/b", b"a", "a after a/b"),
        (b"a", ROOT, ". after a"),
        (ROOT, ROOT, ". after ."),
        (b"a\n", b"a", r"after a\x0a"),
    ],
)
def test_what_is_out_of_order_is_named(first: bytes, second: bytes, text: str) -> None:
    digest = Digest()
    digest.add(plain(first))
    with pytest.raises(ManifestError) as refused:
        digest.add(plain(second))
    assert text in str(refused.value)
    assert digest.entries == 1
    digest.add(plain(b"b"))
    assert digest.entries == 2


def test_the_root_is_first_and_a_parent_before_its_children() -> None:
    names, mixed = [ROOT, b"-", b"a", b"a/b", b"a/b/c", b"a!"], [b"a!", b"-", b"a/b/c", ROOT, b"a/b", b"a"]
    assert sorted(mixed, key=manifest.order) == names
    assert sorted(mixed, key=manifest.sort_key) == names
    assert plain(b"a/b").key == (b"a", b"b")


def test_what_only_says_when_it_changed_is_left_out_of_a_comparison() -> None:
    assert manifest.COMPARED == (
        "path", "kind", "mode", "uid", "gid", "size", "mtime_ns", "links", "first", "target", "device", "acl", "xattrs",
        "digest",
    )  # fmt: skip
    changes: list[dict[str, Any]] = [{name: 999} for name in ("ctime_ns", "inode", "read_ns")]
    assert [manifest.differing(ODD, replace(ODD, **change)) for change in changes] == [(), (), ()]


def test_an_entry_that_does_not_say_when_it_changed_has_not_moved() -> None:
    bare = Entry(b"a", FILE, 0o644, 1, 2, 3, 4, 1, b"", b"", 0, "", (), "aa")
    assert (bare.ctime_ns, bare.inode, bare.read_ns) == (0, 0, 0)
    assert compare([bare], [bare], 0).to_dict()["compared"] == 1


def test_each_attribute_that_differs_is_named() -> None:
    other = replace(ODD, mode=0, uid=1, digest="cc")
    assert manifest.differing(ODD, other) == ("mode", "uid", "digest")
    unread = replace(other, digest="")
    assert manifest.differing(ODD, unread) == manifest.differing(unread, ODD) == ("mode", "uid", manifest.UNSTEADY)
    assert manifest.differing(unread, unread) == ("changed while it was read",)


def test_what_has_no_content_needs_no_digest() -> None:
    assert manifest.differing(directory(b"d"), directory(b"d")) == ()
    link = plain(b"l", kind=LINK, digest="")
    assert manifest.differing(link, link) == ()
    assert manifest.differing(plain(b"l", digest=""), link) == ("kind",)


def test_a_difference_is_one_line() -> None:
    assert Difference(b"a\nb", ("mode", "uid")).describe() == r"a\x0ab: mode, uid"


def test_a_comparison_tells_all_of_its_counts() -> None:
    passive = [plain(name) for name in (b"a", b"b", b"c", b"d", b"e")]
    active = [
        plain(b"a", ctime_ns=99), plain(b"b", ctime_ns=99, digest="bb"), plain(b"c", mode=1), plain(b"d"), plain(b"f"),
    ]  # fmt: skip
    found = compare(active, passive, 50)
    assert found.to_dict() == {
        "compared": 4, "different": 3, "moving": 2, "alike": 1, "unlike": 1,
        "details": ["c: mode", "e: missing at the active side", "f: missing at the passive side"],
    }  # fmt: skip
    assert compare([], []).to_dict() == {
        "compared": 0, "different": 0, "moving": 0, "alike": 0, "unlike": 0, "details": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, (1, 0)),
        ({"digest": "bb"}, (0, 1)),
        ({"digest": ""}, (0, 1)),
        ({"size": 9}, (0, 0)),
        ({"mtime_ns": 9}, (0, 0)),
        ({"kind": LINK}, (0, 0)),
    ],
)
def test_of_what_moved_only_the_content_of_a_file_as_it_was_is_compared(changes: Any, counts: tuple[int, int]) -> None:
    for one, other in ((plain(b"a", **changes), plain(b"a")), (plain(b"a"), plain(b"a", **changes))):
        found = Comparison()
        found.note_moving(one, other)
        assert (found.moving, (found.alike, found.unlike)) == (1, counts)


def test_two_files_that_nobody_could_read_are_not_alike() -> None:
    found = Comparison()
    found.note_moving(plain(b"a", digest=""), plain(b"a", digest=""))
    assert (found.alike, found.unlike) == (0, 1)


def test_50_differences_are_told_by_name_and_all_are_counted() -> None:
    many = [plain(b"%02d" % number) for number in range(60)]
    found = compare(many, [])
    assert (found.different, len(found.differences), len(found.to_dict()["details"])) == (60, 50, 50)
    found = compare(many, [], None, 55)
    assert (found.different, len(found.differences), len(found.to_dict()["details"])) == (60, 55, 50)
    assert Comparison().names_kept == 50


@pytest.mark.parametrize(("ctime", "moving"), [(50, 0), (51, 1)])
def test_what_was_touched_at_the_moment_itself_is_compared(ctime: int, moving: int) -> None:
    root = directory(ROOT)
    assert compare([root, plain(b"a", ctime_ns=ctime)], [root, plain(b"a", mode=0)], 50).moving == moving
    assert compare([root, plain(b"a", ctime_ns=ctime)], [root], 50).moving == moving
    touched = compare([directory(ROOT, ctime)], [root, plain(b"a")], 50)
    assert touched.moving == 2 * moving
    assert (touched.compared, touched.different) == ((0, 0) if moving else (2, 1))


def test_without_a_moment_everything_is_compared() -> None:
    late = 2**62
    active = [directory(ROOT, late), plain(b"a", ctime_ns=late), plain(b"b", ctime_ns=late)]
    found = compare(active, [directory(ROOT), plain(b"a"), plain(b"c")])
    assert (found.compared, found.different, found.moving) == (4, 2, 0)


def test_where_no_parent_was_seen_a_deletion_is_a_difference() -> None:
    found = compare([], [plain(b"a"), plain(b"b/c")], 50)
    assert (found.different, found.moving) == (2, 0)


def test_a_new_file_explains_nothing_that_has_its_name_in_front() -> None:
    active = [directory(ROOT, 60), plain(b"m", ctime_ns=60), plain(b"m/x"), directory(b"n", 60), plain(b"nn")]
    found = compare(active, [directory(ROOT)], 50)
    assert [one.path for one in found.differences] == [b"m/x", b"nn"]


def test_a_directory_that_is_left_is_nobody_s_parent_any_more() -> None:
    active = [directory(ROOT), directory(b"a"), directory(b"a/b", 60), directory(b"c")]
    passive = [directory(ROOT), directory(b"a"), directory(b"a/b"), plain(b"a/d"), directory(b"c"), plain(b"c/e")]
    found = compare(active, passive, 50)
    assert [one.path for one in found.differences] == [b"a/d", b"c/e"]
    assert found.moving == 1


def test_an_entry_stands_as_it_was_read() -> None:
    for subject, name in ((ODD, "mode"), (Difference(b"a", ()), "path")):
        with pytest.raises(FrozenInstanceError):
            setattr(subject, name, 1)
    assert (FILE, DIRECTORY, LINK) == ("file", "directory", "link")


def test_a_file_in_the_place_of_a_directory_is_nobody_s_parent() -> None:
    active = [directory(ROOT, 60), plain(b"f")]
    found = compare(active, [directory(ROOT), directory(b"f"), plain(b"f/x")], 50)
    assert [one.path for one in found.differences] == [b"f"]
    assert found.moving == 2, "what was below it went when its own parent was touched"
