"""Freeze, thaw, close and open on a simulated host: order, proof, refusals, and what is left afterwards."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import mounts, side
from bascule.filetree.mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, TreeError
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import GuardState, Word

from .world import COMPONENT, Kernel, adopt, fill, host, use


@pytest.fixture
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The side that serves."""
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, "open")
    return kernel


@pytest.fixture
def passive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The other side, with the same content."""
    kernel = host(tmp_path, monkeypatch, "files-tls")
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, "closed")
    return kernel


def state(kernel: Kernel) -> str:
    return side.look(kernel.side).state


def freeze(kernel: Kernel, value: bool = True, **more: Any) -> Any:
    return transitions.freeze(COMPONENT, kernel.side.name, value, **more)


def test_freeze_and_thaw_twice(active: Kernel) -> None:
    assert freeze(active)[0]
    assert (state(active), active.side.guard().frozen) == (FROZEN, True)
    assert freeze(active)[0] == []
    assert freeze(active, False)[0]
    assert (state(active), active.side.guard().frozen) == (ACTIVE, False)
    assert freeze(active, False)[0] == []


def test_what_came_to_share_the_file_system_is_not_made_read_only(active: Kernel) -> None:
    active.shared = ("/ (its part /@)",)
    for verb in (freeze, lambda kernel: transitions.close(COMPONENT, kernel.side.name, "1.a")):
        with pytest.raises(TreeError, match="it also holds / "):
            verb(active)
    assert (state(active), active.taken, active.side.guard().status) == (ACTIVE, [], "open")


def test_check_mode_says_and_touches_nothing(active: Kernel) -> None:
    done, _ = freeze(active, check=True)
    assert "make the file system read-only" in done
    closing = transitions.close(COMPONENT, active.side.name, "1.a", check=True)
    assert closing["changed"]
    assert closing["receipt"] is None
    assert active.taken == []
    assert active.side.guard().status == "open"


def test_a_writer_stops_the_freeze_and_the_mark_is_taken_back(active: Kernel) -> None:
    active.busy = ["php-fpm (process 7): /srv/courses/x"]
    with pytest.raises(TreeError, match=r"php-fpm \(process 7\)"):
        freeze(active)
    assert (state(active), active.side.guard().frozen) == (ACTIVE, False)


def test_a_fault_of_the_system_takes_the_mark_back_as_well(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.ENXIO, "no such device")

    monkeypatch.setattr(mounts, "take", broken)
    with pytest.raises(OSError, match="no such device"):
        freeze(active)
    assert (state(active), active.side.guard().frozen) == (ACTIVE, False)


def test_a_writer_that_ends_in_a_moment_is_waited_for(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    active.busy = ["php-fpm"]

    def ends(seconds: float) -> None:
        active.busy = []

    monkeypatch.setattr(time, "sleep", ends)
    assert freeze(active)[0]
    assert state(active) == FROZEN


def test_a_remount_that_did_nothing_is_found_out(active: Kernel) -> None:
    active.private = True
    active.deaf = True
    with pytest.raises(TreeError, match="to become frozen"):
        freeze(active)


@pytest.mark.parametrize("way", ["public", "private"])
def test_a_write_that_is_let_in_at_a_side_that_closes_is_an_alarm(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whatever the mounts say: somebody tries, and comes in."""
    monkeypatch.setattr(mounts, "refused" if way == "public" else "refused_unnamed", lambda path: False)
    with pytest.raises(TreeError, match=f"by the {way} path accepted"):
        transitions.close(COMPONENT, active.side.name, "1.a")
    guard = active.side.guard()
    assert (guard.status, guard.receipt) == ("closing", None)


def test_a_closed_side_is_not_frozen_and_not_thawed(passive: Kernel) -> None:
    assert freeze(passive)[0] == []
    assert freeze(passive, False, check=True)[0] == []
    with pytest.raises(GuardRefused, match="a side with a live permit"):
        freeze(passive, False)
    assert passive.taken == []


def test_a_wrong_name_is_refused(active: Kernel) -> None:
    with pytest.raises(TreeError, match="never renamed"):
        transitions.freeze(COMPONENT, "files-xyz", True)


