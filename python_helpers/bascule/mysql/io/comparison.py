"""Compare the passive side with the active one, from the passive side's host, while clients write.

The active side gives a snapshot and says at which transaction it stands. The passive side, whose applying was stopped
before, applies exactly up to that transaction, and gives its own snapshot there. No lock is taken at the active side.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import BasculeError
from .. import compare, gtid
from ..refusals import MysqlError
from . import digest
from .client import Client
from .server import Server


def run(replica: Server, options: str, wait: float = 60.0) -> dict[str, Any]:
    """Compare; return position, tables, rows and what differs.

    Args:
        replica: the passive side, as root on its own host.
        options: the option file of Bascule's account at the active side.
        wait: seconds in which the passive side has to reach the snapshot.
    """
    primary = Client(socket="", options=options)
    with contextlib.ExitStack() as stack:
        stack.callback(_go_on, replica)
        replica.client.execute("STOP SLAVE")
        there, position = digest.snapshot(primary)
        stack.callback(there.close)
        if not position:
            raise MysqlError(expected="a position of the active side's snapshot", found="none: its binary log is empty")
        _apply_until(replica, position, wait)
        here, _ = digest.snapshot(replica.client)
        stack.callback(here.close)
        _go_on(replica)
        with ThreadPoolExecutor(max_workers=2) as pool:
            both = pool.submit(digest.take, primary, there), pool.submit(digest.take, replica.client, here)
            active, passive = both[0].result(), both[1].result()
    differences = compare.differences(active, passive)
    return {
        "position": position,
        "tables_compared": len(active["tables"]),
        "rows_compared": compare.rows(active),
        "tables_different": len([one for one in differences if one.startswith("tables: ")]),
        "differences": differences,
    }


def _apply_until(replica: Server, position: str, wait: float) -> None:
    """Have the replica apply up to a position and no further."""
    replica.client.execute(f"START SLAVE UNTIL MASTER_GTID_POS = '{position}'")
    until = time.monotonic() + wait
    while any(one["Slave_SQL_Running"] == "Yes" for one in replica.connections()) and time.monotonic() < until:
        time.sleep(0.02)
    at = replica.position()
    if gtid.merge(at) != gtid.merge(position):
        raise MysqlError(
            expected=f"the passive side to stand at {position}",
            found=f"{at}{replica.stopped_by()}",
            state="nothing was compared, the passive side follows again",
            next_command="see what it applies so slowly (SHOW PROCESSLIST), then run the same playbook again",
        )


def _go_on(replica: Server) -> None:
    with contextlib.suppress(BasculeError):
        replica.client.execute("START SLAVE")
