"""What a verification has found to differ is equal for nobody until it was compared again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree.changes import Mark
from bascule.filetree.delta import ScanNeeded
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import cache, closing_manifest, take
from bascule.filetree.io.recorder import client
from bascule.filetree.io.transfer import by_name, job, recheck, rsync
from bascule.filetree.io.transfer import push as transfer_push
from bascule.filetree.io.transfer import verify as transfer_verify
from bascule.filetree.mounts import TreeError
from bascule.filetree.transfer import Push, TransferError

from . import test_by_name, test_verify
from .test_by_name import Ends
from .world import COMPONENT

ends = test_by_name.ends
OPTIONS = {"address": "192.0.2.2", "port": 22, "final": True, "max_delete": 5, "retries": 0}
NOW = Mark("g1", 0)


def answer(ends: Ends, asked: Push, what: str, timeout: float = 0) -> dict[str, Any]:
    """Answer as the passive side does."""
    if what == "manifest":
        digest, count = cache.take_still(ends.passive)
        return {"manifest": digest, **count.to_dict()}
    return transfer_verify.answer(ends.passive, what.split(" ")[1])


@pytest.fixture
def read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Both sides have digests that they believe."""
    test_verify.settled(monkeypatch)
    monkeypatch.setattr(fence_side, "prove", lambda side, wanted: None)
    monkeypatch.setattr(closing_manifest, "at_receipt", lambda side: "")
    monkeypatch.setattr(transfer_push, "ask", lambda *args: answer(ends, *args))

    def fetch(asked: Push, target: Path, what: str) -> None:
        shutil.copyfile(ends.passive.manifest.with_name(f"{what.split(' ')[1]}.jsonl"), target)

    monkeypatch.setattr(transfer_push, "fetch", fetch)
    cache.take_still(ends.passive)
    cache.take(ends.active)
    assert by_name.vouched(ends.active, NOW)
    return ends


def flip(side: Side, name: str, text: str) -> None:
    """Change a file as a disk does: nothing that the kernel says of it tells."""
    path = Path(side.path) / name
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    known = side.manifest.read_text()
    side.manifest.write_text(known.replace(str(before.st_ctime_ns), str(path.stat().st_ctime_ns)))


def verify(ends: Ends) -> dict[str, Any]:
    push = vars(job._push(ends.active, OPTIONS))
    return transfer_verify.verify(ends.active, {"push": push, "final": True}, lambda _: None)


