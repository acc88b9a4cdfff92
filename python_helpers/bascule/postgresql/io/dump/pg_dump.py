"""How PostgreSQL's own programs dump and restore, with as many sessions as the host has processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....errors import CommandFailed
from ....system.io.process import run
from ....system.io.sealed import LONGEST
from ... import conf
from ...spec import Spec


def as_owner(spec: Spec, argv: Sequence[str]) -> list[str]:
    """Return how a program is run as the cluster's owner."""
    return ["runuser", "-u", spec.owner, "--", *argv]


def dump_database(spec: Spec, database: str, snapshot: str) -> list[str]:
    """Return the command that dumps one database as a snapshot shows it, in the custom format."""
    return [
        f"{spec.programs}/pg_dump",
        "--format=custom",
        "--compress=3",
        # Bytes as they lie there: some encodings cannot be restored through a database of another one, as whoever
        # makes a database anew does; nothing is converted from this one, or to it.
        "--encoding=SQL_ASCII",
        "--no-unlogged-table-data",
        f"--port={spec.port}",
        f"--snapshot={snapshot}",
        f"--dbname=dbname={conf.quote_connection(database)}",
    ]


def dump_globals(spec: Spec) -> list[str]:
    """Return the command that dumps roles and settings."""
    return [f"{spec.programs}/pg_dumpall", "--globals-only", f"--port={spec.port}"]


def restore_database(spec: Spec, path: Path, database: str, port: int, jobs: int) -> None:
    """Restore one database with several sessions."""
    # Each is made with its own encoding, locale, rights and settings; postgres is there and is made anew.
    again = database == "postgres"
    target = [
        "--create",
        *(["--clean", "--if-exists"] if again else []),
        f"--dbname={'template1' if again else 'postgres'}",
    ]
    argv = [f"{spec.programs}/pg_restore", f"--port={port}", f"--jobs={jobs}", "--exit-on-error", *target, str(path)]
    # A database that is read-only by default takes its rows all the same.
    writable = {**spec.way_in, "PGOPTIONS": "-c default_transaction_read_only=off -c role=none"}
    try:
        run(argv, timeout=LONGEST, user=spec.owner, cwd="/", env=writable)
    except CommandFailed as error:
        raise CommandFailed(
            expected=f"database {database} to be restored", found=f"{database}: {error.found}"
        ) from error


def restore_globals(spec: Spec, path: Path, port: int) -> None:
    """Restore roles and settings; the cluster's owner is there already."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    own = f"CREATE ROLE {spec.owner};"
    text = "".join(line for line in lines if line.strip() != own)
    # Terse: an error must not quote the line, which may hold a verifier.
    argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
    argv += [f"--port={port}", "--dbname=postgres"]
    run(argv, stdin=text, timeout=600, user=spec.owner, cwd="/", env=spec.way_in)
