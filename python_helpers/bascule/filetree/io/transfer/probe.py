"""Whether the rsync of this host does what transfers rely on: a small one in a scratch directory, judged by its result.

A version says little: point releases of a stable system have taken options away. So the very commands of a transfer run
here, with both ends on this host: for the whole tree, for what has changed with what it replaces kept aside, and by a
list of names. What the sending end asks of the receiving one must be what a receiver of ours lets in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ....errors import BasculeError
from ....system.io.process import Runner, run
from ... import delta, manifest, transfer
from ...transfer import NUMBERS, Push, TransferError
from ..manifest import take

_OLD, _NEW = b"before\n", b"behind\n"
# Names that a list, a pattern, a shell or rsync itself could take for something else.
_ODD = (b"new\nline", b"\xff\xfe invalid", b"-rf", b"*", b"[a-z]?", b"\\#012", b"~", b" ", b"\x01\x7f", b"x" * 255)
# Stands for ssh: what was asked for is kept, and the receiving end runs here.
_SHELL = """#!/bin/sh
while [ "$1" != {host} ]; do shift; done
shift
printf '%s ' "$@" >>{asked}
echo >>{asked}
shift
exec rsync "$@"
"""
_HOST = "bascule-probe"
# user::rw- user:77:r-- group::r-- mask::r-- other::---, as the kernel stores it.
_ACL = "02000000 01000600ffffffff 020004004d000000 04000400ffffffff 10000400ffffffff 20000000ffffffff"


def faults(owners: str = NUMBERS, runner: Runner = run) -> list[str]:
    """Return what a transfer on this host would do wrong; nothing when it is right.

    The scratch directory lies in root's home: /tmp may hold fewer attributes, and let nothing be executed.
    """
    if shutil.which("rsync") is None:
        # The audit says so by itself.
        return []
    with tempfile.TemporaryDirectory(prefix="bascule-probe-", dir=Path.home()) as place:
        probe = _Probe(Path(place), owners, runner)
        try:
            return [found for stage in probe.stages() for found in stage()]
        except (BasculeError, OSError) as error:
            return [f"the trial of a transfer could not be made: {error}"]


class _Probe:
    """One trial."""

    def __init__(self, place: Path, owners: str, runner: Runner) -> None:
        self._place, self._runner = place, runner
        self._source, self._target, self._kept = (place / name for name in ("source", "target", "kept"))
        self._asked, self._shell, self._names = (place / name for name in ("asked", "ssh", "names"))
        self._push = Push(
            "probe", str(self._source), str(self._target), _HOST, "none", "none", "1.a", owners=owners, max_delete=10
        )
        self._shell.write_text(_SHELL.format(host=_HOST, asked=self._asked))
        for folder in (self._source, self._target):
            folder.mkdir(0o755)

    def stages(self) -> tuple[Callable[[], Iterator[str]], ...]:
        """Return the parts of the trial, in their order."""
        return self.whole, self.changed, self.by_names, self.again

    def whole(self) -> Iterator[str]:
        """Carry a whole tree over into an empty one."""
        _fill(os.fsencode(self._source))
        yield from self._run("a transfer of the whole tree", self._push)

    def changed(self) -> Iterator[str]:
        """Carry over what has changed: contents within the same second, a deletion; what was there is kept."""
        base = os.fsencode(self._source)
        _write(base + b"/same size and second", _NEW, 10**18 + 1)
        os.unlink(base + b"/gone")
        kept = str(self._kept / "1.a" / "0001")
        yield from self._run("a transfer that keeps what it replaces", replace(self._push, backup_dir=kept))
        for name in ("same size and second", "gone"):
            path = Path(kept) / name
            if not path.is_file() or path.read_bytes() != _OLD:
                yield f"what a transfer replaces is not kept ({name!r})"

    def by_names(self) -> Iterator[str]:
        """Carry over a list of names: odd ones, one that is gone, a directory that was replaced by a file."""
        base = os.fsencode(self._source)
        for name in _ODD:
            _write(base + b"/" + name, _NEW, 10**18 + 2)
        shutil.rmtree(base + b"/directory")
        _write(base + b"/directory", _NEW, 10**18 + 2)
        listed = [*_ODD, b"directory", b"never there"]
        self._names.write_bytes(delta.list_for_rsync(listed))
        os.utime(base, ns=(10**18, 10**18))
        yield from self._run("a transfer by names", replace(self._push, names=str(self._names)))

    def again(self) -> Iterator[str]:
        """Find what differs by its content alone, change nothing by that, and write it again: by name, by content."""
        base = os.fsencode(self._target)
        for how in (replace(self._push, names=str(self._names), rewrite=True), replace(self._push, checksum=True)):
            _write(base + b"/new\nline", b"rotten\n", 10**18 + 2)
            os.utime(base, ns=(10**18, 10**18))
            yield from self._run("a preview", replace(self._push, checksum=True, dry_run=True), settled=False)
            if (self._target / "new\nline").read_bytes() != b"rotten\n":
                yield "a preview changes what it looks at"
            yield from self._run("a transfer that writes again what looks the same", replace(how, bwlimit="10m"))

    def _run(self, what: str, push: Push, settled: bool = True) -> Iterator[str]:
        command = [
            f"--rsh=/bin/sh {self._shell}" if word.startswith("--rsh=") else word
            for word in transfer.rsync_command(push)
        ]
        self._asked.unlink(missing_ok=True)
        done = self._runner(command, check=False, timeout=60)
        if done.rc != 0:
            yield f"{what} fails: exit status {done.rc}: {' '.join(done.stderr.split())[-300:] or 'no message'}"
            return
        if settled and self._digest(self._source) != self._digest(self._target):
            yield f"{what} ends well, and its result differs: {', '.join(self._differences())}"
        if "bytes_changed" not in transfer.parse_stats(done.stdout):
            yield f"{what} gives no figures that can be read"
        if not any(transfer.is_change(line) for line in done.stdout.splitlines()):
            yield f"{what} does not tell what it has changed"
        asked = self._asked.read_text("utf-8", "surrogateescape").strip() if self._asked.exists() else ""
        try:
            transfer.parse_request(asked, str(self._target), str(self._kept), push.owners)
        except TransferError as error:
            yield f"{what} asks of the other side what no receiver lets in: {error.found}"

    def _digest(self, root: Path) -> str:
        digest, _ = take.take_manifest(str(root), self._place / f"{root.name}.jsonl", cached=False, workers=1)
        return digest

    def _differences(self) -> list[str]:
        here, there = (
            {one.path: one for one in take.read_manifest(self._place / f"{root.name}.jsonl")}
            for root in (self._source, self._target)
        )
        found = [
            f"{manifest.printable(path[:60])}: "
            + ("is missing" if path not in there else ", ".join(manifest.differing(one, there[path])))
            for path, one in here.items()
            if path not in there or manifest.differing(one, there[path])
        ]
        return (found + [f"{manifest.printable(path[:60])}: is left over" for path in there if path not in here])[:5]


def _fill(base: bytes) -> None:
    """Make a tree with everything that a transfer is relied on to carry and that can be made here."""
    os.makedirs(base + b"/directory/below")
    for name in (*_ODD, b"gone", b"same size and second", b"directory/below/file", b"attributes"):
        _write(base + b"/" + name, _OLD, 10**18)
    os.link(base + b"/attributes", base + b"/another name")
    os.symlink(b"nowhere\n" + b"x" * 200, base + b"/link")
    os.mkfifo(base + b"/fifo", 0o640)
    with open(base + b"/holes", "wb") as out:
        out.truncate(1 << 20)
        out.seek(1 << 19)
        out.write(b"middle")
    path = base + b"/attributes"
    # Where the scratch directory cannot hold one of these, the trial still shows that rsync was built to carry it: it
    # refuses the option otherwise. What the trees themselves can hold is another question of the audit.
    for attribute, value in (
        ("user.plain", b"\x00\xff"),
        # As `rsync --fake-super` leaves it; to be carried like any other.
        ("user.rsync.%stat", b"100644 0,0 33:33"),
        ("system.posix_acl_access", bytes.fromhex(_ACL)),
    ):
        with contextlib.suppress(OSError):
            os.setxattr(path, attribute, value)
    for owned in (path, base + b"/link"):
        try:
            os.chown(owned, 12345, 54321, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
    os.chmod(path, 0o4640)
    os.utime(path, ns=(-1_500_000_001, -1_500_000_001))
    os.utime(base + b"/directory", ns=(10**18 + 3, 10**18 + 3))


def _write(path: bytes, content: bytes, when: int) -> None:
    with open(path, "wb") as out:
        out.write(content)
    os.utime(path, ns=(when, when))
