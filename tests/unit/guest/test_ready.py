"""What would stop a move in the window is asked before it, and before anything is closed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bascule.guard.state import Epoch
from bascule.guest import decisions, observed, prepare, ready, transitions
from bascule.guest.decisions import Todo
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


def _role(name: str) -> Any:
    return yaml.safe_load((ROOT / "roles/proxmox_guest" / name).read_text())


def test_what_the_message_about_a_lost_capture_names_exists_and_is_asked_before_anything_is_closed() -> None:
    transitions.must_know_onboot(Todo("switch", ""), False)
    transitions.must_know_onboot(Todo("none", ""), None)
    with pytest.raises(ProxmoxError, match="set proxmox_guest_onboot") as caught:
        transitions.must_know_onboot(Todo("switch", ""), None)
    assert caught.value.state == "nothing was opened"
    options = _role("meta/argument_specs.yml")["argument_specs"]["switch"]["options"]
    assert options["proxmox_guest_onboot"]["type"] == "bool"
    tasks = _role("tasks/switch.yml")
    (asked,) = [n for n, task in enumerate(tasks) if task.get("bascule_guest", {}).get("operation") == "plan_switch"]
    (closes,) = [n for n, task in enumerate(tasks) if task.get("ansible.builtin.include_tasks") == "switch_close.yml"]
    read = [n for n, task in enumerate(tasks) if task.get("ansible.builtin.include_tasks") == "captured.yml"]
    assert read[0] < asked < closes
    given = [tasks[asked]["bascule_guest"], _role("tasks/thaw.yml")[1]["bascule_guest"]]
    given += [task["bascule_guest"] for task in _role("tasks/switch_open.yml") if "bascule_guest" in task]
    for arguments in given:
        assert "captured.onboot | default(proxmox_guest_onboot)" in arguments["onboot"]
