#!/usr/bin/env python3
"""Looks up, at one site, every write that somebody was told is written, and says what is not there.

It asks the services themselves, in bulk and past the entrance: the database for the rows, the file server for the bytes
of the uploads, the guest for its local records. The answer is a JSON object: `site`, `looked_up` (identifiers) and
`missing` (identifier -> parts not found: `row`, `file`, `local`).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import http.client
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

TABLES = {
    "login": ("app", "logins"),
    "progress": ("app", "progress"),
    "upload": ("app", "uploads"),
    "probe": ("lab", "writer_probe"),
    "data": ("lab", "data_layer"),
}
BATCH = 5000


class Database(Protocol):
    """The part of a connection that the look-up needs."""

    def execute(self, query: Any, params: Any, /) -> Iterable[Any]: ...


@dataclass
class Wanted:
    """What must be there: rows by table, files by path with their digest, local records."""

    rows: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in TABLES})
    uploads: dict[str, str] = field(default_factory=dict)
    probe_files: set[str] = field(default_factory=set)
    local: set[str] = field(default_factory=set)

    def idents(self) -> set[str]:
        return set().union(*self.rows.values()) | set(self.uploads) | self.probe_files | self.local


def wanted_from(client: Iterable[str], probes: Iterable[str]) -> Wanted:
    """Pick the acknowledged writes out of the two accounts; a half line at the end was never acknowledged to anyone."""
    wanted = Wanted()
    for raw in _objects(client):
        if raw.get("op") == "write" and raw.get("outcome") == "ack":
            wanted.rows[raw["kind"]].add(raw["id"])
            if raw["kind"] == "upload":
                wanted.uploads[raw["id"]] = raw["sha256"]
            if raw.get("local"):
                wanted.local.add(raw["id"])
    for raw in _objects(probes):
        if raw.get("op") == "probe" and raw.get("result") == "accept":
            if raw["kind"] == "db":
                wanted.rows["probe"].add(raw["id"])
            elif raw["kind"] == "guest":
                wanted.rows["progress"].add(raw["id"])
            else:
                wanted.probe_files.add(raw["id"])
    return wanted


def _objects(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            raw = json.loads(line)
        except ValueError:
            continue
        if isinstance(raw, dict):
            yield raw


def missing_rows(db: Database, rows: dict[str, set[str]]) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Identifiers without a row, and for the uploads that have one, the path and digest it states."""
    missing: set[str] = set()
    paths: dict[str, tuple[str, str]] = {}
    for kind, idents in rows.items():
        ordered = sorted(idents)
        for at in range(0, len(ordered), BATCH):
            batch = ordered[at : at + BATCH]
            if kind == "upload":
                query = "SELECT id::text, path, sha256 FROM app.uploads WHERE id = ANY(%s::uuid[])"
                found = {row[0]: (row[1], row[2]) for row in db.execute(query, (batch,))}
                paths.update(found)
                missing |= set(batch) - set(found)
            else:
                select = sql.SQL("SELECT id::text FROM {} WHERE id = ANY(%s::uuid[])").format(
                    sql.Identifier(*TABLES[kind])
                )
                missing |= set(batch) - {row[0] for row in db.execute(select, (batch,))}
    return missing, paths


class Fetcher:
    """Reads whole files over HTTP, one kept connection per thread."""

    def __init__(self, where: str, timeout: float = 20.0) -> None:
        self._where = where
        self._timeout = timeout
        self._local = threading.local()

    def digest(self, path: str) -> str | None:
        """The digest of the file, or None when the server says there is none; anything else is no answer at all."""
        problem: Exception | None = None
        for _ in range(3):
            connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection(self._where, timeout=self._timeout)
                self._local.connection = connection
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as bad:
                connection.close()
                self._local.connection = None
                problem = bad
                continue
            if response.status == 404:
                return None
            if response.status == 200:
                return hashlib.sha256(body).hexdigest()
            problem = RuntimeError(f"HTTP {response.status}")
        raise RuntimeError(f"http://{self._where}{path} cannot be read: {problem}")


