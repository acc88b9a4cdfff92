"""How much a guest sees of its disk with EFI variables depends on its type; no archive has it without OVMF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.guest import audit, config, decisions, observed, prepare
from bascule.guest.errors import ProxmoxError
from bascule.guest.io import disk_source


def _on(nodes: Any, value: str, **given: str) -> None:
    for node in nodes[:2]:
        node.storages = {"fast": "lvm"}
    nodes[0].guests[100] |= {"efidisk0": f"fast:vm-100-disk-1{value},size=4M", **given}
    nodes[0].volumes["fast:vm-100-disk-1"] = 4 << 20


def _refusals(nodes: Any, way: str) -> list[str]:
    *_, source, target = nodes
    views = observed.look_at_both(source, target, all_disks=False)
    return [line for line in audit.audit(source, target, *views, way)["refusals"] if "efidisk0" in line]


@pytest.mark.parametrize(("value", "arch", "seen"), [
    (",efitype=4m", "", 540672), (",efitype=2m", "", 131072), ("", "", 131072), ("", "x86_64", 131072),
    (",efitype=4m", "aarch64", 64 << 20), ("", "aarch64", 64 << 20), (",efitype=8m", "", 0), ("", "riscv64", 0),
])  # fmt: skip
def test_how_much_a_guest_sees_of_it(nodes: Any, value: str, arch: str, seen: int) -> None:
    _on(nodes, value, bios="ovmf", **({"arch": arch} if arch else {}))
    assert config.efi_seen(nodes[0].guests[100]) == seen
    left, _ = observed.look_at_both(*nodes[2:])
    lengths = {disk.name: disk.length for disk in left.disks}
    assert lengths["efidisk0"] == (min(seen, 4 << 20) or 4 << 20)
    unknown = [line for line in _refusals(nodes, decisions.ARCHIVE) if "nobody knows how much the guest sees" in line]
    assert bool(unknown) is not seen


@pytest.mark.parametrize("efitype", ["", ",efitype=2m"])
def test_two_equal_ones_in_larger_volumes_are_equal(nodes: Any, tmp_path: Path, efitype: str) -> None:
    """Beyond the variables lies what the volumes held before they were made."""
    _on(nodes, efitype, bios="ovmf")
    (length,) = [disk.length for disk in observed.look_at_both(*nodes[2:])[0].disks if disk.name == "efidisk0"]
    found = set()
    for rest in (b"a", b"b"):
        path = tmp_path / rest.decode()
        path.write_bytes(b"V" * 131072 + rest * ((4 << 20) - 131072))
        found.add(disk_source.digest({"name": "efidisk0", "path": str(path), "format": "raw", "length": length}))
    assert len(found) == 1


@pytest.mark.parametrize("given", [{}, {"bios": "seabios"}])
@pytest.mark.parametrize("way", [decisions.ARCHIVE, decisions.DELTA])
def test_without_ovmf_no_archive_has_it_and_that_is_refused(nodes: Any, way: str, given: dict[str, str]) -> None:
    _on(nodes, ",efitype=4m", **given)
    said = "the guest 100 at pve-mtp: disk efidisk0 is in no archive (an EFI disk, and the guest has no bios: ovmf)"
    assert said in _refusals(nodes, way)
    with pytest.raises(ProxmoxError, match=r"no archive has efidisk0 \(an EFI disk, and the guest has no bios: ovmf\)"):
        prepare.back_up(nodes[2])
    nodes[0].guests[100]["bios"] = "ovmf"
    assert said not in _refusals(nodes, way)
