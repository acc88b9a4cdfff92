"""Two real MongoDB servers on loopback, and the hosts around them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.guard.io import store

from . import world as world_module
from .servers import Running, make, secrets
from .world import Host, World


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    """Two servers; the first one is a set of its own, the other one has never been in any."""
    secrets(tmp_path)
    servers = [make(tmp_path, name) for name in ("mtp", "tls")]
    try:
        for one in servers:
            one.start()
        servers[0].initiate()
        yield servers[0], servers[1]
    finally:
        for one in servers:
            one.remove()


@pytest.fixture
def world(pair: tuple[Running, Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two hosts with some data at the first one, which are not prepared yet."""
    monkeypatch.setattr(store, "GUARD_DIRECTORY", tmp_path)
    for name in world_module.FUNCTIONS:
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", tmp_path)
    mtp, tls = pair
    mtp.run({"insert": "t", "documents": [{"_id": 1, "v": "one"}, {"_id": 2, "v": None}]}, "shop")
    mtp.run({"createUser": "app", "pwd": "app", "roles": [{"role": "readWrite", "db": "shop"}]})
    return World(
        Host("mtp", mtp, tls, tmp_path / "host-mtp"),
        Host("tls", tls, mtp, tmp_path / "host-tls"),
    )
