"""A side that has nothing left to give closes and the other opens without a look at the tree; it is read afterwards."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bascule.errors import GuardRefused
from bascule.filetree.changes import CHANGED, Mark
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import cache, closing_manifest
from bascule.filetree.io.manifest import take as manifest_take
from bascule.filetree.io.transfer import by_name, job, receive
from bascule.filetree.mounts import TreeError
from bascule.guard.io import store
from bascule.system.io import storage

from .world import COMPONENT, Kernel, adopt, fill, host, use

AGREED = "0123456789abcdef"


@pytest.fixture
def passive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch, "files-tls")
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, "closed")
    transitions.make_ready(COMPONENT, kernel.side.name)
    fence_side.note(kernel.side, agreed=AGREED, touched=False)
    return kernel


@pytest.fixture
def active(passive: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The side that serves; it shares the state `AGREED` with the other, and nothing has happened since."""
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one", b="two")
    adopt(kernel.side, "open")
    fence_side.apply_private(kernel.side)
    kernel.recording = True
    cache.take(kernel.side)
    aged(kernel.side)
    by_name.refer(kernel.side, Mark("g1", 0), AGREED)
    return kernel


def aged(side: Side) -> None:
    lines = side.manifest.read_text().splitlines()
    side.manifest.write_text("".join(f"{line.rpartition(' ')[0]} {2**62}\n" for line in lines))


def close(kernel: Kernel, epoch: str = "1.a") -> dict[str, Any]:
    return transitions.close(COMPONENT, kernel.side.name, epoch)


def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the tree was looked at")

    monkeypatch.setattr(manifest_take, "take_manifest", look)


