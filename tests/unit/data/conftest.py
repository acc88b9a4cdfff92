"""Data migrations on real databases: a PostgreSQL cluster and SQLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.schema.conftest import Server, database, server, socket

from bascule.data import declared
from bascule.data.contract import NeedsWord
from bascule.data.io import load
from bascule.data.io.engine import Engine
from bascule.data.io.undo import Undo, Undone

__all__ = ["EXAMPLES", "Server", "database", "engine", "server", "socket", "undone"]
EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"


def engine(said: list[str], **settings: Any) -> Engine:
    """Return the engine of a migration that an inventory would declare so."""
    one = declared.read({"moved": settings}, "the test")["moved"]
    return Engine(load.store(one, load.migration(one)), said.append)


def undone(one: Engine) -> Undone:
    """Undo, with the word that is asked for."""
    undo = Undo(one)
    with pytest.raises(NeedsWord, match=undo.word()):
        undo.run("")
    return undo.run(undo.word())
