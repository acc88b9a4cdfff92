"""The manifest of a file tree: one entry per path, in one order, so that two trees are equal when two digests are.

Pure: entries come in as values (bascule.filetree.io.manifest.take makes them), texts, digests and differences go out.
Entries stream; what is kept in memory does not grow with the tree.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Optional, Union

from ..errors import BasculeError

ROOT = b"."
ALGORITHM = "sha256"
# What stands before the digest of a file of so many bytes or more; a smaller one has a SHA-256 with nothing before it.
BLAKE3, BLAKE3_FROM = "blake3:", 16 << 20
HEADER = f"bascule manifest 2 {ALGORITHM}, {BLAKE3}{BLAKE3_FROM}"
# A time stamp this close to the moment of reading proves nothing: a later change may carry the same one.
RACY_NS = 2_000_000_000

FILE, DIRECTORY, LINK = "file", "directory", "link"


class ManifestError(BasculeError):
    """A manifest cannot be read, or its entries are out of order."""


@dataclass(frozen=True)
class Entry:
    """What one path of a tree is. The first fields are compared, the last ones only say when it changed."""

    path: bytes
    kind: str
    mode: int
    # A number, or the name that it has at its side, escaped.
    uid: Union[int, str]
    gid: Union[int, str]
    size: int
    mtime_ns: int
    links: int
    first: bytes
    target: bytes
    device: int
    acl: str
    xattrs: tuple[tuple[bytes, str], ...]
    digest: str
    ctime_ns: int = 0
    inode: int = 0
    read_ns: int = 0

    @property
    def key(self) -> tuple[bytes, ...]:
        """The place in the order: parents before children, siblings by bytes."""
        return order(self.path)


COMPARED = tuple(one.name for one in fields(Entry))[:-3]


def order(path: bytes) -> tuple[bytes, ...]:
    """Return what paths are sorted by; the root comes first."""
    return () if path == ROOT else tuple(path.split(b"/"))


def sort_key(path: bytes) -> bytes:
    """Return bytes that sort as `order` does, for long lists."""
    return b"" if path == ROOT else path.replace(b"/", b"\0")


def escape(name: bytes) -> str:
    """Return a name as text: readable where it is UTF-8, `\\xNN` where it is not, and always reversible."""
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape(text: str) -> bytes:
    """Read what `escape` wrote."""
    out = bytearray()
    raw = text.encode("utf-8")
    at = 0
    while at < len(raw):
        if raw[at] != 0x5C:
            out.append(raw[at])
            at += 1
        elif raw[at + 1 : at + 2] == b"\\":
            out.append(0x5C)
            at += 2
        else:
            out.append(int(raw[at + 2 : at + 4], 16))
            at += 4
    return bytes(out)


def printable(name: bytes) -> str:
    """Return a name for a message: one line, whatever bytes it has."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escape(name))


_PLAIN = re.compile(rb"[ !#-\[\]-~]*")


def quoted(name: bytes) -> str:
    """Return a name as a JSON string of its escaped text."""
    if _PLAIN.fullmatch(name):
        return f'"{name.decode("ascii")}"'
    return json.dumps(escape(name))


def line_head(path: str, kind: str, mode: int, uid: str, gid: str, size: int, mtime_ns: int, links: int) -> str:
    """Return the beginning of a canonical line, up to what the path is linked with; path and owners are quoted."""
    return f'[{path},"{kind}",{mode},{uid},{gid},{size},{mtime_ns},{links},'


def line_tail(target: str, device: int, acl: str, xattrs: str, digest: str) -> str:
    """Return the end of a canonical line, after what the path is linked with; `target` is quoted already."""
    return f'{target},{device},"{acl}",{xattrs},"{digest}"]'


def xattrs_text(xattrs: Iterable[tuple[bytes, str]]) -> str:
    """Return extended attributes as they stand in a canonical line."""
    return json.dumps([[escape(name), value] for name, value in xattrs], separators=(",", ":"))


