"""Archives of ours stand beside the guest's other backups: none is removed for them, and the last one stays."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bascule.guard.state import Epoch, Receipt
from bascule.guest import audit, decisions, observed, preflight, prepare, transitions
from bascule.guest.errors import TaskFailed

NIGHTLY = [f"local:backup/vzdump-qemu-100-2026_11_{day:02d}-02_00_00.vma.zst" for day in (17, 18, 19)]


@pytest.fixture
def kept(nodes: Any) -> Any:
    """Three backups of the guest, on a storage that keeps four."""
    here, _, _, _ = nodes
    here.archives = [{"volid": name, "vmid": 100, "ctime": 1, "size": 1, "content": "backup"} for name in NIGHTLY]
    here.keeps = 4
    return nodes


def _named(node: Any) -> list[str]:
    return [row["volid"] for row in node.archives]


def test_no_other_backup_of_the_guest_is_removed_for_ours(kept: Any) -> None:
    here, _, source, _ = kept
    prepare.back_up(source, since=math.inf)
    assert _named(here)[:3] == NIGHTLY
    with pytest.raises(TaskFailed, match="max backup limit of 4"):
        prepare.back_up(source, since=math.inf)
    assert _named(here)[:3] == NIGHTLY
    sent = [values for method, path, values in here.written() if path.endswith("vzdump")]
    assert [(values["remove"], "protected" in values) for values in sent] == [(0, False)] * 2


def test_the_last_archive_is_protected(prepared: Any) -> None:
    here, _, source, target = prepared
    here.keeps = 1
    transitions.freeze(source, force=False)
    epoch, disks = Epoch(1, "aaaa"), {"disk:scsi0": "tree-sha256:1111"}
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, disks, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)
    prepare.retire(source, target.guard(target.config()))
    assert [row.get("protected") for row in here.archives] == [None, 1]


@pytest.mark.parametrize(
    ("way", "keeps", "refused"),
    [(decisions.DELTA, 4, False), (decisions.DELTA, 3, True), (decisions.ARCHIVE, 4, True),
     (decisions.ARCHIVE, 5, False), (decisions.REMOTE, 3, False), (decisions.WARM, None, False)],
)  # fmt: skip
def test_a_storage_without_room_for_one_more_is_refused_by_the_audit(
    kept: Any, way: str, keeps: int | None, refused: bool
) -> None:
    here, _, source, target = kept
    here.keeps = keeps
    found = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)["refusals"]
    assert [line for line in found if f"keeps {keeps} backups of a guest and has 3" in line] == found
    assert bool(found) is refused


def test_protected_backups_do_not_count(kept: Any) -> None:
    here, _, source, _ = kept
    here.keeps = 3
    here.archives[0]["protected"] = 1
    assert preflight.retention(source, decisions.DELTA) == []
