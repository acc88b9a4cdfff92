"""The guard's durable store: what is on disk after every way of dying, and who is let in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bascule.errors import GuardRefused, StoreError
from bascule.guard.io import store
from bascule.guard.state import Epoch, GuardState, Receipt, Word
from bascule.system.io import storage

EPOCH = Epoch(1, "d")


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Two hosts, one open, one closed."""
    here, there = tmp_path / "here", tmp_path / "there"
    store.adopt("db", "here", "open", root=here)
    store.adopt("db", "there", "closed", root=there)
    return here, there


def status(root: Path, side: str) -> str:
    """Return what is on disk."""
    return store.read("db", side, root=root).status


def test_a_host_without_a_guard_is_unknown_and_neither_closes_nor_opens(tmp_path: Path) -> None:
    assert status(tmp_path, "here") == "unknown"
    with (
        pytest.raises(GuardRefused, match="has not been taken over"),
        store.closing("db", "here", EPOCH, root=tmp_path),
    ):
        pytest.fail("let in")
    assert not (tmp_path / "db.json").exists()


def test_a_switch(roots: tuple[Path, Path]) -> None:
    here, there = roots
    with store.closing("db", "here", str(EPOCH), root=here) as closing:
        assert status(here, "here") == "closing", "the permit ends durably before anything is closed"
        receipt = closing.closed({"lsn": "0/1"})
    with store.opening("db", "there", EPOCH, receipt.to_dict(), reached=True, root=there) as opening:
        assert status(there, "there") == "opening", "what may be open is durable before anything is opened"
        opening.opened()
    assert (status(here, "here"), status(there, "there")) == ("closed", "open")
    assert (here / "db.json").stat().st_mode & 0o777 == 0o600


