"""Sessions: where psql and the socket are is found once, and what is found is never trusted for long."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.io.psql import Psql, Session, SqlError


class Host:
    """A host with psql, as far as sessions see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
        self.programs = programs
        self.found = self.install("15")
        for version in ("9.6", "14"):
            self.install(version)
        self.started: list[tuple[str, str | None]] = []
        self.gone: set[str] = set()
        self.directory = "/var/run/postgresql"
        # What psql ends with, when it does not answer, and from which directory it would.
        self.ends: int | None = None
        self.answers: str | None = ""

        def start(
            session: Any,
            arguments: Sequence[str],
            environment: Mapping[str, str],
            owner: str,
            timeout: float,
            program: str = "psql",
        ) -> None:
            if program in self.gone:
                raise FileNotFoundError(program)
            self.started.append((program, environment.get("PGHOST")))
            session._process = SimpleNamespace(pid=7, returncode=None)

        def value(session: Any, sql: str, **_: Any) -> str:
            if self.ends is not None and self.started[-1][1] != self.answers:
                session._process.returncode = self.ends
                raise SqlError("a connection to the local server", "it was closed")
            return self.directory

        monkeypatch.setattr(Psql, "__init__", start)
        monkeypatch.setattr(Psql, "close", lambda session: None)
        monkeypatch.setattr(Session, "value", value)
        monkeypatch.setattr(Session, "_found", {})
        monkeypatch.setattr("bascule.io.psql._PROGRAMS", programs)

    def install(self, version: str) -> str:
        """Put a psql there."""
        program = self.programs / version / "bin/psql"
        program.parent.mkdir(parents=True)
        program.touch()
        return str(program)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """Make one."""
    return Host(monkeypatch, tmp_path)


def test_what_was_found_is_used_for_the_same_port(host: Host) -> None:
    """The first session of a port looks; the others go where it came to."""
    for port in (5432, 5432, 5433):
        Session(port)
    assert host.started == [("psql", None), (host.found, "/var/run/postgresql"), ("psql", None)]


def test_nobody_at_the_known_socket_is_no_refusal(host: Host) -> None:
    """The server may have moved its socket: it is looked for before it is said that it does not answer."""
    Session(5432)
    host.ends, host.answers, host.directory = 2, None, "/run/other"
    Session(5432)
    host.answers = "/run/other"
    Session(5432)
    assert [directory for _, directory in host.started] == [None, "/var/run/postgresql", None, "/run/other"]


def test_a_server_that_is_down_is_looked_for_once_more(host: Host) -> None:
    """Then it is an error, and the next session looks again."""
    Session(5432)
    host.ends = 2
    for _ in range(2):
        with pytest.raises(SqlError):
            Session(5432)
    assert [program for program, _ in host.started] == ["psql", host.found, "psql", "psql"]


@pytest.mark.parametrize(("ends", "seconds"), [(-9, 0), (2, 5)])
def test_a_server_that_does_not_answer_in_time_is_not_asked_twice(
    host: Host, monkeypatch: pytest.MonkeyPatch, ends: int, seconds: int
) -> None:
    """It was reached: to ask again would double the time."""
    Session(5432)
    host.ends = ends
    clock = itertools.count(0, seconds)
    monkeypatch.setattr("bascule.io.psql.time.monotonic", lambda: next(clock))
    with pytest.raises(SqlError):
        Session(5432)
    assert [program for program, _ in host.started] == ["psql", host.found]


def test_a_program_that_was_taken_away_is_looked_for_again(host: Host) -> None:
    """By an update, while we run."""
    Session(5432)
    host.gone.add(host.found)
    Session(5432)
    assert host.started == [("psql", None), ("psql", None)]


def test_a_server_that_is_not_asked_through_a_socket_is_looked_for_each_time(host: Host) -> None:
    """Somebody has set it so in the environment."""
    host.directory = "127.0.0.1"
    for _ in range(2):
        Session(5432)
    assert host.started == [("psql", None), ("psql", None)]


def test_a_program_that_is_not_where_debian_has_it_is_looked_for_each_time(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is nothing to gain."""
    monkeypatch.setattr("bascule.io.psql._PROGRAMS", tmp_path / "none")
    for _ in range(2):
        Session(5432)
    assert host.started == [("psql", None), ("psql", None)]


def test_statements_that_go_together_are_one_message(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction: psql sends what is joined so at once."""
    sent: list[str] = []
    monkeypatch.setattr(Psql, "_send", lambda session, sql, timeout: sent.append(sql))
    Session(5432).together(["SET jit = off", "SET timezone = 'UTC'"])
    assert sent == ["SET jit = off\\;SET timezone = 'UTC'"]
