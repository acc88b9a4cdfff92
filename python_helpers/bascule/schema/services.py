"""What an inventory says of the services whose schema moves: `schema_services`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError
from ..system import libpq, pymysql_way
from . import sql

VARIABLE = "schema_services"
_KEYS = frozenset(
    {"engine", "folder", "connection", "direct", "copy", "file", "backups", "production", "depends_on", "lock_timeout"}
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SECONDS = 5


@dataclass(frozen=True)
class Service:
    """One service.

    folder: where its files are. file: the database, where the engine is SQLite. connection: how libpq reaches it, where
    it is PostgreSQL, or PyMySQL; direct: the same past a pooler, for pg_dump; copy: where a database may be made for a
    copy, which on MariaDB is an account that does not see the service's database.
    backups: the folder for what is taken before a change. lock_timeout: seconds a statement may wait for a lock.
    """

    name: str
    engine: str
    folder: str
    file: str = ""
    connection: Mapping[str, str] = field(default_factory=dict)
    direct: Mapping[str, str] = field(default_factory=dict)
    copy: Mapping[str, str] = field(default_factory=dict)
    backups: str = ""
    production: bool = True
    depends_on: tuple[str, ...] = ()
    lock_timeout: int = _SECONDS


def read(given: Any, where: str) -> dict[str, Service]:
    """Return the services by name; raise PlanError with every contradiction.

    Args:
        given: the value of `schema_services`. where: the file that says so.
    """
    if not isinstance(given, Mapping) or not given:
        raise PlanError(expected=f"{VARIABLE} in {where}: services by name", found=type(given).__name__)
    wrong: list[str] = []
    found = {str(name): _service(str(name), value, wrong) for name, value in given.items()}
    for name, one in found.items():
        wrong += [
            f"{name}: depends_on names {other}, which is no service" for other in one.depends_on if other not in found
        ]
    wrong += _circles(found)
    if wrong:
        raise PlanError(
            expected=f"{VARIABLE} in {where} without contradiction", found="; ".join(wrong), state="nothing was changed"
        )
    return found


def _service(name: str, given: Any, wrong: list[str]) -> Service:
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if not _NAME.fullmatch(name) or name == "all":
        wrong.append(f"{name}: a service's name is made of letters, digits, '_', '.' and '-', and is not 'all'")
    if not said:
        wrong.append(f"{name}: nothing is said of it")
    wrong += [f"{name}: {key} is nothing that Bascule knows" for key in sorted(map(str, said)) if key not in _KEYS]
    engine = str(said.get("engine", ""))
    if engine not in sql.ENGINES:
        wrong.append(f"{name}: engine is {engine or 'not given'}, and is one of {', '.join(sql.ENGINES)}")
    for key in ("folder", "backups") + (("file",) if engine == sql.SQLITE else ()):
        value = said.get(key, "")
        needed = key != "backups" or said.get("production", True)
        if (needed or value) and (not isinstance(value, str) or not value or "{{" in value):
            wrong.append(f"{name}: {key} is a path, written without a template")
    production = said.get("production", True)
    if not isinstance(production, bool):
        wrong.append(f"{name}: production is true or false")
    timeout = said.get("lock_timeout", _SECONDS)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        wrong.append(f"{name}: lock_timeout is a whole number of seconds")
    depends = said.get("depends_on", [])
    if not isinstance(depends, list):
        wrong.append(f"{name}: depends_on is a list of services")
    foreign = {sql.SQLITE: ("connection", "direct", "copy"), sql.MARIADB: ("file", "direct")}.get(engine, ("file",))
    wrong += [f"{name}: {key} is not for {engine}" for key in foreign if key in said]
    ways = _ways(name, engine, said, wrong)
    connection = ways.get("connection", {})
    direct = ways.get("direct") or connection
    return Service(
        name=name,
        engine=engine,
        folder=str(said.get("folder", "")),
        file=str(said.get("file", "")),
        connection=connection,
        direct=direct,
        copy=ways.get("copy") or ({} if engine == sql.MARIADB else direct),
        backups=str(said.get("backups", "")),
        production=bool(production),
        depends_on=tuple(map(str, depends)) if isinstance(depends, list) else (),
        lock_timeout=timeout if isinstance(timeout, int) else _SECONDS,
    )


def _ways(name: str, engine: str, said: Mapping[str, Any], wrong: list[str]) -> dict[str, dict[str, str]]:
    if engine == sql.SQLITE:
        return {}
    if engine != sql.MARIADB:
        return {key: libpq.way(name, key, said, wrong) for key in ("connection", "direct", "copy")}
    ways = {"connection": pymysql_way.way(name, "connection", said.get("connection"), wrong)}
    if "copy" in said:
        ways["copy"] = pymysql_way.way(name, "copy", said["copy"], wrong, database=False)
    elif said.get("production", True):
        wrong.append(f"{name}: copy is not given: an account that may make bascule_copy_… and sees no other database")
    return ways


def _circles(found: Mapping[str, Service]) -> list[str]:
    left = {name: {other for other in one.depends_on if other in found} for name, one in found.items()}
    while ready := [name for name, others in left.items() if not others & set(left)]:
        for name in ready:
            del left[name]
    return [f"these depend on each other in a circle: {', '.join(sorted(left))}"] if left else []
