"""A verification is gone on with under its name, and a repair writes only what one has found to differ."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree.io.fence import side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import workers
from bascule.filetree.io.manifest.workers import WorkerFailed
from bascule.filetree.io.transfer import entries, job, peer, rsync
from bascule.filetree.io.transfer import push as transfer_push
from bascule.filetree.io.transfer import verify as transfer_verify
from bascule.filetree.transfer import Push, TransferError, rsync_command
from bascule.system.io import storage

from .world import COMPONENT, Kernel, adopt, fill, host

OPTIONS = {"address": "192.0.2.2", "port": 22, "final": True, "max_delete": 5, "retries": 0}


class Other:
    """The other side: a tree beside this one, which answers without a link."""

    def __init__(self, kernel: Kernel, tmp_path: Path) -> None:
        self.side = Side(COMPONENT, "files-tls", str(tmp_path / "other"), ".sentinel", tmp_path / "other-lib")
        shutil.copytree(kernel.side.path, self.side.path)
        shutil.copystat(kernel.side.path, self.side.path)
        for path in Path(kernel.side.path).iterdir():
            shutil.copystat(path, Path(self.side.path) / path.name)
        storage.make_directory(self.side.home)
        (self.side.home / "tree").symlink_to(self.side.path)
        self.tokens: list[str] = []
        self.pushed: list[Push] = []

    def ask(self, asked: Push, what: str, timeout: float = 0) -> dict[str, Any]:
        word, token = what.split(" ")
        assert word == "reread"
        self.tokens.append(token)
        digest, count = transfer_verify.reread(self.side, token)
        return {"manifest": digest, "receipt": "", "received": False, **count.to_dict()}

    def fetch(self, asked: Push, target: Path, what: str) -> None:
        assert what == "fetch verify"
        shutil.copyfile(self.side.manifest.with_name("verify.jsonl"), target)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one", b="two", c="three")
    adopt(kernel.side, "open")
    return kernel


@pytest.fixture
def other(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Other:
    other = Other(kernel, tmp_path)
    monkeypatch.setattr(transfer_push, "ask", other.ask)
    monkeypatch.setattr(transfer_push, "fetch", other.fetch)
    return other


def verify(kernel: Kernel, **request: Any) -> dict[str, Any]:
    push = vars(job._push(kernel.side, OPTIONS))
    return transfer_verify.verify(kernel.side, {"push": push, "final": True, **request}, lambda _: None)


def unnoticed(path: Path, text: str) -> None:
    """Change a file so that neither its size nor its time tells."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_change_of_the_same_size_and_time_is_found_and_named(kernel: Kernel, other: Other) -> None:
    assert (verify(kernel)["different"], verify(kernel)["compared"]) == (0, 5)
    unnoticed(Path(other.side.path) / "b", "tow")
    found = verify(kernel)
    assert (found["different"], found["details"]) == (1, ["b: digest"])
    assert transfer_verify._listed(kernel.side) == [b"b"]


def test_each_verification_reads_everything_under_a_new_name(kernel: Kernel, other: Other) -> None:
    for _ in range(2):
        found = verify(kernel)
        assert (found["resumed"], found["read_bytes"], found["peer_read_bytes"]) == (False, 19, 19)
    assert len(set(other.tokens)) == 2


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files look as if they had been changed long before they are read."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)


