"""A protected guest: its copy has none, the side that opens has it, and no run leaves less than it has found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard.state import Epoch, Receipt, Word
from bascule.guest import (
    audit,
    decisions,
    leftovers,
    observed,
    prepare,
    protection,
    ready,
    recover,
    remote,
    transitions,
)
from bascule.guest import config as guest_config
from bascule.guest.errors import ProxmoxError, TaskFailed

LINE = "bascule-protection: lifted while this guest is replaced"
DISKS = {"disk:scsi0": "tree-sha256:1111"}
E1, E2 = Epoch(1, "aaaa"), Epoch(2, "bbbb")
GONE = 595, "No route to host", None, None


def _switch(left: Any, entered: Any, epoch: Epoch) -> None:
    """As the tasks of the role: what the side that is left has, is asked before anything is closed."""
    protect = observed.look(left).to_dict()["protected"]
    transitions.close_begin(left, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(left, epoch, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(entered, epoch, receipt, True, onboot=True, leads=False, protect=protect)


def _kept(node: Any) -> tuple[str, bool]:
    """What a person sees of the protection: the setting, and whether a line says that it is to be given back."""
    config = node.guests[100]
    return str(config.get("protection", 0)), LINE in config["description"]


def _journal(guest: Any) -> list[str]:
    said: list[str] = []
    guest._journal = lambda _component, text: said.append(text)
    return said


@pytest.fixture
def back(prepared: Any) -> Any:
    """The way back: the guest was protected, has moved, and its old side is to be replaced."""
    here, there, source, target = prepared
    here.guests[100]["protection"] = 1
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    transitions.freeze(target, force=False)
    prepare.back_up(target, mark="state")
    here.archives = [dict(row) for row in there.archives]
    here.requests.clear()
    there.requests.clear()
    return prepared


def _return(prepared: Any) -> Any:
    here, _there, source, target = prepared
    return prepare.restore(source, target, here.archives[-1]["volid"], began=True, replace=True)


@pytest.mark.parametrize("way", decisions.WAYS)
@pytest.mark.parametrize("side", [0, 1])
def test_the_audit_notes_it_at_either_side(prepared: Any, way: str, side: int) -> None:
    *nodes, source, target = prepared
    before = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)
    nodes[side].guests[100]["protection"] = 1
    found = audit.audit(source, target, *observed.look_at_both(source, target), way, stateless=True)
    assert found["refusals"] == before["refusals"]
    (note,) = set(found["notes"]) - set(before["notes"])
    assert f"the guest 100 at {('pve-mtp', 'pve-tls')[side]} is protected (protection: 1)" in note
    assert ("it stays so while it serves" in note) == (side == 0)
    assert note in found["summary"]


@pytest.mark.parametrize("side", [0, 1])
def test_it_stops_neither_a_cutover_nor_a_return(prepared: Any, side: int) -> None:
    *nodes, source, target = prepared
    nodes[side].guests[100]["protection"] = 1
    views = observed.look_at_both(source, target)
    assert ready.ready(source, target, *views, decisions.ARCHIVE)["refusals"] == []
    assert ready.stops(source, target, decisions.ARCHIVE) == []


def test_the_copy_is_made_without_it_and_the_guest_that_serves_is_not_touched(nodes: Any) -> None:
    here, there, source, target = nodes
    here.guests[100]["protection"] = 1
    prepare.adopt(source)
    prepare.back_up(source)
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, here.archives[0]["volid"], began=True)
    assert (_kept(here), _kept(there)) == (("1", False), ("0", False))
    assert all("protection" not in values for _, _, values in here.written())
    assert ready.ready(source, target, *observed.look_at_both(source, target), decisions.DELTA)["differences"] == []


def test_the_side_that_opens_has_it_from_the_moment_it_has_the_permit(prepared: Any) -> None:
    here, there, source, target = prepared
    here.guests[100]["protection"] = 1
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    assert (_kept(here), _kept(there)) == (("1", False), ("1", False))
    assert all("protection" not in values for _, _, values in here.written())
    # In one change with permit and link: whoever dies after it leaves a protected guest.
    (opening,) = [values for method, _, values in there.written() if method == "PUT" and "protection" in values]
    assert "link_down=1" not in opening["net0"]


def test_what_an_operator_has_set_since_counts(prepared: Any) -> None:
    here, there, source, target = prepared
    here.guests[100]["protection"] = 1
    transitions.freeze(source, force=False)
    del here.guests[100]["protection"]
    _switch(source, target, E1)
    assert _kept(there) == ("0", False)
    assert all("protection" not in values for _, _, values in there.written())
    # Now it is set where it serves, and the old side has it as soon as it serves again.
    there.guests[100]["protection"] = 1
    transitions.freeze(target, force=False)
    _switch(target, source, E2)
    assert (_kept(here), _kept(there)) == (("1", False), ("1", False))


def test_what_an_operator_has_protected_is_protected_after_the_switch(prepared: Any) -> None:
    _here, there, source, target = prepared
    there.guests[100]["protection"] = 1
    transitions.freeze(source, force=False)
    _switch(source, target, E1)
    assert _kept(there) == ("1", False)


def test_by_a_persons_word_it_opens_as_it_was_captured(prepared: Any) -> None:
    _here, there, _source, target = prepared
    word = Word("pve-mtp", Epoch(1001, "cccc"), "Nadia", "power cut at the PDU", "2026-11-20T09:00:00Z")
    transitions.open_side(target, word.epoch, None, True, onboot=True, leads=True, word=word, protect=True)
    assert _kept(there) == ("1", False)


def test_a_return_lifts_it_right_before_the_old_guest_is_replaced_and_the_new_one_has_it(back: Any) -> None:
    here, _there, source, _target = back
    said = _journal(source)
    _return(back)
    assert _kept(here) == ("1", False)
    (lift, *_), (restore, *_) = ([r for r in here.written() if r[0] == method] for method in ("PUT", "POST"))
    assert lift[2]["protection"] == 0
    assert LINE in lift[2]["description"]
    assert here.written().index(restore) == here.written().index(lift) + 1
    assert restore[2]["protection"] == 1
    assert said == ["the guest 100 at pve-mtp: its protection is lifted, as it is about to be replaced"]


def test_it_is_written_down_before_it_is_lifted(back: Any) -> None:
    here, _there, source, _target = back
    at: list[tuple[str, bool]] = []
    source._journal = lambda _component, _text: at.append(_kept(here))
    protection.lift(source)
    assert (at, _kept(here)) == ([("1", False)], ("0", True))


@pytest.mark.parametrize(
    "answer",
    [(403, "Permission check failed (/storage/local, Datastore.AllocateSpace)", None, None), GONE, None],
    ids=["403", "gone", "task"],
)
def test_a_restore_that_fails_gives_it_back(back: Any, answer: Any) -> None:
    here, _there, source, _target = back
    said, before = _journal(source), dict(here.guests[100])
    if answer is None:
        here.task_results["qmrestore"] = ("storage is full", [])
    else:
        here.fail_next += [("POST", "qemu", answer)] * 40
    with pytest.raises(ProxmoxError) as caught:
        _return(back)
    here.fail_next.clear()
    assert "protection" not in caught.value.message()
    assert guest_config.without_lifted(before["description"]) == here.guests[100]["description"].rstrip("\n")
    assert _kept(here) == ("1", False)
    assert said[-1].endswith("its protection was given back")
    _return(back)
    assert _kept(here) == ("1", False)


def test_a_restore_that_fails_after_the_old_guest_is_gone_leaves_no_trap(back: Any) -> None:
    here, _there, source, target = back
    home = observed.look(source).to_dict()["home"]
    kept = source.guard(source.config()).to_dict()
    here.task_results["qmrestore"] = ("no space left", [])
    given = here._answer

    def breaks(method: str, path: str, values: dict[str, Any]) -> Any:
        answer = given(method, path, values)
        if method == "POST" and path.endswith("/qemu"):
            here.guests[100] = {"memory": "128"}
        return answer

    here._answer = breaks
    with pytest.raises(TaskFailed, match="no space left"):
        _return(back)
    here._answer = given
    assert here.guests[100] == {"memory": "128"}
    volid = here.archives[-1]["volid"]
    prepare.restore(source, target, volid, began=True, replace=True, kept=kept, home=home)
    assert _kept(here) == ("1", False)


def _unreachable(prepared: Any) -> None:
    """It is lifted, the node refuses the restore, and is gone when it is to be given back."""
    here = prepared[0]
    here.fail_next.append(("POST", "qemu", (403, "Permission check failed", None, None)))
    here.before_put.append(lambda: here.fail_next.extend([("PUT", "config", GONE)] * 99))
    with pytest.raises(ProxmoxError, match="403"):
        _return(prepared)
    here.fail_next.clear()


def _killed(prepared: Any) -> None:
    protection.lift(prepared[2])


@pytest.mark.parametrize("ends", [_unreachable, _killed])
def test_what_was_not_given_back_is_given_back_by_the_next_run(back: Any, ends: Callable[[Any], None]) -> None:
    here, there, source, target = back
    before = here.guests[100]["description"].rstrip("\n")
    ends(back)
    assert _kept(here) == ("0", True)
    assert "cut short" in protection.notes(observed.look(source))[0]
    there.requests.clear()
    found = recover.unfinished(target, source, decisions.ARCHIVE, check=True)
    assert (found["changed"], found["lifted"], _kept(here)) == (True, ["pve-mtp"], ("0", True))
    here.fail_next += [("PUT", "config", (403, "Permission check failed (/vms/100, VM.Config.Options)", None, None))]
    found = recover.unfinished(target, source, decisions.ARCHIVE)
    assert (found["changed"], _kept(here)) == (False, ("0", True)), "it is told, and holds up nobody"
    assert recover.unfinished(target, source, decisions.ARCHIVE)["changed"]
    assert (_kept(here), here.guests[100]["description"].rstrip("\n")) == (("1", False), before)
    assert not protection.give_back(source)
    found = recover.unfinished(target, source, decisions.ARCHIVE)
    assert (found["changed"], found["lifted"]) == (False, [])
    assert there.written() == []


def test_a_run_that_goes_on_after_a_kill_replaces_it_and_gives_it_back(back: Any) -> None:
    here, _there, source, _target = back
    protection.lift(source)
    here.requests.clear()
    _return(back)
    assert _kept(here) == ("1", False)
    assert [values.get("protection") for _, _, values in here.written()] == [1]


def test_a_side_that_opens_after_a_kill_has_its_own_again(back: Any) -> None:
    here, _there, source, target = back
    protection.lift(source)
    transitions.close_begin(target, E2, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(target, E2, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(source, E2, receipt, True, onboot=True, leads=False)
    assert _kept(here) == ("1", False)


def test_it_is_not_given_back_to_what_is_being_restored(back: Any) -> None:
    here, _there, source, _target = back
    protection.lift(source)
    here.guests[100]["lock"] = "create"
    here.requests.clear()
    assert not protection.give_back(source)
    assert here.written() == []


def test_somebody_elses_lock_is_waited_for_and_named(back: Any) -> None:
    here = back[0]
    here.guests[100]["lock"] = "backup"
    here.requests.clear()
    with pytest.raises(ProxmoxError, match="without a lock") as caught:
        _return(back)
    assert "backup" in caught.value.message()
    assert (here.written(), _kept(here)) == ([], ("1", False))


def _runs(here: Any) -> None:
    here.running.add(100)


def _connected(here: Any) -> None:
    here.guests[100]["net0"] = here.guests[100]["net0"].replace(",link_down=1", "")


def _opened(here: Any) -> None:
    here.guests[100]["description"] = here.guests[100]["description"].replace('"status":"closed"', '"status":"open"')


def _unknown(here: Any) -> None:
    here.guests[100]["description"] = "somebody's\n"


@pytest.mark.parametrize("is_so", [_runs, _connected, _opened, _unknown])
def test_it_is_lifted_only_where_our_guard_says_closed(back: Any, is_so: Callable[[Any], None]) -> None:
    here, _there, source, _target = back
    said = _journal(source)
    is_so(here)
    here.requests.clear()
    with pytest.raises(GuardRefused, match=r"which is protected.*qm set 100 --protection 0' at pve-mtp"):
        protection.lift(source)
    assert (said, here.written(), _kept(here)[0]) == ([], [], "1")


def test_nor_when_it_is_opened_between_the_look_and_the_change(back: Any) -> None:
    here, _there, source, _target = back
    here.before_put.append(lambda: _opened(here))
    with pytest.raises(GuardRefused, match="which is protected"):
        protection.lift(source)
    assert _kept(here) == ("1", False)


def test_an_operator_who_protects_it_in_between_is_heard(back: Any) -> None:
    here = back[0]
    given = here._answer

    def protects(method: str, path: str, values: dict[str, Any]) -> Any:
        if method == "POST" and path.endswith("/qemu"):
            here.guests[100]["protection"] = 1
        return given(method, path, values)

    here._answer = protects
    with pytest.raises(TaskFailed, match="protection mode enabled"):
        _return(back)
    assert _kept(here) == ("1", False)


def test_a_line_that_an_operator_takes_away_is_not_given_back(back: Any) -> None:
    here, _there, source, _target = back
    protection.lift(source)
    here.guests[100]["description"] = guest_config.without_lifted(here.guests[100]["description"])
    assert not protection.give_back(source)
    _return(back)
    assert _kept(here) == ("0", False)


def test_a_migration_makes_room_and_gives_it_back(back: Any, fake: Any) -> None:
    here, there, source, target = back
    home, kept = observed.look(source).to_dict()["home"], source.guard(source.config()).to_dict()
    assert remote.put_aside(source, began=True)["changed"]
    assert 100 not in here.guests
    (lift, remove) = here.written()
    assert (lift[0], lift[2]["protection"], remove[0]) == ("PUT", 0, "DELETE")
    there.peer = here
    endpoint = remote.Endpoint("pve-mtp.example.net", 8006, "bascule@pve!move=secret", "AA:BB")
    remote.migrate(target, source, endpoint, kept, home=home)
    assert _kept(here) == ("1", False)


def test_what_a_migration_brings_into_a_free_number_has_none(prepared: Any) -> None:
    here, there, source, target = prepared
    here.guests[100]["protection"] = 1
    del there.guests[100]
    here.peer = there
    transitions.freeze(source, force=False)
    endpoint = remote.Endpoint("pve-tls.example.net", 8006, "bascule@pve!move=secret", "AA:BB")
    remote.migrate(source, target, endpoint, None)
    assert (_kept(here)[0], _kept(there)) == ("1", ("0", False))


def test_a_removal_that_fails_gives_it_back(back: Any) -> None:
    here, _there, source, _target = back
    here.fail_next.append(("DELETE", "qemu/100", (403, "Permission check failed (/vms/100, VM.Allocate)", None, None)))
    with pytest.raises(ProxmoxError, match="403"):
        remote.put_aside(source, began=True)
    assert _kept(here) == ("1", False)


def test_what_is_left_of_a_failed_restore_is_removed_only_without_it(nodes: Any) -> None:
    _here, there, _source, target = nodes
    there.guests[100] = {"memory": "128", "protection": 1}
    with pytest.raises(ProxmoxError, match="protection mode enabled"):
        leftovers.remove_guest(target)
    assert there.guests[100]["protection"] == 1


@pytest.mark.parametrize("lifted", [False, True])
def test_it_is_not_retired_and_no_last_archive_is_made_of_it(back: Any, lifted: bool) -> None:
    here, _there, source, target = back
    if lifted:
        protection.lift(source)
    before = here.written()
    with pytest.raises(ProxmoxError, match=r"without protection.*qm set 100 --protection 0' at pve-mtp"):
        prepare.retire(source, target.guard(target.config()))
    assert here.written() == before
