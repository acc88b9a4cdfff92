"""Which path of a file that has several is the first: a table that goes to the disk when it grows."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Optional

# Beyond so many files with several names, the table lies in a file.
IN_MEMORY = 200_000


class Links:
    """Remembers the first path of every inode that is asked for, in the order of asking."""

    def __init__(self, spill: Path, in_memory: int = IN_MEMORY) -> None:
        self._spill = spill
        self._limit = in_memory
        self._first: dict[int, bytes] = {}
        self._table: Optional[sqlite3.Connection] = None
        self._directory: Optional[tempfile.TemporaryDirectory[str]] = None

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None
        if self._directory is not None:
            self._directory.cleanup()

    def first(self, inode: int, path: bytes) -> bytes:
        """Return the first path of this inode; it is this one when none was seen before."""
        known = self._first.get(inode)
        if known is not None:
            return known
        if self._table is None and len(self._first) < self._limit:
            self._first[inode] = path
            return path
        return self._on_disk(inode, path)

    def _on_disk(self, inode: int, path: bytes) -> bytes:
        if self._table is None:
            self._directory = tempfile.TemporaryDirectory(prefix="bascule-links-", dir=self._spill)
            self._table = sqlite3.connect(f"{self._directory.name}/links", isolation_level=None)
            # Nobody needs it after a crash.
            for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16384"):
                with contextlib.closing(self._table.execute(f"PRAGMA {setting}")) as cursor:
                    cursor.fetchall()
            self._table.execute("CREATE TABLE links (inode INTEGER PRIMARY KEY, path BLOB NOT NULL)")
        # An inode may have a number that SQLite's signed integers do not hold.
        number = inode - (1 << 63)
        row = self._table.execute("SELECT path FROM links WHERE inode = ?", (number,)).fetchone()
        if row is not None:
            return bytes(row[0])
        self._table.execute("INSERT INTO links VALUES (?, ?)", (number, path))
        return path