def test_a_host_that_was_not_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch)
    with pytest.raises(TreeError, match="20_prepare"):
        freeze(kernel)


def test_close_gives_a_receipt_with_the_manifest_and_the_same_one_again(active: Kernel) -> None:
    first = transitions.close(COMPONENT, active.side.name, "1.a")
    assert state(active) == CLOSED
    position = first["receipt"]["position"]
    assert position["opened"] == "0.adopted"
    assert len(position["manifest"]) == 64
    again = transitions.close(COMPONENT, active.side.name, "1.a")
    assert (again["receipt"], again["changed"]) == (first["receipt"], False)
    assert active.side.manifest.with_name("fence-1.a.jsonl").exists()


def test_a_lower_epoch_closes_nothing(active: Kernel) -> None:
    transitions.close(COMPONENT, active.side.name, "5.a")
    with pytest.raises(GuardRefused, match="a later decision has taken over"):
        transitions.close(COMPONENT, active.side.name, "4.z")


def test_a_writer_leaves_the_side_closing_and_without_a_receipt(active: Kernel) -> None:
    active.busy = ["x"]
    with pytest.raises(TreeError):
        transitions.close(COMPONENT, active.side.name, "1.a")
    assert (active.side.guard().status, active.side.guard().receipt) == ("closing", None)
    active.busy = []
    assert transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]["epoch"] == "1.a"


def test_the_other_side_opens_with_the_receipt_once(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(active, monkeypatch)
    receipt = transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]
    use(passive, monkeypatch)
    opened = transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert (opened["changed"], opened["guard"]["status"], state(passive)) == (True, "open", ACTIVE)
    again = transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert (again["changed"], again["done"]) == (False, [])


@pytest.mark.parametrize("change", ["content", "mode", "extra", "missing"])
def test_a_tree_that_is_not_equal_does_not_open(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    use(active, monkeypatch)
    receipt = transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]
    path = Path(passive.side.path) / "a"
    if change == "content":
        fill(passive.side, a="ONE")
    elif change == "mode":
        # Whatever umask it was made with.
        path.chmod(0o640)
    elif change == "extra":
        fill(passive.side, c="three")
    else:
        path.unlink()
        fill(passive.side, b="two")
    use(passive, monkeypatch)
    with pytest.raises(GuardRefused, match="carry the changes over"):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert not [step for step in passive.taken if "writable" in step]
    assert passive.side.guard().status == "closed"


