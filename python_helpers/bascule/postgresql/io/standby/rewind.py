"""Bring a side that has diverged back onto the other's history: only what differs goes over the link.

It is pg_rewind on a copy, never on the only one: what this side has stays where it is until the copy is whole. What
the copy holds afterwards is proved by comparing rows, as after any switch.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ....errors import BasculeError
from ....system.io.process import run
from ... import conf, control
from ...spec import Spec
from ..cluster.cluster import Cluster, world
from ..cluster.psql import Session

# What pg_rewind asks of the other server (its documentation, section Notes): nothing of it writes.
FUNCTIONS = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)
DATABASE = "postgres"
_LONGEST = 7 * 86400


def permit(session: Session, spec: Spec, *, check: bool) -> bool:
    """Let the replication account call what pg_rewind calls; return whether anything had to be granted."""
    if check and not session.value(f"SELECT count(*) FROM pg_roles WHERE rolname = '{spec.replication_user}'"):
        # It would be made first.
        return True
    wanted = [
        function
        for function in FUNCTIONS
        if not session.value(f"SELECT has_function_privilege('{spec.replication_user}', '{function}', 'EXECUTE')")
    ]
    if not check:
        for function in wanted:
            session.execute(f'GRANT EXECUTE ON FUNCTION {function} TO "{spec.replication_user}"')
    return bool(wanted)


def make_ready(session: Session) -> None:
    """At the side that serves: have its control file name its timeline, which pg_rewind goes by."""
    told = session.value("SELECT timeline_id FROM pg_control_checkpoint()")
    # The name of a log file begins with its timeline.
    if int(told) != int(str(session.value("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")), 16):
        session.execute("CHECKPOINT", timeout=600)


def rewind(cluster: Cluster, copy: Path) -> None:
    """Make `copy` what a base backup of the other side would be, out of this side's data directory.

    This side is stopped by it. Raises BasculeError, and leaves no copy, when that cannot be done.
    """
    spec = cluster.spec
    with world(spec.component):
        if not cluster.stop(120):
            raise BasculeError(expected=f"the cluster on {spec.side} to stop", found="it still runs")
    found = cluster.control()
    if found.state not in (control.SHUT_DOWN, control.SHUT_DOWN_IN_RECOVERY):
        raise BasculeError(expected=f"a cluster on {spec.side} that was shut down cleanly", found=found.state)
    try:
        run(["cp", "-a", "--reflink=auto", f"{cluster.data}/.", str(copy)], timeout=_LONGEST)
        for stale in ("backup_label", "standby.signal", "recovery.signal"):
            (copy / stale).unlink(missing_ok=True)
        run(
            [
                f"{spec.programs}/pg_rewind",
                f"--target-pgdata={copy}",
                f"--source-server={conf.conninfo(spec)} dbname={DATABASE}",
                # It was shut down cleanly, and its settings do not lie beside its data.
                "--no-ensure-shutdown",
            ],
            timeout=_LONGEST,
            user=spec.owner,
            cwd="/",
        )
        if not (copy / "backup_label").exists():
            # "No rewind required" would leave a history that the other side never had.
            raise BasculeError(expected="pg_rewind to go back to the fork", found="it saw no fork")
        run(["sync", "-f", str(copy)], timeout=3600)
    except (BasculeError, OSError):
        shutil.rmtree(copy, ignore_errors=True)
        raise
