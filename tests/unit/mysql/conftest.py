"""Two real MariaDB servers on loopback, and the hosts around them."""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.guard.io import store

from . import world as world_module
from .servers import Running, make
from .world import Host, World


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed, empty data directory."""
    folder = tmp_path_factory.mktemp("mariadb") / "template"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--auth-root-authentication-method=socket",
         "--user=root", "--skip-test-db", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def pair(tmp_path: Path, installed: Path) -> Iterator[tuple[Running, Running]]:
    """Two servers that know nothing of each other."""
    servers = [make(tmp_path, name, installed) for name in ("mtp", "tls")]
    try:
        for one in servers:
            one.start()
        yield servers[0], servers[1]
    finally:
        for one in servers:
            if one.process:
                one.stop()


@pytest.fixture
def world(pair: tuple[Running, Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two hosts with some data at the first one, which are not prepared yet."""
    monkeypatch.setattr(store, "GUARD_DIRECTORY", tmp_path)
    for name in world_module.FUNCTIONS:
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", tmp_path)
    mtp, tls = pair
    mtp.client.execute(
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT PRIMARY KEY, v TEXT)",
        "INSERT INTO shop.t VALUES (1, 'one'), (2, NULL)",
        "CREATE TABLE shop.ticks (id BIGINT AUTO_INCREMENT PRIMARY KEY, side INT)",
        "CREATE EVENT shop.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO shop.ticks (side) VALUES (@@server_id)",
        "CREATE EVENT shop.never ON SCHEDULE EVERY 1 SECOND DISABLE DO DELETE FROM shop.t",
        "SET GLOBAL event_scheduler = ON",
        "CREATE USER app@'%' IDENTIFIED BY 'app'",
        "GRANT ALL ON shop.* TO app@'%'",
        binlog=True,
    )
    return World(
        Host("mtp", mtp, tls, tmp_path / "host-mtp"),
        Host("tls", tls, mtp, tmp_path / "host-tls"),
    )
