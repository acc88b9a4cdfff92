"""A node below a temporary directory: real files, real archives, no QEMU (its guests are never started)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bascule_lab import credentials
from pve.pve_standin import server
from pve.pve_standin.access import PRIVILEGES, Caller
from pve.pve_standin.node import Node
from pve.pve_standin.paths import Paths
from pve.pve_standin.routes import WithTotal, answer

from .over_tls import FEW, USER, World
from .parts import SCHEMAS, TOKEN, Ask, add_guest


@pytest.fixture
def node(tmp_path: Path) -> Node:
    assert server.ENDPOINTS
    # Where Proxmox's own schema is at hand, every request and every answer of every test is held against it.
    made = Node("pve1", Paths(tmp_path), schemas=SCHEMAS)
    made.paths.tokens.write_text(f"{TOKEN} secret\n")
    return made


@pytest.fixture
def guest(node: Node) -> int:
    """A stopped guest 100 with one small disk."""
    add_guest(node, 100)
    return 100


@pytest.fixture
def ask(node: Node) -> Ask:
    """Ask the node's API: `ask("GET", "/version")`; parameters as keywords, dashes as underscores."""
    caller = Caller(TOKEN, {"/": frozenset(PRIVILEGES)})

    def call(method: str, path: str, **given: Any) -> Any:
        values = {key.replace("_", "-"): value for key, value in given.items()}
        result = answer(node, caller, method, path, values)
        return result.data if isinstance(result, WithTotal) else result

    return call


@pytest.fixture
def finished(node: Node, ask: Ask) -> Callable[[str], tuple[str, list[str]]]:
    """Wait for a task: its exit status and its log."""

    def wait(upid: str) -> tuple[str, list[str]]:
        status = node.tasks.wait(upid)
        return status, [line["t"] for line in ask("GET", f"/nodes/pve1/tasks/{upid}/log", limit="0")]

    return wait


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    (directory / "hosts").mkdir()
    credentials.make_authority(directory)
    credentials.make_certificate(directory, "pve1", ["127.0.0.1"])
    return directory


@pytest.fixture(params=["8.4", "9.1"])
def world(request: pytest.FixtureRequest, tmp_path: Path, certificates: Path) -> Iterator[World]:
    node = Node("pve1", Paths(tmp_path), request.param, SCHEMAS)
    node.paths.tokens.write_text(f"{TOKEN} secret\n{FEW} secret\n")
    node.paths.users.write_text(f"{USER} password\n")
    few = {"/": ["VM.Audit"], "/vms": ["VM.Audit", "VM.Backup"]}
    node.paths.privileges.write_text(json.dumps({FEW: few}))
    for vmid in (100, 200):
        add_guest(node, vmid)
    hosts = certificates / "hosts"
    running = server.make(node, ("127.0.0.1", 0), hosts / "pve1.crt", hosts / "pve1.key")
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield World(node, running.server_port, certificates)
    running.shutdown()
    thread.join()
    running.server_close()
