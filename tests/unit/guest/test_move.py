"""A guest is prepared, frozen, closed, opened, thawed and brought back; both nodes are looked at after every step."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guard.todo import NOTHING
from bascule.guest import decisions, drift, observed, prepare, serving, transitions
from bascule.guest.errors import ProxmoxError

E1, E2 = Epoch(1, "aaaa"), Epoch(2, "bbbb")
DISKS = {"disk:scsi0": "tree-sha256:1111"}


def switch(source: Any, target: Any, epoch: Epoch, leads: bool = False) -> None:
    transitions.close_begin(source, epoch, force=False)
    receipt = transitions.close_finish(source, epoch, {} if leads else DISKS, "2026-11-20T09:00:00Z")["receipt"]
    transitions.open_side(
        target, epoch, Receipt.from_dict(receipt), transitions.reached(DISKS, DISKS, leads), onboot=True, leads=leads
    )


def _connected(*nodes: Any) -> list[str]:
    return [n.node for n in nodes if 100 in n.running and "link_down=1" not in n.guests[100]["net0"]]


def test_prepare_makes_a_closed_guest_cut_from_its_network(prepared: Any) -> None:
    here, there, source, target = prepared
    restored = there.guests[100]
    assert restored["net0"] == "virtio=BC:24:11:03:07:C1,bridge=vmbr0,link_down=1"
    assert restored["onboot"] == 0
    assert restored["description"].startswith("The courses' web application.\nAsk Nadia.\nbascule: {")
    assert target.guard(target.config()).status == guard.CLOSED
    assert source.guard(source.config()).status == guard.OPEN
    assert here.guests[100]["net0"] == "virtio=BC:24:11:03:07:C1,bridge=vmbr0"
    assert _connected(here, there) == ["pve-mtp"]


def test_one_node_is_enough_to_read_the_guard_of_its_side(prepared: Any, fake: Any) -> None:
    _here, there, source, target = prepared
    there.fail_next += [("GET", "config", fake.NoAnswer("no route to host"))] * 9
    read, unread, gone = observed.guards(source, target)
    assert gone == []
    assert {machine: state.status for machine, state in read.items()} == {"pve-mtp": guard.OPEN}
    (said,) = unread.values()
    assert said.startswith("expected: an answer to GET ")
    assert said.endswith("config at pve-tls; found: no route to host")
    there.fail_next.clear()
    assert [state.status for state in observed.guards(source, target)[0].values()] == [guard.OPEN, guard.CLOSED]


def test_a_guest_that_nobody_can_ask_whether_it_serves_is_refused_by_name(prepared: Any) -> None:
    _here, _there, source, target = prepared
    silent = {**source.config(), "agent": "0"}
    assert serving.unaskable(source, target, silent) == []
    target.side = replace(target.side, health_url="")
    assert serving.unaskable(source, target, source.config()) == []
    (why,) = serving.unaskable(source, target, silent)
    assert "nobody could be asked at pve-tls whether the guest serves: declare health_url" in why
    assert serving.unaskable(source, target, None) == []


def test_prepare_twice_changes_nothing(prepared: Any) -> None:
    here, there, source, target = prepared
    assert prepare.adopt(source)["changed"] is False
    again = prepare.back_up(source)
    assert again["changed"] is False
    assert prepare.restore(target, source, again["archive"]["volid"], began=True)["changed"] is False
    assert here.written() == []
    assert there.written() == []


def test_a_number_that_belongs_to_somebody_else_is_refused(nodes: Any) -> None:
    _here, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.guests[100] = {"name": "mail", "memory": "128", "scsi0": "local:100/vm-100-disk-0.raw,size=8G"}
    with pytest.raises(ProxmoxError, match="the guest 'mail' has it, and this component never began to restore there"):
        prepare.restore(target, source, archive["volid"], began=False)
    assert there.guests[100]["name"] == "mail"
    assert there.written() == []


def test_what_a_failed_restore_left_behind_is_removed_only_when_ours(nodes: Any) -> None:
    here, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    there.guests[100] = {"memory": "128"}
    with pytest.raises(ProxmoxError, match="never began"):
        prepare.restore(target, source, archive["volid"], began=False)
    assert there.guests[100] == {"memory": "128"}
    result = prepare.restore(target, source, archive["volid"], began=True)
    assert result["cleaned"] is True
    assert target.guard(target.config()).status == guard.CLOSED


def test_a_backup_that_runs_already_is_followed_and_its_archive_taken(nodes: Any) -> None:
    here, _, source, _ = nodes
    prepare.adopt(source)
    notes = f"bascule courses_guest {drift.fingerprint(source.config())} {{{{guestname}}}}"
    upid = here._vzdump({"vmid": "100", "notes-template": notes})[2]
    here.active.append({"type": "vzdump", "upid": upid, "user": "bascule@pve!move", "status": "RUNNING"})
    here.requests.clear()
    found = prepare.back_up(source)
    assert found["changed"] is False
    assert found["archive"]["name"] == "vzdump-qemu-100-2026_11_20-08_46_01.vma.zst"
    assert here.written() == []


def test_a_backup_that_fails_speaks_with_proxmoxs_words(nodes: Any) -> None:
    here, _, source, _ = nodes
    words = "zstd: error 70 : Write error : cannot write block : No space left on device"
    here.task_results["vzdump"] = ("job errors", [f"ERROR: {words}", "TASK ERROR: job errors"])
    with pytest.raises(ProxmoxError, match="No space left on device"):
        prepare.back_up(source)


def test_an_archive_in_the_wrong_folder_is_not_restored(nodes: Any) -> None:
    _, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]["volid"]
    there.fail_next.append(("GET", f"content/{archive}", (500, f"volume '{archive}' does not exist", None, None)))
    with pytest.raises(ProxmoxError, match="set dump_directory for pve-tls"):
        prepare.restore(target, source, archive, began=True)
    assert there.guests == {}


def test_forward_and_back(prepared: Any) -> None:
    here, there, source, target = prepared
    assert transitions.freeze(source, force=False)["changed"] is True
    assert here.guests[100]["onboot"] == 0
    assert _connected(here, there) == []
    assert transitions.freeze(source, force=False)["changed"] is False
    switch(source, target, E1)
    assert _connected(here, there) == ["pve-tls"]
    assert "link_down=1" in here.guests[100]["net0"]
    assert there.guests[100]["onboot"] == 1
    assert transitions.thaw(target, onboot=True)["changed"] is False
    # and back, with the sides swapped
    assert transitions.freeze(target, force=False)["changed"] is True
    switch(target, source, E2)
    assert _connected(here, there) == ["pve-mtp"]
    assert here.guests[100]["onboot"] == 1
    assert here.guests[100]["description"].startswith("The courses' web application.\nAsk Nadia.\n")


def test_return_before_the_switch_is_thaw(prepared: Any) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    left, entered = observed.look_at_both(target, source)
    assert decisions.sync_todo(left, entered).action == NOTHING
    assert decisions.switch_todo(left, entered).action == NOTHING
    assert transitions.freeze(target, force=False)["changed"] is False
    assert transitions.thaw(source, onboot=True)["changed"] is True
    assert _connected(here, there) == ["pve-mtp"]
    assert here.guests[100]["onboot"] == 1
    assert transitions.thaw(source, onboot=True)["changed"] is False


def test_return_when_the_source_was_closed_but_the_target_never_opened(prepared: Any) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")
    left, entered = observed.look_at_both(target, source)
    todo = decisions.switch_todo(left, entered)
    assert (todo.action, todo.digests) == ("switch", False)
    assert decisions.sync_todo(left, entered).action == NOTHING
    switch(target, source, E2, leads=True)
    assert _connected(here, there) == ["pve-mtp"]


def test_an_opening_that_died_is_closed_by_a_higher_epoch(prepared: Any) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    there.task_results["qmstart"] = ("VM is locked (backup)", ["TASK ERROR: VM is locked (backup)"])
    with pytest.raises(ProxmoxError, match=r"VM is locked \(backup\)"):
        transitions.open_side(target, E1, receipt, reached=True, onboot=True, leads=False)
    assert target.guard(target.config()).status == guard.OPENING
    # The way back: the target may have been used, so its data leads and the source must get it first.
    left, entered = observed.look_at_both(target, source)
    assert observed.leading(left, entered) == "pve-tls"
    assert decisions.sync_todo(left, entered).action == "delta"
    assert decisions.switch_todo(left, entered).digests is True
    switch(target, source, E2)
    assert _connected(here, there) == ["pve-mtp"]


def test_an_epoch_of_an_earlier_decision_cannot_open(prepared: Any) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    old = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    # Another controller took over and brought the source back.
    switch(target, source, E2, leads=True)
    with pytest.raises(GuardRefused, match="a later decision has taken over"):
        transitions.open_side(target, E1, old, reached=True, onboot=True, leads=False)
    assert _connected(here, there) == ["pve-mtp"]
    assert "link_down=1" in there.guests[100]["net0"]


@pytest.mark.parametrize(
    ("found", "leads", "reason"),
    [
        ({"disk:scsi0": "tree-sha256:2222"}, False, "disk:scsi0 is tree-sha256:2222, not tree-sha256:1111"),
        ({}, False, "disk:scsi0 is missing"),
        ({"disk:scsi0": "tree-sha256:1111", "disk:scsi1": "x"}, False, "disk:scsi1 is x, not known"),
    ],
)
def test_a_side_with_other_disks_is_not_opened(prepared: Any, found: dict[str, str], leads: bool, reason: str) -> None:
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    before = dict(there.guests[100])
    with pytest.raises(GuardRefused, match=reason):
        transitions.open_side(target, E1, receipt, transitions.reached(DISKS, found, leads), onboot=True, leads=leads)
    assert there.guests[100] == before
    assert _connected(here, there) == []


def test_nothing_is_opened_when_onboot_was_never_captured(prepared: Any) -> None:
    _here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    before = dict(there.guests[100])
    with pytest.raises(ProxmoxError, match="the captured setting 'onboot'"):
        transitions.open_side(target, E1, receipt, reached=True, onboot=None, leads=False)
    assert there.guests[100] == before


def test_a_guest_that_does_not_shut_down_is_not_forced(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.task_results["qmshutdown"] = (
        "VM quit/powerdown failed - got timeout",
        ["TASK ERROR: VM quit/powerdown failed - got timeout"],
    )
    with pytest.raises(ProxmoxError, match="set proxmox_guest_force_stop: true") as caught:
        transitions.freeze(source, force=False)
    assert caught.value.found == "VM quit/powerdown failed - got timeout; it still runs"
    assert 100 in here.running
    assert not [r for r in here.written() if r[1].endswith("status/stop")]


def test_a_task_that_ends_well_is_not_believed(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.task_results["qmshutdown"] = ("OK", ["TASK OK"])
    with pytest.raises(ProxmoxError, match="the task ended well, but the node says running"):
        transitions.freeze(source, force=False)


def test_proof_boot_is_isolated_and_ends_stopped(prepared: Any) -> None:
    here, there, _, target = prepared
    seen: list[list[str]] = []
    there.check = lambda *given: seen.append(_connected(here, there))
    result = transitions.proof_boot(target)
    assert result["boots"] is True
    assert 100 not in there.running
    assert all(found == ["pve-mtp"] for found in seen)


def test_proof_boot_of_a_guest_with_a_silent_agent_says_why(prepared: Any) -> None:
    _, there, _, target = prepared
    there.agent_silent = True
    result = transitions.proof_boot(target)
    assert result["boots"] is False
    assert "QEMU guest agent is not running" in result["reason"]
    assert 100 not in there.running


def test_a_start_that_cannot_be_followed_is_ended_all_the_same(prepared: Any) -> None:
    _, there, _, target = prepared
    there.task_results["qmstart"] = ("OK", ["TASK OK"])
    there.fail_next.append((
        "GET", ":qmstart:", (400, "Parameter verification failed.", None, {"upid": "no such task"}),
    ))  # fmt: skip
    there.active.append({"type": "qmstart", "upid": "UPID:x", "user": "bascule@pve!move"})

    def late(seconds: float) -> None:
        if there.active:
            there.active.clear()
            there.running.add(100)

    target.sleep = late
    found = transitions.proof_boot(target)
    assert (found["boots"], 100 in there.running) == (False, False)
    assert "no such task" in found["reason"]
    assert there.active == []


def test_proof_boot_asks_the_application_from_inside(prepared: Any) -> None:
    _, there, _, target = prepared
    refused = {"exited": 1, "exitcode": 7, "err-data": "curl: (7) Failed to connect\n"}
    there.executed = [{"exited": 0}, refused, {"exited": 1, "exitcode": 0}]
    command = ["curl", "-fsS", "http://127.0.0.1:8000/healthz"]
    assert transitions.proof_boot(target, command=command)["boots"] is True
    assert there.executed == []
    there.executed = [refused] * 100
    found = transitions.proof_boot(target, command=command)
    assert found["boots"] is False
    assert "'curl -fsS http://127.0.0.1:8000/healthz' to end well inside the guest within 5 s" in found["reason"]
    assert "it ended with 7: curl: (7) Failed to connect" in found["reason"]
    there.executed = []
    assert "it still runs (process" in transitions.proof_boot(target, command=command)["reason"]
    assert 100 not in there.running


def test_somebody_elses_change_is_kept(prepared: Any) -> None:
    here, _, source, _ = prepared

    def meddle() -> None:
        here.guests[100]["description"] = here.guests[100]["description"].replace("Ask Nadia.", "Ask Karim.")

    here.before_put.append(meddle)
    transitions.freeze(source, force=False)
    assert "Ask Karim." in here.guests[100]["description"]
    assert source.guard(source.config()).frozen is True


def test_no_answer_to_a_change_is_read_again_and_not_repeated(prepared: Any, fake: ModuleType) -> None:
    here, _, source, _ = prepared
    here.fail_next.append(("PUT", "config", fake.NoAnswer("read timed out")))
    transitions.freeze(source, force=False)
    assert len([r for r in here.written() if r[0] == "PUT"]) == 1
    assert source.guard(source.config()).frozen is True


def test_a_locked_guest_names_the_lock(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.guests[100]["lock"] = "backup"
    with pytest.raises(ProxmoxError, match="locked: backup"):
        transitions.freeze(source, force=False)
    assert 100 in here.running


def test_blocks_are_never_written_into_an_open_side(prepared: Any) -> None:
    _here, there, source, target = prepared
    left, entered = observed.look_at_both(source, target)
    assert "guest runs at pve-mtp" in decisions.sync_todo(left, entered).reason
    transitions.freeze(source, force=False)
    assert decisions.sync_todo(*observed.look_at_both(source, target)).pairs == (
        ("/var/lib/vz/images/100/vm-100-disk-0.raw", "/var/lib/vz/images/100/vm-100-disk-0.raw"),
    )
    there.guests[100]["net0"] = there.guests[100]["net0"].replace(",link_down=1", "")
    with pytest.raises(GuardRefused, match="cut from its network"):
        decisions.sync_todo(*observed.look_at_both(source, target))


def test_disks_of_different_size_are_refused(prepared: Any) -> None:
    _, there, source, target = prepared
    transitions.freeze(source, force=False)
    there.contents["local:100/vm-100-disk-0.raw"] = {"size": 2 << 30}
    with pytest.raises(ProxmoxError, match="2147483648 bytes"):
        decisions.sync_todo(*observed.look_at_both(source, target))


def test_switch_refuses_before_it_closes_when_prepare_has_not_run(nodes: Any) -> None:
    here, _, source, target = nodes
    prepare.adopt(source)
    with pytest.raises(GuardRefused, match="nothing was closed and nothing was opened"):
        decisions.switch_todo(*observed.look_at_both(source, target))
    assert 100 in here.running


def test_nothing_was_ever_prepared(nodes: Any) -> None:
    here, there, source, target = nodes
    left, entered = observed.look_at_both(target, source)
    assert decisions.sync_todo(left, entered).action == NOTHING
    assert decisions.switch_todo(left, entered).action == NOTHING
    assert transitions.freeze(target, force=False, other=source)["changed"] is False
    assert transitions.thaw(source, onboot=None, other=target)["changed"] is False
    assert here.written() == there.written() == []


def test_check_mode_changes_nothing(prepared: Any) -> None:
    here, there, source, target = prepared
    assert transitions.freeze(source, force=False, check=True)["changed"] is True
    assert prepare.restore(target, source, "x", began=True, check=True)["changed"] is False
    assert here.written() == there.written() == []


def test_retire_needs_the_other_side_open(prepared: Any) -> None:
    here, there, source, target = prepared
    with pytest.raises(ProxmoxError, match="nothing was removed"):
        prepare.retire(source, target.guard(target.config()))
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    assert prepare.retire(source, target.guard(target.config()))["changed"] is True
    assert 100 not in here.guests
    assert len(here.archives) == 2
    assert prepare.retire(source, target.guard(target.config()))["changed"] is False
    assert 100 in there.running


@pytest.mark.parametrize(
    "answer",
    [
        "VM 100 qmp command 'guest-ping' failed - got timeout",
        "QEMU guest agent is not running",
        "VM 100 qmp command 'guest-ping' failed - unable to connect to VM 100 qga socket - timeout after 31 retries",
    ],
)
def test_an_agent_that_is_silent_is_no_proof_of_a_stopped_guest(prepared: Any, answer: str) -> None:
    here, _, source, _ = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    here.fail_next += [("POST", "agent/ping", (500, answer, None, None))] * 9
    with pytest.raises(ProxmoxError, match="no proof that the guest is stopped"):
        transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")
    state = source.guard(source.config())
    assert (state.status, state.receipt) == (guard.CLOSING, None)
    here.fail_next.clear()
    assert transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["reason"] == "receipt given"


def test_a_guest_without_an_agent_is_closed_by_the_nodes_word(prepared: Any) -> None:
    here, _, source, _ = prepared
    here.fail_next += [("POST", "agent/ping", (500, "No QEMU guest agent configured", None, None))] * 3
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    assert transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["reason"] == "receipt given"
