"""What a reboot does to a database: closed, kept frozen, or left alone, as its guard says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.agent.__main__ import main as agent
from bascule.guard.io import store
from bascule.guard.state import Epoch
from bascule.postgresql.io.cluster import cluster


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the cluster."""
    found: list[str] = []

    class Cluster:
        def __init__(self, spec: str) -> None:
            assert spec == "spec of accounts_db"

        def fence(self) -> None:
            found.append("fence")

        def admit(self, mode: str) -> bool:
            found.append(f"admit {mode}")
            return True

    monkeypatch.setattr(store, "GUARD_DIRECTORY", tmp_path / "guard")
    monkeypatch.setattr(cluster, "Cluster", Cluster)
    monkeypatch.setattr(cluster, "load_spec", lambda component: f"spec of {component}")
    return found


def test_an_open_side_is_left_alone_and_a_frozen_one_lets_nobody_in(tmp_path: Path, done: list[str]) -> None:
    root = tmp_path / "guard"
    store.adopt("accounts_db", "db-mtp", "open", root=root)
    assert agent(["fence_postgresql", "accounts_db"]) == 0
    assert done == []
    store.frozen("accounts_db", "db-mtp", True, root=root)
    assert agent(["fence_postgresql", "accounts_db"]) == 0
    assert done == ["admit frozen"]


def test_whatever_is_not_open_is_closed(tmp_path: Path, done: list[str]) -> None:
    root = tmp_path / "guard"
    store.adopt("accounts_db", "db-mtp", "open", root=root)
    with pytest.raises(KeyError), store.closing("accounts_db", "db-mtp", Epoch(1, "d"), root=root):
        raise KeyError
    assert agent(["fence_postgresql", "accounts_db"]) == 0
    assert done == ["fence"]
