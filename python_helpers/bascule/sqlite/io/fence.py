"""Close a database for whoever opens it by its path, root and a next start of the host included, and open it again.

A directory takes the place of the file at once (renameat2(2), RENAME_EXCHANGE): at no moment is the path free, so that
nobody makes an empty database there. A directory is no database to anybody, whatever the account may do. Then a lock of
SQLite keeps off those who still hold the file, they are waited for, and what lies in the write-ahead log is brought
home: the files beside it have kept their names, by which SQLite finds them. Every step that a kill cuts off is gone on
with, or taken back, by the next call.
"""

from __future__ import annotations

import ctypes
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from ...system.io import storage
from .. import decisions
from ..decisions import BETWEEN, CLOSED, EMPTY, MISSING, OPEN, SqliteError
from . import database, holders

_MARK = "bascule"
_WORDS = "Bascule has closed this database: the other side serves. Nothing here is to be moved or removed by hand.\n"
_AT_FDCWD, _EXCHANGE = -100, 2
_SIDE_FILES = ("-wal", "-shm", "-journal")
# Seconds in which whoever holds the file has to let it go.
DRAIN = 20.0


@dataclass(frozen=True)
class Place:
    """One database of the application."""

    path: str

    @property
    def aside(self) -> str:
        """What the directory is called while the file lies at its path; and the file, for the moment between."""
        return f"{self.path}.bascule"

    @property
    def inside(self) -> str:
        """Where the file lies while it is closed."""
        return f"{self.path}/closed.sqlite"

    @property
    def incoming(self) -> str:
        """Where a copy arrives."""
        return f"{self.path}/incoming.sqlite"

    @property
    def kept(self) -> str:
        """The file as this side has closed it, whatever arrived since."""
        return f"{self.path}/kept.sqlite"

    @property
    def file(self) -> str:
        """Where the file lies now."""
        return {CLOSED: self.inside, BETWEEN: self.aside}.get(self.mode(), self.path)

    def mode(self) -> str:
        """Return how the database is found."""
        kind = _kind(self.path)
        if kind == "directory":
            if not storage.is_file(f"{self.path}/{_MARK}"):
                raise SqliteError(
                    expected=f"a database at {self.path}, or nothing",
                    found="a directory that Bascule has not made",
                    state="nothing was changed",
                    next_command=f"ls -la {self.path}",
                )
            if _kind(self.aside) == "file":
                return BETWEEN
            return CLOSED if _kind(self.inside) == "file" else EMPTY
        return OPEN if kind == "file" else MISSING

    def shut(self, drain: float = DRAIN) -> bool:
        """Close it; return whether that changed anything. Whoever holds it open after `drain` seconds is named."""
        mode = self.mode()
        if mode in (CLOSED, EMPTY):
            return False
        if mode == BETWEEN:
            # What a writer of that time has left in files beside it is found only by its path.
            self._put_back()
        if os.path.islink(self.path):
            raise self._not_closed("; ".join(decisions.other_names(True, 1, ())))
        self._directory()
        if mode == MISSING:
            os.rename(self.aside, self.path)
            storage.sync_directory(Path(self.path).parent)
            return True
        with database.connected(self.path, timeout=drain) as held:
            # From here on nobody finds it, however often they try; who has it open may end what is under way.
            _exchange(self.path, self.aside)
            try:
                # A read first: what a killed writer has left is taken back, or brought home, here.
                held.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                logged = held.execute("PRAGMA journal_mode").fetchone()[0] == b"wal"
                held.execute("BEGIN IMMEDIATE" if logged else "BEGIN EXCLUSIVE")
                self._wait_for_holders(drain)
                # What was seen before the move may have got another name since.
                if others := decisions.other_names(False, os.stat(self.aside).st_nlink, holders.mounted(self.aside)):
                    raise self._not_closed(f"it {'; it '.join(others)}")
                held.execute("ROLLBACK")
                if logged:
                    busy = held.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                    if busy:
                        raise self._not_closed("its write-ahead log is in use")
            except BaseException:
                _exchange(self.path, self.aside)
                raise
        left = Path(f"{self.path}-wal")
        if left.exists() and left.stat().st_size:
            self._put_back()
            raise self._not_closed(f"{left} still holds {left.stat().st_size} bytes")
        for suffix in _SIDE_FILES:
            storage.remove(f"{self.path}{suffix}")
        os.rename(self.aside, self.inside)
        storage.sync_directory(self.path)
        storage.sync_directory(Path(self.path).parent)
        return True

    def open(self) -> bool:
        """Put the file back at its path; return whether that changed anything."""
        mode = self.mode()
        if mode == OPEN:
            return False
        if mode in (EMPTY, MISSING):
            raise SqliteError(
                expected=f"a copy of {self.path} to open",
                found="none has arrived here",
                state="it stays closed",
                next_command="ansible-playbook playbooks/30_sync.yml",
            )
        if mode == CLOSED:
            if os.path.exists(self.kept) and os.path.samefile(self.kept, self.inside):
                storage.remove(self.kept)
            os.rename(self.inside, self.aside)
            storage.sync_directory(Path(self.path).parent)
        self._put_back()
        return True

    def keep(self) -> None:
        """Keep the file as it was closed, by a second name, which no copy that arrives takes."""
        if self.mode() == CLOSED:
            storage.remove(self.kept)
            os.link(self.inside, self.kept)
            storage.sync_directory(self.path)

    def take(self, owner: tuple[int, int], mode: int) -> None:
        """Put what has arrived in the place of the closed file, with the owner and mode that the application needs."""
        os.chown(self.incoming, *owner)
        os.chmod(self.incoming, mode)
        with open(self.incoming, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.incoming, self.inside)
        storage.sync_directory(self.path)

    def leftovers(self, *, kept: bool) -> list[str]:
        """Return the copies that moves have left beside the database, wherever Bascule's directory is called now."""
        home = self.aside if self.mode() == OPEN else self.path
        names = ("incoming.sqlite", "restored.sqlite", *(("kept.sqlite",) if kept else ()))
        return [path for path in (f"{home}/{name}" for name in names) if storage.is_file(path)]

    def clear(self, *, kept: bool) -> None:
        """Remove them, and at an open side the directory as well, where nothing else is in it."""
        for path in self.leftovers(kept=kept):
            storage.remove(path)
        if self.mode() == OPEN and storage.is_directory(self.aside) and os.listdir(self.aside) == [_MARK]:
            storage.remove(f"{self.aside}/{_MARK}")
            os.rmdir(self.aside)
            storage.sync_directory(Path(self.path).parent)

    def tried(self) -> str:
        """Return why this file system could not close a database, tried with two names of Bascule's own."""
        one, other = f"{self.path}.bascule-try", f"{self.path}.bascule-try.d"
        try:
            storage.write_durably(one, b"")
            storage.make_directory(other)
            _exchange(one, other)
        except OSError as error:
            return f"{self.path} could not be closed: {error}"
        finally:
            for name in (one, other):
                if os.path.isdir(name):
                    os.rmdir(name)
                else:
                    storage.remove(name)
        return ""

    def _directory(self) -> None:
        storage.make_directory(self.aside)
        os.chmod(self.aside, 0o700)
        storage.write_durably(f"{self.aside}/{_MARK}", _WORDS)

    def _put_back(self) -> None:
        _exchange(self.path, self.aside)
        storage.sync_directory(Path(self.path).parent)

    def _wait_for_holders(self, drain: float) -> None:
        """Wait until nobody but this process holds the file; it is asked twice, as a process may just be forking."""
        deadline, clear = time.monotonic() + drain, 0
        while clear < 2:
            found = holders.of(self.aside, f"{self.path}-wal", f"{self.path}-shm", f"{self.path}-journal")
            clear = 0 if found else clear + 1
            if found and time.monotonic() > deadline:
                raise self._not_closed(f"it is held open by {decisions.strangers(found)}")
            if clear < 2:
                time.sleep(0.02)

    def _not_closed(self, found: str) -> SqliteError:
        return SqliteError(
            expected=f"nobody to hold {self.path}, so that it can be closed",
            found=found,
            state=f"{self.path} lies where it lay, open",
            next_command="end what is named, or declare its unit in sqlite_store_units; then run the same again",
        )


def _kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ""
    return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def _exchange(one: str, other: str) -> None:
    """Exchange two names at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"renameat2 RENAME_EXCHANGE: {os.strerror(number)}", one)
