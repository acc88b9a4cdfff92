"""What goes wrong at a node while a guest moves: the message, what is left behind, and that nothing opens wrongly.

The tests of this file go on from one another: the guest is audited, prepared, proved, frozen, carried over, switched
and brought back, and at each step something breaks first. A step that was broken is done again, and then succeeds.
"""

from __future__ import annotations

import pytest

from tests.faults.guests.nodes import NUMBERS, Nodes
from tests.faults.pair import VerbResult

FULL = "No space left on device"


@pytest.fixture(autouse=True)
def afterwards(nodes: Nodes) -> object:
    """After every test: all faults forgotten, and never two guests connected."""
    yield
    nodes.mend()
    assert len(nodes.connected()) <= 1


def said(done: VerbResult, *words: str) -> None:
    """The verb failed, and its output has these words."""
    assert not done.ok, done.stdout[-4000:]
    text = " ".join(done.stdout.split())
    for word in words:
        assert word in text, f"expected {word!r} in:\n{done.stdout[-4000:]}"


def test_a_wrong_secret_changes_nothing(nodes: Nodes) -> None:
    before = nodes.config("source")
    nodes.write_inventory(proxmox_guest_token_secrets=dict.fromkeys(map(nodes.host, NUMBERS), "wrong"))
    done = nodes.verb("audit")
    nodes.write_inventory()
    said(done, "401", "check the token's id and secret")
    assert "wrong" not in done.stdout.replace("went wrong", "")
    assert nodes.config("source") == before


def test_every_missing_privilege_is_named_at_once(nodes: Nodes) -> None:
    nodes.withdraw("source", "VM.Backup", "VM.PowerMgmt")
    nodes.withdraw("target", "VM.Allocate", "Datastore.AllocateSpace")
    done = nodes.verb("audit")
    said(
        done,
        f"lacks VM.Backup on /vms/{NUMBERS['source']}",
        f"lacks VM.PowerMgmt on /vms/{NUMBERS['source']}",
        f"lacks VM.Allocate on /vms/{NUMBERS['target']}",
        "lacks Datastore.AllocateSpace on /storage/local",
        "nothing was changed",
    )


def test_a_node_behind_a_proxy_that_does_not_reach_it(nodes: Nodes) -> None:
    nodes.order("target", "api_down", status=595, count=None)
    said(nodes.verb("audit"), "595", "no answer proves nothing")


def test_an_api_that_is_slow_and_away_for_a_moment_is_waited_for(nodes: Nodes) -> None:
    nodes.order("target", "api_down", count=2)
    nodes.order("source", "slow", seconds=2, count=3)
    nodes.must("audit")


def test_a_storage_that_does_not_exist(nodes: Nodes) -> None:
    sides = nodes._component()["proxmox_guest_sides"]
    sides[nodes.host("source")]["backup_storage"] = "nope"
    nodes.write_inventory(proxmox_guest_sides=sides)
    done = nodes.verb("prepare")
    nodes.write_inventory()
    said(done, "storage 'nope' does not exist")
    assert nodes.volumes("target") == []
    assert nodes.connected() == ["source"]


def test_a_token_that_may_not_back_up(nodes: Nodes) -> None:
    nodes.withdraw("source", "VM.Backup")
    said(nodes.verb("prepare"), f"403 Permission check failed (/vms/{NUMBERS['source']}, VM.Backup)", "grant the token")


def test_a_backup_on_a_full_storage_leaves_nothing(nodes: Nodes) -> None:
    nodes.order("source", "storage_full", at="vzdump")
    said(nodes.verb("prepare"), FULL, "the task has ended")
    assert [name for name in nodes.volumes("source") if "vma" in name] == []
    assert nodes.config("target") == ""
    assert nodes.connected() == ["source"]
    assert "lock:" not in nodes.config("source")


def test_a_guest_that_somebody_has_locked_names_who(nodes: Nodes) -> None:
    nodes.order("source", "lock_held", vmid=NUMBERS["source"], lock="migrate", seconds=3600)
    done = nodes.verb("prepare")
    # Whoever held it is gone, the lock stays, as with Proxmox.
    nodes.must_run("source", ["systemctl", "restart", "pve-standin"])
    nodes.must_run("source", ["qm", "unlock", str(NUMBERS["source"])])
    said(done, "without a lock within 4 s", "locked: migrate (qmigrate by root@pam", "nothing was changed")
    assert nodes.config("target") == ""