def test_an_interrupted_one_is_gone_on_with(kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    with monkeypatch.context() as patch:

        def cut(asked: Push, target: Path, what: str) -> None:
            raise TransferError(expected="the other side's manifest", found="the link failed")

        patch.setattr(transfer_push, "fetch", cut)
        with pytest.raises(TransferError, match="the link failed"):
            verify(kernel)
    (Path(kernel.side.path) / "c").write_text("THREE")
    found = verify(kernel)
    assert (found["resumed"], found["read_bytes"], found["peer_read_bytes"]) == (True, 5, 0)
    assert found["details"][0].startswith("c: ")
    assert len(set(other.tokens)) == 1


def test_what_was_begun_too_long_ago_or_under_another_epoch_is_not_gone_on_with(kernel: Kernel, other: Other) -> None:
    verify(kernel)
    state = transfer_verify._state(kernel.side)
    known = storage.read_json(state)
    storage.write_json(state, {**known, "done": False, "at": time.time() - 100_000})
    assert not verify(kernel)["resumed"]
    known = storage.read_json(state)
    storage.write_json(state, {**known, "done": False, "opened": "9.x"})
    assert not verify(kernel)["resumed"]
    assert len(set(other.tokens)) == 3


def test_only_what_was_repaired_is_read_again(kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    unnoticed(Path(other.side.path) / "b", "tow")
    assert verify(kernel)["different"] == 1
    unnoticed(Path(other.side.path) / "b", "two")
    found = verify(kernel, again=True)
    assert (found["different"], found["read_bytes"], found["peer_read_bytes"]) == (0, 0, 3)


@pytest.mark.parametrize("token", ["", "../../etc/shadow", "0123456789abcdeF", "0" * 17])
def test_a_name_that_is_none_is_refused(kernel: Kernel, token: str) -> None:
    with pytest.raises(TransferError, match="the name of a verification"):
        transfer_verify.answer(kernel.side, token)


class Talk:
    """A conversation in which the other side holds what the test says."""

    def __init__(self, other: Other) -> None:
        self.other = other
        self.asked: list[bytes] = []
        self.rooted = 0

    def give_root(self, attributes: dict[str, Any]) -> None:
        self.rooted += 1

    def prove(self, names: list[bytes]) -> None:
        self.asked = names

    def proofs(self) -> list[str]:
        return entries.Tree(self.other.side.path).fingerprints(self.asked)

    def kept(self, directory: str) -> list[str]:
        return [directory]


def repair(
    kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch, mend: Callable[[], object]
) -> tuple[dict[str, Any], Talk]:
    talk = Talk(other)

    @contextlib.contextmanager
    def talking(asked: Push) -> Iterator[Talk]:
        yield talk

    def carry(asked: Push, final: bool, retries: int, report: object) -> tuple[int, list[str], dict[str, int], int]:
        other.pushed.append(asked)
        mend()
        return 0, ["<f..t...... b"], {"bytes_changed": 3}, 0

    monkeypatch.setattr(peer, "talk", talking)
    monkeypatch.setattr(rsync, "with_retries", carry)
    push = vars(job._push(kernel.side, OPTIONS))
    return transfer_verify.repair(kernel.side, {"push": push}, lambda _: None), talk


def test_a_repair_writes_what_differs_and_keeps_what_it_replaces(
    kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnoticed(Path(other.side.path) / "b", "tow")
    verify(kernel)
    found, talk = repair(kernel, other, monkeypatch, lambda: unnoticed(Path(other.side.path) / "b", "two"))
    assert (found["repaired"], found["left"], found["asked_for"]) == (["b"], [], 1)
    assert talk.asked == [b".", b"b"]
    assert talk.rooted == 1
    (asked,) = other.pushed
    assert Path(asked.names).read_bytes() == b"./b\0"
    assert asked.rewrite
    assert found["kept_in"] == [asked.backup_dir]
    assert asked.backup_dir.startswith(f"{kernel.side.kept}/")
    command = rsync_command(asked)
    assert "--ignore-times" in command
    assert f"--backup-dir={asked.backup_dir}" in command
    assert verify(kernel, again=True)["different"] == 0


def test_what_is_not_equal_after_a_repair_is_named(
    kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnoticed(Path(other.side.path) / "b", "tow")
    verify(kernel)
    found, _ = repair(kernel, other, monkeypatch, lambda: None)
    assert found["left"] == ["b"]


def test_a_repair_without_a_verification_of_now_writes_nothing(
    kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TransferError, match="differences that a verification under the present epoch has found"):
        repair(kernel, other, monkeypatch, lambda: None)
    unnoticed(Path(other.side.path) / "b", "tow")
    verify(kernel)
    state = transfer_verify._state(kernel.side)
    storage.write_json(state, {**storage.read_json(state), "opened": "9.x"})
    with pytest.raises(TransferError, match="those of an earlier one"):
        repair(kernel, other, monkeypatch, lambda: None)
    monkeypatch.setattr(transfer_verify, "REPAIRABLE", 0)
    storage.write_json(state, {**storage.read_json(state), "opened": "0.adopted"})
    with pytest.raises(TransferError, match="can be repaired by name; found: more than 0 differences"):
        repair(kernel, other, monkeypatch, lambda: None)
    assert other.pushed == []


def test_all_names_of_a_linked_file_are_written_again(
    kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(kernel.side.path) / "a-too").hardlink_to(Path(kernel.side.path) / "a")
    verify(kernel)
    names = transfer_verify._different(kernel.side)
    storage.write_durably(names, b"a\0")
    repair(kernel, other, monkeypatch, lambda: None)
    assert Path(other.pushed[0].names).read_bytes() == b"./a\0./a-too\0"


def test_progress_has_a_rate_and_what_remains() -> None:
    now = [0.0]
    told: list[dict[str, Any]] = []
    pace = transfer_verify.Pace(1000, told.append, lambda: now[0])
    pace.at(1, 10)
    now[0] = 2.0
    pace.at(5, 200)
    assert told == [
        {"stage": "reading", "files": 5, "bytes": 200, "total_bytes": 1000, "rate_bytes": 100, "remaining": "0:00:08"}
    ]
    assert json.loads(json.dumps(told))


@pytest.mark.parametrize(
    ("receipt", "received", "said"), [("", False, None), ("m", True, None), ("m", False, True), ("n", False, False)]
)
def test_what_was_not_compared_with_a_receipt_is_not_called_the_same(
    receipt: str, received: bool, said: object
) -> None:
    other = {"manifest": "m", "receipt": receipt, "received": received}
    assert transfer_verify._as_at_receipt(other) is said


def test_a_worker_that_dies_leaves_what_was_read(kernel: Kernel, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def dies(*_: object, **__: object) -> None:
            raise WorkerFailed(expected="an answer", found="it has died")

        patch.setattr(workers.Workers, "answers", dies)
        with pytest.raises(WorkerFailed):
            verify(kernel)
    assert not transfer_verify._own(kernel.side).exists()
    assert verify(kernel)["resumed"]
    assert side.facts(kernel.side) == {}
