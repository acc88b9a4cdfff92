"""What goes wrong at a node while a guest moves: the message, what is left behind, and that nothing opens wrongly.

The tests of this file go on from one another: the guest is audited, prepared, proved, frozen, carried over, switched
and brought back, and at each step something breaks first. A step that was broken is done again, and then succeeds.
What Proxmox refuses in words that were recorded is in `test_recorded.py`.
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


def stays_closed(nodes: Nodes, side: str) -> None:
    """Nothing of the guest runs at the closed side, and no boot of the node starts it."""
    assert "onboot: 0" in nodes.config(side)
    assert "link_down=1" in nodes.config(side)
    assert not nodes.running(side)


def said(done: VerbResult, *words: str) -> None:
    """The verb failed, and its output has these words."""
    assert not done.ok, done.stdout[-4000:]
    text = " ".join(done.stdout.split())
    for word in words:
        assert word in text, f"expected {word!r} in:\n{done.stdout[-4000:]}"


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


@pytest.mark.long
def test_an_api_that_is_slow_and_away_for_a_moment_is_waited_for(nodes: Nodes) -> None:
    nodes.order("target", "api_down", count=2)
    nodes.order("source", "slow", seconds=2, count=3)
    nodes.must("audit")
    # And the link was measured meanwhile: its rate is none of what the forecast assumes.
    assert [line for line in nodes.fact("audit")["forecast"]["assumed"] if "link" in line] == []


@pytest.mark.long
def test_a_backup_on_a_full_storage_leaves_nothing(nodes: Nodes) -> None:
    nodes.order("source", "storage_full", at="vzdump")
    said(nodes.verb("prepare"), FULL, "the task has ended")
    assert [name for name in nodes.volumes("source") if "vma" in name] == []
    assert nodes.config("target") == ""
    assert nodes.connected() == ["source"]
    assert "lock:" not in nodes.config("source")


@pytest.mark.long
def test_a_guest_that_somebody_has_locked_names_who(nodes: Nodes) -> None:
    nodes.order("source", "lock_held", vmid=NUMBERS["source"], lock="migrate", seconds=3600)
    done = nodes.verb("prepare")
    # Whoever held it is gone, the lock stays, as with Proxmox.
    nodes.must_run("source", ["systemctl", "restart", "pve-standin"])
    nodes.must_run("source", ["qm", "unlock", str(NUMBERS["source"])])
    said(done, "without a lock within 4 s", "locked: migrate (qmigrate by root@pam", "nothing was changed")
    assert nodes.config("target") == ""


@pytest.mark.long
def test_a_restore_that_nobody_ends_leaves_its_lock(nodes: Nodes) -> None:
    nodes.order("target", "task_fails", type="qmrestore", text="unexpected status")
    said(nodes.verb("prepare"), "unexpected status", "the task has ended")
    assert "lock: create" in nodes.config("target")
    assert nodes.connected() == ["source"]


@pytest.mark.long
def test_what_failed_restores_leave_is_freed_and_cleaned_up_by_the_next_run(nodes: Nodes) -> None:
    """The lock and the volumes of the one that nobody ended, then the bare number after a full storage."""
    nodes.order("target", "storage_full", at="restore")
    said(nodes.verb("prepare"), FULL, "removing what a failed restore left behind")
    left = nodes.config("target")
    assert "memory: 128" in left
    assert "scsi0" not in left
    assert "lock:" not in left
    done = nodes.must("prepare")
    assert "removing what a failed restore left behind" in done.stdout
    assert nodes.status("target") == "closed"
    assert "link_down=1" in nodes.config("target")
    # What the one that nobody ended has left is named by no guest, and could be anybody's: it is told and stays.
    number = NUMBERS["target"]
    assert f"no guest names local:{number}/vm-{number}-disk-0.raw" in done.stdout
    assert [name for name in nodes.volumes("target") if "disk" in name] == [
        f"vm-{number}-disk-0.raw", f"vm-{number}-disk-1.raw",
    ]  # fmt: skip
    assert nodes.connected() == ["source"]


def test_a_guest_that_does_not_boot_is_no_go_and_its_console_is_kept(nodes: Nodes) -> None:
    nodes.must("prepare")
    nodes.write_inventory(proxmox_guest_limits={"task": 900, "shutdown": 3, "agent": 10, "health": 300, "lock": 4})
    nodes.order("target", "guest_does_not_boot")
    said(nodes.verb("check"), "guest_boots", "NO-GO", "the guest agent", "it has written nothing to its serial console")
    assert not nodes.running("target")
    nodes.order("target", "agent_silent", count=None)
    kept = f"/var/lib/bascule/{nodes.component}/console.log"
    said(nodes.verb("check"), "guest_boots", "NO-GO", f"its console output is kept in {kept}", "it ends: ")
    assert nodes.must_run("target", ["cat", kept]).strip()
    assert not nodes.running("target")
    nodes.write_inventory()
    nodes.mend()
    nodes.must("check")
    assert nodes.connected() == ["source"]


def test_a_shutdown_that_fails_leaves_the_guest_serving(nodes: Nodes) -> None:
    """Scheduled backups are held off by the freeze and given back by the thaw: those that ran before, and no other."""
    nodes.schedule(nightly=True, never=False)
    nodes.order("source", "task_fails", type="qmshutdown", text="VM quit/powerdown failed - got timeout")
    said(nodes.verb("capture", "freeze"), "to shut down cleanly", "VM quit/powerdown failed")
    assert nodes.scheduled("source") == nodes.scheduled("target") == {"nightly": False, "never": False}
    nodes.must("thaw", direction="back")
    assert nodes.scheduled("source") == nodes.scheduled("target") == {"nightly": True, "never": False}
    assert nodes.connected() == ["source"]
    assert "onboot: 1" in nodes.config("source")


def test_a_last_archive_that_breaks_in_the_window_is_made_again(nodes: Nodes) -> None:
    nodes.order("source", "task_fails", type="vzdump", text="got signal 9")
    said(nodes.verb("freeze", "sync"), "got signal 9")
    assert nodes.connected() == []
    assert (nodes.status("source"), nodes.status("target")) == ("open", "closed")


@pytest.mark.long
def test_a_copy_that_the_window_is_about_to_replace_is_not_booted(nodes: Nodes) -> None:
    """A cutover that was interrupted goes on through `check`: a half written copy would be NO-GO with users outside."""
    nodes.order("target", "guest_does_not_boot", count=None)
    assert "not proved: the window has begun" in " ".join(nodes.must("check").stdout.split())
    assert not nodes.running("target")


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
    nodes.must("switch", "thaw", "verify")
    assert nodes.connected() == ["target"]
    assert (nodes.status("source"), nodes.status("target")) == ("closed", "open")
    stays_closed(nodes, "source")
    proof = nodes.fact("verify")
    assert (proof["disks_compared"], proof["disks_unmoved"], proof["disks_different"]) == (1, 0, 0)


def test_the_way_back_breaks_at_the_old_side_and_keeps_what_was_there(nodes: Nodes) -> None:
    nodes.order("source", "storage_full", at="restore")
    said(nodes.verb("freeze", "sync", direction="back"), FULL)
    disk = f"/var/lib/vz/images/{NUMBERS['source']}/vm-{NUMBERS['source']}-disk-0.raw.bascule-kept"
    nodes.must_run("source", ["test", "-s", disk])
    nodes.must("sync", "switch", "thaw", "verify", direction="back")
    nodes.must_run("source", ["test", "-s", disk])
    assert nodes.connected() == ["source"]
    stays_closed(nodes, "target")
    assert (nodes.status("source"), nodes.status("target")) == ("open", "closed")