def test_a_restore_on_a_full_storage_is_cleaned_up_by_the_next_run(nodes: Nodes) -> None:
    nodes.order("target", "storage_full", at="restore")
    said(nodes.verb("prepare"), FULL)
    left = nodes.config("target")
    assert "memory: 128" in left
    assert "scsi0" not in left
    done = nodes.must("prepare")
    assert "removing what a failed restore left behind" in done.stdout
    assert nodes.status("target") == "closed"
    assert "link_down=1" in nodes.config("target")
    assert nodes.connected() == ["source"]


def test_a_guest_that_does_not_boot_is_no_go(nodes: Nodes) -> None:
    nodes.write_inventory(proxmox_guest_limits={"task": 900, "shutdown": 10, "agent": 15, "health": 300, "lock": 4})
    nodes.order("target", "guest_does_not_boot")
    said(nodes.verb("check"), "guest_boots", "NO-GO")
    assert not nodes.running("target")
    nodes.order("target", "agent_silent", count=None)
    said(nodes.verb("check"), "guest_boots", "NO-GO")
    assert not nodes.running("target")
    nodes.write_inventory()
    nodes.mend()
    nodes.must("check")
    assert nodes.connected() == ["source"]


def test_a_shutdown_that_fails_leaves_the_guest_serving(nodes: Nodes) -> None:
    nodes.must("capture")
    nodes.order("source", "task_fails", type="qmshutdown", text="VM quit/powerdown failed - got timeout")
    said(nodes.verb("freeze"), "to shut down cleanly", "VM quit/powerdown failed")
    nodes.must("thaw", direction="back")
    assert nodes.connected() == ["source"]
    assert "onboot: 1" in nodes.config("source")


def test_a_last_archive_that_breaks_in_the_window_is_made_again(nodes: Nodes) -> None:
    nodes.must("freeze")
    nodes.order("source", "task_fails", type="vzdump", text="got signal 9")
    said(nodes.verb("sync"), "got signal 9")
    assert nodes.connected() == []
    assert (nodes.status("source"), nodes.status("target")) == ("open", "closed")


def test_a_restore_over_the_passive_guest_that_breaks_keeps_its_guard(nodes: Nodes) -> None:
    nodes.order("target", "storage_full", at="restore")
    said(nodes.verb("sync"), FULL)
    assert nodes.status("target") == ""
    nodes.must("sync")
    assert nodes.status("target") == "closed"
    again = nodes.must("sync")
    assert "changed=0" not in again.stdout or "restore from" not in again.stdout
    assert "restore from" not in again.stdout


def test_a_node_that_does_not_answer_is_no_receipt(nodes: Nodes) -> None:
    nodes.order("source", "api_down", status=596, count=None)
    said(nodes.verb("switch"), "596")
    nodes.mend()
    assert (nodes.status("source"), nodes.status("target")) == ("open", "closed")
    assert nodes.connected() == []


def test_a_lock_file_held_while_closing_is_waited_for(nodes: Nodes) -> None:
    nodes.order("source", "lock_held", vmid=NUMBERS["source"], file=True, seconds=14)
    nodes.order("target", "task_fails", type="qmstart", text="start failed: QEMU exited with code 1")
    done = nodes.verb("switch")
    said(done, "start failed: QEMU exited with code 1")
    assert nodes.status("source") == "closed"
    assert nodes.status("target") == "opening"


def test_an_opening_that_broke_goes_on(nodes: Nodes) -> None:
    nodes.must("switch", "thaw")
    assert nodes.connected() == ["target"]
    assert (nodes.status("source"), nodes.status("target")) == ("closed", "open")
    nodes.must("verify")
    assert nodes.fact("verify")["disks_different"] == 0


def test_the_way_back_breaks_at_the_old_side_and_keeps_what_was_there(nodes: Nodes) -> None:
    nodes.order("source", "storage_full", at="restore")
    said(nodes.verb("freeze", "sync", direction="back"), FULL)
    disk = f"/var/lib/vz/images/{NUMBERS['source']}/vm-{NUMBERS['source']}-disk-0.raw.bascule-kept"
    nodes.must_run("source", ["test", "-s", disk])
    nodes.must("sync", "switch", "thaw", direction="back")
    nodes.must_run("source", ["test", "-s", disk])
    assert nodes.connected() == ["source"]
    assert (nodes.status("source"), nodes.status("target")) == ("open", "closed")
    nodes.must("verify", direction="back")