def test_a_thaw_that_fails_puts_the_mark_back(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    seen = []

    def fail() -> None:
        with store.thawing("db", "here", root=here) as (state, was_frozen):
            seen.append((state.frozen, was_frozen, store.read("db", "here", root=here).frozen))
            raise RuntimeError

    store.frozen("db", "here", True, root=here)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail()
        assert store.read("db", "here", root=here).frozen
    assert seen == [(False, True, False)] * 2, "the fence is never looser than the guard"
    with store.thawing("db", "here", root=here):
        pass
    with store.thawing("db", "here", root=here) as (state, was_frozen):
        assert (state.frozen, was_frozen) == (False, False)


@pytest.mark.parametrize("error", [Killed, RuntimeError])
def test_whatever_ends_a_closing_leaves_it_closing_and_a_later_run_goes_on(
    roots: tuple[Path, Path], error: type[BaseException]
) -> None:
    here, _ = roots
    with pytest.raises(error), store.closing("db", "here", EPOCH, root=here):
        raise error
    assert status(here, "here") == "closing"
    with store.closing("db", "here", EPOCH, root=here) as closing:
        closing.closed({})
    assert status(here, "here") == "closed"


def test_closing_twice_for_an_epoch_returns_the_stored_receipt(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        first = closing.closed({"lsn": "0/1"})
    with store.closing("db", "here", EPOCH, root=here) as closing:
        assert closing.was_closed
        assert closing.receipt == first
        assert closing.closed({"lsn": "0/9"}) == first


def test_code_that_forgets_its_duty_is_an_error(roots: tuple[Path, Path]) -> None:
    here, there = roots
    with pytest.raises(GuardRefused, match="without a receipt"), store.closing("db", "here", EPOCH, root=here):
        pass
    receipt = Receipt("db", "here", EPOCH, {}, "now")
    with (
        pytest.raises(GuardRefused, match="without saying so"),
        store.opening("db", "there", EPOCH, receipt, reached=True, root=there),
    ):
        pass
    assert status(there, "there") == "opening"


def test_a_refusal_changes_nothing_on_disk(roots: tuple[Path, Path]) -> None:
    _, there = roots
    before = (there / "db.json").read_bytes()
    with (
        pytest.raises(GuardRefused, match="no answer is no receipt"),
        store.opening("db", "there", EPOCH, None, reached=True, root=there),
    ):
        pytest.fail("let in")
    assert (there / "db.json").read_bytes() == before


def test_the_lock_keeps_a_second_command_out_and_says_so(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        closing.closed({})
        with (
            pytest.raises(StoreError, match="another command holds it"),
            store.closing("db", "here", EPOCH, root=here, wait=0.05),
        ):
            pytest.fail("let in")


def test_adopting_is_done_once_and_check_mode_writes_nothing(tmp_path: Path) -> None:
    state, changed = store.adopt("db", "here", "open", root=tmp_path, check=True)
    assert (state.status, changed, list(tmp_path.iterdir())) == ("open", True, [])
    assert store.adopt("db", "here", "open", root=tmp_path)[1]
    state, changed = store.adopt("db", "here", "closed", root=tmp_path)
    assert (state.status, changed) == ("open", False)
    with pytest.raises(GuardRefused, match="open or closed"):
        store.adopt("db", "here", "ajar", root=tmp_path)


def test_freezing_twice_changes_once(roots: tuple[Path, Path]) -> None:
    here, there = roots
    assert store.frozen("db", "here", True, root=here, check=True)[1]
    assert not store.read("db", "here", root=here).frozen
    assert [store.frozen("db", "here", True, root=here)[1] for _ in range(2)] == [True, False]
    assert [store.frozen("db", "here", False, root=here)[1] for _ in range(2)] == [True, False]
    with pytest.raises(GuardRefused):
        store.frozen("db", "there", True, root=there)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"status": "open"}'])
def test_a_state_that_cannot_be_read_is_never_guessed(tmp_path: Path, content: str) -> None:
    (tmp_path / "db.json").write_text(content)
    with pytest.raises((StoreError, GuardRefused)):
        store.read("db", "here", root=tmp_path)


def test_a_state_copied_from_another_host_is_refused(roots: tuple[Path, Path]) -> None:
    here, there = roots
    (there / "db.json").write_bytes((here / "db.json").read_bytes())
    with pytest.raises(StoreError, match="copied from another host"):
        store.read("db", "there", root=there)
    assert store.read_any("db", root=there).side == "here"


@pytest.mark.parametrize("name", ["", "../db", "a/b", ".hidden"])
def test_a_component_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(GuardRefused, match="can be a file name"):
        store.read(name, "here", root=tmp_path)


def test_an_interrupted_write_leaves_the_old_state(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here, _ = roots

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bascule.system.io.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space"), store.closing("db", "here", EPOCH, root=here):
        pytest.fail("let in")
    assert json.loads((here / "db.json").read_text())["status"] == "open"
    assert [path.name for path in here.iterdir() if path.name.endswith(".new")] == []


def test_a_promise_is_kept_until_a_closing_gives_the_receipt(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with store.promising("db", "here", EPOCH, root=here) as before:
        assert before.status == "open"
        assert status(here, "here") == "closing", "the permit ends durably before anything is stopped"
    assert status(here, "here") == "closing"
    with store.promising("db", "here", EPOCH, root=here):
        pass
    with store.closing("db", "here", EPOCH, root=here) as closing:
        closing.closed({"lsn": "0/1"})
    assert status(here, "here") == "closed"


def test_a_promise_is_taken_back_and_never_followed_by_a_receipt(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with pytest.raises(Killed), store.promising("db", "here", EPOCH, root=here):
        raise Killed
    with store.withdrawing("db", "here", EPOCH, frozen=True, root=here):
        assert status(here, "here") == "open"
    with pytest.raises(GuardRefused), store.closing("db", "here", EPOCH, root=here):
        pytest.fail("let in")
    with pytest.raises(GuardRefused), store.promising("db", "here", EPOCH, root=here):
        pytest.fail("let in")


def test_a_side_says_whether_it_was_open_or_closed_before(roots: tuple[Path, Path]) -> None:
    here, there = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        assert not closing.was_closed
        receipt = closing.closed({})
    for was_open in (False, True):
        with store.opening("db", "there", EPOCH, receipt, reached=True, root=there) as opening:
            assert opening.was_open is was_open
            assert opening.opened().status == "open"
    with (
        pytest.raises(GuardRefused, match="without saying so"),
        store.opening("db", "there", EPOCH, receipt, reached=True, root=there) as opening,
    ):
        assert opening.was_open
    with store.opening("db", "there", EPOCH, receipt, reached=True, root=there) as opening:
        assert not opening.was_open, "what began to open may be open, or not"
        opening.opened()
    again = Epoch(2, "e")
    with store.closing("db", "here", again, root=here) as closing:
        assert not closing.was_closed, "its receipt was for another epoch"
        receipt = closing.closed({})
    with store.opening("db", "there", again, receipt, reached=True, root=there) as opening:
        assert not opening.was_open, "it was open under another epoch"
        opening.opened()


def test_a_receipt_tells_when_it_was_given(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        issued = closing.closed({"lsn": "0/1"}).issued_at
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", issued)


def test_each_command_waits_for_the_lock_as_long_as_it_is_told(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        receipt = closing.closed({})
        for command in (
            store.closing("db", "here", EPOCH, root=here, wait=0),
            store.promising("db", "here", EPOCH, root=here, wait=0),
            store.withdrawing("db", "here", EPOCH, frozen=True, root=here, wait=0),
            store.opening("db", "here", EPOCH, receipt, reached=True, root=here, wait=0),
            store.thawing("db", "here", root=here, wait=0),
        ):
            with pytest.raises(StoreError, match="within 0 s"), command:
                pytest.fail("let in")


@pytest.mark.parametrize(("content", "words"), [("[]", "a guard state.*list"), ("null", "a guard state.*NoneType")])
def test_what_is_no_state_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "db.json").write_text(content)
    with pytest.raises(StoreError, match=words):
        store.read("db", "here", root=tmp_path)
    with pytest.raises(StoreError, match=words):
        store.read_any("db", root=tmp_path)


def test_a_side_that_is_not_taken_over_promises_nothing(tmp_path: Path) -> None:
    for command in (
        store.promising("db", "here", EPOCH, root=tmp_path),
        store.withdrawing("db", "here", EPOCH, frozen=False, root=tmp_path),
    ):
        with pytest.raises(GuardRefused, match="has not been taken over"), command:
            pytest.fail("let in")


def test_check_mode_says_what_freezing_would_change(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    for value in (True, False):
        state, changed = store.frozen("db", "here", value, root=here, check=True)
        assert (state.frozen, changed) == (value, value)
    store.frozen("db", "here", True, root=here)
    assert store.frozen("db", "here", True, root=here, check=True)[1] is False
    assert store.adopt("db", "here", "open", root=here, check=True)[1] is False


def test_a_thaw_that_changes_nothing_writes_nothing(roots: tuple[Path, Path]) -> None:
    here, _ = roots
    before = (here / "db.json").stat().st_ino
    with pytest.raises(Killed), store.thawing("db", "here", root=here):
        raise Killed
    assert store.frozen("db", "here", False, root=here)[1] is False
    assert (here / "db.json").stat().st_ino == before


@pytest.mark.parametrize("error", [Killed, RuntimeError])
def test_whatever_ends_a_thaw_leaves_the_side_frozen(roots: tuple[Path, Path], error: type[BaseException]) -> None:
    here, _ = roots
    store.frozen("db", "here", True, root=here)
    with pytest.raises(error), store.thawing("db", "here", root=here):
        raise error
    assert store.read("db", "here", root=here).frozen


def test_an_opening_lets_in_at_once_unless_it_is_told_to_wait(roots: tuple[Path, Path]) -> None:
    here, there = roots
    with store.closing("db", "here", EPOCH, root=here) as closing:
        receipt = closing.closed({})
    for frozen in (False, True):
        with store.opening("db", "there", EPOCH, receipt, reached=True, root=there) as opening:
            state = opening.opened(frozen=True) if frozen else opening.opened()
        assert opening.state == state == store.read("db", "there", root=there)
        assert state.frozen is frozen


def test_one_lock_of_a_known_name_is_held_by_every_command(roots: tuple[Path, Path]) -> None:
    """The entrance and the boot fence hold it too: they find the same files."""
    assert Path("/var/lib/bascule/guard") == store.GUARD_DIRECTORY
    here, _ = roots
    with (
        storage.locked(here / "db.lock"),
        pytest.raises(StoreError, match="another command holds it"),
        store.closing("db", "here", EPOCH, root=here, wait=0),
    ):
        pytest.fail("let in")
    assert status(here, "here") == "open"


def test_a_passive_side_beside_one_that_has_given_it_up_is_taken_over_only_when_it_is_empty(tmp_path: Path) -> None:
    epoch = Epoch(2000, "w")
    word = Word("there", epoch, "Nadia", "power cut", "now")
    other = GuardState("db", "here", promised=epoch, status="open", opened=epoch, word=word)
    for check in (True, False):
        with pytest.raises(GuardRefused, match="may hold what nobody else has"):
            store.adopt("db", "there", "closed", other=other, root=tmp_path, check=check)
        assert status(tmp_path, "there") == "unknown"
        state, changed = store.adopt("db", "there", "closed", other=other, empty=True, root=tmp_path, check=check)
        assert (state.status, changed, state.gave_way is not None) == ("closed", True, True)
    with pytest.raises(GuardRefused, match="not to be taken over yet"):
        store.adopt("db", "elsewhere", "open", other=other, root=tmp_path / "other")
