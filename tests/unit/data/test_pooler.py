"""Through a real PgBouncer that lends a server for one transaction: no lock, setting or temporary table stays."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.unit.schema.test_pooler import pooled

from bascule.data.contract import DataError

from .conftest import Server, undone
from .test_postgresql import ROWS, SUMMARY, World

__all__ = ["pooled"]


def test_a_run_its_lock_and_its_undo_through_a_pooler(
    server: Server, database: dict[str, str], pooled: dict[str, str], tmp_path: Path
) -> None:
    world = World(server, database, tmp_path)
    one = world.engine(connection=pooled)
    one.run()
    assert world.ask(SUMMARY)[0][0] == ROWS
    # The session that takes the lock is gone at once; whoever comes next is told.
    other = world.engine(connection=pooled)
    token = other.store.take({"user": "ada", "host": "elsewhere", "pid": "7"}, None)
    other.store.close()
    with pytest.raises(DataError, match="ada on elsewhere, process 7, since"):
        world.engine(connection=pooled).run()
    other.store.release(token)
    other.store.close()
    with psycopg.connect(make_conninfo(**pooled), autocommit=True) as connection:
        for _ in range(3):
            assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
            assert connection.execute("SHOW row_security").fetchone() == ("on",)
            assert connection.execute("SHOW default_transaction_isolation").fetchone() == ("read committed",)
    assert undone(world.engine(connection=pooled)).removed == ROWS
    assert world.ask("SELECT count(*) FROM users") == [(0,)]
