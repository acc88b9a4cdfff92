"""Open an archive of a guest and verify it: decompressed by zstd or gzip, and digested beside that where asked."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable
from typing import Optional

from ...errors import BasculeError
from .. import tar, vma
from ..vma import Verdict, VmaReport
from ..zstd import Frames
from . import zstd

_PIECE = 1 << 20
# Every so many bytes zstd's place in the file is looked at, and the frames up to there are followed.
_STEP = 16 << 20
# Linux's F_SETPIPE_SZ, which Python names since 3.10: few large reads instead of many small ones.
_SET_PIPE_SIZE = 1031
_MAGIC = {b"VMA\0": "vma", b"\x28\xb5\x2f\xfd": "vma.zst", b"\x1f\x8b": "vma.gz", b"\x89LZO": "vma.lzo"}
_DIGITS = 64
# What a tar file that is not compressed has at this byte.
_TAR, _TAR_AT = b"ustar", 257
Check = Callable[[vma.Stream], VmaReport]


def parse_digest(text: str) -> str:
    """Return the hexadecimal digits of `sha256:…`; anything else is refused."""
    kind, _, digits = text.strip().lower().rpartition(":")
    if kind not in ("", "sha256") or len(digits) != _DIGITS or set(digits) - set("0123456789abcdef"):
        raise BasculeError(
            expected=f"a digest such as sha256:6bb1…, with {_DIGITS} hexadecimal digits",
            found=repr(text[:100]),
            state="nothing was read",
        )
    return digits


def verify_archive(path: str, digest: Optional[str] = None) -> Verdict:
    """Verify `.vma` or a container's `.tar`, plain or as `.zst` or `.gz`; `digest` is that of the file as it stands,
    taken at the source.
    """
    wanted = parse_digest(digest) if digest else ""
    try:
        with open(path, "rb", buffering=0) as file:
            return _verify(file, path, wanted)
    except OSError as error:
        raise BasculeError(
            expected=f"to read the archive {path}",
            found=str(error),
            state="nothing is known about the archive",
            next_command="look at the path and its storage, then run the same command again",
        ) from error


def _verify(file: io.FileIO, path: str, wanted: str) -> Verdict:
    container = kind_of(file, path)
    before = os.fstat(file.fileno())
    digester = _Digester(file.fileno()) if wanted else None
    form, _, packing = container.partition(".")
    report, checksum, damage = _READERS[packing](file, before.st_size, _CHECKS[form])
    found = digester.digest() if digester else ""
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        damage.append("the file changed while it was read")
    proofs = [checksum] if checksum and not damage else []
    if wanted and found == wanted:
        proofs.append("the digest taken at the source (SHA-256)")
    elif wanted:
        damage.insert(0, f"the file's digest is sha256:{found}; at the source it was sha256:{wanted}")
    return Verdict(report, container, tuple(proofs), tuple(damage), f"sha256:{found}" if found else "")


def kind_of(file: io.FileIO, path: str) -> str:
    """Return what the file is, by its first bytes; its name is only asked when they say nothing.

    What a compressed one holds its name alone tells: a container's is a tar file.
    """
    first = os.pread(file.fileno(), 4, 0)
    kinds = [kind for magic, kind in _MAGIC.items() if first.startswith(magic)]
    named = [kind for kind in ("vma.zst", "vma.gz", "vma.lzo") if path.endswith(f".{kind}")]
    kind = (kinds or named or ["vma"])[0]
    plain_tar = os.pread(file.fileno(), len(_TAR), _TAR_AT) == _TAR
    if not kind.startswith("vma.") and plain_tar:
        kind = "tar"
    elif path.endswith((".tar", ".tar.zst", ".tar.gz", ".tar.lzo")):
        kind = kind.replace("vma", "tar")
    if kind.endswith(".lzo"):
        raise BasculeError(
            expected="an archive as .vma or .tar, or one of these as .zst or .gz",
            found=f"{path} is compressed with LZO",
            state="nothing is known about the archive",
            next_command="make the backup again with compression zstd, which carries a checksum",
        )
    return kind


Read = tuple[VmaReport, str, list[str]]


class _Plain:
    """The file as it stands."""

    def __init__(self, file: io.FileIO, size: int) -> None:
        self._file = file
        self._size = size

    def readinto(self, into: memoryview, /) -> int:
        """Read on."""
        return self._file.readinto(into) or 0

    def skip(self, size: int, /) -> int:
        """Step over: nothing proves these bytes but the digest, which has its own reader."""
        here = self._file.tell()
        return self._file.seek(min(here + size, self._size)) - here


def _plain(file: io.FileIO, size: int, check: Check) -> Read:
    return check(_Plain(file, size)), "", []


def _gzip(file: io.FileIO, size: int, check: Check) -> Read:
    stream = _Gzip(file)
    report = check(stream)
    return report, "the checksum of the gzip stream (CRC-32)", stream.complaints


class _Digester:
    """Digests the same open file beside its decompression; the file's own position is left alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sha = hashlib.sha256()
        self._failure: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            offset = 0
            while piece := os.pread(self._descriptor, _PIECE, offset):
                self._sha.update(piece)
                offset += len(piece)
        except OSError as error:
            self._failure = error

    def digest(self) -> str:
        """Wait for the end of the file."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._sha.hexdigest()


class _Gzip:
    """Decompressed by the standard library, which checks length and CRC-32 of each member."""

    def __init__(self, file: io.FileIO) -> None:
        self._stream = gzip.GzipFile(fileobj=file)
        self._delivered = 0
        self._unseen = memoryview(bytearray(_PIECE))
        self.complaints: list[str] = []

    def skip(self, size: int, /) -> int:
        """Decompress and check, and look no further."""
        return self.readinto(self._unseen[:size])

    def readinto(self, into: memoryview, /) -> int:
        """Hand on what comes; a damaged stream ends here, and has a complaint."""
        if self.complaints:
            return 0
        try:
            count = self._stream.readinto(into)
        except (OSError, EOFError, zlib.error) as error:
            self.complaints.append(f"gzip: {error} (after {self._delivered} bytes of the archive)")
            return 0
        self._delivered += count
        return count


class _Zstd:
    """Decompressed by the zstd program, which checks each frame's checksum where there is one."""

    def __init__(self, file: io.FileIO, size: int, output: io.FileIO, nowhere: io.FileIO) -> None:
        self._file = file
        self._output = output
        self._nowhere = nowhere
        self._delivered = self._followed = 0
        self.frames = Frames(lambda offset, length: os.pread(file.fileno(), length, offset), size)

    def readinto(self, into: memoryview, /) -> int:
        """Hand on what zstd says."""
        return self._count(self._output.readinto(into) or 0)

    def skip(self, size: int, /) -> int:
        """Let the kernel drop bytes that zstd has checked, without copying them here."""
        if sys.version_info >= (3, 10):
            return self._count(os.splice(self._output.fileno(), self._nowhere.fileno(), size))
        return self.readinto(memoryview(bytearray(min(size, _PIECE))))

    def _count(self, count: int) -> int:
        """Follow the frames as far as zstd has read: what it has read is at hand."""
        self._delivered += count
        if not count or self._delivered - self._followed >= _STEP:
            self._followed = self._delivered
            self.frames.follow(os.lseek(self._file.fileno(), 0, os.SEEK_CUR))
        return count


