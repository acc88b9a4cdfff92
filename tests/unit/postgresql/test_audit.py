"""What an audit reads from a host's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.io import pg_audit

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
    assert pg_audit._extensions(make_spec()) == {"hstore": ["1.4", "1.5", "1.8"], "lo": []}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 << 30),
        ("256MB", 256 << 20),
        ("256", 256 << 20),
        ("64kB", 64 << 10),
        ("1 TB", 1 << 40),
        ("-1", -(1 << 20)),
    ],
)
def test_sizes_as_postgresql_writes_them(text: str, size: int) -> None:
    assert pg_audit._bytes(text) == size
