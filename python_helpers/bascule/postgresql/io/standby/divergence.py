"""What a closed side wrote beyond the fork, by hand or after a crash: exported, named; then the side is built again.

Nobody's rows are merged: which of two histories is right is for people to say. The other side goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import age_keys, sealed, storage
from ....system.io.process import run
from ... import control as control_file
from ... import divergence, lsn, rows
from ...spec import Spec
from ..cluster import peer as cluster_peer
from ..cluster.cluster import HOME, Cluster
from ..cluster.psql import Session
from ..dump import pg_dump
from . import wal_compare

DIRECTORY = Path("/var/backups/bascule")
# How long the other side may take to start, or to be reached again.
_PATIENCE = 120


def export(cluster: Cluster, session: Session, epoch: str, end: str) -> dict[str, Any] | None:
    """Export what this side, which stands still, has beyond the fork; None when it has nothing of the kind.

    Whatever keeps it from being looked at is an error: this side stands still until it was.
    """
    spec = cluster.spec
    if not session.value("SELECT pg_is_in_recovery()"):
        raise BasculeError(
            expected=f"{spec.side}, which is closed, to stand still as a standby of nobody",
            found="it runs as a primary: somebody has promoted it",
            state=f"it lets no client in, from now on; {spec.peer_side} serves as before",
            next_command=f"on {spec.side}: systemctl stop {spec.unit}; then ansible-playbook playbooks/30_sync.yml "
            f"--limit {spec.component} (keeps its state aside, exports what it alone has)",
        )
    peer = cluster_peer.settled(spec, _PATIENCE)
    timeline, history = _line(cluster, end)
    where = divergence.fork(timeline, history, end, peer.timeline, peer.history)
    if divergence.one_line(timeline, history, peer.timeline, peer.history):
        place = wal_compare.parted(cluster, timeline, _begin(history), end, peer.end)
        if place == peer.end and peer.in_recovery:
            # Nothing differs, and it may yet get the rest.
            raise BasculeError(
                expected=f"{spec.peer_side} to have all that {spec.side} has, up to {end}",
                found=f"it stands at {peer.end}",
                state=f"{spec.side} is closed and stands still; {spec.peer_side} stands as well",
                next_command="ansible-playbook playbooks/status.yml",
            )
        where = _first_record(cluster, timeline, place, end)
    if where is None:
        return None
    found: dict[str, Any] = {
        "fork": where,
        "end": end,
        "timeline": timeline,
        "rows": {},
        "deleted": {},
        "anew": [],
        "removed": {},
    }
    if where == divergence.NOWHERE:
        found["unknown"] = "where the two histories part lies before all that can be compared"
        return found
    found["bytes"] = control_file.divergent_bytes(end, where)
    lines: list[str] = []
    for number, start, stop in divergence.stretches(timeline, history, where, end):
        part, complaint = _log(cluster, number, start, stop)
        lines += part
        if complaint or not part:
            found["unknown"] = f"the log from {start} to {stop} could not be read: {complaint or 'no record'}"
    written = divergence.read(lines)
    found["transactions"] = len(written.transactions)
    directory = DIRECTORY / f"{spec.component}-diverged-{epoch}"
    before = storage.read_json(directory / "contents.json")
    if before and (before["timeline"], before["end"]) != (timeline, end):
        # Not for the first time under this epoch: what was exported then stays.
        directory = directory.with_name(f"{directory.name}-{timeline}-{end.replace('/', '-')}")
    found["directory"] = str(directory)
    storage.make_directory(directory, 0o700)
    if not (HOME / spec.component / age_keys.RECIPIENTS_FILE).exists():
        # No safety dumps were asked for, so nobody's keys are known: this machine's own opens what is exported.
        age_keys.ensure(spec.component, [])
    names = session.query("SELECT datname AS name, oid::bigint AS oid FROM pg_database WHERE datallowconn")
    for row in names:
        _database(cluster, str(row["name"]), int(row["oid"]), written, directory, found)
    storage.write_json(directory / "contents.json", found, 0o600)
    return found


def described(found: dict[str, Any]) -> str:
    """Return what was found, for people."""
    parts = [f"{count} rows of {table}" for table, count in sorted(found["rows"].items())]
    parts += [f"{count} rows deleted from {table}" for table, count in sorted(found["deleted"].items())]
    parts += [f"{table} created, truncated or rewritten" for table in found.get("anew", ())]
    parts += [
        f"{count} files of tables and indexes given up in {database} (DROP, TRUNCATE, REINDEX and the like)"
        for database, count in sorted(found.get("removed", {}).items())
    ]
    parts += [f"more that is not known ({found['unknown']})"] if found.get("unknown") else []
    what = ", ".join(parts) or "no rows of tables"
    return f"beyond the fork at {found['fork']} it alone has {what}; exported to {found.get('directory', 'nowhere')}"


def has_left(cluster: Cluster) -> bool:
    """Whether this stopped side's timelines are not the other's, or cannot be compared with them."""
    try:
        peer = cluster_peer.server(cluster.spec)
        mine = cluster.control()
        end = lsn.render(max(lsn.parse(mine.checkpoint_lsn), lsn.parse(mine.min_recovery_lsn)))
        timeline, history = _line(cluster, end)
        return divergence.fork(timeline, history, end, peer.timeline, peer.history) is not None
    except BasculeError:
        return True


def _line(cluster: Cluster, end: str) -> tuple[int, list[tuple[int, str]]]:
    """Return the timeline on which this side's log ends, and its history.

    The control file learns of a new timeline with the first checkpoint on it, which a crash may have come before.
    """
    timeline = cluster.control().newest_timeline
    history = cluster.history(timeline)
    for path in sorted((cluster.data / "pg_wal").glob("????????.history")):
        number = int(path.stem, 16)
        newer = cluster.history(number) if number > timeline else []
        if control_file.fork_of(newer, timeline) and lsn.parse(newer[-1][1]) < lsn.parse(end):
            timeline, history = number, newer
    return timeline, history


def _begin(history: list[tuple[int, str]]) -> str:
    return history[-1][1] if history else "0/0"


def _first_record(cluster: Cluster, timeline: int, place: str | None, end: str) -> str | None:
    """Return where the first record begins that is not the other side's, from the first byte that is not."""
    if place is None or place == divergence.NOWHERE:
        return place
    size = cluster.control().segment_bytes
    lines, _ = _log(cluster, timeline, lsn.render((lsn.parse(place) - 1) // size * size), end)
    return divergence.record_at(lines, place) or place


def _database(
    cluster: Cluster, name: str, oid: int, written: divergence.Written, directory: Path, found: dict[str, Any]
) -> None:
    spec = cluster.spec
    condition = divergence.condition(written.transactions)
    if oid in written.removed:
        found["removed"][name] = written.removed[oid]
    with cluster.session(database=name) as session:
        tables = session.query(
            "SELECT c.oid::bigint AS oid, pg_relation_filenode(c.oid)::bigint AS file, n.nspname AS schema, "
            "c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') "
            # Large objects are rows of these two.
            "OR c.oid IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass) ORDER BY 3, 4"
        )
        for table in tables:
            label = f"{name}.{table['schema']}.{table['name']}"
            place = f"{rows.quote(str(table['schema']))}.{rows.quote(str(table['name']))}"
            gone = written.deleted.get((oid, int(table["file"] or 0)))
            if gone:
                found["deleted"][label] = gone
            if (oid, int(table["file"] or 0)) in written.made:
                found["anew"].append(label)
            count = int(session.value(f"SELECT count(*) FROM ONLY {place} WHERE {condition}", timeout=3600))
            if not count:
                continue
            found["rows"][label] = count
            copy = f"COPY (SELECT * FROM ONLY {place} WHERE {condition}) TO STDOUT (FORMAT csv, HEADER)"
            argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", str(spec.port), "-d", name, "-c", copy]
            path = directory / f"{name}.{table['oid']}.csv.age"
            sealed.seal(pg_dump.as_owner(spec, argv), path, age_keys.recipients(spec.component), spec.way_in)


def _log(cluster: Cluster, timeline: int, start: str, end: str) -> tuple[list[str], str]:
    """Read a part of the log; return its records, and why that was not all of them."""
    argv = [f"{cluster.spec.programs}/pg_waldump", f"--path={cluster.data}/pg_wal", f"--timeline={timeline}"]
    argv += [f"--start={start}", f"--end={end}"]
    done = run(argv, timeout=3600, user=cluster.spec.owner, cwd="/", check=False)
    # It ends well only when it has come to the end.
    complaint = " ".join(done.stderr.split())[-300:] or f"exit status {done.rc}"
    records = [line for line in done.stdout.splitlines() if line.startswith("rmgr: ")]
    return records, complaint if done.rc != 0 else ""


def pending(spec: Spec, notes: dict[str, Any] | None) -> str:
    """Return what a side that has diverged said about it, or an empty text."""
    found = (notes or {}).get("diverged")
    return f"{spec.side} has diverged: {described(found)}" if found else ""
