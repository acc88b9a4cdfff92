"""What a dead receiver has left, and what one goes on with whose connection was lost, is in no agreed state."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.__main__ import main as agent
from bascule.filetree import transfer
from bascule.filetree.changes import CHANGED, Mark
from bascule.filetree.delta import ScanNeeded
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.transfer import by_name, receivers
from bascule.filetree.transfer import LinkBroken, TransferError
from bascule.system.io import storage

from . import test_by_name
from .test_by_name import Ends
from .world import COMPONENT, Kernel, adopt, fill, host, use

ends = test_by_name.ends
NOW = Mark("g1", 1)
NAMED = "--server -logDtpre.iLsfxCIvu --numeric-ids --force"
DRY = "--server -nlogDtpre.iLsfxCIvu --numeric-ids"


def die(side: Side, reach: str = receivers.NAMED, stray: str = "") -> None:
    """Be a receiver that was killed, with a part of a file left behind."""
    with receivers.begun(side, reach) as receiver:
        if stray:
            (Path(side.path) / stray).write_text("half a fi")
        receiver.ended(-9)


def change(ends: Ends, text: str = "new") -> None:
    (Path(ends.active.path) / "a").write_text(text)
    ends.tell((CHANGED, b"a"))


def test_one_that_ends_well_leaves_nothing_behind(ends: Ends) -> None:
    with receivers.begun(ends.passive, receivers.NAMED) as receiver:
        assert len(receivers.standing(ends.passive)) == 1
        assert receivers.dead(ends.passive) == []
        assert fence_side.facts(ends.passive)["touched"] is True
        receiver.ended(0)
    assert receivers.standing(ends.passive) == []


@pytest.mark.parametrize("code", [-9, 10, 11, 12, 20, 30, 255])
def test_one_that_does_not_is_remembered(ends: Ends, code: int) -> None:
    with receivers.begun(ends.passive, receivers.NAMED) as receiver:
        receiver.ended(code)
        assert receivers.dead(ends.passive) == []
    assert len(receivers.dead(ends.passive)) == 1


def test_a_stray_part_of_a_file_goes_before_both_agree(ends: Ends) -> None:
    change(ends)
    die(ends.passive, stray=".a.rgN7Ge")
    assert ends.differences()
    result = ends.carry(final=True)
    assert (result["equal"], result["proof_rounds"]) == (True, 1)
    assert ends.differences() == []
    assert receivers.standing(ends.passive) == []
    assert by_name.stands_at(ends.passive, by_name.vouched(ends.active, NOW))


def test_one_that_dies_in_an_attempt_of_this_transfer_counts_as_well(ends: Ends) -> None:
    change(ends)
    ends.afterwards = lambda: die(ends.passive, stray=".a.rgN7Ge") if len(ends.ran) == 1 else None
    assert ends.carry(final=True)["equal"]
    assert ends.differences() == []
    assert receivers.standing(ends.passive) == []


def test_without_a_change_since_a_dead_one_is_dealt_with_too(ends: Ends) -> None:
    die(ends.passive)
    assert ends.carry(final=True)["names"] == 0
    assert receivers.standing(ends.passive) == []
    assert ends.carry(final=True)["equal"]


def test_more_strays_than_the_cap_are_left_to_a_look_at_the_whole_tree(ends: Ends) -> None:
    change(ends)
    die(ends.passive, stray=".a.rgN7Ge")
    with pytest.raises(ScanNeeded, match="parts of files"):
        ends.carry(max_delete=0)


def test_one_that_had_the_whole_tree_needs_a_look_at_all_of_it(ends: Ends) -> None:
    change(ends)
    die(ends.passive, receivers.WHOLE)
    with pytest.raises(ScanNeeded, match="the other side to stand at"):
        ends.carry()


def test_nothing_is_agreed_beside_another_transfer(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fence_side.facts(ends.passive)["agreed"]
    die(ends.passive)
    with pytest.raises(LinkBroken):
        by_name.settle(ends.active, ends.talk, NOW, [])
    assert fence_side.facts(ends.passive)["agreed"] == before


def test_one_that_begins_after_an_agreement_takes_it_back(ends: Ends) -> None:
    change(ends)
    ends.carry(final=True)
    agreed = by_name.vouched(ends.active, NOW)
    assert by_name.stands_at(ends.passive, agreed)
    with receivers.begun(ends.passive, receivers.NAMED):
        assert not by_name.stands_at(ends.passive, agreed)


@pytest.fixture
def sleeper(ends: Ends) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def serves(side: Side, command: str) -> subprocess.Popen[bytes]:
    """Start what looks like a process that serves a request of the other side, with all that this one has open."""
    request = f"bascule-receive 0.adopted {command} . {side.tree}/"
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": request}
    return subprocess.Popen(["sleep", "60"], env=environment, close_fds=False)


def test_one_that_lives_on_is_ended_and_nobody_else(ends: Ends, sleeper: list[subprocess.Popen[bytes]]) -> None:
    with receivers.begun(ends.passive, receivers.NAMED):
        writer = serves(ends.passive, NAMED)
    sleeper += [writer, serves(ends.active, NAMED), serves(ends.passive, DRY), serves(ends.passive, "talk")]
    # It has the lock, and counts as running; but nothing is agreed beside it.
    assert receivers.dead(ends.passive) == []
    found = receivers.end(ends.passive)
    assert writer.wait(10) == -9
    assert found == receivers.dead(ends.passive)
    assert [process.poll() for process in sleeper[1:]] == [None, None, None]


def test_what_both_sides_hold_is_asked_for_when_nobody_writes_any_more(
    ends: Ends, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    change(ends)
    with receivers.begun(ends.passive, receivers.NAMED):
        sleeper.append(serves(ends.passive, NAMED))
    assert ends.carry(final=True)["equal"]
    assert sleeper[0].wait(10) == -9
    assert receivers.standing(ends.passive) == []


def test_one_that_lives_on_with_the_whole_tree_needs_a_look_at_all_of_it(
    ends: Ends, sleeper: list[subprocess.Popen[bytes]]
) -> None:
    change(ends)
    with receivers.begun(ends.passive, receivers.WHOLE):
        sleeper.append(serves(ends.passive, NAMED))
    for found in ("one that was ended now", "the other side to stand at"):
        with pytest.raises(ScanNeeded, match=found):
            ends.carry()


def test_one_that_cannot_be_ended_is_told(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "_WAIT", 0.1)
    with (
        receivers.begun(ends.passive, receivers.NAMED),
        pytest.raises(TransferError, match=r"an earlier transfer into .* to end.*nothing was agreed on"),
    ):
        receivers.end(ends.passive)


# What is served at the passive side.


@pytest.fixture
def passive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A side that was active once: it keeps what is replaced."""
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one")
    adopt(kernel.side, "open")
    transitions.close(COMPONENT, kernel.side.name, "3.a")
    transitions.make_ready(COMPONENT, kernel.side.name)
    return kernel


