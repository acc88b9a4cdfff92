"""Which file a loop device lies on, as the kernel tells it."""

from __future__ import annotations

import fcntl
import os
import struct

# LOOP_GET_STATUS64 and the head of struct loop_info64: device and inode of the file (linux/loop.h).
_GET_STATUS64 = 0x4C05
_SIZE = 232
_HEAD = struct.Struct("=QQ")


def backing(name: str) -> tuple[int, int] | None:
    """Return device and inode of the file behind a loop device (`loop3`), as os.stat has them; None when not told.

    Nothing is told where there is no node of the device, no right to open it, or no file behind it.
    """
    try:
        device = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        told = fcntl.ioctl(device, _GET_STATUS64, bytes(_SIZE))
    except OSError:
        return None
    finally:
        os.close(device)
    where, inode = _HEAD.unpack_from(told)
    # The kernel writes the device as it writes it to user space everywhere: huge_encode_dev(), linux/kdev_t.h.
    return where, inode
