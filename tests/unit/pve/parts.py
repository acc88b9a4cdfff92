"""What the tests of the stand-in share: a guest's configuration and disk, and where Proxmox's own schema is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pve.pve_standin.node import Node

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
SCHEMAS = Path(os.environ.get("BASCULE_PVE_SCHEMAS", Path(__file__).resolve().parents[4] / "shared" / "pve"))
Ask = Callable[..., Any]


def add_guest(node: Node, vmid: int) -> None:
    (node.paths.images / str(vmid)).mkdir()
    (node.paths.images / f"{vmid}/vm-{vmid}-disk-0.raw").write_bytes(DISK)
    node.paths.config(vmid).write_text(CONFIG.format(vmid=vmid))


def need_zstd() -> None:
    """Archives are compressed: without the program their tests fail rather than see nothing."""
    assert shutil.which("zstd"), "zstd is not installed: make packages"
