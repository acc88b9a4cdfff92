"""Decompress a zstd file by the system's own library, in this process: no pipe that every byte has to go through."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
from collections.abc import Callable
from typing import Any, Optional

# What is read at once, and the piece that takes what nobody looks at: both stay in the processor's cache.
_INPUT = 256 << 10
_UNSEEN = 128 << 10


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer: an address, how much is there, how much of it is used."""

    _fields_ = [("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t)]


def load() -> Optional[ctypes.CDLL]:
    """Return the library, or None where there is none that can be used."""
    for name in ("libzstd.so.1", ctypes.util.find_library("zstd")):
        if not name:
            continue
        try:
            library = ctypes.CDLL(name)
            library.ZSTD_createDStream.restype = ctypes.c_void_p
            library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
            library.ZSTD_decompressStream.argtypes = [
                ctypes.c_void_p,
                ctypes.POINTER(_Buffer),
                ctypes.POINTER(_Buffer),
            ]
            library.ZSTD_decompressStream.restype = ctypes.c_size_t
            library.ZSTD_isError.argtypes = [ctypes.c_size_t]
            library.ZSTD_isError.restype = ctypes.c_uint
            library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
            library.ZSTD_getErrorName.restype = ctypes.c_char_p
        except (OSError, AttributeError):
            continue
        return library
    return None


class Stream:
    """The decompressed bytes of a file; each frame's checksum is checked where it has one."""

    def __init__(self, library: ctypes.CDLL, file: io.FileIO, passed: Callable[[int], None]) -> None:
        self.complaint = ""
        self.read = self.delivered = 0
        self._library = library
        self._file = file
        # Told, after each piece, how many bytes of the file have been read.
        self._passed = passed
        self._context: Any = library.ZSTD_createDStream()
        if not self._context:
            raise MemoryError("zstd has no room for its state")
        self._held = bytearray(_INPUT)
        held = (ctypes.c_char * _INPUT).from_buffer(self._held)
        self._in = _Buffer(ctypes.addressof(held), 0, 0)
        self._unseen = (ctypes.c_char * _UNSEEN)()
        self._out = _Buffer(0, 0, 0)
        # What the library asks for next; 0 is the end of a frame with nothing held back.
        self._wants = 0
        self._filled = False

    def close(self) -> None:
        """Give the library's memory back."""
        self._library.ZSTD_freeDStream(self._context)

    def readinto(self, into: memoryview, /) -> int:
        """Hand on what comes; 0 at the end, and where the stream is damaged: then there is a complaint."""
        return self._fill(ctypes.addressof((ctypes.c_char * len(into)).from_buffer(into)), len(into))

    def skip(self, size: int, /) -> int:
        """Decompress and check, and look no further."""
        return self._fill(ctypes.addressof(self._unseen), min(size, _UNSEEN))

    def _fill(self, address: int, size: int) -> int:
        out = self._out
        out.address, out.size, out.position = address, size, 0
        while out.position < size and not self.complaint:
            # What did not fit the last time is held back by the library, and comes without new input.
            if self._in.position == self._in.size and not (self._filled and self._wants) and not self._more():
                break
            said = self._library.ZSTD_decompressStream(self._context, ctypes.byref(out), ctypes.byref(self._in))
            if self._library.ZSTD_isError(said):
                self.complaint = self._library.ZSTD_getErrorName(said).decode("ascii", "replace")
                break
            self._wants = said
            self._filled = out.position == size
        self.delivered += out.position
        return int(out.position)

    def _more(self) -> bool:
        count = self._file.readinto(self._held) or 0
        if not count and self._wants:
            self.complaint = "premature end of the file"
        self.read += count
        self._in.size, self._in.position = count, 0
        self._passed(self.read)
        return bool(count)
