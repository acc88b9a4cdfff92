"""What is kept: backups by a storage's retention, and what is protected."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import Node

from .parts import Ask, need_zstd

Finished = Callable[[str], tuple[str, list[str]]]


@pytest.fixture(autouse=True)
def _zstd() -> None:
    need_zstd()


@pytest.fixture
def kept(node: Node, guest: int) -> list[str]:
    """Two older backups, on a storage that keeps two."""
    node.paths.retention.write_text("2\n")
    names = []
    for second in (1, 2):
        path = node.paths.dump / f"vzdump-qemu-100-2026_11_20-02_00_0{second}.vma"
        path.write_bytes(b"old")
        os.utime(path, (second, second))
        names.append(f"local:backup/{path.name}")
    return names


def named(ask: Ask) -> list[str]:
    return [row["volid"] for row in ask("GET", "/nodes/pve1/storage/local/content", content="backup")]


def test_a_backup_removes_older_ones_by_itself(ask: Ask, kept: list[str], finished: Finished) -> None:
    assert ask("GET", "/nodes/pve1/vzdump/defaults", storage="local")["prune-backups"] == "keep-last=2"
    assert finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local"))[0] == "OK"
    assert len(named(ask)) == 2
    assert kept[0] not in named(ask)


def test_without_removing_there_is_a_limit(ask: Ask, kept: list[str], finished: Finished) -> None:
    status, log = finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local", remove="0"))
    assert status == "job errors"
    assert [line for line in log if "There is a max backup limit of 2 enforced by the target storage" in line]
    assert named(ask) == kept


def test_a_protected_one_is_counted_nowhere_and_not_removed(ask: Ask, kept: list[str], finished: Finished) -> None:
    upid = ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local", remove="0", protected="1")
    assert finished(upid)[0] == "OK"
    (made,) = set(named(ask)) - set(kept)
    rows = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
    assert [row["volid"] for row in rows if row.get("protected")] == [made]
    status, _ = finished(ask("DELETE", f"/nodes/pve1/storage/local/content/{made}"))
    assert "cannot remove protected archive" in status
    assert made in named(ask)


def test_a_protected_guest_is_neither_removed_nor_restored_over(
    ask: Ask, node: Node, guest: int, finished: Finished
) -> None:
    finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local"))
    ask("PUT", "/nodes/pve1/qemu/100/config", protection="1")
    before = ask("GET", "/nodes/pve1/qemu/100/config")
    with pytest.raises(ApiError, match="can't remove VM 100 - protection mode enabled"):
        ask("DELETE", "/nodes/pve1/qemu/100")
    (archive,) = named(ask)
    status, _ = finished(ask("POST", "/nodes/pve1/qemu", vmid="100", archive=archive, force="1"))
    assert "protection mode enabled" in status
    with pytest.raises(ApiError, match="can't remove drive 'scsi0' - protection mode enabled"):
        ask("PUT", "/nodes/pve1/qemu/100/config", delete="name,scsi0")
    assert ask("GET", "/nodes/pve1/qemu/100/config") == before
