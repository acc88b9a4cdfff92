"""A warm guest's copy is brought up to date by what has changed, and what can go wrong with that.

The tests of this file go on from one another. Every `sync` here finds the copy old, unless a test says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.guests.nodes import NUMBERS, Nodes
from tests.faults.pair import SIDES

# The warm guest of the lab is moved and brought back by tests/integration.
pytestmark = pytest.mark.long
DUMP = "/var/lib/vz/dump"
WARM = {"proxmox_guest_move": "warm", "proxmox_guest_stateless": True, "proxmox_guest_refresh_after": 0}
WRITTEN = "/var/lib/small/written"


@pytest.fixture(scope="module")
def warm(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes; the guest serves at the source, and is declared stateless."""
    gates = {
        "guest_boots": {"equals": True, "max_age": 600},
        "guest_differences": {"max": 0},
        "guest_copy_age": {"max": 3600, "unit": "s"},
    }
    pair = Nodes("pve", "refresh", tmp_path_factory.mktemp("refresh"), variables=WARM, gates=gates)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


def basis(nodes: Nodes, side: str) -> str:
    """The one basis of a side, by its path; there is nothing beside it."""
    folder = f"{DUMP}/.bascule-{nodes.component}"
    found = nodes.must_run(side, ["ls", "-A", folder]).split()
    assert len(found) == 1, found
    return f"{folder}/{found[0]}"


def archives(nodes: Nodes, side: str) -> list[str]:
    """The archives that Proxmox sees at a side, and what it keeps beside them."""
    return [name for name in nodes.volumes(side) if ".vma" in name]


def size(nodes: Nodes, side: str, path: str) -> int:
    """How large a file is."""
    return int(nodes.must_run(side, ["stat", "-c", "%s", path]))


def carried(nodes: Nodes, side: str = "target") -> dict[str, Any]:
    """What the last transfer of an archive to a side has measured."""
    path = f"/var/lib/bascule/{nodes.component}/pull-archive.status.json"
    found: dict[str, Any] = json.loads(nodes.must_run(side, ["cat", path]))
    return found


def write(nodes: Nodes, side: str = "source") -> str:
    """Let the guest write 1 % of its disk of 64 MiB; return the digest of what was written."""
    return nodes.inside(
        side, f"dd if=/dev/urandom of={WRITTEN} bs=65536 count=10 2>/dev/null && sync && sha256sum < {WRITTEN}"
    )


def process(nodes: Nodes) -> str:
    """The process of the guest that serves at the source."""
    return nodes.must_run("source", ["cat", f"/run/qemu-server/{NUMBERS['source']}.pid"])


def copied(nodes: Nodes, digest: str, active: str = "source") -> None:
    """The copy runs with what was written, cut from its network; each side keeps the archive it came from alone."""
    passive = next(side for side in SIDES if side != active)
    assert nodes.status(passive) == "closed"
    assert nodes.connected() == [active]
    nodes.must("check", direction="forward" if active == "source" else "back")
    assert nodes.running(passive)
    assert nodes.inside(passive, f"sha256sum < {WRITTEN}") == digest
    kept = {nodes.must_run(side, ["sha256sum", basis(nodes, side)], timeout=300).split()[0] for side in SIDES}
    assert len(kept) == 1
    assert archives(nodes, "source") == archives(nodes, "target") == []


def test_the_first_copy_is_carried_whole_and_kept(warm: Nodes) -> None:
    digest = write(warm)
    serving = process(warm)
    warm.must("audit", "prepare")
    found = carried(warm)
    assert not found["based"]
    assert found["literal"] == size(warm, "target", basis(warm, "target"))
    assert warm.fact("audit")["forecast"]["refresh"]["bytes"] > 0
    copied(warm, digest)
    assert process(warm) == serving


def test_a_refresh_carries_what_has_changed(warm: Nodes) -> None:
    before = basis(warm, "target")
    digest, serving = write(warm), process(warm)
    warm.must("sync")
    found, now = carried(warm), basis(warm, "target")
    assert now != before
    assert found["based"]
    assert 10 << 16 < found["received"] < size(warm, "target", now) / 5
    copied(warm, digest)
    assert process(warm) == serving


