"""The thin storage of the stand-in, on real block devices; a guest whose changed blocks travel from files onto it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pve.pve_standin.access import PRIVILEGES, Caller
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import Node
from pve.pve_standin.paths import Paths
from pve.pve_standin.routes import WithTotal, answer
from pve.pve_standin.volumes import EXTENT

from bascule.guest import decisions, observed, prepare
from bascule.guest.api import Api
from bascule.guest.guest import Guest, Limits, Side
from bascule.guest.io import disk_blocks, disks
from bascule.system.rsync import Job

from .parts import SCHEMAS, TOKEN, Ask, add_guest, need_zstd

Finished = Callable[[str], tuple[str, list[str]]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that has the storage `local-lvm` too."""
    assert shutil.which("losetup"), "losetup is not installed: make packages"
    if os.geteuid():
        pytest.skip("only root makes a block device")
    devices = Path(f"/dev/bascule-pve-{os.getpid()}")
    devices.mkdir()
    made = Node("pve1", Paths(tmp_path / "pve1", devices), schemas=SCHEMAS)
    made.paths.tokens.write_text(f"{TOKEN} secret\n")
    done = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    if done.returncode:
        devices.rmdir()
        pytest.skip(f"no loop device can be had here: {done.stderr.strip()}")
    yield made
    for path in devices.iterdir():
        made.volumes.remove(f"local-lvm:{path.name}")
    devices.rmdir()


def test_volumes_are_block_devices_of_whole_extents(node: Node, ask: Ask) -> None:
    status = ask("GET", "/nodes/pve1/storage/local-lvm/status")
    assert (status["type"], status["content"], status["active"]) == ("lvmthin", "images,rootdir", 1)
    assert ask("GET", "/nodes/pve1/storage/local-lvm/content") == []
    volid = node.volumes.allocate(100, 5 << 20, "local-lvm")
    assert volid == "local-lvm:vm-100-disk-0"
    (row,) = ask("GET", "/nodes/pve1/storage/local-lvm/content", content="images", vmid="100")
    assert {key: row[key] for key in ("volid", "format", "size", "vmid")} == {
        "volid": volid, "format": "raw", "size": 2 * EXTENT, "vmid": 100,
    }  # fmt: skip
    assert ask("GET", "/nodes/pve1/storage/local-lvm/content", vmid="200") == []
    found = ask("GET", f"/nodes/pve1/storage/local-lvm/content/{volid}")
    assert (found["path"], found["size"]) == (str(node.paths.devices / "vm-100-disk-0"), 2 * EXTENT)
    assert Path(found["path"]).is_block_device()
    assert node.volumes.allocate(100, 1, "local-lvm") == "local-lvm:vm-100-disk-1"
    node.volumes.remove(volid)
    assert [row["volid"] for row in ask("GET", "/nodes/pve1/storage/local-lvm/content")] == ["local-lvm:vm-100-disk-1"]


def test_a_guest_is_restored_onto_it_archived_from_it_and_goes_with_it(
    node: Node, ask: Ask, guest: int, finished: Finished
) -> None:
    need_zstd()
    assert finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local", compress="zstd"))[0] == "OK"
    (row,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
    made = ask("POST", "/nodes/pve1/qemu", vmid="200", archive=row["volid"], storage="local-lvm")
    assert finished(made)[0] == "OK"
    assert ask("GET", "/nodes/pve1/qemu/200/config")["scsi0"] == "local-lvm:vm-200-disk-0,size=4M"
    content = (node.paths.images / "100/vm-100-disk-0.raw").read_bytes()
    device = node.paths.devices / "vm-200-disk-0"
    assert device.read_bytes() == content + bytes(EXTENT - len(content))
    again = ask("POST", "/nodes/pve1/vzdump", vmid="200", storage="local", compress="0")
    assert finished(again)[0] == "OK"
    (other,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup", vmid="200")
    assert "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:" in ask(
        "GET", "/nodes/pve1/vzdump/extractconfig", volume=other["volid"]
    )
    assert finished(ask("DELETE", "/nodes/pve1/qemu/200"))[0] == "OK"
    assert list(node.paths.devices.iterdir()) == list(node.paths.thin.iterdir()) == []


def _guest(node: Node, storage: str) -> Guest:
    caller = Caller(TOKEN, {"/": frozenset(PRIVILEGES)})

    def transport(method: str, path: str, values: Mapping[str, Any]) -> Any:
        try:
            found = answer(node, caller, method, f"/{path}", {key: str(value) for key, value in values.items()})
        except ApiError as error:
            return error.status, error.reason, None, error.errors
        return 200, "OK", found.data if isinstance(found, WithTotal) else found, None

    side = Side(machine=node.name, node=node.name, vmid=100, storage=storage, backup_storage="local")
    return Guest(Api(transport, node.name), side, "courses_guest", Limits(), probe=lambda url: "nobody")


# What the forced command of the node with the files runs.
_OTHER_NODE = """
import os, sys
from bascule.guest.io import disk_blocks, ssh_key
disk_blocks.directory = lambda component: sys.argv[1]
os.environ["SSH_ORIGINAL_COMMAND"] = sys.argv[2]
sys.exit(ssh_key.serve([], "courses_guest"))
"""


def test_changed_blocks_of_a_file_come_onto_the_copys_block_device(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_zstd()
    here = Node("pve2", Paths(tmp_path / "pve2", tmp_path / "none"), schemas=SCHEMAS)
    add_guest(here, 100)
    disk, content = here.paths.images / "100/vm-100-disk-0.raw", random.Random(3).randbytes(EXTENT)
    disk.write_bytes(content)
    here.store.change(100, scsi0="local:100/vm-100-disk-0.raw,size=4M")
    source, target = _guest(here, "local"), _guest(node, "local-lvm")
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    shutil.copy(archive["path"], node.paths.dump)
    prepare.restore(target, source, archive["volid"], began=True)
    device = node.paths.devices / "vm-100-disk-0"
    assert device.read_bytes() == content
    with disk.open("r+b") as handle:
        handle.write(b"changed since the copy was made")
    todo = decisions.sync_todo(*observed.look_at_both(source, target)).to_dict()
    assert (todo["action"], todo["pairs"]) == ("blocks", [])
    # What stands in for Perl with Proxmox's library has every volume active.
    perl = tmp_path / "perl"
    perl.write_text("#!/bin/sh\n")
    perl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(disk_blocks, "directory", lambda component: str(tmp_path))
    disk_blocks.lend("courses_guest", [pair["source"] for pair in todo["blocks"]])
    job = Job("courses_guest", "delta", "198.18.1.30", 22, "root", (), True, 16384, 0, True)
    found = disk_blocks.carry(
        job, todo["blocks"][0]["target"], lambda text: None,
        ask=lambda job, wish: [sys.executable, "-c", _OTHER_NODE, str(tmp_path), wish.words()],
    )  # fmt: skip
    assert found["literal"] == 16384
    views = observed.look_at_both(source, target)
    assert len({disks.digest(vars(view.disks[0])) for view in views}) == 1
    assert device.read_bytes() == disk.read_bytes()