def test_neither_closing_nor_opening_looks_at_the_tree(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        nobody_looks(patched)
        receipt = close(active)["receipt"]
        assert receipt["position"] == {"opened": "0.adopted", "recorder": "g1:0", "agreed": AGREED}
        assert closing_manifest.owed(active.side) == "1.a"
        use(passive, monkeypatch)
        opened = transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert opened["guard"]["status"] == "open"
    # From here on the way back goes by names: the new side's recorder has run since before it opened.
    shared = by_name.reference(passive.side)
    assert shared is not None
    assert (shared.agreed, passive.recording) == ("closed for 1.a", True)
    assert by_name.stands_at(active.side, "closed for 1.a")


@pytest.mark.parametrize("what", ["received since", "another state", "never agreed"])
def test_a_side_that_is_not_where_both_agreed_does_not_open(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    receipt = close(active)["receipt"]
    use(passive, monkeypatch)
    was: dict[str, dict[str, Any]] = {
        "received since": {"touched": True},
        "another state": {"agreed": "x"},
        "never agreed": {"touched": None},
    }
    fence_side.note(passive.side, **was[what])
    with pytest.raises(GuardRefused, match=r"carry the changes over \(sync\) first"):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert (passive.side.guard().status, passive.super_ro or passive.public_ro) == ("closed", True)


def test_a_change_that_was_not_carried_over_takes_the_manifest_into_the_receipt(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    active.log.note(b"a", CHANGED)
    closed = close(active)
    assert len(closed["receipt"]["position"]["manifest"]) == 64
    assert "agreed" not in closed["receipt"]["position"]
    assert (closed["left"], closing_manifest.owed(active.side), active.recording) == (True, "", False)
    use(passive, monkeypatch)
    assert transitions.open_(COMPONENT, passive.side.name, "1.a", closed["receipt"])["guard"]["status"] == "open"


def test_the_tree_is_read_before_anything_is_received(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(job, "begin", lambda side, operation: begun.append(operation))
    receipt = close(active)["receipt"]
    assert (begun, active.recording) == ([closing_manifest.OPERATION], True)
    kept = active.side.manifest.with_name("fence-1.a.jsonl")
    assert not kept.exists()
    transitions.make_ready(COMPONENT, active.side.name)
    assert (closing_manifest.owed(active.side), kept.exists(), active.recording) == ("", True, False)
    digest, _ = manifest_take.take_manifest(active.side.tree, active.side.home / "by-hand.jsonl")
    assert closing_manifest.at_receipt(active.side) == digest
    assert "manifest" not in receipt["position"]
    assert closing_manifest.seal(active.side) == []


def test_a_receiver_reads_it_itself_when_nobody_did(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    close(active)
    with monkeypatch.context() as patched:
        patched.setattr(fence_side, "look", lambda side: type("View", (), {"state": "passive"})())
        patched.setattr("subprocess.run", lambda *_, **__: type("Done", (), {"returncode": 0})())
        kept = active.side.kept / "1.a" / "0001"
        options = f"-logDtpre.iLsfxCIvu --numeric-ids -b --backup-dir {kept}"
        asked = f"bascule-receive 2.b --server {options} . {active.side.tree}/"
        assert receive._receive(active.side, asked) == 0
    assert closing_manifest.owed(active.side) == ""
    assert not by_name.stands_at(active.side, "closed for 1.a")


def test_what_was_written_through_a_mapping_is_read_again(active: Kernel) -> None:
    """Size and time stamps are as they were; only the recorder has named the file."""
    path = Path(active.side.path) / "a"
    before = os.stat(path)
    with path.open("r+b") as handle, mmap.mmap(handle.fileno(), 3) as mapped:
        mapped[0:1] = b"O"
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    lines = active.side.manifest.read_text().splitlines()
    ctime = os.stat(path).st_ctime_ns
    at = next(number for number, line in enumerate(lines) if line.startswith('["a"'))
    text, _, seen = lines[at].partition("\t")
    lines[at] = f"{text}\t{ctime} {seen.partition(' ')[2]}"
    active.side.manifest.write_text("".join(f"{line}\n" for line in lines))
    active.log.note(b"a", CHANGED)
    by_name.refer(active.side, Mark("g1", active.log.sequence), AGREED)
    # The digests were taken before, and the log still tells what came after.
    storage.write_json(active.side.home / "marks.json", {"digests": {"generation": "g1", "sequence": 0}})
    active.log.note(b"a", CHANGED)
    by_name.refer(active.side, Mark("g1", active.log.sequence), AGREED)
    close(active)
    digest = closing_manifest.at_receipt(active.side)
    assert digest == manifest_take.take_manifest(active.side.tree, active.side.home / "by-hand.jsonl")[0]


def test_a_recorder_that_died_before_the_tree_was_read_has_everything_read(active: Kernel) -> None:
    close(active)
    active.recording = False
    reads: list[int] = []
    original = manifest_take.take_manifest

    def take(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        reads.append(found[1].read_files)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest_take, "take_manifest", take)
        closing_manifest.seal(active.side)
    assert reads == [3]


def test_a_side_that_opens_meanwhile_is_not_taken_for_what_it_was(
    active: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    close(active)
    original = manifest_take.take_manifest

    def take(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        with store.opening(
            COMPONENT,
            active.side.name,
            "2.b",
            {"component": COMPONENT, "side": "x", "epoch": "2.b", "issued_at": "now", "position": {}},
            reached=True,
            root=active.side.base / "guard",
        ) as guard:
            guard.opened()
        return found

    monkeypatch.setattr(manifest_take, "take_manifest", take)
    with pytest.raises(TreeError, match=r"to stand as it was closed for 1\.a"):
        closing_manifest.seal(active.side)
    assert active.recording
    assert "sealed" not in fence_side.facts(active.side)


def test_the_next_closing_settles_what_the_last_one_owed(active: Kernel) -> None:
    close(active)
    again = close(active, "2.b")
    assert len(again["receipt"]["position"]["manifest"]) == 64
    assert (closing_manifest.owed(active.side), active.recording) == ("", False)
