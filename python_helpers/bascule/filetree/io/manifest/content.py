"""The digest of one file's content, read while nobody promises that it stands still.

SHA-256 for what is small: of what Python has by itself the fastest where the processor helps. BLAKE3 for what is large,
by Debian's b3sum: as hard to forge, and nearly as fast as reading. Which one is a matter of the size alone, so that
both sides of a file take the same. https://github.com/BLAKE3-team/BLAKE3-specs
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import subprocess

from ....errors import BasculeError
from ...manifest import BLAKE3, BLAKE3_FROM

PROGRAM = "b3sum"
# It ends with whoever asked: one that is left over would hold the tree's file system.
_COMMAND = ("setpriv", "--pdeathsig", "KILL", "--", PROGRAM, "--no-mmap", "--num-threads", "1", "--no-names")
_NOT_FOUND = 127
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
# The disk is asked for so much ahead of what is being digested, and as often as it takes to stay ahead.
_AHEAD = 16 << 20
_AHEAD_FROM = 4 << 20
_LOOK_MS = 1000


class ProgramMissing(BasculeError):
    """The program that digests large files is not installed."""

    def __init__(self) -> None:
        super().__init__(
            expected=f"the program {PROGRAM}: it digests files of {BLAKE3_FROM >> 20} MiB and more",
            found="it is not installed here",
            state="nothing was changed",
            next_command=f"apt-get install {PROGRAM}, on both sides; then run the same command again",
        )


def digest(descriptor: int) -> tuple[str, os.stat_result]:
    """Read a whole file, looked at before and after; no digest when it changed meanwhile.

    What was read of it then is not what is there now, so that nothing may ever believe or use it. Returns the digest
    in hexadecimal digits (with the name of the algorithm before it, unless it is SHA-256) and what the file was
    afterwards. Raises OSError when it cannot be read, and ProgramMissing.
    """
    before = os.fstat(descriptor)
    ahead = _Ahead(descriptor, before.st_size)
    at, found = (_large if before.st_size >= BLAKE3_FROM else _small)(descriptor, before.st_size, ahead)
    after = os.fstat(descriptor)
    same = at == after.st_size and all(
        getattr(after, name) == getattr(before, name) for name in ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )
    return (found if same else ""), after


class _Ahead:
    """Keeps the disk busy while the processor takes the digest."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._asked = 0
        self._wanted = size > _AHEAD_FROM
        if self._wanted:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def ask(self, at: int) -> None:
        """Ask for what comes after a place."""
        if self._wanted and at + _AHEAD // 2 >= self._asked:
            self._asked = max(self._asked, at)
            os.posix_fadvise(self._descriptor, self._asked, _AHEAD, os.POSIX_FADV_WILLNEED)
            self._asked += _AHEAD


def _small(descriptor: int, size: int, ahead: _Ahead) -> tuple[int, str]:
    taken = hashlib.sha256()
    block = memoryview(bytearray(min(_BLOCK, size + 1)))
    at = 0
    # One that grows while it is read is not followed to an end that it may not have.
    while at <= size:
        ahead.ask(at)
        count = os.preadv(descriptor, [block], at)
        if not count:
            break
        taken.update(block[:count])
        at += count
    return at, taken.hexdigest()


def _large(descriptor: int, size: int, ahead: _Ahead) -> tuple[int, str]:
    """Have b3sum read from the very file that is open here; how far it is shows in the place that both share."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with subprocess.Popen(_COMMAND, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            answer = select.poll()
            answer.register(process.stdout or -1, select.POLLIN)
            while not answer.poll(_LOOK_MS):
                # One that grows while it is read is not followed to an end that it may not have.
                at = os.lseek(descriptor, 0, os.SEEK_CUR)
                if at > size:
                    return at, ""
            text, trouble = process.communicate()
        finally:
            process.kill()
    if process.returncode == _NOT_FOUND:
        raise ProgramMissing()
    if process.returncode:
        raise OSError(errno.EIO, f"{PROGRAM}: {trouble.decode('utf-8', 'replace').strip()[-300:]}")
    found = text.decode("ascii", "replace").strip()
    if not _HEXADECIMAL.fullmatch(found):
        raise OSError(errno.EIO, f"{PROGRAM} told no digest: {found[:100]!r}")
    return os.lseek(descriptor, 0, os.SEEK_CUR), BLAKE3 + found
