"""The numbered SQL files of one service: `001_name.up.sql` and `001_name.down.sql`. Pure.

The naming is golang-migrate's (https://github.com/golang-migrate/migrate, MIGRATIONS.md), which OmniSphere uses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from . import sql

_NAME = re.compile(r"(\d+)_([A-Za-z0-9][A-Za-z0-9_.-]*)\.(up|down)\.sql")
_WORD = re.compile(r"^--[ \t]*bascule:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class File:
    """One SQL file, as it was read once: what is checked is what runs."""

    name: str
    data: bytes
    transaction: bool = True

    @property
    def sha256(self) -> str:
        """The digest of its bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Migration:
    """One number of a service: the way up and the way down."""

    service: str
    number: int
    name: str
    up: File
    down: File

    def file(self, direction: str) -> File:
        """Return the file of a direction."""
        return self.up if direction == UP else self.down


def collect(service: str, engine: str, files: Mapping[str, bytes]) -> tuple[tuple[Migration, ...], tuple[str, ...]]:
    """Return the migrations of a service, ordered by number, and all that is wrong with its files.

    Args:
        service: the name of the service, for what is said.
        engine: one of `sql.ENGINES`.
        files: the name of each file of its folder, and its bytes. Names that do not end in `.sql` are nobody's.
    """
    wrong: list[str] = []
    found: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for file in sorted(name for name in files if name.endswith(".sql")):
        match = _NAME.fullmatch(file)
        if not match or not int(match[1]):
            wrong.append(f"{service}: {file} is not named NNN_name.up.sql or NNN_name.down.sql, counted from 001")
            continue
        found.setdefault(int(match[1]), {UP: [], DOWN: []})[match[3]].append((match[2], file))
    migrations = []
    for number in sorted(found):
        both = found[number]
        for direction, given in both.items():
            if len(given) > 1:
                wrong.append(f"{service}: number {number} is given twice: {', '.join(file for _, file in given)}")
            elif not given:
                other = both[DOWN if direction == UP else UP][0][1]
                wrong.append(f"{service}: {other} has no .{direction}.sql")
        if len(both[UP]) != 1 or len(both[DOWN]) != 1:
            continue
        (up_name, up), (down_name, down) = both[UP][0], both[DOWN][0]
        if up_name != down_name:
            wrong.append(f"{service}: number {number} is given twice: {up}, {down}")
            continue
        ways = [_read(service, engine, file, files[file], wrong) for file in (up, down)]
        migrations.append(Migration(service, number, up_name, ways[0], ways[1]))
    highest = max(found, default=0)
    missing = [number for number in range(1, highest + 1) if number not in found]
    if missing:
        wrong.append(f"{service}: no file has number {', '.join(map(str, missing))}, and {highest} is there")
    return tuple(migrations), tuple(wrong)


def _read(service: str, engine: str, name: str, data: bytes, wrong: list[str]) -> File:
    """Return a file with what its own lines say of it, and add what is wrong with it."""
    where = f"{service}: {name}"
    transaction = True
    try:
        text: Optional[str] = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = None
        wrong.append(f"{where} is not UTF-8 (byte {error.start})")
    if text is not None:
        for word in _WORD.findall(text):
            kind, _, value = word.partition(" ")
            if word == "no-transaction":
                transaction = False
            elif kind == "engine" and value in sql.ENGINES:
                if value != engine:
                    wrong.append(f"{where} is for {value}, and the service's engine is {engine}")
            else:
                wrong.append(f"{where} says 'bascule: {word}', which is nothing that Bascule knows")
        if engine in sql.READ_HERE:
            wrong += [f"{where}: {finding}" for finding in sql.findings(text, engine, transaction)]
        elif not transaction:
            wrong.append(f"{where}: no-transaction is for PostgreSQL: no file of {engine} is one transaction")
    return File(name, data, transaction)
