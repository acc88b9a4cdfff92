"""What a comparison of two real servers sees, and what it must not mistake for a difference."""

from __future__ import annotations

import threading

import pytest

from bascule.mysql.io import comparison
from bascule.mysql.refusals import MysqlError

from .servers import PASSWORD, Running

_KINDS = (
    "id INT PRIMARY KEY, f FLOAT, d DOUBLE, n DECIMAL(20,5), e ENUM('', 'a') CHARACTER SET utf8mb4, s SET('x', 'y'), "
    "a VARCHAR(20), b VARCHAR(20), t LONGTEXT, l LONGBLOB, bits BIT(9), day DATE, at TIMESTAMP(6) NULL, j JSON, "
    "p POINT, g INT AS (id * 2) STORED, w INT AS (id * 3) VIRTUAL, hidden INT INVISIBLE DEFAULT 4, u UUID, i INET6"
)
# Each is done at the passive side alone; all of them must be seen, and none of them changes how many rows there are.
CHANGES = {
    "a digit of a FLOAT": "f = 1.1000001",
    "an ENUM's number": "e = 0",
    "a border between columns": "a = 'ab', b = 'c'",
    "NULL and an empty text": "t = ''",
    "a long value": "l = CONCAT(REPEAT('z', 199999), 'y')",
    "a bit": "bits = b'000000011'",
    "a zero date": "day = '0000-00-00'",
    "a microsecond": "at = '2026-01-01 00:00:00.000002'",
    "an invisible column": "hidden = 5",
    "a point": "p = POINT(1, 3)",
    "the case of a text": "a = 'A'",
    "a blank at the end": "a = 'a '",
}
ROW = (
    "f = 1.1, d = 0.1, e = '', s = 'x', a = 'a', b = 'bc', t = NULL, l = CONCAT(REPEAT('z', 199999), 'z'), "
    "bits = b'000000010', day = NULL, at = '2026-01-01 00:00:00.000001', hidden = 4, p = POINT(1, 2)"
)


@pytest.fixture
def following(pair: tuple[Running, Running]) -> tuple[Running, Running]:
    """Two servers of which the second follows the first."""
    mtp, tls = pair
    mtp.client.execute(
        "CREATE DATABASE shop",
        f"CREATE TABLE shop.kinds ({_KINDS})",
        "INSERT INTO shop.kinds (id) VALUES (1), (2), (3)",
        f"SET SESSION sql_mode = ''; UPDATE shop.kinds SET {ROW} WHERE id = 1",
        "CREATE TABLE shop.busy (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE VIEW shop.view1 AS SELECT id FROM shop.kinds",
        "CREATE TRIGGER shop.tr BEFORE INSERT ON shop.busy FOR EACH ROW SET NEW.v = 1",
        "CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE USER app@'%' IDENTIFIED BY 'app'",
        "GRANT SELECT ON shop.* TO app@'%'",
        binlog=True,
    )
    mtp.server.account(PASSWORD)
    tls.server.seed(mtp.options(), "127.0.0.1", mtp.port, mtp.ca, 60)
    return mtp, tls


def test_every_change_is_seen_and_nothing_else(following: tuple[Running, Running]) -> None:
    mtp, tls = following
    options = mtp.options()
    assert comparison.run(tls.server, options)["differences"] == []
    for what, change in CHANGES.items():
        tls.client.execute(f"SET SESSION sql_mode = ''; UPDATE shop.kinds SET {change} WHERE id = 1")
        found = comparison.run(tls.server, options)
        assert found["differences"] == ["tables: shop.kinds differs (3 and 3 rows)"], what
        tls.client.execute(f"SET SESSION sql_mode = ''; UPDATE shop.kinds SET {ROW} WHERE id = 1")
    assert comparison.run(tls.server, options)["differences"] == []


def test_definitions_accounts_and_rows_of_one_side_are_named(following: tuple[Running, Running]) -> None:
    _, tls = following
    tls.client.execute(
        "DELETE FROM shop.kinds WHERE id = 3",
        "ALTER TABLE shop.busy MODIFY v INT COMMENT 'x'",
        "DROP TRIGGER shop.tr",
        "CREATE OR REPLACE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 2",
        "ALTER DATABASE shop COLLATE utf8mb4_bin",
        "GRANT INSERT ON shop.* TO app@'%'",
        "CREATE USER ghost@'%'",
    )
    found = comparison.run(tls.server, following[0].options())["differences"]
    assert found == [
        "definitions: database shop differs",
        "definitions: routine shop.FUNCTION f differs",
        "definitions: table shop.busy differs",
        "definitions: trigger shop.tr is at one side only",
        "accounts: db %/shop/app differs",
        "accounts: global_priv %/ghost is at one side only",
        "tables: shop.kinds differs (3 and 2 rows)",
    ]


@pytest.mark.long
def test_a_client_that_writes_meanwhile_makes_no_difference(following: tuple[Running, Running]) -> None:
    mtp, tls = following
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            mtp.client.execute("INSERT INTO shop.busy (v) VALUES (0), (0), (0)", binlog=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [comparison.run(tls.server, mtp.options()) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert [one["differences"] for one in found] == [[], [], []]
    assert found[0]["rows_compared"] < found[-1]["rows_compared"]
    assert tls.server.wait_for(mtp.server.position(), 20) == ""


@pytest.mark.long
def test_a_side_that_cannot_apply_is_not_compared(following: tuple[Running, Running]) -> None:
    mtp, tls = following
    tls.client.execute("DROP TABLE shop.busy")
    mtp.client.execute("INSERT INTO shop.busy (v) VALUES (0)", binlog=True)
    with pytest.raises(MysqlError, match="the passive side to stand at"):
        comparison.run(tls.server, mtp.options(), wait=5)
