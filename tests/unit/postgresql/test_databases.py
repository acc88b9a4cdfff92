"""Every database is compared and dumped, or named."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.postgresql.io.cluster import databases

from .test_files import make_spec


def server(others: list[dict[str, Any]], objects: int) -> Any:
    """Make a cluster with such databases besides the usual ones, and so many objects in template1."""
    opened: list[str] = []

    def session(database: str) -> Any:
        opened.append(database)
        return contextlib.nullcontext(SimpleNamespace(value=lambda sql: objects))

    return SimpleNamespace(
        spec=make_spec(),
        session=session,
        opened=opened,
        query=lambda sql: others if "template0" in sql else [{"name": "courses"}, {"name": "postgres"}],
    )


PLAIN = [{"name": "template1", "admits": True}]


def test_what_every_cluster_has_is_left_out_unsaid() -> None:
    found = server(PLAIN, 0)
    assert databases.names(found) == ["courses", "postgres"]
    assert databases.left_out(found, found) == []
    databases.require_all(found, found)


@pytest.mark.parametrize(
    ("others", "objects", "named"),
    [
        (PLAIN, 2, "template1 (a template, with 2 objects that somebody has made)"),
        ([{"name": "template1", "admits": False}], 0, "template1 (it refuses connections)"),
        ([*PLAIN, {"name": "model", "admits": True}], 0, "model (a template)"),
        ([*PLAIN, {"name": "archive", "admits": False}], 0, "archive (it refuses connections)"),
    ],
)
def test_whatever_else_is_left_out_is_named(others: list[dict[str, Any]], objects: int, named: str) -> None:
    found = server(others, objects)
    assert databases.left_out(found, found) == [named]
    # A session would keep others from copying a template.
    assert set(found.opened) <= {"template1"}
    with pytest.raises(BasculeError, match="nothing was dumped") as refused:
        databases.require_all(found, found)
    assert named in refused.value.found
