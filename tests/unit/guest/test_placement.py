"""Disks on several storages: a restore puts them where Proxmox can, and what it cannot is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guard.state import Epoch
from bascule.guest import audit, decisions, observed, preflight, prepare, ready, remote, session, transitions
from bascule.guest import config as guest_config
from bascule.guest.errors import ProxmoxError

from .test_storages import _carry, _switch

SAME = {"fast": "fast", "slow": "slow", "local": "local"}
CROSSED = {"fast": "tank", "slow": "slow", "local": "local"}
RESTORED = [way for way in decisions.WAYS if way != decisions.REMOTE]


@pytest.fixture
def spread(nodes: Any) -> Any:
    """A guest with a disk on each of two storages, which both sides have, and its cloud-init drive on a third."""
    here, there, source, target = nodes
    here.storages = {"fast": "dir", "slow": "dir"}
    there.storages = {"fast": "dir", "slow": "dir", "tank": "dir"}
    here.guests[100] |= {"scsi0": "fast:100/vm-100-disk-0.raw,size=1G", "virtio1": "slow:100/vm-100-disk-1.raw,size=2G"}
    for guest in (source, target):
        guest.side = replace(guest.side, storage="fast", backup_storage="local")
    return nodes


def _declare(guest: Any, **storages: str) -> None:
    guest.side = replace(guest.side, storages=storages)


def _audit(nodes: Any, way: str = decisions.ARCHIVE) -> dict[str, Any]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    return audit.audit(source, target, *views, way, stateless=way == decisions.WARM)


def _places(node: Any) -> dict[str, str]:
    return {drive.name: drive.storage for drive in guest_config.drives(node.guests[100])}


def _posted(node: Any) -> list[Any]:
    return [values.get("storage") for method, path, values in node.written() if path.endswith("/qemu")]


def test_the_same_names_at_both_sides_there_and_back(spread: Any) -> None:
    here, there, source, target = spread
    _declare(source, **SAME)
    _declare(target, **SAME)
    found = _audit(spread)
    assert found["refusals"] == []
    assert [note for note in found["notes"] if "come to lie" in note] == []
    prepare.adopt(source)
    _carry(source, target, spread, "state1")
    assert _places(there) == {"scsi0": "fast", "virtio1": "slow"}
    assert _posted(there) == [None]
    _switch(source, target, Epoch(1, "aaaa"))
    transitions.freeze(target, force=False)
    _carry(target, source, spread, "state2", replace=True)
    assert _places(here) == {"scsi0": "fast", "virtio1": "slow"}
    assert _posted(here) == [None]


def test_without_a_map_all_come_to_lie_on_one_and_that_is_said(spread: Any) -> None:
    _here, there, source, target = spread
    (note,) = [note for note in _audit(spread)["notes"] if "come to lie" in note]
    assert "lie on 'fast', 'slow' at pve-mtp; they all come to lie on 'fast' at pve-tls" in note
    prepare.adopt(source)
    _carry(source, target, spread, "state1")
    assert (_places(there), _posted(there)) == ({"scsi0": "fast", "virtio1": "fast"}, ["fast"])


def test_all_on_one_other_storage(spread: Any) -> None:
    _here, there, source, target = spread
    _declare(target, fast="tank", slow="tank", local="tank")
    prepare.adopt(source)
    _carry(source, target, spread, "state1")
    assert (_places(there), _posted(there)) == ({"scsi0": "tank", "virtio1": "tank"}, ["tank"])


@pytest.mark.parametrize("way", RESTORED)
@pytest.mark.parametrize("side", [0, 1], ids=["back", "there"])
def test_what_no_restore_can_do_is_refused_by_name_before_the_evening(spread: Any, way: str, side: int) -> None:
    *_, source, target = spread
    _declare(source, **SAME)
    _declare(target, **SAME)
    _declare((source, target)[side], **CROSSED)
    where = ("pve-mtp", "pve-tls")[side]
    said = f"storages for {where}: 'fast' to 'tank', 'local' to 'local', 'slow' to 'slow'; a restore"
    assert [line for line in _audit(spread, way)["refusals"] if line.startswith(said)]
    views = observed.look_at_both(source, target)
    assert [line for line in ready.ready(source, target, *views, way)["refusals"] if line.startswith(said)]


def test_nor_is_anything_written_when_nobody_has_asked_the_audit(spread: Any) -> None:
    _here, there, source, target = spread
    prepare.adopt(source)
    _declare(target, **CROSSED)
    with pytest.raises(ProxmoxError, match=r"'fast' to 'tank'.*nothing was restored.*correct storages of that side"):
        _carry(source, target, spread, "state1")
    assert there.written() == []


def test_a_migration_takes_any_map(spread: Any) -> None:
    here, there, source, target = spread
    _declare(source, **SAME)
    _declare(target, **CROSSED)
    assert [line for line in _audit(spread, decisions.REMOTE)["refusals"] if "a restore puts" in line] == []
    prepare.adopt(source)
    transitions.freeze(source, force=False)
    here.peer = there
    endpoint = remote.Endpoint("pve-tls.example.net", 8006, "bascule@pve!move=secret", "AA:BB")
    here.fail_next.append(("POST", "remote_migrate", (500, "no", None, None)))
    with pytest.raises(ProxmoxError):
        remote.migrate(source, target, endpoint, None)
    (sent,) = [values for _, path, values in here.written() if path.endswith("remote_migrate")]
    assert sent["target-storage"] == "fast:tank,local:local,slow:slow"


def test_each_storage_is_asked_for_room_and_named(spread: Any) -> None:
    _here, there, source, target = spread
    _declare(source, **SAME)
    _declare(target, **SAME)
    asked = _audit(spread)["storages"]
    assert (asked["pve-tls:fast"]["needed"], asked["pve-tls:slow"]["needed"]) == (1 << 30, 2 << 30)
    del there.storages["slow"]
    assert "storage 'slow' at pve-tls: 500 storage 'slow' does not exist" in _audit(spread)["refusals"]


def test_the_token_needs_its_rights_on_each(spread: Any) -> None:
    target = spread[3]
    _declare(target, fast="tank")
    assert {"/storage/fast", "/storage/tank", "/storage/local"} <= set(
        preflight.needed(target, 8, decisions.ARCHIVE, ["vmbr0"])
    )


@pytest.mark.parametrize("given", [["fast"], {"fast": ""}, {"fast": None}, "fast"])
def test_a_map_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ProxmoxError, match=r"storages for pve-tls in proxmox_guest_sides.*such as"):
        session._storages("pve-tls", given)
    assert session._storages("pve-tls", {"fast": "tank"}) == {"fast": "tank"}