def test_a_copy_that_is_young_is_left_alone(warm: Nodes) -> None:
    warm.write_inventory(proxmox_guest_refresh_after=3600)
    before = basis(warm, "target")
    assert "vzdump (" not in warm.must("sync").stdout
    assert basis(warm, "target") == before
    warm.write_inventory()


def test_a_damaged_basis_costs_a_whole_transfer_and_nothing_else(warm: Nodes) -> None:
    path = basis(warm, "target")
    length = size(warm, "target", path)
    warm.must_run("target", ["bash", "-c", f"head -c {length} /dev/urandom > {path}"])
    digest = write(warm)
    warm.must("sync")
    assert carried(warm)["based"]
    assert carried(warm)["literal"] > 0.99 * length
    copied(warm, digest)


def test_a_basis_that_is_gone_costs_a_whole_transfer_and_nothing_else(warm: Nodes) -> None:
    path = basis(warm, "target")
    length = size(warm, "target", path)
    warm.must_run("target", ["rm", path])
    digest = write(warm)
    warm.must("sync")
    assert not carried(warm)["based"]
    assert carried(warm)["literal"] > 0.99 * length
    copied(warm, digest)


def test_a_transfer_that_is_cut_leaves_nothing_under_the_final_name_and_is_done_again(warm: Nodes) -> None:
    before, serving = basis(warm, "target"), process(warm)
    digest = write(warm)
    warm.write_inventory(proxmox_guest_transfer_bwlimit=40)
    running = warm.start_verb("sync")
    arriving = f"{DUMP}/.bascule-{warm.component}/arriving"
    warm.until("target", f'test -n "$(find {arriving} -type f -size +8k)"', running=running)
    warm.must_run("target", ["systemctl", "kill", "--signal=KILL", f"bascule-{warm.component}-pull-archive.service"])
    done = warm.finish(running)
    assert not done.ok
    assert "it has ended without one" in done.stdout
    assert archives(warm, "target") == []
    assert warm.connected() == ["source"]
    assert process(warm) == serving
    made = archives(warm, "source")[0]
    assert archives(warm, "source") == [made, f"{made}.notes"]
    assert not before.endswith(made)
    # The copy is old, the archive is not: it is carried over, not made again.
    note = f"/var/lib/bascule/{warm.component}/note-copied.json"
    warm.must_run("target", ["tee", note], json.dumps({"archived": 1}))
    warm.write_inventory(proxmox_guest_refresh_after=3600)
    assert "vzdump (" not in warm.must("sync").stdout
    assert basis(warm, "target").endswith(made)
    assert carried(warm)["based"]
    assert carried(warm)["received"] < size(warm, "target", basis(warm, "target")) / 5
    copied(warm, digest)
    warm.write_inventory()


def test_the_way_back_begins_with_what_both_sides_have(warm: Nodes) -> None:
    warm.must("capture", "freeze", "sync", "switch", "thaw")
    assert warm.connected() == ["target"]
    digest = write(warm, "target")
    warm.must("sync", direction="back")
    found = carried(warm, "source")
    assert found["based"]
    assert found["received"] < size(warm, "source", basis(warm, "source")) / 5
    copied(warm, digest, active="target")


def test_decommission_leaves_one_last_archive(warm: Nodes) -> None:
    warm.must("freeze", "sync", "switch", "thaw", direction="back")
    assert warm.connected() == ["source"]
    warm.must("retire", direction="back", extra={"scenario_phase": "decommission"})
    assert warm.config("target") == ""
    last, notes, protected = archives(warm, "target")
    assert last.endswith(".vma.zst")
    assert (notes, protected) == (f"{last}.notes", f"{last}.protected")
    assert archives(warm, "source") == []
    for side in SIDES:
        assert warm.run(side, ["ls", f"{DUMP}/.bascule-{warm.component}"]).rc != 0
