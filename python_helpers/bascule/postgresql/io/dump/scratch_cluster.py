"""A PostgreSQL cluster for a moment: nobody reaches it but the cluster's owner on this host, and it leaves nothing."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ....errors import BasculeError
from ....system.io.process import run
from ...spec import Spec
from ..cluster.psql import Session

# It listens on no address: the number only names its socket.
PORT_BEYOND = 20000
# What it holds is a copy that is thrown away: it need not survive anything.
FLEETING = {"wal_level": "minimal"}
_ALWAYS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "autovacuum": "off",
    # What restores roles holds their verifiers.
    "log_statement": "none",
    "log_min_error_statement": "panic",
}


class Scratch:
    """Made by entering, stopped and removed by leaving; what is to stay is moved away before."""

    def __init__(
        self,
        spec: Spec,
        options: Sequence[str],
        settings: Mapping[str, str] = FLEETING,
        suffix: str = "bascule-scratch",
    ) -> None:
        self.spec = spec
        self.options = options
        self.settings = {**_ALWAYS, "unix_socket_directories": spec.socket_directory, **settings}
        self.home = Path(f"{spec.data}.{suffix}")
        self.port = spec.port + PORT_BEYOND

    def __enter__(self) -> Scratch:
        self._remove()
        self.home.mkdir(mode=0o700)
        shutil.chown(self.home, self.spec.owner, self.spec.owner)
        try:
            run(
                [
                    f"{self.spec.programs}/initdb",
                    f"--pgdata={self.data}",
                    *self.options,
                    "--auth=peer",
                    "--no-sync",
                    f"--username={self.spec.owner}",
                ],
                timeout=300,
                user=self.spec.owner,
                cwd="/",
            )
            words = [f"-c {name}={shlex.quote(value)}" for name, value in self.settings.items()]
            options = " ".join([*words, f"-c port={self.port}"])
            run(
                [
                    f"{self.spec.programs}/pg_ctl",
                    "start",
                    "--wait",
                    f"--pgdata={self.data}",
                    f"--log={self.home}/log",
                    f"--options={options}",
                ],
                timeout=300,
                user=self.spec.owner,
                cwd="/",
            )
        except BasculeError:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.home / "data"

    def session(self, database: str = "postgres") -> Session:
        """Open a session."""
        return Session(self.port, self.spec.way_in, owner=self.spec.owner, database=database)

    def stop(self, mode: str = "immediate", *, check: bool = False) -> None:
        """Stop its server."""
        argv = [f"{self.spec.programs}/pg_ctl", "stop", f"--mode={mode}", "--wait", "--timeout=3600"]
        run([*argv, f"--pgdata={self.data}"], timeout=3700, user=self.spec.owner, cwd="/", check=check)

    def _remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop()
        if self.home.exists():
            shutil.rmtree(self.home)


def like(session: Session) -> list[str]:
    """Return the options with which initdb makes a cluster whose templates are like those of a server."""
    row = session.query(
        "SELECT pg_encoding_to_char(encoding) AS encoding, "
        "datcollate AS collate, datctype AS ctype, to_jsonb(d) ->> 'datlocprovider' AS provider, "
        "coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale "
        "FROM pg_database AS d WHERE datname = 'template0'"
    )[0]
    found = [f"--encoding={row['encoding']}", f"--lc-collate={row['collate']}", f"--lc-ctype={row['ctype']}"]
    if row["provider"] == "i":
        found += ["--locale-provider=icu", f"--icu-locale={row['locale']}"]
    return found


def jobs() -> int:
    """How many sessions restore side by side."""
    return max(1, min(8, os.cpu_count() or 1))