def test_a_side_that_was_open_later_opens_without_being_compared(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back from a closing after which nothing was opened: what the other side holds is older."""
    use(active, monkeypatch)
    transitions.close(COMPONENT, active.side.name, "1.a")
    fill(passive.side, a="older")
    use(passive, monkeypatch)
    receipt = transitions.close(COMPONENT, passive.side.name, "2.b")["receipt"]
    use(active, monkeypatch)
    assert transitions.open_(COMPONENT, active.side.name, "2.b", receipt)["guard"]["status"] == "open"


def test_receiving_needs_a_closed_guard(active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert transitions.make_ready(COMPONENT, passive.side.name) == (
        [
            f"mount the tree at the private path {passive.side.tree}",
            f"make the mount {passive.side.path} read-only",
            f"write {passive.units}/srv-courses.mount.d/zzz-bascule-{COMPONENT}.conf: {passive.side.path} comes up "
            "read-only at every boot",
        ],
        "",
    )
    assert state(passive) == PASSIVE
    assert transitions.make_ready(COMPONENT, passive.side.name)[0] == []
    use(active, monkeypatch)
    with pytest.raises(TreeError, match="a guard that lets the tree be passive"):
        transitions.make_ready(COMPONENT, active.side.name)
    assert active.taken == []


def test_a_side_that_was_active_keeps_what_is_replaced_each_time_elsewhere(active: Kernel) -> None:
    transitions.close(COMPONENT, active.side.name, "1.a")
    _, first = transitions.make_ready(COMPONENT, active.side.name)
    assert first == str(active.side.kept / "1.a" / "0001")
    Path(first).mkdir(parents=True)
    assert transitions.make_ready(COMPONENT, active.side.name)[1].endswith("/1.a/0002")


def test_an_interrupted_opening_goes_on_under_the_same_epoch(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(active, monkeypatch)
    receipt = transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]
    use(passive, monkeypatch)
    transitions.make_ready(COMPONENT, passive.side.name)
    passive.deaf = True
    with pytest.raises(TreeError):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert passive.side.guard().status == "opening"
    passive.deaf = False
    assert transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)["guard"]["status"] == "open"


def test_a_guard_that_changed_meanwhile_keeps_the_tree_shut(active: Kernel) -> None:
    transitions.close(COMPONENT, active.side.name, "1.a")
    with pytest.raises(TreeError, match="a guard that lets the tree be active"):
        side.apply(active.side, ACTIVE)
    assert store.read(COMPONENT, active.side.name, root=active.side.base / "guard").status == "closed"
    assert state(active) == CLOSED


def test_a_tree_with_file_systems_in_it_is_neither_frozen_nor_closed_nor_carried(active: Kernel) -> None:
    active.nested = (f"{active.side.path}/more",)
    for forbidden in (
        lambda: freeze(active),
        lambda: freeze(active, check=True),
        lambda: transitions.close(COMPONENT, active.side.name, "1.a"),
        lambda: side.check_source(active.side, active.side.path),
    ):
        with pytest.raises(
            TreeError, match=r"without further file systems in it.*inside it: .*/more.*nothing was chan"
        ):
            forbidden()
    assert (active.taken, active.side.guard().status) == ([], "open")


def test_a_side_that_is_closed_gives_its_receipt_again_whatever_is_mounted_there(active: Kernel) -> None:
    first = transitions.close(COMPONENT, active.side.name, "1.a")["receipt"]
    active.nested = (f"{active.side.path}/more",)
    again = transitions.close(COMPONENT, active.side.name, "2.a")["receipt"]
    assert again["position"] == first["position"]


def given_up(here: str, by: str) -> GuardState:
    """Return the guard of the side that was opened instead of this one."""
    epoch = rule.beyond(GuardState(COMPONENT, by, status="closed"), "w")
    return GuardState(COMPONENT, by, epoch, "open", epoch, word=Word(here, epoch, "Nadia", "power cut", "now"))


def test_the_passive_tree_opens_by_a_word_when_the_other_side_is_lost(passive: Kernel) -> None:
    epoch = rule.beyond(passive.side.guard(), "w")
    word = Word("files-mtp", epoch, "Nadia", "power cut at the PDU", "now")
    opened = transitions.open_(COMPONENT, "files-tls", str(epoch), None, word=word)
    assert (opened["guard"]["status"], state(passive)) == ("open", ACTIVE)
    assert passive.side.guard().word == word
    assert side.facts(passive.side)["reference"] == {}, "the next transfer looks at the whole tree"


def test_a_tree_without_its_sentinel_opens_by_no_word(passive: Kernel) -> None:
    (Path(passive.side.path) / passive.side.sentinel).unlink()
    epoch = rule.beyond(passive.side.guard(), "w")
    with pytest.raises(TreeError, match="no sentinel"):
        transitions.open_(COMPONENT, "files-tls", str(epoch), None, word=Word("files-mtp", epoch, "N", "f", "now"))
    assert passive.side.guard().status == "closed"


def test_a_tree_that_is_back_gives_way_and_what_it_has_is_kept(active: Kernel) -> None:
    other = given_up("files-mtp", "files-tls")
    epoch = rule.next_epoch(active.side.guard(), other, "b")
    closed = transitions.close(COMPONENT, "files-mtp", str(epoch), other=other)
    guard = active.side.guard()
    assert (guard.status, guard.gave_way, state(active)) == ("closed", epoch, CLOSED)
    assert closed["receipt"]["position"]["opened"] == "", "what it was open under counts no more"
    assert side.backup_dir(active.side).startswith(f"{active.side.kept}/{epoch}/"), "a transfer keeps what it replaces"
    with pytest.raises(GuardRefused):
        freeze(active, False)
