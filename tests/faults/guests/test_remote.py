"""Proxmox's own migration between two clusters: forward and back, and broken in the middle.

The guest is a process with a small disk and nothing on it, which is stopped hard: what is looked at is the migration.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.guests.nodes import NUMBERS, Nodes

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def clusters(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two clusters of one node each."""
    variables = {
        "proxmox_guest_move": "remote_migrate",
        "proxmox_guest_force_stop": True,
        "proxmox_guest_limits": {"task": 300, "shutdown": 1, "agent": 60, "health": 60, "lock": 4},
    }
    pair = Nodes("pve", "remote", tmp_path_factory.mktemp("remote"), variables=variables, boots=False)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


def test_a_migration_that_breaks_is_begun_anew(clusters: Nodes) -> None:
    clusters.must("audit", "prepare", "capture", "freeze")
    assert clusters.config("target") == ""
    clusters.order("source", "task_fails", type="qmigrate", text="error - tunnel command failed")
    done = clusters.verb("sync")
    assert not done.ok
    assert "migration aborted" in done.stdout
    assert "lock: create" in clusters.config("target")
    assert "lock:" not in clusters.config("source")
    assert clusters.status("source") == "open"
    assert clusters.connected() == []
    clusters.must("sync")
    arrived = clusters.config("target")
    assert "link_down=1" in arrived
    assert "lock:" not in arrived + clusters.config("source")
    assert clusters.status("target") == "closed"
    assert "remote_migrate to" not in clusters.must("sync").stdout


def test_the_switch_compares_the_disks_and_opens(clusters: Nodes) -> None:
    clusters.must("switch", "thaw", "verify")
    assert clusters.connected() == ["target"]
    assert clusters.fact("verify")["disks_compared"] == 1
    assert clusters.fact("verify")["way"] == "remote_migrate"
    assert (clusters.status("source"), clusters.status("target")) == ("closed", "open")


def test_the_way_back_keeps_the_old_disk_aside(clusters: Nodes) -> None:
    clusters.must("freeze", "sync", direction="back")
    number = NUMBERS["source"]
    clusters.must_run("source", ["test", "-s", f"/var/lib/vz/images/{number}/vm-{number}-disk-0.raw.bascule-kept"])
    clusters.must("switch", "thaw", "verify", direction="back")
    assert clusters.connected() == ["source"]
    assert clusters.fact("verify")["disks_different"] == 0
    assert (clusters.status("source"), clusters.status("target")) == ("open", "closed")
