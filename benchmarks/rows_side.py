"""Runs inside a benchmark's container: digests the table of one database and prints, as JSON, what came of it.

Arguments: database, mode, sessions.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from bascule.postgresql import rows
from bascule.postgresql.io.cluster.psql import Session
from bascule.postgresql.io.rows.digest import Connections, Digester


def connect(database: str) -> Session:
    """Open a session."""
    return Session(5432, {}, database=database)


def main(database: str, mode: str, workers: int) -> None:
    """Take a snapshot, digest the table, and say how long the rows took and how much memory all of it."""
    found: dict[str, Any] = {"tables": {}, "schema": {}, "sequences": {}}
    result = {"epoch": "1.bench", "mode": mode, "layout": rows.PHYSICAL, "databases": {database: found}}
    with connect(database) as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        digester = Digester(
            Connections(connect),
            result,
            {database: str(holder.value("SELECT pg_export_snapshot() AS id"))},
            lambda: None,
            pipes=Path("/run/bascule-bench") / database,
            workers=workers,
            only=["public.rows"],
        )
        digester.list_tables()
        begun = time.monotonic()
        digester.digest_rows()
        seconds = time.monotonic() - begun
    table = found["tables"]["public.rows"]
    own, psql = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Every session is a psql of at most the size of the largest.
    memory = own + psql * (workers + 2)
    print(json.dumps({**{key: table[key] for key in ("rows", "digest", "status")}, "seconds": seconds, "kib": memory}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
