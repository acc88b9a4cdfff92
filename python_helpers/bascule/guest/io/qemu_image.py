"""Read and write what a guest sees of an image that only QEMU understands (qcow2, vmdk, Ceph), through `qemu-nbd`.

Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, simple replies).
QEMU itself refuses to open an image that another QEMU has open for writing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Optional

from ...errors import BasculeError
from ...system import polling
from ...system.io import storage
from ...system.io.process import Runner, run

_HELLO = b"NBDMAGICIHAVEOPT"
_OPTION = b"IHAVEOPT"
_FIXED_NEWSTYLE = 1
_NO_ZEROES = 2
_EXPORT_NAME = 1
_REQUEST = 0x25609513
_REPLY = 0x67446698
_READ = 0
_WRITE = 1
_DISCONNECT = 2
_FLUSH = 3
# Of what an export can do.
_READ_ONLY = 2
_FLUSHES = 4
# Seconds without a byte after which the image counts as unreadable.
_TIMEOUT = 300.0
# Some versions of qemu-nbd keep what they write errors to open in the background: whoever reads a pipe would wait.
_INTO_FILE = 'exec "$@" > /dev/null 2> "$0"'
# Seconds that a server without a client may take to end.
_END = 30.0


class Client:
    """One connection to an NBD server that has one export without a name; threads may share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        # The process that serves; 0 is unknown.
        self.server = 0
        self._handle = 0
        self._lock = threading.Lock()
        self._flags = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT)
        try:
            self._socket.connect(path)
            self.size = self._negotiate()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, _DISCONNECT, 0, 0, 0))
        self._socket.close()

    def next_data(self, offset: int) -> int:
        """Return where data may begin at or after `offset`: here, as nothing is known of holes."""
        return offset

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes of the disk from `offset` on; raise BasculeError where the server has none."""
        with self._lock:
            self._ask(_READ, offset, length, f"{length} bytes of the disk from byte {offset} on, from qemu-nbd")
            return bytes(self._receive(length))

    def write(self, offset: int, data: bytes) -> None:
        """Write into the disk; raise BasculeError where the server did not. Durable only after `flush`."""
        with self._lock:
            self._ask(_WRITE, offset, len(data), f"qemu-nbd to write {len(data)} bytes at byte {offset}", data)

    def flush(self) -> None:
        """Make durable what was written."""
        with self._lock:
            self._ask(_FLUSH, 0, 0, "qemu-nbd to make the disk durable")

    def must_be_writable(self) -> None:
        """Refuse an export that takes no writes, or cannot make them durable."""
        if self._flags & _READ_ONLY or not self._flags & _FLUSHES:
            raise BasculeError(
                expected=f"an export at {self._path} that takes writes and makes them durable",
                found=f"flags 0x{self._flags:04x}",
                state="nothing was written",
            )

    def _ask(self, kind: int, offset: int, length: int, expected: str, data: bytes = b"") -> None:
        """Send a request and read the head of its answer."""
        self._handle += 1
        self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, kind, self._handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self._receive(16))
        if magic != _REPLY or error or handle != self._handle:
            raise BasculeError(
                expected=expected,
                found=f"error {error}" if magic == _REPLY else f"an answer that is none (0x{magic:08x})",
                state="the disk was only read" if kind == _READ else "nothing uses what was written so far",
            )

    def _negotiate(self) -> int:
        hello = bytes(self._receive(len(_HELLO)))
        (flags,) = struct.unpack(">H", self._receive(2))
        if hello != _HELLO or not flags & _FIXED_NEWSTYLE:
            raise BasculeError(expected=f"an NBD server at {self._path}", found=repr(hello), state="nothing was read")
        zeroes = 0 if flags & _NO_ZEROES else 124
        self._socket.sendall(struct.pack(">I", _FIXED_NEWSTYLE | (flags & _NO_ZEROES)))
        self._socket.sendall(_OPTION + struct.pack(">II", _EXPORT_NAME, 0))
        size, self._flags = struct.unpack(">QH", self._receive(10))
        self._receive(zeroes)
        return int(size)

    def _receive(self, length: int) -> bytearray:
        found = bytearray(length)
        view, done = memoryview(found), 0
        while done < length:
            count = self._socket.recv_into(view[done:])
            if not count:
                raise BasculeError(
                    expected="qemu-nbd to answer until the disk is read or written",
                    found=f"it has ended the connection after {done} of {length} bytes",
                    state="nothing uses what was read or written so far",
                )
            done += count
        return found


def must_be_there(path: str, disk_format: str) -> None:
    """Refuse a node without qemu-nbd."""
    if shutil.which("qemu-nbd") is None:
        raise BasculeError(
            expected=f"qemu-nbd, which reads what the guest sees of {path} ({disk_format})",
            found="no such program (on Proxmox it comes with pve-qemu-kvm)",
            state="the disk was not read",
        )


@contextlib.contextmanager
def opened(path: str, disk_format: str, runner: Runner = run, shared: bool = False) -> Iterator[Client]:
    """Serve the image read-only to this process alone, for as long as it is read.

    Args:
        path: of a file or a device, or a name that QEMU knows, such as `rbd:pool/image:conf=...`.
        disk_format: the format the storage states; it is never guessed from the content.
        shared: a guest may start on the image meanwhile; without it QEMU refuses that, or this.

    Raises:
        BasculeError: there is no qemu-nbd, or it cannot open the image; the message has its words.
    """
    how = ["--read-only", f"--format={disk_format}", "--", path]
    if shared:
        name = path.replace(",", ",,")
        how = ["--read-only", "--image-opts", "--", f"driver={disk_format},force-share=on,file.filename={name}"]
    with _served(path, disk_format, how, runner) as client:
        yield client


@contextlib.contextmanager
def opened_to_write(path: str, disk_format: str, runner: Runner = run) -> Iterator[Client]:
    """Serve the image to this process alone, for as long as it is written; its size stays.

    A server that is killed leaves an image that QEMU opens again: its own metadata are written in order.

    Raises:
        BasculeError: there is no qemu-nbd, or it cannot open the image, such as while another QEMU has it open.
    """
    how = ["--cache=writeback", "--discard=ignore", f"--format={disk_format}", "--", path]
    with _served(path, disk_format, how, runner) as client:
        client.must_be_writable()
        yield client


@contextlib.contextmanager
def _served(path: str, disk_format: str, how: list[str], runner: Runner) -> Iterator[Client]:
    must_be_there(path, disk_format)
    folder = tempfile.mkdtemp(prefix="bascule-nbd-")
    place, pid, errors = (os.path.join(folder, name) for name in ("socket", "pid", "errors"))
    try:
        # --fork: it returns when the socket is there. Without --persistent it ends with the one connection.
        done = runner(
            ["sh", "-c", _INTO_FILE, errors, "qemu-nbd", "--fork", f"--pid-file={pid}", f"--socket={place}", *how],
            timeout=60,
            check=False,
        )
        if done.rc:
            raise BasculeError(
                expected=f"qemu-nbd to open {path} ({disk_format})"
                f" for {'reading' if '--read-only' in how else 'writing'}",
                found=(storage.read_text(errors) or "").strip()[-500:] or f"exit status {done.rc}",
                state="the disk was neither read nor written",
                next_command="look at the guest and its disk, then run the same command again",
            )
        with Client(place) as client:
            client.server = int((storage.read_text(pid) or "").strip() or 0)
            yield client
    finally:
        _end(storage.read_text(pid))
        shutil.rmtree(folder, ignore_errors=True)


def _end(pid: Optional[str]) -> None:
    """End the server and wait for it: while it lives it has the disk open."""
    if pid is None or not pid.strip().isdigit():
        return
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGTERM)
        while (spent := time.monotonic() - began) < _END:
            os.kill(int(pid), 0)
            time.sleep(polling.pause(spent, 0.3))