def canonical(entry: Entry) -> str:
    """Return the compared part of an entry as one line of text; different entries give different lines."""
    head = line_head(
        quoted(entry.path),
        entry.kind,
        entry.mode,
        json.dumps(entry.uid),
        json.dumps(entry.gid),
        entry.size,
        entry.mtime_ns,
        entry.links,
    )
    tail = line_tail(quoted(entry.target), entry.device, entry.acl, xattrs_text(entry.xattrs), entry.digest)
    return f"{head}{quoted(entry.first)},{tail}"


def path_of(line: str) -> bytes:
    """Return the path of a line without reading the rest of it."""
    end = line.index('","', 2)
    text = line[2:end]
    # A quotation mark inside a name is escaped, so that the first bare one ends it.
    return text.encode("ascii") if "\\" not in text else unescape(str(json.loads(line[1 : _string_end(line)])))


def _string_end(line: str) -> int:
    at = 2
    while line[at] != '"':
        at += 2 if line[at] == "\\" else 1
    return at + 1


def to_line(entry: Entry) -> str:
    """Return an entry as a line of a manifest file: the canonical text, a tab, and what tells when it changed."""
    return f"{canonical(entry)}\t{entry.ctime_ns} {entry.inode} {entry.read_ns}"


def from_line(line: str) -> Entry:
    """Read what `to_line` wrote."""
    try:
        text, _, seen = line.rstrip("\n").partition("\t")
        path, kind, mode, uid, gid, size, mtime, links, first, target, device, acl, xattrs, digest = json.loads(text)
        ctime, inode, read = (int(part) for part in seen.split(" "))
        return Entry(
            unescape(path),
            str(kind),
            int(mode),
            _owner(uid),
            _owner(gid),
            int(size),
            int(mtime),
            int(links),
            unescape(first),
            unescape(target),
            int(device),
            str(acl),
            tuple((unescape(name), str(value)) for name, value in xattrs),
            str(digest),
            ctime,
            inode,
            read,
        )
    except (ValueError, TypeError) as error:
        raise ManifestError(expected="a line of a manifest", found=f"{line[:200]!r} ({error})") from error


def _owner(value: object) -> Union[int, str]:
    if isinstance(value, (int, str)):
        return value
    raise ValueError(f"no owner: {value!r}")


class Digest:
    """The digest of a whole manifest, taken while its entries stream by in order."""

    def __init__(self) -> None:
        self._hash = hashlib.new(ALGORITHM, f"{HEADER}\n".encode())
        self._last: Optional[tuple[bytes, ...]] = None
        self.entries = 0

    def add(self, entry: Entry, text: Optional[str] = None) -> None:
        """Take in the next entry; `text` is its canonical text, when the caller has it already."""
        key = entry.key
        if self._last is not None and key <= self._last:
            raise ManifestError(
                expected="entries in ascending order of their paths, each once",
                found=f"{printable(entry.path)} after {printable(b'/'.join(self._last) or ROOT)}",
            )
        self._last = key
        self._hash.update((text if text is not None else canonical(entry)).encode("ascii") + b"\n")
        self.entries += 1

    def add_lines(self, text: str, count: int) -> None:
        """Take in canonical lines that are in order already, each ended by a line feed."""
        self._hash.update(text.encode("ascii"))
        self.entries += count

    def hexdigest(self) -> str:
        """Return the digest of what was taken in."""
        return self._hash.hexdigest()


def digest_of(entries: Iterable[Entry]) -> str:
    """Return the digest of a tree given as entries in any order (all in memory: for small trees and tests)."""
    digest = Digest()
    for entry in sorted(entries, key=lambda one: one.key):
        digest.add(entry)
    return digest.hexdigest()


@dataclass(frozen=True)
class Difference:
    """One path that is not the same on both sides."""

    path: bytes
    attributes: tuple[str, ...]

    def describe(self) -> str:
        """Return the difference for a message."""
        return f"{printable(self.path)}: {', '.join(self.attributes)}"


def differing(one: Entry, other: Entry) -> tuple[str, ...]:
    """Return the names of the attributes in which two entries of the same path differ.

    A file without a digest changed while it was read: it is equal to nothing, not even to another such file.
    """
    found = tuple(name for name in COMPARED if getattr(one, name) != getattr(other, name))
    if one.kind == other.kind == FILE and not (one.digest and other.digest):
        return (*(name for name in found if name != "digest"), UNSTEADY)
    return found


