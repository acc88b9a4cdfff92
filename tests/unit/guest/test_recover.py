"""A cutover by restore or migration that is cut short goes on, and finds its way back; nothing good is thrown away."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard import state as guard
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.guard.todo import NOTHING
from bascule.guest import config as guest_config
from bascule.guest import decisions, observed, prepare, recover, remote, transitions
from bascule.guest.errors import ProxmoxError
from bascule.guest.remote import Endpoint

ENDPOINT = Endpoint("pve-tls", 8006, "bascule@pve!move=secret", "AA:BB")
E1, E2 = Epoch(1, "aaaa"), Epoch(2, "bbbb")
DISKS = {"disk:scsi0": "tree-sha256:1111"}
NOW = "2026-11-20T09:00:00Z"


@pytest.fixture
def sent(nodes: Any) -> Any:
    """The guest shut down and sent; its source is closed, its target not opened."""
    here, there, source, target = nodes
    prepare.adopt(source)
    transitions.freeze(source, force=False)
    here.peer, there.peer = there, here
    remote.migrate(source, target, ENDPOINT, None)
    del here.guests[100]["lock"]
    _close(source, E1)
    here.requests.clear()
    there.requests.clear()
    return nodes


def _close(guest: Any, epoch: Epoch, position: Any = DISKS) -> Receipt:
    transitions.close_begin(guest, epoch, force=False)
    return Receipt.from_dict(transitions.close_finish(guest, epoch, position, NOW)["receipt"])


def _return(here: Any, source: Any, target: Any) -> None:
    """The way back after all was put right: nothing is carried, the old side opens again."""
    assert transitions.freeze(target, force=False, other=source)["changed"] is False
    assert decisions.sync_todo(*observed.look_at_both(target, source), decisions.REMOTE).action == NOTHING
    todo = decisions.switch_todo(*observed.look_at_both(target, source), decisions.REMOTE)
    assert (todo.action, todo.digests) == ("switch", False)
    receipt = _close(target, E2, {})
    transitions.open_side(source, E2, receipt, True, onboot=True, leads=True)
    assert here.running == {100}
    assert guest_config.links_up(here.guests[100])


def test_a_source_that_is_closed_and_leads_is_sent_again(sent: Any) -> None:
    _, there, source, target = sent
    assert decisions.sync_todo(*observed.look_at_both(source, target), decisions.REMOTE).action == "remote"
    kept = target.guard(target.config()).to_dict()
    remote.may_be_sent(source, target, kept)
    assert remote.put_aside(target, began=True, source=source)["changed"] is True
    remote.may_be_sent(source, target, kept)
    assert remote.migrate(source, target, ENDPOINT, kept)["changed"] is True
    state = target.guard(target.config())
    assert (state.status, state.opened, state.promised) == (guard.CLOSED, None, E1)
    assert there.running == set()


@pytest.mark.parametrize("case", ["serves", "led by the target", "locked"])
def test_what_a_migration_needs_is_asked_before_anything_is_put_aside(sent: Any, case: str) -> None:
    here, there, source, target = sent
    kept = target.guard(target.config())
    if case == "serves":
        here.running.add(100)
    if case == "led by the target":
        opening = guard.may_open(kept, E1, source.guard(source.config()).receipt, True)
        closing = guard.promise(guard.opened(opening, E1), E2)
        kept = guard.closed(closing, E2, DISKS, NOW)[0]
        there.guests[100]["description"] = guest_config.with_guard(None, kept)
    if case == "locked":
        here.guests[100]["lock"] = "backup"
        with pytest.raises(ProxmoxError, match="locked: backup"):
            remote.put_aside(target, began=True, source=source)
    else:
        with pytest.raises(ProxmoxError, match="nothing was sent, nothing was put aside"):
            remote.may_be_sent(source, target, kept.to_dict())
    assert there.written() == []
    assert 100 in there.guests


def test_a_lock_of_our_migration_is_left_by_nobody_else(sent: Any) -> None:
    here, _, source, target = sent
    here.guests[100]["lock"] = "migrate"
    found = recover.unfinished(source, target, decisions.REMOTE)
    assert (found["gone"], found["locked"], found["noted"]) == ("", "pve-mtp", "pve-tls")
    assert recover.unfinished(target, source, decisions.REMOTE)["locked"] == "pve-mtp", "and on the way back"
    assert recover.unfinished(source, target, decisions.DELTA)["locked"] == ""
    assert recover.left_locked(source, target, "", "pve-mtp", began=True)["unlock"] == ["pve-mtp"]
    assert recover.left_locked(source, target, "", "pve-mtp", began=False)["unlock"] == []
    here.active.append({"type": "vzdump", "upid": "UPID:x", "user": "root@pam"})
    assert recover.left_locked(source, target, "", "pve-mtp", began=True)["unlock"] == []
    here.guests[100]["lock"] = "backup"
    here.active.clear()
    assert recover.left_locked(source, target, "", "pve-mtp", began=True)["unlock"] == []


def test_a_migration_that_still_runs_is_followed_before_its_lock_is_looked_at(sent: Any) -> None:
    here, _, source, target = sent
    here.guests[100]["lock"] = "migrate"
    upid = here.task("qmigrate", 100, lambda: here.guests[100].pop("lock"))[2]
    here.active.append({"type": "qmigrate", "upid": upid, "user": "bascule@pve!move"})
    assert recover.left_locked(source, target, "", "pve-mtp", began=True)["unlock"] == []


def test_a_target_that_was_put_aside_does_not_bar_the_way_back(sent: Any) -> None:
    here, there, source, target = sent
    kept = target.guard(target.config()).to_dict()
    remote.put_aside(target, began=True, source=source)
    # Killed here: the source is closed, the target gone.
    with pytest.raises(GuardRefused, match="held: nothing was changed"):
        decisions.switch_todo(*observed.look_at_both(target, source), decisions.REMOTE)
    assert recover.unfinished(target, source, decisions.REMOTE)["gone"] == "pve-tls"
    assert recover.take_back(target, source, True, kept, check=True)["changed"] is True
    assert 100 not in there.guests
    assert recover.take_back(target, source, True, kept)["changed"] is True
    assert guest_config.drives(there.guests[100]) == []
    assert recover.take_back(target, source, True, kept)["changed"] is False
    _return(here, source, target)


def test_a_failed_restore_over_the_passive_guest_does_not_bar_the_way_back(prepared: Any) -> None:
    here, there, source, target = prepared
    kept = target.guard(target.config()).to_dict()
    transitions.freeze(source, force=False)
    _close(source, E1)
    there.guests[100] = {"memory": "128", "lock": "create"}
    assert recover.unfinished(target, source, decisions.ARCHIVE)["gone"] == "pve-tls"
    with pytest.raises(GuardRefused, match=r"it is locked \(create\)"):
        recover.take_back(target, source, True, kept)
    assert recover.left_locked(target, source, "pve-tls", "", began=True)["unlock"] == ["pve-tls"]
    del there.guests[100]["lock"]
    recover.take_back(target, source, True, kept)
    _return(here, source, target)


def test_a_failed_restore_goes_on_forward_too(prepared: Any) -> None:
    here, there, source, target = prepared
    there.archives = [dict(row) for row in here.archives]
    kept = target.guard(target.config()).to_dict()
    transitions.freeze(source, force=False)
    _close(source, E1)
    there.guests[100] = {"memory": "128"}
    recover.take_back(target, source, True, kept)
    assert decisions.sync_todo(*observed.look_at_both(source, target), decisions.ARCHIVE).action == "archive"


@pytest.mark.parametrize("case", ["not ours", "no guard noted", "elsewhere", "runs"])
def test_a_guard_is_taken_back_only_where_nothing_was_opened_since(sent: Any, case: str) -> None:
    _, there, source, target = sent
    kept = target.guard(target.config()).to_dict()
    there.guests[100]["description"] = "Ask Nadia.\n"
    words = "held: nothing was changed; pve-tls may be the side that serves"
    if case == "no guard noted":
        kept = GuardState("courses_guest", "pve-tls").to_dict()
    if case == "elsewhere":
        del there.guests[100]
        there.elsewhere.append({"type": "qemu", "vmid": 100, "name": "courses", "node": "pve-tls2"})
    if case == "runs":
        there.running.add(100)
        words = "it runs, and has no guard"
    with pytest.raises(GuardRefused, match=words):
        recover.take_back(target, source, case != "not ours", kept)
    assert there.written() == []


def test_what_arrived_and_was_not_taken_over_is_cut_on_the_way_back(nodes: Any) -> None:
    here, there, source, target = nodes
    prepare.adopt(source)
    transitions.freeze(source, force=False)
    here.peer, there.peer = there, here
    there.fail_next.append(("PUT", "config", (500, "detected modified", None, None)))
    with pytest.raises(ProxmoxError):
        remote.migrate(source, target, ENDPOINT, None)
    assert guest_config.links_up(there.guests[100])
    found = recover.unfinished(target, source, decisions.REMOTE)
    assert (found["gone"], found["locked"], found["noted"]) == ("pve-tls", "pve-mtp", "pve-tls")
    assert recover.unfinished(source, target, decisions.REMOTE)["gone"] == "", "forward it is taken over as it is"
    assert recover.left_locked(target, source, "pve-tls", "pve-mtp", began=True)["unlock"] == ["pve-mtp"]
    del here.guests[100]["lock"]
    unknown = GuardState("courses_guest", "pve-tls").to_dict()
    assert recover.take_back(target, source, False, unknown)["changed"] is False, "another's guest is not touched"
    assert recover.take_back(target, source, True, unknown)["changed"] is True
    assert not guest_config.links_up(there.guests[100])
    assert str(there.guests[100]["onboot"]) == "0"
    assert target.guard(target.config()).status == guard.CLOSED
    assert decisions.switch_todo(*observed.look_at_both(target, source), decisions.REMOTE).action == NOTHING
    assert transitions.thaw(source, onboot=True, other=target)["changed"] is True
    assert here.running == {100}