def missing_files(digests: dict[str, tuple[str, str]], fetch: Callable[[str], str | None]) -> set[str]:
    """Identifiers whose file is not there or holds other bytes. `digests`: identifier -> (path, digest)."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        idents = sorted(digests)
        found = pool.map(lambda ident: fetch("/" + digests[ident][0].lstrip("/")), idents)
        return {ident for ident, digest in zip(idents, found, strict=True) if digest != digests[ident][1]}


def local_records(where: str) -> set[str]:
    """All records the guest carries on its own disk."""
    connection = http.client.HTTPConnection(where, timeout=30)
    try:
        connection.request("GET", "/local")
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
        if response.status != 200:
            raise RuntimeError(f"http://{where}/local: HTTP {response.status}")
        return {line.strip() for line in body.splitlines() if line.strip()}
    finally:
        connection.close()


def look_up(
    site: str,
    wanted: Wanted,
    db: Database,
    fetch: Callable[[str], str | None],
    local: Callable[[], set[str]],
) -> dict[str, Any]:
    """Look everything up at one site."""
    missing: dict[str, list[str]] = {}

    def miss(idents: Iterable[str], part: str) -> None:
        for ident in idents:
            missing.setdefault(ident, []).append(part)

    rows, stated = missing_rows(db, wanted.rows)
    miss(rows, "row")
    # The digest that counts is the one of the bytes the client sent; the path is the one the row states.
    files = {ident: (stated.get(ident, (f"uploads/{ident}", ""))[0], sha) for ident, sha in wanted.uploads.items()}
    for ident in wanted.probe_files:
        files[ident] = (f"uploads/probe-{ident}", hashlib.sha256(f"probe {ident}\n".encode()).hexdigest())
    miss(missing_files(files, fetch), "file")
    if wanted.local:
        miss(wanted.local - local(), "local")
    return {"site": site, "looked_up": sorted(wanted.idents()), "missing": missing}


def connect(options: argparse.Namespace) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=options.db,
        port=options.db_port,
        dbname=options.db_name,
        user=options.db_user,
        password=options.db_password_file.read_text(encoding="utf-8").strip(),
        sslmode=options.db_sslmode,
        sslrootcert=options.ca,
        connect_timeout=10,
        application_name="bascule-lookup",
        options="-c default_transaction_read_only=on",
        autocommit=True,
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--site", required=True)
    parser.add_argument("--client", type=Path, required=True, help="the account of the client outside")
    parser.add_argument("--probes", type=Path, required=True, help="the account of the prober")
    parser.add_argument("--data", type=Path, default=Path(os.devnull), help="the account of the data layer's client")
    parser.add_argument("--db", required=True)
    parser.add_argument("--files", required=True, help="HOST:PORT of the file server")
    parser.add_argument("--guest", required=True, help="HOST:PORT of the guest")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ca", default=".lab/ca/ca.crt")
    parser.add_argument("--db-port", type=int, default=5432)
    parser.add_argument("--db-name", default="courses")
    parser.add_argument("--db-user", default="courses")
    parser.add_argument("--db-sslmode", default="verify-ca")
    parser.add_argument("--db-password-file", type=Path, default=Path(".lab/secrets/app_password"))
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with (
        options.client.open(encoding="utf-8", errors="replace") as client,
        options.probes.open(encoding="utf-8", errors="replace") as probes,
        options.data.open(encoding="utf-8", errors="replace") as data,
    ):
        wanted = wanted_from(itertools.chain(client, data), probes)
    fetcher = Fetcher(options.files)
    with connect(options) as db:
        answer = look_up(options.site, wanted, db, fetcher.digest, lambda: local_records(options.guest))
    options.out.write_text(json.dumps(answer, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{options.site}: {len(answer['looked_up'])} looked up, {len(answer['missing'])} with something missing")
    return 1 if answer["missing"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
