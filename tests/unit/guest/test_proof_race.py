"""A proof boot and a switch that meet: the boot stops only its own guest, and no copy that was booted is opened."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guest import config as guest_config
from bascule.guest import observed, transitions

from . import fake_node

E1 = Epoch(1, "aaaa")
DISKS = {"disk:scsi0": "tree-sha256:1111"}


@pytest.fixture
def closed(prepared: Any) -> Any:
    """The source has given its receipt; what the target's config was when its disks were compared."""
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    seen = observed.look(target).digest
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    there.requests.clear()
    return here, there, target, receipt, seen


def _open(target: Any, receipt: Receipt, seen: str, leads: bool = False) -> Any:
    return transitions.open_side(target, E1, receipt, True, onboot=True, leads=leads, seen=seen)


def test_a_proof_boot_does_not_stop_the_guest_that_was_opened_meanwhile(closed: Any) -> None:
    _, there, target, receipt, seen = closed
    other = fake_node.guest(there, "pve-tls")
    asked = target.wait_up

    def meanwhile() -> float:
        # The opening of a side that leads takes the running guest as it is.
        _open(other, receipt, seen, leads=True)
        return float(asked())

    target.wait_up = meanwhile
    found = transitions.proof_boot(target)
    assert found["boots"] is False
    assert "another run has taken the guest over during its proof boot" in found["reason"]
    assert "it was left as it is" in found["reason"]
    assert there.running == {100}
    assert target.guard(target.config()).status == guard.OPEN
    assert not [path for _, path, _ in there.written() if path.endswith(("status/shutdown", "status/stop"))]


@pytest.mark.parametrize("change", ["links", "promise"])
def test_a_guest_that_is_not_the_same_passive_one_any_more_is_left(closed: Any, change: str) -> None:
    _, there, target, _receipt, _seen = closed
    asked = target.wait_up

    def meanwhile() -> float:
        config = there.guests[100]
        if change == "links":
            config["net0"] = guest_config.with_link(config["net0"], up=True)
        else:
            state = target.guard(target.config())
            later = guard.closed(guard.promise(state, E1), E1, {}, "2026-11-20T09:00:00Z")[0]
            config["description"] = guest_config.with_guard(config["description"], later)
        return float(asked())

    target.wait_up = meanwhile
    assert "it was left as it is" in transitions.proof_boot(target)["reason"]
    assert there.running == {100}


def test_what_was_opened_just_before_the_proof_boot_is_not_stopped_either(closed: Any) -> None:
    _, there, target, receipt, seen = closed
    other = fake_node.guest(there, "pve-tls")
    read = target.config_if_any

    def stale() -> Any:
        target.config_if_any = read
        found = read()
        _open(other, receipt, seen)
        return found

    target.config_if_any = stale
    with pytest.raises(GuardRefused, match="nothing was stopped"):
        transitions.proof_boot(target)
    assert there.running == {100}


def test_a_copy_that_runs_is_not_opened(closed: Any) -> None:
    _, there, target, receipt, _seen = closed
    transitions.proof_boot(target, stays=True)
    there.requests.clear()
    with pytest.raises(GuardRefused, match="it runs: somebody has booted it") as caught:
        _open(target, receipt, observed.look(target).digest)
    assert "nothing was opened" in caught.value.state
    assert there.written() == []
    assert target.guard(target.config()).status == guard.CLOSED


def test_a_copy_that_has_run_since_its_disks_were_compared_is_not_opened(closed: Any) -> None:
    _, there, target, receipt, seen = closed
    assert transitions.proof_boot(target)["boots"] is True
    assert there.running == set()
    there.requests.clear()
    with pytest.raises(GuardRefused, match="its config was changed since, by a proof boot"):
        _open(target, receipt, seen)
    assert there.written() == []
    # Compared anew, it opens; the mark of the boot does not stay in the Notes.
    assert "bascule-booted: " in there.guests[100]["description"]
    assert _open(target, receipt, observed.look(target).digest)["changed"] is True
    assert "bascule-booted: " not in there.guests[100]["description"]
    assert there.guests[100]["description"].startswith("The courses' web application.\nAsk Nadia.\n")


def test_a_boot_that_begins_late_is_seen_too(closed: Any) -> None:
    _, _there, target, receipt, _seen = closed
    seen: list[str] = []
    start = target.start

    def late() -> Any:
        # Its first mark was there when the disks were compared.
        seen.append(observed.look(target).digest)
        return start()

    target.start = late
    transitions.proof_boot(target)
    with pytest.raises(GuardRefused, match="its config was changed since"):
        _open(target, receipt, seen[0])


def test_an_opening_whose_answer_was_lost_goes_on(closed: Any, fake: Any) -> None:
    _, there, target, receipt, seen = closed
    there.fail_next.append(("PUT", "config", fake.NoAnswer("read timed out")))
    assert _open(target, receipt, seen)["changed"] is True
    assert there.running == {100}


def test_two_proof_boots_leave_one_mark(closed: Any) -> None:
    _, there, target, _receipt, _seen = closed
    transitions.proof_boot(target)
    transitions.proof_boot(target)
    assert there.guests[100]["description"].count("bascule-booted: ") == 1


def test_a_mark_that_cannot_be_set_starts_nothing(closed: Any) -> None:
    _, there, target, _receipt, _seen = closed
    refused = (403, "Permission check failed (/vms/100, VM.Config.Options)", None, None)
    there.fail_next.append(("PUT", "config", refused))
    assert "VM.Config.Options" in transitions.proof_boot(target)["reason"]
    assert there.written()[1:] == []
