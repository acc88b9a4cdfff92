"""What an inventory says of data migrations: `data_migrations`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError
from ..system import libpq, pymysql_way
from .contract import ENGINES, MARIADB, POSTGRESQL, SQLITE

VARIABLE = "data_migrations"
# What a limit is a limit of. Each engine can measure some.
LIMITS = ("replication_lag_seconds", "replication_lag_mib", "wal_mib", "active", "load")
_KEYS = frozenset({"engine", "module", "connection", "file", "seconds", "rows", "aside", "limits", "lock_timeout"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Declared:
    """One migration.

    module: the file. connection: how the client's library reaches the database. file: the database of SQLite.
    seconds: what a batch shall take. rows: how few and how many rows one may have. aside: with so many rows aside, a
    run stops. limits: what is measured, and how much of it pauses a run. lock_timeout: seconds to wait for another.
    """

    name: str
    engine: str
    module: str
    connection: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    seconds: float = 0.5
    rows: tuple[int, int] = (100, 20000)
    aside: int = 1000
    limits: Mapping[str, float] = field(default_factory=dict)
    lock_timeout: int = 5


def read(given: Any, where: str) -> dict[str, Declared]:
    """Return the migrations by name; raise PlanError with every contradiction.

    Args:
        given: the value of `data_migrations`. where: the file that says so.
    """
    if not isinstance(given, Mapping) or not given:
        raise PlanError(expected=f"{VARIABLE} in {where}: data migrations by name", found=type(given).__name__)
    wrong: list[str] = []
    found = {str(name): _one(str(name), value, wrong) for name, value in given.items()}
    if wrong:
        raise PlanError(f"{VARIABLE} in {where} without contradiction", "; ".join(wrong), "nothing was changed")
    return found


def _one(name: str, given: Any, wrong: list[str]) -> Declared:
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if not _NAME.fullmatch(name):
        wrong.append(f"{name}: a migration's name is made of letters, digits, '_', '.' and '-'")
    wrong += [f"{name}: {key} is nothing that Bascule knows" for key in sorted(map(str, said)) if key not in _KEYS]
    engine = str(said.get("engine", ""))
    if engine not in ENGINES:
        wrong.append(f"{name}: engine is {engine or 'not given'}, and is one of {', '.join(ENGINES)}")
    for key in ("module",) + (("file",) if engine == SQLITE else ()):
        if not isinstance(said.get(key), str) or not said[key] or "{{" in said[key]:
            wrong.append(f"{name}: {key} is a path, written without a template")
    foreign = "connection" if engine == SQLITE else "file"
    if foreign in said:
        wrong.append(f"{name}: {foreign} is not for {engine}")
    connection: dict[str, str] = {}
    if engine == POSTGRESQL:
        connection = libpq.way(name, "connection", said, wrong)
    elif engine == MARIADB:
        connection = pymysql_way.way(name, "connection", said.get("connection"), wrong)
    rows = said.get("rows", [100, 20000])
    if not isinstance(rows, list) or len(rows) != 2 or not all(_whole(one) for one in rows) or rows[0] > rows[1]:
        wrong.append(f"{name}: rows are two whole numbers, the fewest and the most of a batch")
        rows = [1, 1]
    seconds = said.get("seconds", 0.5)
    if not _number(seconds) or not 0.01 <= seconds <= 30:
        wrong.append(f"{name}: seconds, what a batch shall take, are between 0.01 and 30")
        seconds = 1
    for key in ("aside", "lock_timeout"):
        if not _whole(said.get(key, 1)):
            wrong.append(f"{name}: {key} is a whole number from 1 on")
    limits = said.get("limits", {})
    if not isinstance(limits, Mapping) or not all(one in LIMITS and _number(most) for one, most in limits.items()):
        wrong.append(f"{name}: limits are numbers for {', '.join(LIMITS)}")
        limits = {}
    return Declared(
        name=name,
        engine=engine,
        module=str(said.get("module", "")),
        connection=connection,
        file=str(said.get("file", "")),
        seconds=float(seconds),
        rows=(rows[0], rows[1]),
        aside=said.get("aside", 1000),
        limits={str(one): float(most) for one, most in limits.items()},
        lock_timeout=said.get("lock_timeout", 5),
    )


def _whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 1


def _number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and given >= 0
