"""A warm copy is connected while it runs: how old it may be, and that it really is connected."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from bascule.guard.state import Epoch, Receipt, Word
from bascule.guest import audit, decisions, observed, ready, serving, transitions, verify
from bascule.guest.errors import ProxmoxError
from bascule.run.gates import decide

from .schema import ROOT

ROLE = ROOT / "roles/proxmox_guest"
POSITION = {decisions.STATELESS: "local writes are not carried over"}
PLAN = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/plan.yml").read_text())["plan_gates"]


def _open(source: Any, target: Any) -> dict[str, Any]:
    epoch = Epoch(1, "aaaa")
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, POSITION, "2026-11-20T09:00:00Z")["receipt"])
    return transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False, stateless=True)


def test_a_running_copy_that_takes_its_link_at_once_is_connected(prepared: Any) -> None:
    _, there, source, target = prepared
    transitions.boot_apart(target)
    assert _open(source, target)["reason"] == "open: connected, running, serving"
    assert [values for method, path, values in there.requests if path.endswith("config") and values.get("current") == 1]


def test_one_that_takes_it_at_its_next_start_is_not_said_to_be_connected(prepared: Any) -> None:
    _, there, source, target = prepared
    there.guests[100]["hotplug"] = "disk,usb"
    transitions.boot_apart(target)
    with pytest.raises(ProxmoxError, match=r"net0 is cut until its next start \(hotplug: disk,usb\)") as caught:
        _open(source, target)
    assert "shut the guest 100 down at pve-tls, then run the same command again" in caught.value.message()
    assert "cut until its next start" in serving.silence(target, target.config())
    # As advised.
    there.running.clear()
    target.start()
    assert serving.silence(target, target.config()) == ""


@pytest.mark.parametrize(
    ("hotplug", "refused"),
    [(None, False), ("1", False), ("network,disk", False), ("disk,usb", True), ("0", True)],
)
@pytest.mark.parametrize("side", [0, 1])
def test_audit_and_check_refuse_warm_without_it(prepared: Any, hotplug: Any, refused: bool, side: int) -> None:
    *nodes, source, target = prepared
    if hotplug is not None:
        nodes[side].guests[100]["hotplug"] = hotplug
    views = observed.look_at_both(source, target)
    words = f"the guest 100 at {('pve-mtp', 'pve-tls')[side]} has hotplug without 'network'"
    for found in (
        audit.audit(source, target, *views, decisions.WARM, True)["refusals"],
        ready.ready(source, target, *views, decisions.WARM)["refusals"],
    ):
        assert [line.startswith(words) for line in found] == [True] * refused
    assert ready.ready(source, target, *views, decisions.DELTA)["refusals"] == []


def _template(text: str, note: dict[str, Any], refresh_after: int = 3600) -> Any:
    """Evaluate what the role's tasks say, with the role's own variables."""
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    engine = importlib.import_module("ansible.template")
    loader = importlib.import_module("ansible.parsing.dataloader").DataLoader()
    ours = {name: engine.trust_as_template(text) for name, text in variables.items() if isinstance(text, str)}
    given = {"__proxmox_guest_copied": {"note": note}, "proxmox_guest_refresh_after": refresh_after}
    return engine.Templar(loader=loader, variables={**ours, **given}).template(engine.trust_as_template(text))


def _says(condition: str, note: dict[str, Any]) -> bool:
    return bool(_template("{{ " + condition + " }}", note))


def _tasks(name: str) -> dict[str, dict[str, Any]]:
    return {task["name"].partition(" | ")[2]: task for task in yaml.safe_load((ROLE / "tasks" / name).read_text())}


@pytest.mark.parametrize(
    ("archived", "opened", "go", "words"),
    [
        (60, False, True, "s (max 86400)"),
        (60, True, True, "s (max 86400)"),
        (3 * 7 * 86400, False, False, "is above 86400"),
        (None, True, False, "there is no sample"),
        (None, False, False, "there is no sample"),
    ],
)
def test_an_old_copy_or_one_of_unknown_age_is_no_go(archived: int | None, opened: bool, go: bool, words: str) -> None:
    task = _tasks("check_ready.yml")["Put to its gate how old the copy is"]
    assert "proxmox_guest_move == 'warm'" in task["when"]
    sample, now = task["bascule_gate"], time.time()
    note = {"opened": opened} | ({} if archived is None else {"archived": int(now) - archived})
    value = _template(sample["value"], note)
    verdict = decide(sample["name"], value, sample["unit"], now, PLAN, None, now)
    assert (verdict.go, words in verdict.reason) == (go, True), verdict.reason


@pytest.mark.parametrize(
    ("note", "old"),
    [
        ({}, True),
        ({"archived": 1}, True),
        ({"archived": int(time.time())}, False),
        ({"archived": int(time.time()), "opened": True}, True),
    ],
)
def test_a_side_that_was_open_is_no_copy_any_more(note: dict[str, Any], old: bool) -> None:
    tasks = _tasks("sync_refresh.yml")
    assert _says(tasks["Bring the copy up to date when it is old"]["when"], note) is old
    assert _says(tasks["Say why nothing is carried over"]["when"], note) is not old
    noted = _tasks("switch_open.yml")["Keep the digests of the switch for a later proof"]["bascule_guest_note"]["adds"]
    assert "{'copied': {'opened': true}} if proxmox_guest_move == 'warm'" in noted


@pytest.mark.parametrize(
    ("todo", "says"),
    [
        ({"stateless": True, "unopened": False, "digests": False}, "stateless"),
        ({"stateless": False, "unopened": True, "digests": False, "position": {"unopened": "why"}}, "unopened"),
        ({"stateless": False, "unopened": False, "digests": True}, "disk:scsi0"),
        # Nobody knows what it holds: its receipt names nothing, and nothing is proved of it.
        ({"stateless": False, "unopened": False, "digests": False}, ""),
    ],
)
def test_a_receipt_says_why_it_names_no_disk(todo: dict[str, Any], says: str) -> None:
    task = _tasks("switch_close.yml")["Give the receipt"]["bascule_guest"]
    digested = {"position": {"disk:scsi0": "sha256:1"}} if todo["digests"] else {}
    variables = {"__proxmox_guest_switch": todo, "__proxmox_guest_position": digested}
    position = Templar(DataLoader(), variables=variables).template(trust_as_template(task["position"]))
    assert list(position) == ([says] if says else [])


def test_only_a_side_that_no_word_was_about_is_told_to_have_nothing_of_its_own(prepared: Any) -> None:
    """The one that holds the latest data has closed, and is to open again: a return before anything else was opened."""
    _, _, source, target = prepared
    serving, other = observed.look_at_both(source, target)
    back = replace(serving, guard=replace(serving.guard, status="closed"))
    assert decisions.switch_todo(other, back).unopened
    assert decisions.switch_todo(other, back).to_dict()["unopened"] is True
    assert decisions.switch_todo(other, back).position == {"unopened": "not opened since the other side closed"}
    word = Word("pve-tls", Epoch(1001, "aaaa"), "Nadia", "power cut", "2026-11-20T09:00:00Z", Epoch(1002, "aaaa"))
    by_word = replace(back, guard=replace(back.guard, word=word))
    todo = decisions.switch_todo(other, by_word)
    assert (todo.action, todo.unopened, todo.position) == ("switch", False, {})


def test_a_side_that_was_not_opened_has_nothing_to_compare(prepared: Any) -> None:
    """A return before anything was opened: the guest serves where it has served, and nothing was moved."""
    _, _, source, target = prepared
    active, passive = observed.look_at_both(source, target)
    proofs = []
    for position in ({"unopened": "not opened since the other side closed"}, {}):
        receipt = Receipt("small", "pve-tls", Epoch(4, "aaaa"), position, "2026-11-20T09:00:00Z")
        closed = replace(passive, guard=replace(passive.guard, receipt=receipt))
        proofs.append(verify.compare(active, closed, {}, {}))
    assert [(one["disks_compared"], one["disks_stateless"], one["disks_unmoved"]) for one in proofs] == [
        (0, 0, len(passive.disks)),
        (0, 0, 0),
    ]
    assert list(proofs[0]["not_compared"]) == [disk.name for disk in passive.disks]
    assert passive.disks


def test_a_stateless_guest_is_not_called_equal(prepared: Any) -> None:
    _, _, source, target = prepared
    active, passive = observed.look_at_both(source, target)
    receipt = Receipt("small", "pve-tls", Epoch(1, "aaaa"), POSITION, "2026-11-20T09:00:00Z")
    closed = replace(passive, guard=replace(passive.guard, receipt=receipt))
    proof = verify.compare(active, closed, {}, {})
    assert (proof["disks_compared"], proof["disks_stateless"]) == (0, len(closed.disks))
    assert proof["not_compared"] == {
        disk.name: "declared stateless: what was written there was dropped" for disk in closed.disks
    }
    assert closed.disks
