"""A node below a temporary directory: real files, real archives, no QEMU (its guests are never started)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pve.pve_standin import server
from pve.pve_standin.access import PRIVILEGES, Caller
from pve.pve_standin.node import Node
from pve.pve_standin.paths import Paths
from pve.pve_standin.routes import WithTotal, answer

TOKEN = "bascule@pve!move"
CONFIG = """\
agent: 1
boot: order=scsi0;net0
memory: 256
name: vm1
net0: virtio=BC:24:11:03:07:C1,bridge=vmbr0
onboot: 1
scsi0: local:{vmid}/vm-{vmid}-disk-0.raw,size=1M
scsihw: virtio-scsi-pci
"""
DISK = b"boot" + bytes(300_000) + b"x" * 200_000 + bytes((1 << 20) - 500_004)


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


def add_guest(node: Node, vmid: int) -> None:
    (node.paths.images / str(vmid)).mkdir()
    (node.paths.images / f"{vmid}/vm-{vmid}-disk-0.raw").write_bytes(DISK)
    node.paths.config(vmid).write_text(CONFIG.format(vmid=vmid))


Ask = Callable[..., Any]


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


def need_zstd() -> None:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed: archives cannot be compressed")


SCHEMAS = Path(os.environ.get("BASCULE_PVE_SCHEMAS", Path(__file__).resolve().parents[4] / "shared" / "pve"))