class Rsync:
    """What is run instead of rsync: replaces something, or not, and ends as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[list[str]] = []
        self.replaces, self.code = "", 0
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.ran.append(list(argv))
        if self.replaces:
            (Path(self.kept) / "f").write_text(self.replaces)
        return subprocess.CompletedProcess(argv, self.code)

    @property
    def kept(self) -> str:
        at = self.ran[-1].index("--backup-dir")
        return self.ran[-1][at + 1]


@pytest.fixture
def rsync(monkeypatch: pytest.MonkeyPatch) -> Rsync:
    return Rsync(monkeypatch)


def receive(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, kept: str, what: str = NAMED) -> int:
    command = f"bascule-receive 3.a {what} --backup-dir {kept} . {kernel.side.tree}/"
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", command)
    return agent(["files_receive", COMPONENT])


def test_one_that_was_killed_is_a_broken_stream_to_the_other_side(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, rsync: Rsync
) -> None:
    """Current rsyncs end with what their ssh ended with: 247, which would not be tried again."""
    rsync.code = -9
    assert receive(passive, monkeypatch, fence_side.backup_dir(passive.side)) in transfer.LINK_FAILURES
    assert len(receivers.dead(passive.side)) == 1


def test_each_attempt_keeps_what_it_replaces_in_a_place_of_its_own(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, rsync: Rsync
) -> None:
    """The first one kept what stood there at the fence; a second one replaces what the first has written."""
    kept = fence_side.backup_dir(passive.side)
    rsync.replaces, rsync.code = "of the fence", 12
    assert receive(passive, monkeypatch, kept) == 12
    rsync.replaces, rsync.code = "of the first attempt", 0
    assert receive(passive, monkeypatch, kept) == 0
    directory = passive.side.kept / "3.a"
    assert {path.name: (path / "f").read_text() for path in directory.iterdir()} == {
        "0001": "of the fence",
        "0002": "of the first attempt",
    }
    # One that replaced nothing leaves no place behind.
    rsync.replaces = ""
    assert receive(passive, monkeypatch, kept) == 0
    assert rsync.kept.endswith("/0003")
    assert len(list(directory.iterdir())) == 2


def test_a_repair_that_is_tried_again_keeps_the_evidence(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, rsync: Rsync
) -> None:
    kept = fence_side.repair_dir(passive.side)
    for text in ("the damaged one", "the good one"):
        rsync.replaces = text
        receive(passive, monkeypatch, kept)
    assert (Path(kept) / "f").read_text() == "the damaged one"
    assert (Path(kept).with_name("0002") / "f").read_text() == "the good one"


def test_where_it_was_kept_is_told(ends: Ends) -> None:
    directory = ends.passive.kept / "7.repair"
    for number in ("0001", "0002", "0003"):
        storage.make_directory(directory / number)
    assert ends.talk.kept(str(directory / "0002")) == [str(directory / "0002"), str(directory / "0003")]
    with pytest.raises(LinkBroken):
        ends.talk.kept("/etc/ssh/0001")


@pytest.mark.parametrize(("what", "reach"), [(NAMED, "names"), (NAMED.rpartition(" ")[0], "tree")])
def test_a_killed_rsync_is_remembered_by_what_it_had(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, rsync: Rsync, what: str, reach: str
) -> None:
    kept = fence_side.backup_dir(passive.side)
    receive(passive, monkeypatch, kept, what)
    assert receivers.standing(passive.side) == []
    rsync.code = -9
    receive(passive, monkeypatch, kept, what)
    (name,) = receivers.dead(passive.side)
    assert name.endswith(f".{reach}")


def test_after_a_look_at_the_whole_tree_it_is_forgotten_and_nothing_is_agreed(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    die(passive.side, receivers.WHOLE)
    fence_side.note(passive.side, agreed="something")
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "bascule-receive 3.a manifest")
    assert agent(["files_receive", COMPONENT]) == 0
    assert receivers.standing(passive.side) == []
    assert fence_side.facts(passive.side)["agreed"] == ""


def test_an_opening_forgets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passive: Kernel) -> None:
    other = host(tmp_path, monkeypatch, "files-tls")
    fill(other.side, a="one")
    adopt(other.side, "closed")
    die(other.side)
    use(passive, monkeypatch)
    receipt = transitions.close(COMPONENT, passive.side.name, "3.a")["receipt"]
    use(other, monkeypatch)
    transitions.open_(COMPONENT, other.side.name, "3.a", receipt)
    assert receivers.standing(other.side) == []
