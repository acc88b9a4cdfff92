"""The place of a clone or of its scratch standby: one directory beside the data, what runs in it, until removed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import storage
from ... import clone, restore_point
from ...spec import Spec
from ..cluster.psql import Session, SqlError
from ..standby.follow import size_of

_END = 10.0
_PROGRAMS = (b"postgres", b"pg_basebackup")


class Place:
    """Made by entering, and removed by leaving, with all that runs in it."""

    def __init__(self, spec: Spec, port: int) -> None:
        self.spec, self.port = spec, port
        self.path = Path(clone.place_of(spec))
        self.data = self.path / "data"
        self.log = self.path / "log"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Place:
        remove(self.spec)
        self.path.mkdir(mode=0o700)
        shutil.chown(self.path, self.spec.owner, self.spec.owner)
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.spec)
        if self._server is not None:
            self._server.wait()

    def write(self, name: str, text: str) -> Path:
        """Write a file of it, which the cluster's owner alone may read."""
        path = self.path / name
        storage.write_durably(path, text)
        shutil.chown(path, self.spec.owner, self.spec.owner)
        return path

    def start(self, taken: Mapping[str, str], own: Mapping[str, str], *, standby: bool, deadline: float) -> None:
        """Start the server on what lies in `data`, with nothing but these settings; wait until it answers."""
        file = self.write("postgresql.conf", clone.settings(self.spec, self.port, taken, own))
        self.write("pg_hba.conf", clone.admits(self.spec, standby=standby))
        self.write("pg_ident.conf", "")
        argv = [f"{self.spec.programs}/postgres", "-D", str(self.data), "-c", f"config_file={file}"]
        self._server = self.popen(argv)
        while True:
            self.must_run()
            with contextlib.suppress(SqlError), self.session(timeout=5):
                return
            if time.monotonic() > deadline:
                raise self.error("a server that answers", self.said() or "nothing")
            time.sleep(0.1)

    def popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program as the cluster's owner; what it says is in the log of the place."""
        account = pwd.getpwnam(self.spec.owner)
        with self.log.open("ab") as said:
            return subprocess.Popen(
                argv,
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=os.getgrouplist(self.spec.owner, account.pw_gid),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "HOME": account.pw_dir, "LC_ALL": "C"},
                cwd="/",
            )

    def must_run(self) -> None:
        """Refuse to wait for a server that has ended."""
        if self._server is not None and self._server.poll() is not None:
            raise self.error("a server that runs", self.said() or f"it ended with {self._server.returncode}")

    def said(self) -> str:
        """Return the end of what was said in it."""
        return " ".join(storage.read_tail(self.log, 1000).split())

    def session(self, database: str = "postgres", timeout: float = 60) -> Session:
        """Open a session as the cluster's owner."""
        way_in = {"PGHOST": str(self.path), "PGREQUIREPEER": self.spec.owner}
        return Session(self.port, way_in, owner=self.spec.owner, database=database, timeout=timeout)

    def error(self, expected: str, found: str) -> BasculeError:
        """Return an error of a trial."""
        return BasculeError(
            expected=f"{expected} in the trial at {self.spec.side}",
            found=found,
            state="nothing was changed, users are served; what was made for the trial is removed",
            next_command="mend what is named, then ansible-playbook playbooks/40_pretest.yml",
        )


def room_for(spec: Spec, size: int = 0) -> clone.Room:
    """Measure what a copy takes beside the data of a side; `size` is that of what is copied, 0 for the side's own."""
    data = Path(spec.data)
    size = size or size_of(data)
    return clone.Room(size, restore_point.room(size, shares_blocks=False), shutil.disk_usage(data.parent).free)


def has_tablespaces(spec: Spec) -> bool:
    """Whether data lies outside of the data directory."""
    return any((Path(spec.data) / "pg_tblspc").iterdir())


def remove(spec: Spec) -> bool:
    """End whatever runs in the place, whoever has started it, and remove it; return whether it was there."""
    place = Path(clone.place_of(spec))
    deadline = time.monotonic() + _END
    while running := list(_running(place)):
        # At once is right for what is thrown away; a server ends its own children.
        _signal(running, signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.1)
    there = place.exists()
    while place.exists():
        # Children of a server that was killed end a moment after it.
        with contextlib.suppress(OSError):
            shutil.rmtree(place)
        if time.monotonic() > deadline + _END:
            shutil.rmtree(place)
        time.sleep(0.05)
    return there


def _running(place: Path) -> Iterator[int]:
    """Return the servers and base backups that were started on something in the place, and have not ended."""
    within = os.fsencode(f"{place}/")
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if os.path.basename(words[0]) not in _PROGRAMS:
                    continue
                if any(word.startswith((within, b"--pgdata=" + within)) for word in words):
                    yield int(process.name)


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def values(session: Session) -> dict[str, str]:
    """Return what a server has for the settings that are taken over."""
    listed = ", ".join(f"'{name}'" for name in clone.TAKEN_OVER)
    rows: list[dict[str, Any]] = session.query(f"SELECT name, setting FROM pg_settings WHERE name IN ({listed})")
    return {str(row["name"]): str(row["setting"]) for row in rows}