# So many differences are told by name.
_DETAILS = 50
UNSTEADY = "changed while it was read"


@dataclass
class Comparison:
    """What a comparison of two manifests found; only the first differences are kept by name."""

    compared: int = 0
    different: int = 0
    moving: int = 0
    # Of the moving: files whose content is the same all the same, and files of the same size and time whose is not.
    alike: int = 0
    unlike: int = 0
    names_kept: int = 50
    differences: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference) -> None:
        """Count a difference, and keep its name while there is room."""
        self.different += 1
        if len(self.differences) < self.names_kept:
            self.differences.append(difference)

    def note_moving(self, one: Entry, other: Entry) -> None:
        """Count an entry that changed since; of a file with other owners or modes the content can be compared."""
        self.moving += 1
        if one.kind == other.kind == FILE and (one.size, one.mtime_ns) == (other.size, other.mtime_ns):
            if one.digest and one.digest == other.digest:
                self.alike += 1
            else:
                self.unlike += 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "compared": self.compared,
            "different": self.different,
            "moving": self.moving,
            "alike": self.alike,
            "unlike": self.unlike,
            "details": [difference.describe() for difference in self.differences[:_DETAILS]],
        }


class _Moving:
    """Tells which entries of the active side may have changed after a moment, by the time stamps of its kernel."""

    def __init__(self, since_ns: Optional[int]) -> None:
        self._since = since_ns
        self._directories: list[tuple[tuple[bytes, ...], int]] = []
        self._new: Optional[tuple[bytes, ...]] = None

    def saw(self, entry: Entry) -> None:
        """Note a directory of the active side, to know who the parent of what follows is."""
        if entry.kind == DIRECTORY:
            self._leave(entry.key)
            self._directories.append((entry.key, entry.ctime_ns))

    def changed(self, entry: Entry) -> bool:
        """An entry that is on both sides: was its inode touched since?"""
        return self._since is not None and entry.ctime_ns > self._since

    def created(self, entry: Entry) -> bool:
        """An entry of the active side alone: made, or moved here with all below it, since?"""
        key = entry.key
        if self._new is not None and key[: len(self._new)] == self._new:
            return True
        if not self.changed(entry):
            return False
        if entry.kind == DIRECTORY:
            self._new = key
        return True

    def deleted(self, path: bytes) -> bool:
        """An entry of the passive side alone: was its nearest parent that is still there touched since?"""
        key = order(path)
        self._leave(key)
        return self._since is not None and bool(self._directories) and self._directories[-1][1] > self._since

    def _leave(self, key: tuple[bytes, ...]) -> None:
        while self._directories and key[: len(self._directories[-1][0])] != self._directories[-1][0]:
            self._directories.pop()


def compare(
    active: Iterable[Entry], passive: Iterable[Entry], since_ns: Optional[int] = None, names_kept: int = 50
) -> Comparison:
    """Compare two manifests that stream by in order.

    Entries that changed at the active side after `since_ns` (its own clock, its kernel's time stamps) are counted as
    moving and not compared, but for the content of files with the size and time they had; None compares everything.
    """
    result = Comparison(names_kept=names_kept)
    moving = _Moving(since_ns)
    for one, other in _pairs(iter(active), iter(passive)):
        if one is not None:
            moving.saw(one)
        if one is not None and other is not None:
            if moving.changed(one):
                result.note_moving(one, other)
                continue
            attributes = differing(one, other)
        elif one is not None:
            if moving.created(one):
                result.moving += 1
                continue
            attributes = ("missing at the passive side",)
        elif other is not None:
            if moving.deleted(other.path):
                result.moving += 1
                continue
            attributes = ("missing at the active side",)
        else:
            continue
        result.compared += 1
        if attributes:
            found = one or other
            result.note(Difference(found.path if found else b"", attributes))
    return result


def _pairs(one: Iterator[Entry], other: Iterator[Entry]) -> Iterator[tuple[Optional[Entry], Optional[Entry]]]:
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            yield left, None
            left = next(one, None)
        elif left is None or right.key < left.key:
            yield None, right
            right = next(other, None)
        else:
            yield left, right
            left, right = next(one, None), next(other, None)
