"""What a file of MariaDB may hold, statement by statement, and how its own client reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.schema import mariadb_sql, sql
from bascule.schema.io.mariadb_client import sent
from bascule.schema.store import SchemaError

FITS = [
    "CREATE TABLE a (x int)",
    "CREATE DEFINER=`a`@`b` TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET @x = LAST_INSERT_ID()",
    "create or replace view v as select 1",
    "CREATE UNIQUE INDEX i ON a (x)",
    "ALTER TABLE a RENAME TO b",
    "RENAME TABLE a TO b",
    "DROP TABLE IF EXISTS a, b",
    "OPTIMIZE NO_WRITE_TO_BINLOG TABLE a",
    "INSERT INTO a VALUES ('COMMIT; @x LAST_INSERT_ID()', \"@y\", `@z`) -- @w",
    "(SELECT 1)",
    "WITH x AS (SELECT 1) SELECT @@version FROM x",
    "SET NAMES utf8mb4",
    "SET @@session.foreign_key_checks = 0, SESSION sql_mode = ''",
    "/*!40101 SET foreign_key_checks = 0 */",
]
REFUSED = {
    "BEGIN": "begins with BEGIN",
    "COMMIT": "begins with COMMIT",
    "LOCK TABLES a WRITE": "begins with LOCK",
    "CALL p()": "begins with CALL",
    "EXECUTE x": "begins with EXECUTE",
    "LOAD DATA INFILE 'x' INTO TABLE a": "begins with LOAD",
    "TRUNCATE a": "begins with TRUNCATE",
    "GRANT SELECT ON a TO b": "begins with GRANT",
    "USE other": "begins with USE",
    "/*!50001 COMMIT */": "begins with COMMIT",
    "CREATE DATABASE x": "is about DATABASE",
    "DROP USER x": "is about USER",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1": "an event would run on the copy",
    "CREATE TEMPORARY TABLE a (x int)": "temporary table",
    "CREATE OR REPLACE TABLE a (x int)": "a DROP and a CREATE in one",
    "CREATE FUNCTION f RETURNS int SONAME 'x.so'": "has SONAME",
    "RENAME TABLE a TO c, b TO a, c TO b": "renames several",
    "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b": "has EXCHANGE",
    "ALTER SEQUENCE s RESTART 1": "has RESTART",
    "ANALYZE SELECT 1": "is not about a table",
    "INSERT INTO a VALUES (LAST_INSERT_ID())": "has LAST_INSERT_ID",
    "UPDATE a SET x = @x": "has a variable",
    "SELECT 1 INTO OUTFILE '/tmp/x'": "has OUTFILE",
    "SELECT RELEASE_ALL_LOCKS()": "has RELEASE_ALL_LOCKS",
    "SET GLOBAL max_connections = 1": "more than a setting of its own session",
    "SET @@global.max_connections = 1": "more than a setting of its own session",
    "SET @@autocommit = 0": "more than a setting of its own session",
    "SET STATEMENT max_statement_time = 1 FOR DELETE FROM a": "more than a setting of its own session",
    "SET @x = 1": "cannot be set again",
    "SET sort_buffer_size = (SELECT 1)": "cannot be set again",
    "SET NAMES latin1": "another character set",
    "DELETE FROM `bascule_migration`": "touches bascule_migration",
    "SELECT 'no end": "ends within what ' begins",
    "SELECT 1 /* no end": "ends within what /* begins",
}


@pytest.mark.parametrize("statement", FITS)
def test_what_can_be_told_after_a_kill_may_stand_in_a_file(statement: str) -> None:
    assert mariadb_sql.findings([statement]) == []


@pytest.mark.parametrize("statement", REFUSED)
def test_what_cannot_is_refused_by_name(statement: str) -> None:
    (said,) = mariadb_sql.findings([statement])
    assert REFUSED[statement] in said


def test_a_file_without_a_statement_and_the_place_of_each() -> None:
    assert mariadb_sql.findings([]) == ["the file has no statement"]
    (said,) = mariadb_sql.findings(["SELECT 1", "SELECT 'a secret', @x"])
    assert said.startswith("statement 2 (SELECT) ")
    assert "secret" not in said


@given(st.lists(st.text(alphabet="ab'\"`;-/*\\#@$ \n", max_size=12), max_size=6))
def test_no_text_makes_the_reader_fail(texts: list[str]) -> None:
    assert all(isinstance(one, str) for one in mariadb_sql.findings(texts))


def test_the_client_reads_a_file_as_it_would_send_it() -> None:
    text = b"""-- one; comment
SELECT ';', "\\";", `;`; # SELECT 9;
/* SELECT 8; */ SELECT 2;
DELIMITER //
CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END//
delimiter ;
SELECT '\xc3\xa9
', 3"""
    found = sent(text)
    assert [one.split("\n")[0] for one in found] == [
        'SELECT \';\', "\\";", `;`',
        "SELECT 2",
        "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END",
        "SELECT 'é",
    ]
    assert sent(b"-- nothing\n/* at all */") == ()


def test_a_statement_longer_than_a_packet_arrives_whole() -> None:
    packet = 1 << 24
    value = "x" * packet
    (found,) = sent(f"INSERT INTO a VALUES ('{value}');".encode())
    assert len(found) == packet + len("INSERT INTO a VALUES ('')")


def test_no_command_of_the_client_is_followed() -> None:
    for text in (b"\\! touch x\n", b"SELECT 1;\n\\. other.sql\n"):
        with pytest.raises(SchemaError, match="ERROR at line"):
            sent(text)
    for text in (b"source other.sql;", b"system touch x;", b"tee x;"):
        assert "begins with" in mariadb_sql.findings(sent(text))[0]
    assert sql.MARIADB not in sql.READ_HERE
