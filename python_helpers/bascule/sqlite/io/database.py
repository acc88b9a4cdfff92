"""Read a SQLite database, copy it by the backup API, and try to write to it as its own account does."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...system.io import storage
from .. import content
from ..decisions import SqliteError

WRITTEN = "written"
# The header has no other facts that an application sets, or that change how the same bytes are read.
_HEADER = ("application_id", "user_version", "encoding", "page_size", "auto_vacuum", "journal_mode")
# A write that leaves every value as it is: page 1 is written all the same, and the transaction is committed.
_WRITE = """
import sqlite3, sys
try:
    there = "file:" + sys.argv[1] + "?mode=rw"
    made = sqlite3.connect(there, uri=True, timeout=float(sys.argv[2]), isolation_level=None)
    made.execute("BEGIN IMMEDIATE")
    made.execute("PRAGMA user_version = %d" % made.execute("PRAGMA user_version").fetchone()[0])
    made.execute("COMMIT")
    print("written")
except sqlite3.Error as error:
    print(error)
"""
_SECONDS = 10.0
# Bytes that a copy leaves free.
_LEFT = 1 << 30


@contextlib.contextmanager
def connected(path: str | Path, *, still: bool = False, timeout: float = _SECONDS) -> Iterator[sqlite3.Connection]:
    """Yield a connection, which never makes a file.

    Args:
        path: the database.
        still: that nobody writes to it, because it is closed: no lock is taken, and no file made beside it.
        timeout: seconds to wait for somebody else's lock.

    Raises SqliteError for what SQLite says.
    """
    how = "mode=ro&immutable=1" if still else "mode=rw"
    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=timeout, isolation_level=None)
        connection.text_factory = content.Text
        yield connection
    except sqlite3.Error as error:
        raise SqliteError(
            expected=f"a SQLite database at {path} that can be read",
            found=str(error),
            state="nothing was changed by this",
            next_command=f"sqlite3 {path} 'PRAGMA integrity_check'; fuser -v {path}",
        ) from error
    finally:
        if connection is not None:
            connection.close()


def read(path: str | Path, *, still: bool = False) -> dict[str, Any]:
    """Return header, schema, and count and digest of every table's rows, all out of one snapshot.

    Rows are taken in the order of their rowid, which is compared as well, or of the primary key where there is none.
    A virtual table is compared by the tables that it keeps its content in; one that keeps it elsewhere is named.
    """
    with connected(path, still=still) as made:
        made.execute("BEGIN")
        header = {name: _plain(made.execute(f"PRAGMA {name}").fetchone()[0]) for name in _HEADER}
        schema = [
            [_plain(value) for value in one]
            for one in made.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name, sql")
        ]
        tables, untried = {}, []
        for kind, name, _, sql in schema:
            if kind != "table":
                continue
            if (sql or "").upper().startswith("CREATE VIRTUAL"):
                untried.append(f"{name}: a virtual table; what it keeps in tables of its own is compared")
                continue
            try:
                count, digest = content.rows(made.execute(_ordered(made, name)))
            except sqlite3.OperationalError as error:
                untried.append(f"{name}: {error}")
                continue
            tables[name] = {"rows": count, "digest": digest}
    return {"header": header, "schema": schema, "tables": tables, "not_compared": untried}


def header(path: str | Path) -> dict[str, Any]:
    """Return what the header says, of a database that may be in use."""
    with connected(path) as made:
        return {name: _plain(made.execute(f"PRAGMA {name}").fetchone()[0]) for name in _HEADER}


def check(path: str | Path, *, still: bool = False) -> list[str]:
    """Return what SQLite itself finds wrong: pages, indexes, constraints, and rows whose parent is missing."""
    try:
        return _checked(path, still)
    except SqliteError as error:
        # One that is damaged enough does not even take the question.
        return [error.found]


def _checked(path: str | Path, still: bool) -> list[str]:
    with connected(path, still=still) as made:
        said = [_plain(one[0]) for one in made.execute("PRAGMA integrity_check(20)")]
        orphans = [
            f"row {one[1]} of {_plain(one[0])} has no parent in {_plain(one[2])}"
            for _, one in zip(range(20), made.execute("PRAGMA foreign_key_check"))
        ]
    return [one for one in said if one != "ok"] + orphans


def copy(source: str | Path, target: str | Path, *, still: bool = False, seconds: float = 3600.0) -> None:
    """Copy a database that may be written meanwhile into a new file of mode 0600, which is durable on return.

    With a write-ahead log nobody waits for it. Without one writers wait for a piece of 256 pages at a time, and each
    commit of theirs makes the copy begin again: one that does not come to its end within `seconds` raises SqliteError.
    """
    storage.remove(target)
    must_have_room(Path(target).parent, storage.size(source) + storage.size(f"{source}-wal"))
    storage.write_durably(target, b"")
    began = time.monotonic()
    with connected(source, still=still) as made, connected(target) as new:
        at_once = still or _plain(made.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"

        def watch(_: int, left: int, pages: int) -> None:
            if time.monotonic() - began > seconds:
                raise SqliteError(
                    expected=f"a copy of {source} within {seconds:g} s",
                    found=f"{left} of {pages} pages left: writers make it begin again",
                    state="nothing was changed, the copy is thrown away",
                    next_command="allow more time, or have the application use PRAGMA journal_mode = WAL",
                )

        made.backup(new, pages=-1 if at_once else 256, progress=watch, sleep=0.005)
    # What comes of the copy is one file: a header that says WAL makes SQLite look for others only when it is opened.
    for suffix in ("-wal", "-shm", "-journal"):
        storage.remove(f"{target}{suffix}")
    with open(target, "rb") as file:
        os.fsync(file.fileno())
    storage.sync_directory(Path(target).parent)


def must_have_room(folder: str | Path, size: int) -> None:
    """Refuse to fill a disk, on which the guard writes as well, and at the side that serves the application.

    Args:
        folder: where the copy goes.
        size: of the copy, in bytes.

    Raises:
        SqliteError: after it less would be left than a tenth of what is free, or 1 GiB where that is less.
    """
    free = shutil.disk_usage(folder).free
    if size > free - min(_LEFT, free // 10):
        raise SqliteError(
            expected=f"room for a copy of {size} bytes in {folder}, and some to spare",
            found=f"{free} bytes free",
            state="nothing was copied",
            next_command=f"make room there (df -h {folder}), then run the same playbook again",
        )


def write(path: str | Path, uid: int, gid: int, timeout: float = 15.0) -> str:
    """Commit a write that changes no value, as another account; return WRITTEN or why it was refused."""
    as_other: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [sys.executable, "-I", "-c", _WRITE, quote(str(path)), str(timeout)],
        capture_output=True, text=True, timeout=timeout + 60, check=False, cwd="/",
        **as_other,
    )  # fmt: skip
    return done.stdout.strip() or f"the attempt itself failed: {done.stderr.strip()[-300:]}"


def _ordered(made: sqlite3.Connection, table: str) -> str:
    columns = [(_plain(one[1]), one[5]) for one in made.execute(f"PRAGMA table_xinfo({_quoted(table)})")]
    names = {name.lower() for name, _ in columns}
    key = next((name for name in ("rowid", "_rowid_", "oid") if name not in names), None)
    if key is not None:
        try:
            made.execute(f"SELECT {key} FROM {_quoted(table)} LIMIT 0")
            return f"SELECT {key}, * FROM {_quoted(table)} NOT INDEXED ORDER BY {key}"
        except sqlite3.OperationalError:
            # WITHOUT ROWID: such a table has a primary key.
            pass
    keys = [_quoted(name) for name, place in sorted(columns, key=lambda one: one[1]) if place]
    return f"SELECT * FROM {_quoted(table)} ORDER BY {', '.join(keys) or ', '.join(_quoted(one) for one, _ in columns)}"


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
