"""What an audit reads from a host's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.postgresql.io.cluster import settings
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
