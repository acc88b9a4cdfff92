"""Ask the server's own programs what a database and a cluster are made of: what a dump would say, without rows."""

from __future__ import annotations

from ....errors import BasculeError
from ....system.io.process import run
from ... import conf, definitions
from ...spec import Spec

# A lock that somebody keeps is waited for less; this is for a dump that hangs.
_LONGEST = 3600.0
# What a database or a role sets by itself must not reach these sessions.
_OPTIONS = {"PGOPTIONS": "-c role=none -c default_transaction_read_only=on", "PGAPPNAME": "bascule"}


class Definitions:
    """What the dumps of one server say, as names and hashes; the text stays in this process."""

    def __init__(self, spec: Spec, port: int) -> None:
        self._spec = spec
        self._port = port

    def database(self, name: str, snapshot: str, patience: float) -> dict[str, dict[str, str]]:
        """Return the objects of a database by kind and name; a lock is waited for so many seconds."""
        argv = [
            f"{self._spec.programs}/pg_dump",
            "--schema-only",
            "--create",
            f"--port={self._port}",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={int(patience * 1000)}",
            f"--dbname=dbname={conf.quote_connection(name)}",
        ]
        return self._read(argv, definitions.of_database)

    def cluster(self) -> dict[str, dict[str, str]]:
        """Return roles, memberships and the like."""
        argv = [f"{self._spec.programs}/pg_dumpall", "--globals-only", f"--port={self._port}"]
        return self._read(argv, definitions.of_cluster)

    def _read(self, argv: list[str], parse: definitions.Parse) -> dict[str, dict[str, str]]:
        done = run(argv, timeout=_LONGEST, user=self._spec.owner, cwd="/", env={**_OPTIONS, **self._spec.way_in})
        try:
            return parse(done.stdout.encode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise BasculeError(expected=f"a whole dump from {argv[0]}", found=str(error)) from error
