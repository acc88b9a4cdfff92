"""An opening that is done again proves the disks of the first one: nobody calls them unmoved, or forgets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guest import decisions, observed, transitions, verify
from bascule.guest.errors import ProxmoxError

from .test_move import DISKS, E1, E2, switch

ROLE = Path(__file__).parents[3] / "roles/proxmox_guest/tasks"
NOW = "2026-11-20T09:00:00Z"
CARRIED = {**DISKS, "moved": str(E1), "unopened": "not opened since the other side closed"}


def _again(source: Any, target: Any, epoch: Epoch) -> tuple[decisions.GuestTodo, Receipt]:
    """Close the side that is left once more, as a switch that is run again does."""
    todo = decisions.switch_todo(*observed.look_at_both(source, target))
    transitions.close_begin(source, epoch, force=False)
    return todo, Receipt.from_dict(transitions.close_finish(source, epoch, todo.position, NOW)["receipt"])


@pytest.fixture
def interrupted(prepared: Any) -> Any:
    """The target has begun to open, and its guest has not come up: the switch has failed there."""
    _, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, NOW)["receipt"])
    there.task_results["qmstart"] = ("start failed: QEMU exited with code 1", ["TASK ERROR: start failed"])
    with pytest.raises(ProxmoxError, match="start failed"):
        transitions.open_side(target, E1, receipt, True, onboot=True, leads=False)
    there.task_results.clear()
    assert target.guard(target.config()).status == guard.OPENING
    return source, target


def test_a_resumed_opening_compares_the_disks_that_it_began_with(interrupted: Any) -> None:
    source, target = interrupted
    todo, receipt = _again(source, target, E2)
    assert (todo.unopened, todo.digests, todo.position) == (True, False, CARRIED)
    transitions.open_side(target, E2, receipt, True, onboot=True, leads=True)
    views = observed.look_at_both(source, target)
    assert [view.guard.status for view in views] == [guard.CLOSED, guard.OPEN]
    switched = {"receipt": receipt.to_dict(), "reached": DISKS}
    proof = verify.compare(*views, switched, DISKS)
    assert (proof["disks_compared"], proof["disks_unmoved"], proof["disks_different"]) == (1, 0, 0)
    assert (proof["details"], proof["not_compared"]) == ([], {})
    # What differs is said, and so is an opening whose digests nobody has kept.
    other = {"disk:scsi0": "tree-sha256:9999"}
    for reached, now in ((other, DISKS), ({}, DISKS), (DISKS, other)):
        proof = verify.compare(*views, {**switched, "reached": reached}, now)
        assert (proof["disks_compared"], proof["disks_different"]) == (1, 1)
    assert verify.compare(*views, {}, DISKS)["disks_different"] == 1


def test_a_second_and_a_third_try_do_not_forget_the_first(interrupted: Any) -> None:
    """Killed between the receipt and the opening, as often as you like."""
    source, target = interrupted
    for number in (2, 3, 4):
        todo, receipt = _again(source, target, Epoch(number, "bbbb"))
        assert (todo.position, receipt.position) == (CARRIED, CARRIED)
    transitions.open_side(target, receipt.epoch, receipt, True, onboot=True, leads=True)
    assert target.guard(target.config()).opened == Epoch(4, "bbbb")


def test_forward_after_a_return_that_opened_nothing_still_has_the_first_switch_to_prove(prepared: Any) -> None:
    """There, closed for the way back, and open again: nothing has verified the disks that it got."""
    _, _, source, target = prepared
    transitions.freeze(source, force=False)
    switch(source, target, E1)
    transitions.close_begin(target, E2, force=False)
    transitions.close_finish(target, E2, {"disk:scsi0": "tree-sha256:2222"}, NOW)
    todo, _ = _again(source, target, Epoch(3, "cccc"))
    assert todo.position == CARRIED


def test_a_return_before_any_opening_has_moved_nothing(prepared: Any) -> None:
    _, _, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    transitions.close_finish(source, E1, DISKS, NOW)
    todo, receipt = _again(target, source, E2)
    assert todo.position == {"unopened": "not opened since the other side closed"}
    transitions.open_side(source, E2, receipt, True, onboot=True, leads=True)
    proof = verify.compare(*observed.look_at_both(target, source), {}, {})
    assert (proof["disks_compared"], proof["disks_unmoved"]) == (0, 1)


def test_what_another_opening_began_with_says_nothing_of_a_later_one(prepared: Any) -> None:
    """A receipt that came after the other side was opened last names what nobody has opened from."""
    _, _, source, target = prepared
    first, second = observed.look_at_both(source, target)
    later = Receipt("courses_guest", "pve-tls", Epoch(5, "aaaa"), DISKS, NOW)
    closing = replace(second.guard, status=guard.CLOSED, promised=later.epoch, receipt=later)
    opening = replace(first.guard, status=guard.CLOSED, opened=Epoch(4, "aaaa"))
    assert decisions._unopened(closing, opening) == {"unopened": "not opened since the other side closed"}
    opening = replace(opening, opened=Epoch(5, "aaaa"))
    assert decisions._unopened(closing, opening)["moved"] == "5.aaaa"
    stateless = replace(closing, receipt=replace(later, position={"stateless": "dropped"}))
    assert decisions._unopened(stateless, opening)["stateless"] == "dropped"
    assert decisions._unopened(replace(closing, receipt=None), opening).keys() == {"unopened"}


def test_a_copy_with_more_disks_than_the_switch_had_is_told_and_not_called_different(interrupted: Any) -> None:
    source, target = interrupted
    _, receipt = _again(source, target, E2)
    transitions.open_side(target, E2, receipt, True, onboot=True, leads=True)
    closed, opened = observed.look_at_both(source, target)
    more = replace(closed, disks=(*closed.disks, replace(closed.disks[0], name="scsi1")))
    switched = {"receipt": receipt.to_dict(), "reached": DISKS}
    proof = verify.compare(more, opened, switched, {})
    assert (proof["details"], proof["disks_different"]) == ([], 0)
    assert proof["not_compared"]["scsi1"] == f"no disk of the switch under {E1}"
    assert verify.compare(more, opened, switched, DISKS)["disks_different"] == 1


def _task(file: str, name: str) -> dict[str, Any]:
    return next(task for task in yaml.safe_load((ROLE / file).read_text()) if task["name"].endswith(name))


def _template(text: Any, variables: dict[str, Any]) -> Any:
    return Templar(DataLoader(), variables=variables).template(trust_as_template(text))


def test_the_digests_of_the_first_opening_are_kept_by_the_one_that_is_done_again() -> None:
    task = _task("switch_open.yml", "Keep the digests of the switch for a later proof")["bascule_guest_note"]
    facts: dict[str, Any] = {"__proxmox_guest_receipt": {"epoch": str(E2), "position": CARRIED}}
    again = {**facts, "__proxmox_guest_switch": {"position": CARRIED}, "__proxmox_guest_reached": {"skipped": True}}
    assert _template(task["data"], again) == {"receipt": facts["__proxmox_guest_receipt"]}
    assert _template(task["merge"], again) is True
    # Nothing of before stays beside what was digested, or where nothing was moved.
    for found in ({"position": {"disk:scsi0": "x"}}, {"skipped": True}):
        first = {**facts, "__proxmox_guest_switch": {"position": {}}, "__proxmox_guest_reached": found}
        assert _template(task["data"], first)["reached"] == found.get("position", {})
        assert _template(task["merge"], first) is False


@pytest.mark.parametrize(
    ("position", "epoch", "used", "read"),
    [
        (DISKS, "3.a", "", True),
        (DISKS, "3.a", "3.a", False),
        (DISKS, "3.a", "2.a", True),
        ({**CARRIED, "moved": "3.a"}, "5.a", "3.a", False),
        ({**CARRIED, "moved": "3.a"}, "5.a", "4.a", False),
        ({**CARRIED, "moved": "3.a"}, "10.a", "2.a", True),
        ({"unopened": "why"}, "3.a", "", False),
        ({"stateless": "why"}, "3.a", "", False),
        ({}, "3.a", "", False),
    ],
)
def test_closed_disks_are_read_again_until_something_uses_them(
    position: dict[str, str], epoch: str, used: str, read: bool
) -> None:
    task = _task("verify.yml", "Read the closed disks again")
    facts = {
        "__proxmox_guest_passive": {"guard": {"receipt": {"epoch": epoch, "position": position}}},
        "__proxmox_guest_used": {"note": {"epoch": used} if used else {}},
    }
    assert all(_template("{{ (" + when + ") }}", facts) for when in task["when"]) is read