def scan(ends: Ends, final: bool) -> dict[str, Any]:
    push = Push(COMPONENT, ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h")
    return transfer_push._by_scan(ends.active, push, final, 0, lambda progress: None)


def test_digests_of_before_hide_what_a_disk_has_changed(read: Ends) -> None:
    """Without a verification: what the tests below are about."""
    known = cache.take_still(read.passive)[0]
    flip(read.passive, "a", "eno")
    assert cache.take_still(read.passive)[0] == known
    assert by_name.vouched(read.active, NOW)


def test_nobody_vouches_any_more_and_the_next_delta_carries_it(read: Ends) -> None:
    flip(read.passive, "a", "eno")
    assert verify(read)["details"] == ["a: digest"]
    assert by_name.vouched(read.active, NOW) == ""
    assert not by_name.carried(read.active, NOW)
    assert not transfer_push.still_true(read.active, {"mark": vars(NOW), "equal": True})
    found = read.carry(final=True)
    assert (found["equal"], found["proof_rounds"]) == (True, 1)
    assert read.differences() == []
    assert by_name.vouched(read.active, NOW)


def test_a_receipt_does_not_name_a_state_in_doubt(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(read.passive, "a", "eno")
    verify(read)
    closed = transitions.close(COMPONENT, read.active.name, "1.a")
    assert closed["left"]
    position = closed["receipt"]["position"]
    assert "agreed" not in position
    # Whatever is known of the passive side, its digests tell now what its disk holds.
    assert cache.take_still(read.passive)[0] != position["manifest"]


def test_a_file_that_the_active_side_has_lost_is_read_again_there(read: Ends) -> None:
    flip(read.active, "a", "eno")
    known = cache.take(read.active)[0]
    verify(read)
    digest, count, _ = cache.take(read.active)
    assert digest != known
    assert count.read_files == 1


def scanning(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def carry(asked: Push, *_: Any) -> tuple[int, list[str], dict[str, int], int]:
        command = ["rsync", "-aHAX", "--modify-window=-1", f"{ends.active.tree}/", f"{ends.passive.tree}/"]
        subprocess.run(command, check=True)
        return 0, [], {"changed_entries": 0}, 0

    monkeypatch.setattr(rsync, "with_retries", carry)
    monkeypatch.setattr("bascule.filetree.io.transfer.peer.talk", lambda asked: contextlib.nullcontext(ends.talk))


def test_a_look_at_the_whole_tree_finds_it_as_well(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    scanning(read, monkeypatch)
    flip(read.passive, "a", "eno")
    verify(read)
    with pytest.raises(TransferError, match=r"both trees to be equal.*a: digest"):
        scan(read, final=True)
    assert not by_name.carried(read.active, NOW)
    found = scan(read, final=False)
    assert (found["equal"], found["shared"]) == (False, True)
    assert not by_name.carried(read.active, NOW)
    assert read.carry(final=True)["equal"]
    assert read.differences() == []


def test_more_than_a_delta_should_carry_has_the_whole_tree_looked_at(
    read: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_name, "EXTRA", 0)
    monkeypatch.setattr(transfer_verify, "REPAIRABLE", 0)
    flip(read.passive, "a", "eno")
    verify(read)
    assert not read.active.manifest.exists()
    with pytest.raises(ScanNeeded, match="a verification has found more"):
        read.carry()


def test_what_was_found_meanwhile_is_not_forgotten(read: Ends) -> None:
    recheck.begin(read.active, [b"a"])
    before = recheck.standing(read.active)
    read.afterwards = lambda: recheck.begin(read.active, [b"b"])
    read.carry(final=True)
    found = recheck.standing(read.active)
    assert before is not None
    assert found is not None
    assert (before.names, found.names) == ((b"a",), (b"b",))
    assert by_name.vouched(read.active, NOW) == ""


def test_a_verification_that_finds_nothing_ends_it(read: Ends) -> None:
    recheck.begin(read.active, None)
    assert verify(read)["different"] == 0
    assert recheck.standing(read.active) is None
    assert by_name.vouched(read.active, NOW)


def test_what_is_replaced_because_of_it_is_kept(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    recheck.begin(read.active, [b"a"])
    seen: list[Push] = []

    def stop(side: Side, asked: Push, *_: Any) -> dict[str, Any]:
        seen.append(asked)
        raise TreeError(expected="the end of this test", found="it")

    monkeypatch.setattr(transfer_push, "_by_names", stop)
    push = vars(job._push(read.active, OPTIONS))
    for _ in range(2):
        with pytest.raises(TreeError, match="the end of this test"):
            transfer_push.push(read.active, {"push": push}, lambda _: None)
        recheck.end(read.active, recheck.standing(read.active))
    kept, plain = (asked.backup_dir for asked in seen)
    assert kept.startswith(f"{read.active.kept}/")
    assert kept.endswith(".repair/0001")
    assert plain == ""


def test_lines_are_taken_out_of_a_manifest(read: Ends) -> None:
    before = [entry.path for entry in take.read_manifest(read.passive.manifest)]
    take.without(read.passive.manifest, {b"a", b"nothing"})
    assert [entry.path for entry in take.read_manifest(read.passive.manifest)] == [
        name for name in before if name != b"a"
    ]
    assert client.remembered(read.passive, cache.READER) is None
    fence_side.forget(read.passive, "nothing", bool)
