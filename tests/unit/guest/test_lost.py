"""A guard that is gone is no proof that its side is passive: nothing goes on, nothing is written, all is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guard.todo import NOTHING
from bascule.guest import audit, decisions, lost, observed, prepare, transitions
from bascule.guest import config as guest_config
from bascule.guest.errors import ProxmoxError

E1 = Epoch(1, "aaaa")
DISKS = {"disk:scsi0": "tree-sha256:1111"}
NOTES = "Ask Nadia. Rebooted after the patch.\n"


@pytest.fixture
def switched(prepared: Any) -> Any:
    """The guest serves at the target."""
    here, there, source, target = prepared
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, E1, receipt, True, onboot=True, leads=False)
    here.requests.clear()
    there.requests.clear()
    return prepared


def _wiped(node: Any) -> None:
    node.guests[100]["description"] = NOTES


def _destroyed(node: Any) -> None:
    del node.guests[100]
    node.running.clear()


def _moved(node: Any) -> None:
    _destroyed(node)
    node.elsewhere.append({"type": "qemu", "vmid": 100, "name": "courses", "node": "pve-tls2"})


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (_wiped, "the guest at pve-tls has no guard line of this component and side in its Notes"),
        (_destroyed, "there is no guest of that number at pve-tls"),
        (_moved, "there is no guest of that number at pve-tls: the guest 'courses' at the node pve-tls2 has it"),
    ],
)
def test_no_verb_goes_on_when_the_guard_of_the_active_side_is_gone(
    switched: Any, happens: Callable[[Any], None], words: str
) -> None:
    here, there, source, target = switched
    before = target.guard(target.config())
    happens(there)
    running = set(there.running)

    def copies(machine: str) -> guard.GuardState | None:
        return before if machine == "pve-tls" else None

    def both(decide: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: decide(*observed.look_at_both(target, source), copies=copies)

    for verb in (
        lambda: transitions.freeze(target, force=False, other=source, copies=copies),
        lambda: transitions.freeze(source, force=False, other=target, copies=copies),
        lambda: transitions.thaw(target, onboot=True, other=source, copies=copies),
        both(decisions.sync_todo),
        both(decisions.switch_todo),
        lambda: decisions.may_prepare(*observed.look_at_both(source, target), copies=copies),
    ):
        with pytest.raises(GuardRefused) as caught:
            verb()
        assert caught.value.found == words
        assert "held: nothing was changed; pve-tls may be the side that serves" in caught.value.state
        assert "since 2026-11-20T09:00:00Z would be lost" in caught.value.state
        assert guest_config.guard_line(before) in caught.value.next_command
        assert "20_prepare" not in caught.value.message()
    assert here.written() == there.written() == []
    assert (here.running, there.running) == (set(), running)


def test_a_guest_that_is_lost_for_good_is_given_up_by_a_person_only(switched: Any) -> None:
    here, there, source, target = switched
    _destroyed(there)
    with pytest.raises(GuardRefused, match="only if it is lost for good") as caught:
        transitions.freeze(target, force=False, other=source)
    line = caught.value.next_command.partition("with the Notes ")[2].partition(", and run")[0]
    there.guests[100] = {"memory": "128", "description": line + "\n"}
    assert transitions.freeze(target, force=False, other=source)["changed"] is False
    todo = decisions.switch_todo(*observed.look_at_both(target, source))
    assert (todo.action, todo.reason) == ("switch", "pve-mtp holds the latest data already")
    # The receipt that opened what is lost opens nothing there again.
    spent = source.guard(source.config()).receipt
    assert spent is not None
    assert target.guard(target.config()).promised == spent.epoch
    assert here.written() == []


def test_a_guard_line_that_is_put_back_lets_the_rollback_go_on(switched: Any) -> None:
    here, there, source, target = switched
    line = guest_config.guard_line(target.guard(target.config()))
    _wiped(there)
    with pytest.raises(GuardRefused):
        transitions.freeze(target, force=False, other=source)
    there.guests[100]["description"] += line + "\n"
    assert transitions.freeze(target, force=False, other=source)["changed"] is True
    assert decisions.switch_todo(*observed.look_at_both(target, source)).digests is True
    assert here.running == there.running == set()


@pytest.mark.parametrize("began", [True, False])
def test_no_older_copy_is_restored_where_the_active_guest_was(switched: Any, began: bool) -> None:
    here, there, source, target = switched
    there.archives = [dict(row) for row in here.archives]
    _destroyed(there)
    archive = str(here.archives[0]["volid"])
    never = guard.GuardState("courses_guest", "pve-tls").to_dict()
    with pytest.raises(GuardRefused, match="held: nothing was restored; pve-tls may hold what was written since"):
        prepare.restore(target, source, archive, began, kept=never if began else None)
    # What the storage lost its disk of is not cleaned away either.
    there.guests[100] = {"memory": "128"}
    with pytest.raises(GuardRefused, match="held"):
        prepare.restore(target, source, archive, began, kept=never if began else None)
    assert there.written() == []


def test_our_own_interrupted_restore_goes_on_with_its_guard(prepared: Any) -> None:
    here, there, source, target = prepared
    kept = target.guard(target.config())
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")
    there.guests[100] = {"memory": "128"}
    prepare.restore(target, source, str(here.archives[0]["volid"]), began=True, kept=kept.to_dict())
    state = target.guard(target.config())
    # Of the epochs the other side has seen, none opens it.
    assert (state.status, state.opened, state.promised) == (guard.CLOSED, None, E1)


def test_a_source_whose_guard_is_gone_is_not_called_passive(prepared: Any) -> None:
    here, there, source, target = prepared
    _wiped(here)
    every: tuple[Callable[[], Any], ...] = (
        lambda: transitions.freeze(source, force=False, other=target),
        lambda: transitions.thaw(source, onboot=True, other=target),
        lambda: decisions.sync_todo(*observed.look_at_both(source, target)),
        lambda: decisions.switch_todo(*observed.look_at_both(source, target)),
        lambda: decisions.may_prepare(*observed.look_at_both(source, target)),
    )
    for verb in every:
        with pytest.raises(GuardRefused, match="the guest at pve-mtp has no guard line"):
            verb()
    assert here.written() == there.written() == []
    assert here.running == {100}


def test_without_the_other_side_nothing_is_said_of_a_guard_that_is_gone(prepared: Any) -> None:
    here, _, source, _ = prepared
    _wiped(here)
    words = "or the other side to tell what it was"
    with pytest.raises(GuardRefused, match=words):
        transitions.freeze(source, force=False)
    with pytest.raises(GuardRefused, match=words):
        transitions.thaw(source, onboot=True)


def test_a_passive_guard_that_is_gone_matters_not_while_the_other_side_holds_its_permit(prepared: Any) -> None:
    _, there, source, target = prepared
    _wiped(there)
    assert transitions.freeze(target, force=False, other=source)["changed"] is False
    with pytest.raises(GuardRefused, match="the guest that serves was not touched"):
        decisions.sync_todo(*observed.look_at_both(source, target))
    assert decisions.switch_todo(*observed.look_at_both(target, source)).action == NOTHING
    assert list(observed.guards(source, target)[0]) == ["pve-mtp", "pve-tls"]
    with pytest.raises(GuardRefused, match="a side with a live permit"):
        transitions.thaw(target, onboot=True, other=source)
    assert transitions.thaw(target, onboot=True, check=True, other=source)["changed"] is True
    there.running.add(100)
    with pytest.raises(GuardRefused, match="one that has no guard line runs there"):
        decisions.switch_todo(*observed.look_at_both(target, source))


@pytest.mark.parametrize("happens", [_wiped, _destroyed])
def test_a_guard_that_is_gone_was_not_read(switched: Any, happens: Callable[[Any], None]) -> None:
    _, there, source, target = switched
    happens(there)
    read, unread, gone = observed.guards(target, source)
    assert (list(read), gone) == (["pve-mtp"], ["pve-tls"])
    assert "pve-tls may be the side that serves" in unread["pve-tls"]


def test_a_closed_guard_that_our_own_copy_noted_was_read(prepared: Any) -> None:
    _, there, source, target = prepared
    kept = target.guard(target.config())
    transitions.freeze(source, force=False)
    transitions.close_begin(source, E1, force=False)
    transitions.close_finish(source, E1, DISKS, "2026-11-20T09:00:00Z")
    there.guests[100] = {"memory": "128"}
    read, unread, gone = observed.guards(target, source, noted=kept)
    assert (read["pve-tls"].status, read["pve-tls"].promised, unread, gone) == (guard.CLOSED, E1, {}, ["pve-tls"])
    for noted in (None, guard.GuardState("courses_guest", "pve-tls"), source.guard(source.config())):
        assert list(observed.guards(target, source, noted=noted)[1]) == ["pve-tls"]


def test_a_number_that_a_container_has_is_named_before_anything_is_archived(nodes: Any) -> None:
    here, there, source, target = nodes
    there.elsewhere.append({"type": "lxc", "vmid": 100, "name": "dns", "node": "pve-tls"})
    words = "the container 'dns' at the node pve-tls has it"
    with pytest.raises(ProxmoxError, match=words):
        decisions.may_prepare(*observed.look_at_both(source, target))
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert [text for text in found if words in text] == [f"the number 100 is taken in the cluster of pve-tls: {words}"]
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]["volid"]
    with pytest.raises(ProxmoxError, match=words):
        prepare.restore(target, source, archive, began=True)
    assert there.written() == []
    del here.guests[100]
    here.elsewhere.append({"type": "qemu", "vmid": 100, "name": "courses", "node": "pve-mtp2"})
    found = audit.audit(source, target, *observed.look_at_both(source, target))["refusals"]
    assert found == ["there is no guest 100 at pve-mtp: the guest 'courses' at the node pve-mtp2 has the number"]


def test_what_nobody_has_taken_over_is_nothing_lost() -> None:
    unknown = guard.GuardState("courses_guest", "pve-mtp"), guard.GuardState("courses_guest", "pve-tls")
    assert lost.of(*unknown) is None
    assert lost.of(guard.adopt_open(unknown[0]), unknown[1]) is None
    assert lost.of(unknown[0], guard.adopt_closed(unknown[1])) == (unknown[0], guard.adopt_closed(unknown[1]))


# A site is lost for good.


def _word(about: str, epoch: Epoch) -> guard.Word:
    return guard.Word(about, epoch, "Nadia", "power cut at the PDU", "2026-11-20T09:00:00Z")


def test_the_copy_opens_by_a_word_and_the_guest_that_is_back_gives_way(prepared: Any) -> None:
    here, there, source, target = prepared
    there.requests.clear()
    here.requests.clear()
    epoch = guard.beyond(target.guard(target.config()), "w")
    opened = transitions.open_side(target, epoch, None, True, True, True, word=_word("pve-mtp", epoch))
    assert opened["guard"]["status"] == "open"
    assert here.requests == [], "the lost side is not asked"
    assert target.guard(target.config()).word == _word("pve-mtp", epoch)
    views = observed.look_at_both(source, target)
    for decide in (decisions.sync_todo, decisions.switch_todo):
        with pytest.raises(GuardRefused, match=r"looked through.*site_back\.yml"):
            decide(*views)
    back = guard.next_epoch(views[0].guard, views[1].guard, "b")
    transitions.close_begin(source, back, True, views[1].guard)
    closed = transitions.close_finish(source, back, {}, "2026-11-20T10:00:00Z")
    assert (closed["guard"]["status"], closed["guard"]["gave_way"]) == ("closed", str(back))
    assert here.running == set()
    assert "link_down=1" in here.guests[100]["net0"]
    views = observed.look_at_both(source, target)
    assert observed.leading(*views) == "pve-tls"
    running = set(there.running)
    told = transitions.settle(target, views[0].guard)
    assert (told["changed"], told["guard"]["word"]["settled"]) == (True, str(back))
    assert (told["guard"]["status"], there.running) == ("open", running)
    assert transitions.settle(target, views[0].guard)["changed"] is False
    with pytest.raises(GuardRefused, match="to have given way to the word"):
        transitions.settle(source, views[1].guard)


def test_an_open_guest_needs_no_word_and_none_opens_what_has_no_guard(prepared: Any) -> None:
    _, there, source, target = prepared
    epoch = guard.beyond(source.guard(source.config()), "w")
    with pytest.raises(GuardRefused, match="that is not open, to go on without pve-tls"):
        transitions.open_side(source, epoch, None, True, True, True, word=_word("pve-tls", epoch))
    _wiped(there)
    with pytest.raises(GuardRefused, match="that is not open, to go on without pve-mtp"):
        transitions.open_side(target, epoch, None, True, True, True, word=_word("pve-mtp", epoch))
