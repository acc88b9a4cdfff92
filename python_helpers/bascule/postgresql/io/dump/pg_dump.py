"""Dumps that are encrypted before they touch a disk, and restored with as many sessions as the host has processors."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....errors import BasculeError, CommandFailed
from ....system.io import storage
from ....system.io.process import run
from ... import conf
from ...spec import Spec
from . import age_keys

LONGEST = 7 * 86400
_CHUNK = 1 << 20
# What a dump leaves free: the guard writes to the same disk, and a side that cannot write cannot close or open.
_LEFT = 1 << 30


def seal(argv: Sequence[str], path: Path, recipients: Sequence[str], *, spec: Spec) -> dict[str, Any]:
    """Run a program as the cluster's owner and write what it prints, encrypted; return size and digest of the file."""
    partial = path.with_name(path.name + ".partial")
    words = [word for recipient in recipients for word in ("--recipient", recipient)]
    free = shutil.disk_usage(path.parent).free
    limit = free - min(_LEFT, free // 10)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with subprocess.Popen(
            ["runuser", "-u", spec.owner, "--", *argv],
            env={**os.environ, **spec.way_in},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        ) as dump:
            complaint: list[bytes] = []
            stderr = dump.stderr
            reader = threading.Thread(target=lambda: complaint.append(stderr.read() if stderr else b""), daemon=True)
            reader.start()
            sealed = subprocess.run(
                ["prlimit", f"--fsize={limit}:", "age", "--encrypt", *words],
                stdin=dump.stdout,
                stdout=descriptor,
                stderr=subprocess.PIPE,
                check=False,
                timeout=LONGEST,
            )
            if dump.stdout is not None:
                # Or a dump whose reader is gone would wait for it for ever.
                dump.stdout.close()
            reader.join()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if dump.returncode or sealed.returncode:
        storage.remove(partial)
        said = (b"".join(complaint) + sealed.stderr).decode("utf-8", "replace").strip()
        raise CommandFailed(expected=f"{argv[0]} and age to write {path}", found=said[-1000:])
    partial.rename(path)
    storage.sync_directory(path.parent)
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest(path)}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read from its beginning to its end."""
    found = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def unseal(dump: dict[str, Any], path: Path, *, owner: str) -> None:
    """Check a dump's digest and decrypt it with this host's key into a file that only the cluster's owner reads."""
    sealed = Path(str(dump["path"]))
    found = digest(sealed)
    if found != dump["sha256"]:
        raise BasculeError(
            expected=f"{sealed} with SHA-256 {dump['sha256']}",
            found=f"SHA-256 {found}: the file has been changed or damaged",
            state="nothing was restored",
            next_command="take the dump again, or use the copy of the other site",
        )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        done = subprocess.run(
            ["age", "--decrypt", "--identity", str(age_keys.KEY), str(sealed)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.PIPE,
            check=False,
            timeout=LONGEST,
        )
    finally:
        os.close(descriptor)
    if done.returncode:
        storage.remove(path)
        raise CommandFailed(
            expected=f"age to decrypt {sealed} with this host's key",
            found=done.stderr.decode("utf-8", "replace")[-500:],
        )
    shutil.chown(path, owner, owner)


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
