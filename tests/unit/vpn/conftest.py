"""Guards in a directory of the test, and a host whose VPN server is a stand-in."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from bascule.guard.io import store

from .world import FakeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host whose server runs."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for name in (
        "closing", "opening", "opening_by_word", "reopening", "read", "adopt", "frozen", "settled", "thawing",
        "giving_way",
    ):  # fmt: skip
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", root)
    monkeypatch.setattr(store.read_any, "__kwdefaults__", {"root": root})
    return FakeHost(tmp_path / "host")
