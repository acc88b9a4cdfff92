"""One service in one database of a real MariaDB, with the accounts that an inventory would name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pymysql
import pytest

from bascule.schema import sql
from bascule.schema.io.mariadb import MariadbStore
from bascule.schema.io.runner import NeedsWord, Order, Runner

from .conftest import service, write

UP, DOWN = Order("up"), Order("down")
FILES = {
    "001_users.up.sql": b"""-- the client reads this file; DELIMITER is its own
CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL, score float, raw blob,
  kind enum('a', 'b') DEFAULT 'a', CHECK (score >= 0));
CREATE TABLE letters (id int PRIMARY KEY, user_id int, body text, KEY by_user (user_id),
  CONSTRAINT to_user FOREIGN KEY (user_id) REFERENCES users (id));
CREATE VIEW staff AS SELECT id, name FROM users WHERE kind = 'b';
DELIMITER $$
CREATE TRIGGER shout BEFORE INSERT ON users FOR EACH ROW
BEGIN
  SET NEW.name = UPPER(NEW.name); -- one; two
END$$
CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN n * 2$$
DELIMITER ;
INSERT INTO users (id, name, score, raw) VALUES (1, 'a;b', 0.1, x'00ff'), (2, 'it\\'s', NULL, NULL);
INSERT INTO letters VALUES (1, 1, 'x'), (2, 2, NULL);
""",
    "001_users.down.sql": b"""DROP TABLE letters; DROP VIEW staff; DROP FUNCTION twice;
DROP TABLE users;
""",
    "002_mail.up.sql": b"""SET SESSION sql_mode = 'STRICT_ALL_TABLES';
ALTER TABLE users ADD COLUMN mail varchar(90);
UPDATE users SET mail = CONCAT(LOWER(name), '@example.org');
CREATE INDEX by_mail ON users (mail);
""",
    "002_mail.down.sql": b"DROP INDEX by_mail ON users;\nALTER TABLE users DROP COLUMN mail;\n",
}


class World:
    """One service in one database."""

    def __init__(self, socket: str, tmp_path: Path) -> None:
        self.socket, self.database = socket, f"test_{os.urandom(4).hex()}"
        self.server(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4")
        for account, place in (("owner", r"test\_%"), ("copies", r"bascule\_copy\_%")):
            self.server(f"CREATE USER IF NOT EXISTS {account}@localhost")
            self.server(f"GRANT ALL ON `{place}`.* TO {account}@localhost")
        self.server("CREATE USER IF NOT EXISTS stranger@localhost")
        self.way = {"unix_socket": socket, "user": "owner", "database": self.database}
        self.folder = write(tmp_path / "files", FILES)
        self.service = service(
            "ops",
            self.folder,
            engine=sql.MARIADB,
            connection=self.way,
            copy={"unix_socket": socket, "user": "copies"},
        )
        self.said: list[str] = []

    def server(self, text: str, database: str = "", user: str = "root") -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        way: dict[str, Any] = {"database": database} if database else {}
        with (
            pymysql.connect(unix_socket=self.socket, user=user, autocommit=True, charset="utf8mb4", **way) as one,
            one.cursor() as cursor,
        ):
            cursor.execute(text)
            return list(cursor.fetchall())

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        return self.server(text, self.database)

    @property
    def runner(self) -> Runner:
        return Runner("ops", {"ops": self.service}, self.said.append)

    @property
    def store(self) -> MariadbStore:
        return MariadbStore(self.service)

    def applied(self) -> list[tuple[Any, ...]]:
        return self.ask("SELECT number, name, state, done FROM bascule_migration ORDER BY number")

    def copies(self) -> list[tuple[Any, ...]]:
        return self.server(r"SHOW DATABASES LIKE 'bascule\_copy\_%'")

    def state(self) -> tuple[Any, ...]:
        """Return all that must not change when something is refused."""
        content = self.store.content(digests=True)
        return content.catalogue, content.tables, self.store.books().rows

    def careless(self) -> None:
        self.service = dataclasses.replace(self.service, production=False)

    def confirmed(self, what: str, number: int = 0) -> int:
        """Run what asks for a word, with the word."""
        with pytest.raises(NeedsWord) as needed:
            self.runner.run(Order(what, number))
        return self.runner.run(Order(what, number, needed.value.expected.split()[1].rstrip(",")))