_CHECKSUM = "the checksum of the zstd stream (XXH64)"


def _zstd(file: io.FileIO, size: int, check: Check) -> Read:
    library = zstd.load()
    return _zstd_program(file, size, check) if library is None else _zstd_here(library, file, size, check)


def _zstd_here(library: ctypes.CDLL, file: io.FileIO, size: int, check: Check) -> Read:
    frames = Frames(lambda offset, length: os.pread(file.fileno(), length, offset), size)
    # What was read a moment ago is at hand: the frames are followed up to there, headers only.
    stream = zstd.Stream(library, file, frames.follow)
    try:
        report = check(stream)
    finally:
        stream.close()
    complaints = [f"zstd: {stream.complaint} (after {report.length} bytes of the archive)"] if stream.complaint else []
    return report, _CHECKSUM if frames.checked else "", complaints


def _zstd_program(file: io.FileIO, size: int, check: Check) -> Read:
    reading, writing = os.pipe()
    with (
        open(reading, "rb", buffering=0) as output,
        open(os.devnull, "wb", buffering=0) as nowhere,
        tempfile.TemporaryFile() as errors,
    ):
        with contextlib.suppress(OSError):
            fcntl.fcntl(reading, _SET_PIPE_SIZE, _PIECE)
        try:
            process = subprocess.Popen(
                ["zstd", "--decompress", "--stdout", "--quiet"],
                stdin=file,
                stdout=writing,
                stderr=errors,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except FileNotFoundError as error:
            raise BasculeError(
                expected="the program zstd, to read this archive",
                found=str(error),
                state="nothing is known about the archive",
                next_command="install the package zstd, then run the same command again",
            ) from error
        finally:
            os.close(writing)
        stream = _Zstd(file, size, output, nowhere)
        try:
            report = check(stream)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        complaints = []
        if status:
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace").strip().replace("/*stdin*\\", "the file")
            complaints.append(f"{words or f'zstd ended with {status}'} (after {report.length} bytes of the archive)")
        return report, _CHECKSUM if stream.frames.checked else "", complaints


_READERS = {"": _plain, "gz": _gzip, "zst": _zstd}
_CHECKS: dict[str, Check] = {"vma": vma.verify, "tar": tar.verify}
