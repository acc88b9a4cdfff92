"""What a verification has found to differ is equal for nobody until it was compared again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bascule.files.changes import Mark
from bascule.files.delta import ScanNeeded
from bascule.files.mounts import TreeError
from bascule.files.transfer import Push, TransferError
from bascule.io import (
    files_digests,
    files_doubt,
    files_job,
    files_names,
    files_push,
    files_recorder,
    files_rsync,
    files_seal,
    files_side,
    files_verbs,
    files_verify,
    tree,
)
from bascule.io.files_side import Side

from . import test_names, test_verify
from .test_names import Ends
from .world import COMPONENT

ends = test_names.ends
OPTIONS = {"address": "192.0.2.2", "port": 22, "final": True, "max_delete": 5, "retries": 0}
NOW = Mark("g1", 0)


def answer(ends: Ends, asked: Push, what: str, timeout: float = 0) -> dict[str, Any]:
    """Answer as the passive side does."""
    if what == "manifest":
        digest, count = files_digests.take_still(ends.passive)
        return {"manifest": digest, **count.to_dict()}
    return files_verify.answer(ends.passive, what.split(" ")[1])


@pytest.fixture
def read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Both sides have digests that they believe."""
    test_verify.settled(monkeypatch)
    monkeypatch.setattr(files_side, "prove", lambda side, wanted: None)
    monkeypatch.setattr(files_seal, "at_receipt", lambda side: "")
    monkeypatch.setattr(files_push, "ask", lambda *args: answer(ends, *args))

    def fetch(asked: Push, target: Path, what: str) -> None:
        shutil.copyfile(ends.passive.manifest.with_name(f"{what.split(' ')[1]}.jsonl"), target)

    monkeypatch.setattr(files_push, "fetch", fetch)
    files_digests.take_still(ends.passive)
    files_digests.take(ends.active)
    assert files_names.vouched(ends.active, NOW)
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
    push = vars(files_job._push(ends.active, OPTIONS))
    return files_verify.verify(ends.active, {"push": push, "final": True}, lambda _: None)


def scan(ends: Ends, final: bool) -> dict[str, Any]:
    push = Push(COMPONENT, ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h")
    return files_push._by_scan(ends.active, push, final, 0, lambda progress: None)


def test_digests_of_before_hide_what_a_disk_has_changed(read: Ends) -> None:
    """Without a verification: what the tests below are about."""
    known = files_digests.take_still(read.passive)[0]
    flip(read.passive, "a", "eno")
    assert files_digests.take_still(read.passive)[0] == known
    assert files_names.vouched(read.active, NOW)


def test_nobody_vouches_any_more_and_the_next_delta_carries_it(read: Ends) -> None:
    flip(read.passive, "a", "eno")
    assert verify(read)["details"] == ["a: digest"]
    assert files_names.vouched(read.active, NOW) == ""
    assert not files_names.carried(read.active, NOW)
    assert not files_push.still_true(read.active, {"mark": vars(NOW), "equal": True})
    found = read.carry(final=True)
    assert (found["equal"], found["proof_rounds"]) == (True, 1)
    assert read.differences() == []
    assert files_names.vouched(read.active, NOW)


def test_a_receipt_does_not_name_a_state_in_doubt(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(read.passive, "a", "eno")
    verify(read)
    closed = files_verbs.close(COMPONENT, read.active.name, "1.a")
    assert closed["left"]
    position = closed["receipt"]["position"]
    assert "agreed" not in position
    # Whatever is known of the passive side, its digests tell now what its disk holds.
    assert files_digests.take_still(read.passive)[0] != position["manifest"]


def test_a_file_that_the_active_side_has_lost_is_read_again_there(read: Ends) -> None:
    flip(read.active, "a", "eno")
    known = files_digests.take(read.active)[0]
    verify(read)
    digest, count, _ = files_digests.take(read.active)
    assert digest != known
    assert count.read_files == 1


def scanning(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def carry(asked: Push, *_: Any) -> tuple[int, list[str], dict[str, int], int]:
        command = ["rsync", "-aHAX", "--modify-window=-1", f"{ends.active.tree}/", f"{ends.passive.tree}/"]
        subprocess.run(command, check=True)
        return 0, [], {"changed_entries": 0}, 0

    monkeypatch.setattr(files_rsync, "with_retries", carry)
    monkeypatch.setattr("bascule.io.files_talk.talk", lambda asked: contextlib.nullcontext(ends.talk))


def test_a_look_at_the_whole_tree_finds_it_as_well(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    scanning(read, monkeypatch)
    flip(read.passive, "a", "eno")
    verify(read)
    with pytest.raises(TransferError, match=r"both trees to be equal.*a: digest"):
        scan(read, final=True)
    assert not files_names.carried(read.active, NOW)
    found = scan(read, final=False)
    assert (found["equal"], found["shared"]) == (False, True)
    assert not files_names.carried(read.active, NOW)
    assert read.carry(final=True)["equal"]
    assert read.differences() == []


def test_more_than_a_delta_should_carry_has_the_whole_tree_looked_at(
    read: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_names, "EXTRA", 0)
    monkeypatch.setattr(files_verify, "REPAIRABLE", 0)
    flip(read.passive, "a", "eno")
    verify(read)
    assert not read.active.manifest.exists()
    with pytest.raises(ScanNeeded, match="a verification has found more"):
        read.carry()


def test_what_was_found_meanwhile_is_not_forgotten(read: Ends) -> None:
    files_doubt.begin(read.active, [b"a"])
    before = files_doubt.standing(read.active)
    read.afterwards = lambda: files_doubt.begin(read.active, [b"b"])
    read.carry(final=True)
    found = files_doubt.standing(read.active)
    assert before is not None
    assert found is not None
    assert (before.names, found.names) == ((b"a",), (b"b",))
    assert files_names.vouched(read.active, NOW) == ""


def test_a_verification_that_finds_nothing_ends_it(read: Ends) -> None:
    files_doubt.begin(read.active, None)
    assert verify(read)["different"] == 0
    assert files_doubt.standing(read.active) is None
    assert files_names.vouched(read.active, NOW)


def test_what_is_replaced_because_of_it_is_kept(read: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    files_doubt.begin(read.active, [b"a"])
    seen: list[Push] = []

    def stop(side: Side, asked: Push, *_: Any) -> dict[str, Any]:
        seen.append(asked)
        raise TreeError(expected="the end of this test", found="it")

    monkeypatch.setattr(files_push, "_by_names", stop)
    push = vars(files_job._push(read.active, OPTIONS))
    for _ in range(2):
        with pytest.raises(TreeError, match="the end of this test"):
            files_push.push(read.active, {"push": push}, lambda _: None)
        files_doubt.end(read.active, files_doubt.standing(read.active))
    kept, plain = (asked.backup_dir for asked in seen)
    assert kept.startswith(f"{read.active.kept}/")
    assert kept.endswith(".repair/0001")
    assert plain == ""


def test_lines_are_taken_out_of_a_manifest(read: Ends) -> None:
    before = [entry.path for entry in tree.read_manifest(read.passive.manifest)]
    tree.without(read.passive.manifest, {b"a", b"nothing"})
    assert [entry.path for entry in tree.read_manifest(read.passive.manifest)] == [
        name for name in before if name != b"a"
    ]
    assert files_recorder.remembered(read.passive, files_digests.READER) is None
    files_side.forget(read.passive, "nothing", bool)
