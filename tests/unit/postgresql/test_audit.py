"""What an audit reads from a host's files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.guard import state as rule
from bascule.guard.state import GuardState
from bascule.postgresql.io.cluster import databases, settings
from bascule.postgresql.io.cluster.psql import SqlError
from bascule.postgresql.io.standby import audit

from .test_files import make_spec


def test_versions_of_extensions_are_those_that_a_script_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "hstore.control",
        "hstore--1.4.sql",
        "hstore--1.4--1.5.sql",
        "hstore--1.5--1.8.sql",
        "lo.control",
        "x--1.sql",
    ]
    monkeypatch.setattr(Path, "is_dir", lambda path: True)
    monkeypatch.setattr(os, "listdir", lambda path: names)
    assert audit._extensions(make_spec()) == {"hstore": ["1.4", "1.5", "1.8"], "lo": []}


class Asked:
    """A session that notes what it is asked."""

    def __init__(self, able: bool) -> None:
        self.able = able
        self.queries: list[str] = []

    def value(self, sql: str) -> Any:
        return self.able

    def query(self, sql: str) -> list[dict[str, Any]]:
        self.queries.append(sql)
        return [{"name": "port"}]


@pytest.mark.parametrize(("able", "place"), [(True, "FROM pg_file_settings"), (False, "FROM pg_settings")])
def test_what_alter_system_has_set_is_read_from_its_file(able: bool, place: str) -> None:
    """A setting that waits for a restart has its old source yet; who is no superuser may not look."""
    session: Any = Asked(able)
    assert audit._auto_settings(session) == ["port"]
    assert place in session.queries[0]


def test_files_that_the_server_refuses_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "setting", lambda spec, name: {"fsync": "off"}.get(name, "on"))
    assert settings.own(make_spec())["fsync"] == "off"

    def refuse(spec: object, name: str) -> str:
        raise CommandFailed(expected="success", found="unrecognized parameter")

    monkeypatch.setattr(settings, "setting", refuse)
    assert settings.own(make_spec()) == {}


class Databases:
    """A cluster whose databases hold what no log carries; one of them may not answer."""

    def __init__(self, silent: str = "") -> None:
        self.silent = silent

    def __call__(self, spec: object) -> Any:
        return self

    def postmaster(self) -> object:
        return object()

    @contextlib.contextmanager
    def session(self, *, database: str = "postgres", timeout: float = 10) -> Iterator[Any]:
        if database == self.silent:
            raise SqlError(expected="a connection", found="sorry, too many clients already")
        yield Holds(database)


class Holds:
    """A session in one of them."""

    def __init__(self, database: str) -> None:
        self.database = database

    def value(self, sql: str) -> Any:
        return False

    def query(self, sql: str) -> list[dict[str, Any]]:
        if self.database != "courses":
            return []
        if "relkind = 'S'" in sql:
            return [{"name": "app.ids"}]
        return [{"name": "app.cache", "bytes": 8192}, {"name": "app.nothing", "bytes": 0}]


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Let the side hold something."""
    held = Databases()
    monkeypatch.setattr(audit, "Cluster", held)
    monkeypatch.setattr(databases, "names", lambda session: ["courses", "billing"])
    return held


def test_what_no_log_carries_is_refused_by_name_before_a_cutover(holding: Databases) -> None:
    found = audit.not_replicated(make_spec())
    assert found[0] == "unlogged tables in courses are not replicated: app.cache, app.nothing"
    assert "app.ids" in found[1]
    holding.silent = "billing"
    with pytest.raises(SqlError):
        audit.not_replicated(make_spec())


def test_what_a_return_would_leave_behind_is_named_and_stops_nothing(holding: Databases) -> None:
    side = make_spec().side
    assert audit.left_behind(make_spec(), rule.adopt_open(GuardState("x", side))) == [
        f"unlogged table courses.app.cache (8192 bytes) at {side}",
        f"unlogged sequence courses.app.ids at {side}: it gives values again",
    ]
    # A closed side has nothing to lose any more: what was read before it closed stays true.
    assert audit.left_behind(make_spec(), rule.adopt_closed(GuardState("x", side))) is None
    holding.silent = "postgres"
    assert audit.left_behind(make_spec(), rule.adopt_open(GuardState("x", side))) == [
        f"what is in no log of the databases at {side}, which did not tell: sorry, too many clients already"
    ]
    holding.silent = "billing"
    found = audit.left_behind(make_spec(), rule.adopt_open(GuardState("x", side)))
    assert found is not None
    assert found[-1] == (
        f"what is in no log of database billing at {side}, which did not tell: sorry, too many clients already"
    )
