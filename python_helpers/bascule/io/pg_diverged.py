"""What a closed side wrote beyond the fork, by hand or after a crash: exported, named; then the side is built again.

Nobody's rows are merged: which of two histories is right is for people to say. The other side goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..integrity import rows
from ..postgresql import control as control_file
from ..postgresql import divergence
from ..postgresql.spec import Spec
from . import age_keys, files, pg_dump, pg_reach
from .pg_cluster import Cluster
from .process import run
from .psql import Session

DIRECTORY = Path("/var/backups/bascule")


def export(cluster: Cluster, session: Session, epoch: str, end: str) -> dict[str, Any] | None:
    """Export what this side, which stands still, has beyond the fork; None when it has nothing of the kind."""
    spec = cluster.spec
    mine = cluster.control()
    peer = pg_reach.timeline(spec)
    if peer is None:
        return None
    where = divergence.fork(mine.newest_timeline, end, peer[0], control_file.parse_history(peer[1]))
    if where is None:
        return None
    found: dict[str, Any] = {"fork": where, "end": end, "timeline": mine.newest_timeline, "rows": {}, "deleted": {}}
    if where == "0/0":
        found["unknown"] = "the other side's history does not contain this one's: no rows can be told apart"
        return found
    found["bytes"] = control_file.divergent_bytes(end, where)
    written = divergence.read(_log(cluster, mine.newest_timeline, where))
    found["transactions"] = len(written.transactions)
    directory = DIRECTORY / f"{spec.component}-diverged-{epoch}"
    found["directory"] = str(directory)
    files.make_directory(directory, 0o700)
    names = session.query("SELECT datname AS name, oid::bigint AS oid FROM pg_database WHERE datallowconn")
    for row in names:
        _database(cluster, str(row["name"]), int(row["oid"]), written, directory, found)
    files.write_json(directory / "contents.json", found, 0o600)
    return found


def described(found: dict[str, Any]) -> str:
    """Return what was found, for people."""
    parts = [f"{count} rows of {table}" for table, count in sorted(found["rows"].items())]
    parts += [f"{count} rows deleted from {table}" for table, count in sorted(found["deleted"].items())]
    what = ", ".join(parts) or found.get("unknown") or "no rows of tables"
    return f"beyond the fork at {found['fork']} it alone has {what}; exported to {found.get('directory', 'nowhere')}"


def _database(
    cluster: Cluster, name: str, oid: int, written: divergence.Written, directory: Path, found: dict[str, Any]
) -> None:
    spec = cluster.spec
    condition = divergence.condition(written.transactions)
    with cluster.session(database=name) as session:
        tables = session.query(
            "SELECT c.oid::bigint AS oid, pg_relation_filenode(c.oid)::bigint AS file, n.nspname AS schema, "
            "c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') "
            "ORDER BY 3, 4"
        )
        for table in tables:
            label = f"{name}.{table['schema']}.{table['name']}"
            place = f"{rows.quote(str(table['schema']))}.{rows.quote(str(table['name']))}"
            gone = written.deleted.get((oid, int(table["file"] or 0)))
            if gone:
                found["deleted"][label] = gone
            count = int(session.value(f"SELECT count(*) FROM ONLY {place} WHERE {condition}", timeout=3600))
            if not count:
                continue
            found["rows"][label] = count
            copy = f"COPY (SELECT * FROM ONLY {place} WHERE {condition}) TO STDOUT (FORMAT csv, HEADER)"
            argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", str(spec.port), "-d", name, "-c", copy]
            path = directory / f"{name}.{table['oid']}.csv.age"
            pg_dump.seal(argv, path, age_keys.recipients(spec.component), owner=spec.owner)


def _log(cluster: Cluster, timeline: int, start: str) -> list[str]:
    argv = [f"{cluster.spec.programs}/pg_waldump", f"--path={cluster.data}/pg_wal", f"--timeline={timeline}"]
    # It ends with an error where the log ends.
    done = run([*argv, f"--start={start}"], timeout=3600, user=cluster.spec.owner, cwd="/", check=False)
    return done.stdout.splitlines()


def pending(spec: Spec, notes: dict[str, Any] | None) -> str:
    """Return what a side that has diverged said about it, or an empty text."""
    found = (notes or {}).get("diverged")
    return f"{spec.side} has diverged: {described(found)}" if found else ""
