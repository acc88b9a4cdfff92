"""What would stop a move in the window is asked before it, and before anything is closed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bascule.guard.state import Epoch
from bascule.guard.todo import NOTHING, Todo
from bascule.guest import audit, decisions, observed, prepare, ready, transitions
from bascule.guest.errors import ProxmoxError

from .schema import ROOT

NIGHTLY = {"type": "vzdump", "upid": "UPID:nightly", "user": "root@pam"}


def _refused(nodes: Any, way: str = decisions.DELTA) -> list[str]:
    *_, source, target = nodes
    found: list[str] = ready.ready(source, target, *observed.look_at_both(source, target), way)["refusals"]
    return found


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("way", decisions.WAYS)
def test_a_backup_that_runs_now_at_either_node_is_named(prepared: Any, side: int, way: str) -> None:
    prepared[side].active.append(NIGHTLY)
    machine = ("pve-mtp", "pve-tls")[side]
    assert _refused(prepared, way) == [f"a backup runs at {machine} (UPID:nightly): wait until it has ended"]
    prepared[side].active[0] = {**NIGHTLY, "endtime": 1}
    assert _refused(prepared, way) == []


@pytest.mark.parametrize("side", [0, 1])
def test_a_lock_of_the_guest_is_named_with_who_holds_it(prepared: Any, side: int) -> None:
    prepared[side].guests[100]["lock"] = "snapshot"
    prepared[side].active.append({"type": "qmsnapshot", "upid": "UPID:x", "user": "nadia@pve"})
    machine = ("pve-mtp", "pve-tls")[side]
    assert _refused(prepared) == [f"the guest 100 at {machine} is locked: snapshot (qmsnapshot by nadia@pve)"]
    assert prepared[0].written() == prepared[1].written() == []


@pytest.mark.parametrize("way", decisions.WAYS)
def test_a_window_that_was_interrupted_is_gone_on_with(prepared: Any, way: str) -> None:
    """What it has left, such as its own backup that still runs, must not keep users out by a NO-GO."""
    here, there, source, target = prepared
    transitions.freeze(source, force=False)

    def ask() -> dict[str, Any]:
        return ready.ready(source, target, *observed.look_at_both(source, target), way)

    here.guests[100]["lock"] = "migrate"
    here.active.append(NIGHTLY)
    there.active.append(NIGHTLY)
    assert ask() == {"changed": False, "asked": False, "refusals": [], "differences": []}
    del here.guests[100]["lock"]
    transitions.close_begin(source, Epoch(1, "aaaa"), force=False)
    here.guests[100]["lock"] = "migrate"
    assert ask()["asked"] is False


def test_a_storage_that_takes_no_further_archive_is_named_where_one_is_made_in_the_window(nodes: Any) -> None:
    here, _, source, _ = nodes
    prepare.adopt(source)
    prepare.back_up(source)
    here.keeps = 1
    (line,) = _refused(nodes, decisions.ARCHIVE)
    assert "keeps 1 backups of a guest and has 1 of 100; 1 more are needed" in line
    assert _refused(nodes, decisions.DELTA) == []
    here.keeps = 2
    assert _refused(nodes, decisions.ARCHIVE) == []


MARKED = {"scsi1": "local:100/vm-100-disk-1.raw,size=2G,backup=0"}


@pytest.mark.parametrize("way", [decisions.DELTA, decisions.ARCHIVE, decisions.WARM])
def test_a_disk_that_no_archive_has_is_refused_before_anything_travels(nodes: Any, way: str) -> None:
    here, there, source, _ = nodes
    here.guests[100] |= MARKED
    prepare.adopt(source)
    here.requests.clear()
    for _ in range(2):
        with pytest.raises(ProxmoxError, match=r"scsi1 .*backup=0.*nothing was archived"):
            prepare.back_up(source, plain=way == decisions.WARM)
    assert here.written() == there.written() == []


def test_what_a_proof_has_refused_stays_refused(nodes: Any) -> None:
    """Seen: the proof of the copy failed once, and the second prepare was green as there was a guest by then."""
    here, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    here.guests[100] |= MARKED
    with pytest.raises(ProxmoxError, match="scsi1"):
        prepare.restore(target, source, archive["volid"], began=True)
    for _ in range(2):
        with pytest.raises(ProxmoxError, match=r"scsi1 .*qm destroy 100' at pve-tls"):
            prepare.must_be_copy(source, target, *observed.look_at_both(source, target))
    del here.guests[100]["scsi1"]
    prepare.must_be_copy(source, target, *observed.look_at_both(source, target))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"onboot": 1}, "it starts with its node"),
        ({"net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr0"}, "its link is up"),
        ({"net0": "virtio=BC:24:11:03:07:C9,bridge=vmbr0,link_down=1"}, "its hardware addresses differ"),
    ],
)
def test_nor_is_a_copy_proved_that_was_changed_since(prepared: Any, changed: Any, words: str) -> None:
    _, there, source, target = prepared
    prepare.must_be_copy(source, target, *observed.look_at_both(source, target))
    there.guests[100] |= changed
    with pytest.raises(ProxmoxError, match=words):
        prepare.must_be_copy(source, target, *observed.look_at_both(source, target))
    named = [line for line in _refused(prepared) if words in line]
    assert len(named) == (0 if "addresses" in words else 1), "the gate guest_differences names another address"


def test_disks_are_as_large_as_their_volumes_whatever_the_config_tells(prepared: Any) -> None:
    """A restored TPM state is told with another size than its source (9K instead of 4M), and is the same."""
    here, there, source, target = prepared
    here.guests[100]["tpmstate0"] = "local:100/vm-100-disk-2.raw,size=4M,version=v2.0"
    there.guests[100]["tpmstate0"] = "local:100/vm-100-disk-2.raw,size=9K,version=v2.0"
    for node in (here, there):
        node.contents["local:100/vm-100-disk-2.raw"] = {"size": 4 << 20}
    assert _refused(prepared) == []
    prepare.must_be_copy(source, target, *observed.look_at_both(source, target))
    there.guests[100]["tpmstate0"] = here.guests[100]["tpmstate0"]
    there.contents["local:100/vm-100-disk-2.raw"] = {"size": 8 << 20}
    (line,) = _refused(prepared)
    assert line.startswith("disk tpmstate0 (4194304 bytes at pve-mtp, 8388608 bytes at pve-tls)")


def test_how_a_guest_serves_is_kept_before_the_first_cutover() -> None:
    """Its site may be lost before there is one, and its copy then opens as it served."""
    last = _role("tasks/prepare.yml")[-1]
    assert last["ansible.builtin.include_tasks"] == "capture.yml"


def _role(name: str) -> Any:
    return yaml.safe_load((ROOT / "roles/proxmox_guest" / name).read_text())


def test_what_the_message_about_a_lost_capture_names_exists_and_is_asked_before_anything_is_closed() -> None:
    transitions.must_know_onboot(Todo("switch", ""), False)
    transitions.must_know_onboot(Todo(NOTHING, ""), None)
    with pytest.raises(ProxmoxError, match="set proxmox_guest_onboot") as caught:
        transitions.must_know_onboot(Todo("switch", ""), None)
    assert caught.value.state == "nothing was opened"
    options = _role("meta/argument_specs.yml")["argument_specs"]["switch"]["options"]
    assert options["proxmox_guest_onboot"]["type"] == "bool"
    tasks = _role("tasks/switch.yml")
    (asked,) = [n for n, task in enumerate(tasks) if task.get("bascule_guest", {}).get("operation") == "plan_switch"]
    (closes,) = [n for n, task in enumerate(tasks) if task.get("ansible.builtin.include_tasks") == "switch_close.yml"]
    read = [n for n, task in enumerate(tasks) if task.get("ansible.builtin.import_tasks") == "captured.yml"]
    assert read[0] < asked < closes
    given = [tasks[asked]["bascule_guest"], _role("tasks/thaw.yml")[1]["bascule_guest"]]
    given += [task["bascule_guest"] for task in _role("tasks/switch_open.yml") if "bascule_guest" in task]
    for arguments in given:
        assert "captured.onboot | default(proxmox_guest_onboot)" in arguments["onboot"]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("way", decisions.WAYS)
def test_what_else_starts_or_copies_the_guest_is_named_at_either_side(prepared: Any, side: int, way: str) -> None:
    """Somebody may have put it under HA, or have it replicated, since the audit."""
    machine = ("pve-mtp", "pve-tls")[side]
    prepared[side].replication = [{"id": "100-0", "guest": 100, "target": "pve2"}]
    prepared[side].in_ha.add(100)
    assert [line for line in _refused(prepared, way) if f"the guest 100 at {machine} is managed by Proxmox HA" in line]
    assert [line for line in _refused(prepared, way) if f"100 at {machine} is replicated by the job 100-0" in line]
    *_, source, target = prepared
    found = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)["refusals"]
    assert [line for line in found if f"100 at {machine} is replicated by the job 100-0" in line]
    assert [line for line in found if f"the guest 100 at {machine} is managed by Proxmox HA" in line]
    prepared[side].replication[0]["guest"] = 101
    prepared[side].in_ha.clear()
    assert _refused(prepared, way) == []


@pytest.mark.parametrize("side", [0, 1])
def test_room_for_the_archive_of_the_window_is_asked_at_either_side(prepared: Any, side: int) -> None:
    """Prepare's own archive may have eaten the rest."""
    machine = ("pve-mtp", "pve-tls")[side]
    used = sum(disk.used or disk.size for disk in observed.look(prepared[2]).disks)
    prepared[side].storage = {"avail": used - 1}
    said = f"storage 'local' at {machine} has {used - 1} bytes free; the archives of the window may need {used}"
    assert _refused(prepared, decisions.ARCHIVE) == [said]
    assert _refused(prepared, decisions.DELTA) == []
    prepared[side].storage = {"avail": used}
    assert _refused(prepared, decisions.ARCHIVE) == []
