"""Clients who are refused by now have their sessions ended, also those that show a moment later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bascule.errors import BasculeError
from bascule.postgresql.io.switchover import freeze


class Server:
    """Ends what it sees; `left` is how many sessions are there after each time."""

    def __init__(self, *left: int) -> None:
        self._left = list(left)
        self.asked = 0

    def query(self, text: str) -> list[dict[str, bool]]:
        assert "pg_terminate_backend" in text
        self.asked += 1
        return [{"ended": True}]

    def value(self, text: str) -> int:
        assert "count(*)" in text
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


def expel(server: Server) -> int:
    """End the sessions of all clients, of whom none rides through the switch."""
    return freeze._expel(cast(Any, server), cast(Any, SimpleNamespace(clients=[])))


def test_who_was_let_in_a_moment_before_is_ended_as_well() -> None:
    server = Server(1, 2, 0)
    assert (expel(server), server.asked) == (3, 3)
    assert expel(Server(0)) == 1


def test_a_session_that_stays_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "_EXPEL_SECONDS", 0.2)
    server = Server(1)
    with pytest.raises(BasculeError, match="1 are still there"):
        expel(server)
    assert server.asked > 1
