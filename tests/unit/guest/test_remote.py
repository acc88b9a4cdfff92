"""Proxmox's own migration: what it is told, what is taken over, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guard import state as guard
from bascule.guard.state import Epoch
from bascule.guest import decisions, observed, prepare, remote, transitions
from bascule.guest.errors import ProxmoxError, TaskFailed
from bascule.guest.remote import Endpoint

ENDPOINT = Endpoint("pve-tls", 8006, "bascule@pve!move=secret", "AA:BB")


@pytest.fixture
def frozen(nodes: Any) -> Any:
    """The guest taken over and shut down; no guest at the other side."""
    here, there, source, _ = nodes
    prepare.adopt(source)
    transitions.freeze(source, force=False)
    here.peer, there.peer = there, here
    here.requests.clear()
    return nodes


def test_what_arrives_is_the_passive_guest(frozen: Any) -> None:
    here, there, source, target = frozen
    assert decisions.sync_todo(*observed.look_at_both(source, target), decisions.REMOTE).action == "remote"
    assert remote.migrate(source, target, ENDPOINT, None) == {"changed": True, "rate": 26843545}
    sent = next(values for _, path, values in here.written() if path.endswith("remote_migrate"))
    assert (sent["target-storage"], sent["target-bridge"]) == ("local:local", "vmbr0:vmbr0")
    assert (sent["online"], sent["delete"], sent["target-vmid"]) == (0, 0, 100)
    arrived = there.guests[100]
    assert arrived["net0"].endswith("link_down=1")
    assert str(arrived["onboot"]) == "0"
    assert target.guard(target.config()).status == guard.CLOSED
    assert source.guard(source.config()).status == guard.OPEN
    assert here.guests[100]["lock"] == "migrate"


def test_a_migration_that_arrived_is_taken_over_by_the_next_run(frozen: Any) -> None:
    here, there, source, target = frozen
    there.fail_next.append(("PUT", "config", (500, "detected modified", None, None)))
    with pytest.raises(ProxmoxError):
        remote.migrate(source, target, ENDPOINT, None)
    assert target.guard(target.config()).status == guard.UNKNOWN
    here.requests.clear()
    remote.migrate(source, target, ENDPOINT, None)
    assert target.guard(target.config()).status == guard.CLOSED
    assert here.written() == []


def test_a_wrong_fingerprint_sends_nothing_and_no_token_is_told(frozen: Any) -> None:
    _, there, source, target = frozen
    with pytest.raises(ProxmoxError, match="not verified, abort") as caught:
        remote.migrate(source, target, Endpoint("pve-tls", 8006, "bascule@pve!move=secret", "CC"), None)
    assert "secret" not in caught.value.message()
    assert there.guests == {}


def test_a_migration_that_fails_speaks_with_its_logs_words(frozen: Any) -> None:
    here, _, source, target = frozen
    words = "2026-11-20 08:48:36 ERROR: migration aborted (duration 00:00:01): no such bridge"
    here.task_results["qmigrate"] = ("migration aborted", [words, "TASK ERROR: migration aborted"])
    with pytest.raises(TaskFailed, match="no such bridge"):
        remote.migrate(source, target, ENDPOINT, None)


def test_a_guest_that_serves_is_not_sent(nodes: Any) -> None:
    here, _, source, target = nodes
    prepare.adopt(source)
    here.requests.clear()
    with pytest.raises(ProxmoxError, match="shut down and frozen before it is sent"):
        remote.migrate(source, target, ENDPOINT, None)
    assert here.written() == []


def test_half_a_guest_is_not_taken_over(frozen: Any) -> None:
    _, there, source, target = frozen
    there.guests[100] = {"memory": "128", "lock": "create"}
    with pytest.raises(ProxmoxError, match="the migration did not end"):
        remote.migrate(source, target, ENDPOINT, None)
    with pytest.raises(ProxmoxError, match="nothing was removed"):
        remote.put_aside(target, began=False)
    del there.guests[100]["lock"]
    there.guests[100]["scsi0"] = "local:100/vm-100-disk-0.raw,size=1G"
    assert "has arrived" in remote.put_aside(target, began=True)["reason"]
    assert remote.put_aside(target, began=True, broken=True)["changed"] is True
    assert remote.put_aside(target, began=True)["changed"] is False


def test_the_way_back_puts_the_old_guest_aside_and_keeps_its_guard(frozen: Any) -> None:
    here, _, source, target = frozen
    remote.migrate(source, target, ENDPOINT, None)
    del here.guests[100]["lock"]
    epoch = Epoch(1, "aaaa")
    transitions.close_begin(source, epoch, force=False)
    position = {"disk:scsi0": "tree-sha256:1111"}
    receipt = guard.Receipt.from_dict(
        transitions.close_finish(source, epoch, position, "2026-11-20T09:00:00Z")["receipt"]
    )
    transitions.open_side(target, epoch, receipt, transitions.reached(position, position, False), True, False)
    transitions.freeze(target, force=False)
    kept = source.guard(source.config()).to_dict()
    remote.put_aside(source, began=True)
    assert 100 not in here.guests
    remote.migrate(target, source, ENDPOINT, kept)
    state = source.guard(source.config())
    assert (state.status, state.receipt, state.promised) == (guard.CLOSED, receipt, epoch)


def test_only_a_migration_of_ours_that_is_over_counts_as_broken(frozen: Any) -> None:
    here, there, source, target = frozen
    there.guests[100] = {"memory": "128", "lock": "create"}
    assert remote.left_behind(source, target, began=False)["broken"] is False
    assert remote.left_behind(source, target, began=True)["broken"] is True
    upid = here.task("qmigrate", 100, lambda: there.guests[100].pop("lock"))[2]
    here.active.append({"type": "qmigrate", "upid": upid, "user": "bascule@pve!move", "status": "RUNNING"})
    assert remote.left_behind(source, target, began=True)["broken"] is False
