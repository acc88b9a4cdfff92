"""A session with the server waits for an answer to its end, however it comes, and no longer."""

from __future__ import annotations

import fcntl
import io
import os
import selectors
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bascule.postgresql.io.cluster.psql import Psql, SqlError

_SET_PIPE_SIZE = 1031


class InPieces(io.RawIOBase):
    """A pipe of which no read gives more than what has come by then: 60,000 bytes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return what a selector watches."""
        return self._descriptor

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is."""
        try:
            found = os.read(self._descriptor, min(len(buffer), 60_000))
        except BlockingIOError:
            return None
        buffer[: len(found)] = found
        return len(found)


@pytest.fixture
def ends() -> Iterator[tuple[int, Psql]]:
    """Make the end at which psql writes, and the session that reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, _SET_PIPE_SIZE, 1 << 20)
    os.set_blocking(reading, False)
    session = Psql.__new__(Psql)
    session._buffer = b""
    session._process = cast(Any, SimpleNamespace(stdout=io.BufferedReader(InPieces(reading))))
    session._selector = selectors.DefaultSelector()
    session._selector.register(reading, selectors.EVENT_READ)
    yield writing, session
    session._selector.close()
    for end in (reading, writing):
        os.close(end)


@pytest.mark.parametrize("size", [10, 59_000, 64_000, 66_000, 68_000, 200_000])
def test_a_long_answer_is_read_to_its_end(ends: tuple[int, Psql], size: int) -> None:
    writing, session = ends
    os.write(writing, b"x" * size + b"\nTOKEN false\n")
    assert session._finish("TOKEN", "SELECT 1", 0.5) == "x" * size


def test_an_answer_that_does_not_come_is_not_waited_for(ends: tuple[int, Psql]) -> None:
    writing, session = ends
    os.write(writing, b"half of it\n")
    with pytest.raises(SqlError, match="an answer in time to: SELECT 1"):
        session._finish("TOKEN", "SELECT 1", 0.1)
