"""A transfer by names between two real trees, by the real rsync, over a conversation whose other end is a thread."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree import transfer
from bascule.filetree.changes import CHANGED, GONE, INODE, WHOLE, Changes, Mark
from bascule.filetree.delta import ScanNeeded
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import cache, take
from bascule.filetree.io.recorder import client
from bascule.filetree.io.transfer import by_name, hard_links, job, rsync
from bascule.filetree.io.transfer import peer as transfer_peer
from bascule.filetree.io.transfer import push as transfer_push
from bascule.filetree.io.transfer.peer import Talk
from bascule.filetree.manifest import compare
from bascule.filetree.transfer import LinkBroken, Push, TransferError
from bascule.system.io import storage, units

from .world import COMPONENT, Kernel, adopt, fill, host, use


class Ends:
    """Both sides, and a conversation between them."""

    def __init__(self, active: Kernel, passive: Side) -> None:
        self.kernel, self.active, self.passive = active, active.side, passive
        to_other, to_us = os.pipe(), os.pipe()
        process = subprocess.Popen(["true"], stdin=subprocess.DEVNULL)
        process.wait()
        process.stdin, process.stdout = os.fdopen(to_other[1], "wb"), os.fdopen(to_us[0], "rb")
        self.process = process
        self.talk = Talk(process, io.BytesIO())
        self.source, self.target = os.fdopen(to_other[0], "rb"), os.fdopen(to_us[1], "wb")
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        self.ran: list[list[str]] = []
        self.afterwards: Callable[[], object] = lambda: None

    def _serve(self) -> None:
        try:
            transfer_peer.serve(self.passive, self.source, self.target)
        except TransferError:
            pass
        finally:
            self.target.close()
            self.source.close()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.thread.join(10)

    def tell(self, *events: tuple[bytes, bytes]) -> None:
        for kind, name in events:
            self.kernel.log.note(name, kind)

    def run(self, asked: Push) -> dict[str, Any]:
        command = ["rsync", "-aHAX", "--from0", f"--files-from={asked.names}", "--ignore-missing-args", "--force"]
        command += ["--modify-window=-1", *(["--ignore-times"] if asked.rewrite else [])]
        subprocess.run([*command, f"{self.active.tree}/", f"{self.passive.tree}/"], check=True)
        self.ran.append(command)
        self.afterwards()
        return {"rc": 0, "changed_entries": 1}

    def carry(self, final: bool = False, max_delete: int = 10) -> dict[str, Any]:
        push = Push(COMPONENT, self.active.tree, self.passive.tree, "192.0.2.2", "/k", "/h", max_delete=max_delete)
        shared = by_name.reference(self.active)
        known, now = client.since(COMPONENT, shared.mark if shared else None)
        assert now is not None
        return by_name.carry(self.active, push, self.talk, known, now, final, self.run)

    def differences(self) -> list[str]:
        """Compare both trees as they are, whatever the transfer thinks of them."""
        paths = [side.home / "whole.jsonl" for side in (self.active, self.passive)]
        for side, path in zip((self.active, self.passive), paths):
            take.take_manifest(side.tree, path)
        own, theirs = (take.read_manifest(path) for path in paths)
        return [one.describe() for one in compare(own, theirs).differences]


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    passive = host(tmp_path, monkeypatch, "files-tls")
    active = host(tmp_path, monkeypatch)
    fill(active.side, a="one", b="two")
    for kernel in (active, passive):
        storage.make_directory(kernel.side.home / "jobs")
        Path(kernel.side.tree).symlink_to(kernel.side.path)
    (Path(active.side.path) / "d").mkdir()
    (Path(active.side.path) / "d" / "x").write_text("x")
    subprocess.run(
        ["rsync", "-aHAX", "--modify-window=-1", f"{active.side.path}/", f"{passive.side.path}/"], check=True
    )
    adopt(active.side, "open")
    active.recording = True
    use(active, monkeypatch)
    monkeypatch.setattr(transfer_peer, "_check_passive", lambda side: None)
    monkeypatch.setattr("bascule.filetree.io.fence.mounts.open_for_writing", lambda path: [])
    found = Ends(active, passive.side)
    hard_links.index_links(active.side)
    assert by_name.settle(active.side, found.talk, Mark("g1", 0), [])
    yield found
    found.close()


def test_changes_of_every_kind_arrive(ends: Ends) -> None:
    root = Path(ends.active.path)
    (root / "a").write_text("changed")
    (root / "b").unlink()
    (root / "d").rename(root / "e")
    os.link(root / "a", root / "again")
    os.symlink("/etc", root / "#out")
    ends.tell((CHANGED, b"a"), (GONE, b"b"), (WHOLE, b"d"), (GONE, b"d"), (WHOLE, b"e"), (CHANGED, b"again"))
    ends.tell((CHANGED, b"#out"), (CHANGED, b"#out/passwd"))
    result = ends.carry(final=True)
    assert (result["equal"], result["proof_rounds"], result["names_missing"]) == (True, 0, 3)
    assert ends.differences() == []
    assert ends.carry(final=True)["names"] == 0


def test_an_rsync_that_is_connected_has_begun_there_before_both_agree(ends: Ends) -> None:
    """Where it begins it marks the side as touched; coming after the agreement, that would take it back."""
    before, seen = fence_side.facts(ends.passive)["agreed"], []

    def begins() -> None:
        seen.append(fence_side.facts(ends.passive)["agreed"])
        fence_side.note(ends.passive, touched=True)

    ends.afterwards = begins
    assert ends.carry(final=True)["names"] == 0
    assert seen == [before]
    assert by_name.stands_at(ends.passive, by_name.vouched(ends.active, Mark("g1", 0)))


def test_a_second_name_brings_the_first_one_that_nobody_told_of(ends: Ends) -> None:
    os.link(Path(ends.active.path) / "a", Path(ends.active.path) / "d" / "again")
    ends.tell((CHANGED, b"d/again"))
    assert ends.carry()["equal"]
    assert ends.differences() == []


def test_a_file_that_was_changed_under_a_name_it_has_lost_is_carried_under_the_other(ends: Ends) -> None:
    path = Path(ends.active.path) / "a"
    path.write_text("written through another name, which is gone")
    ends.tell((GONE, b"d/other"), (CHANGED, INODE + b"%d" % path.stat().st_ino))
    assert ends.carry(final=True)["equal"]
    assert ends.differences() == []
    ends.tell((CHANGED, INODE + b"%d" % path.stat().st_ino))
    hard_links.forget(ends.active)
    with pytest.raises(ScanNeeded, match="not done yet"):
        ends.carry()


def test_the_same_size_and_time_deceive_nobody(ends: Ends) -> None:
    path = Path(ends.active.path) / "a"
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ends.tell((CHANGED, b"a"))
    result = ends.carry(final=True)
    assert (result["equal"], result["proof_rounds"]) == (True, 1)
    assert "--ignore-times" in ends.ran[-1]
    assert ends.differences() == []


def test_a_name_that_was_another_files_with_its_size_and_time_loses_it_at_the_other_side(ends: Ends) -> None:
    """As a program does that writes a copy and moves it there: rsync sees no difference, not even by the content."""
    root, other = Path(ends.active.path), Path(ends.passive.path)
    os.link(root / "a", root / "again")
    ends.tell((CHANGED, b"again"))
    assert ends.carry()["equal"]
    assert (other / "a").stat().st_ino == (other / "again").stat().st_ino
    subprocess.run(["cp", "-p", root / "a", root / "copy"], check=True)
    (root / "copy").rename(root / "a")
    ends.tell((GONE, b"copy"), (CHANGED, b"a"))
    result = ends.carry(final=True)
    assert (result["equal"], result["proof_rounds"]) == (True, 1)
    assert (other / "a").stat().st_ino != (other / "again").stat().st_ino
    assert ends.differences() == []


def test_a_second_look_knows_the_names_of_the_first(ends: Ends) -> None:
    """A new name of a file, beside a file whose size and time deceive rsync: both are carried, without a scan."""
    root = Path(ends.active.path)
    os.link(root / "b", root / "second")
    (root / "b").write_text("TWO")
    (root / "a").write_text("ONE")
    os.utime(root / "a", ns=(10**18, 10**18))
    ends.tell((CHANGED, b"second"), (CHANGED, INODE + b"%d" % (root / "b").stat().st_ino), (CHANGED, b"a"))
    found = ends.carry(final=True)
    assert (found["equal"], found["proof_rounds"]) == (True, 1)
    assert ends.differences() == []


def test_what_differs_all_the_same_is_named_and_stops_the_last_transfer(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(ends.active.path) / "a").write_text("new")
    ends.tell((CHANGED, b"a"))
    monkeypatch.setattr(ends, "run", lambda asked: {})
    assert ends.carry()["different"] == 1
    # It counts as changed until both sides are the same.
    shared = by_name.reference(ends.active)
    assert shared is not None
    assert b"a" in shared.extra
    with pytest.raises(TransferError, match="names differ: a"):
        ends.carry(final=True)


def test_a_write_during_the_last_transfer_is_an_error_and_before_it_is_carried_next_time(ends: Ends) -> None:
    (Path(ends.active.path) / "a").write_text("new")
    ends.tell((CHANGED, b"a"))

    def write() -> None:
        (Path(ends.active.path) / "a").write_text("later")
        ends.tell((CHANGED, b"a"))

    ends.afterwards = write
    with pytest.raises(TransferError, match=r"a tree that stands still.*1 names changed during the transfer: a"):
        ends.carry(final=True)
    result = ends.carry()
    assert (result["equal"], result["different"], result["moving"]) == (False, 0, 1)
    ends.afterwards = lambda: None
    assert ends.carry(final=True)["equal"]
    assert ends.differences() == []


def test_more_deletions_than_the_cap_delete_nothing(ends: Ends) -> None:
    for name in ("a", "b"):
        (Path(ends.active.path) / name).unlink()
    ends.tell((GONE, b"a"), (GONE, b"b"))
    with pytest.raises(TransferError, match=r"more deletions than the cap allows: 2 names.*nothing of it was deleted"):
        ends.carry(max_delete=1)
    assert (Path(ends.passive.path) / "a").exists()


def test_what_came_and_went_between_two_transfers_is_no_deletion(ends: Ends) -> None:
    (Path(ends.active.path) / "a").unlink()
    ends.tell((GONE, b"a"), *((GONE, b"upload-%d" % number) for number in range(50)))
    assert ends.carry(max_delete=1)["names_missing"] == 1
    assert ends.differences() == []


def test_names_that_were_not_kept_one_by_one_go_all_the_same(ends: Ends) -> None:
    for side in (ends.active, ends.passive):
        for name in ("kept", "gone", ".bascule-partial"):
            (Path(side.path) / "d" / name).write_text(name)
            os.utime(Path(side.path) / "d" / name, ns=(10**18, 10**18))
    (Path(ends.active.path) / "d" / "gone").unlink()
    (Path(ends.active.path) / "d" / "x").write_text("changed")
    (Path(ends.passive.path) / "d" / "gone").chmod(0o600)
    ends.tell((CHANGED, b"d/x"), (GONE, b"d/gone"), *((GONE, b"d/.upload-%d" % number) for number in range(5)))
    assert ends.kernel.log.fold(3) == 6
    found = ends.carry(final=True)
    assert (found["equal"], found["names_missing"]) == (True, 1)
    assert ends.differences() == []


def test_a_directory_counts_with_all_that_goes_with_it(ends: Ends) -> None:
    (Path(ends.active.path) / "d" / "x").unlink()
    (Path(ends.active.path) / "d").rmdir()
    ends.tell((GONE, b"d/x"), (GONE, b"d"))
    with pytest.raises(TransferError, match=r"more deletions than the cap allows: 2 names.*d, d/x among them"):
        ends.carry(max_delete=1)
    assert (Path(ends.passive.path) / "d" / "x").exists()
    assert ends.carry(max_delete=2)["names_missing"] == 2
    assert ends.differences() == []


def test_another_state_at_the_other_side_needs_a_scan(ends: Ends) -> None:
    fence_side.note(ends.passive, agreed="something else")
    with pytest.raises(ScanNeeded, match="something else"):
        ends.carry()


def test_the_root_itself_takes_part(ends: Ends) -> None:
    os.chmod(ends.active.path, 0o750)
    os.setxattr(ends.active.path, "user.seen", b"yes")
    ends.tell((CHANGED, b"."))
    assert ends.carry(final=True)["equal"]
    assert ends.differences() == []


def test_names_that_lead_out_of_the_tree_are_refused(ends: Ends) -> None:
    ends.talk.prove([b"../etc/passwd"])
    with pytest.raises(LinkBroken, match="the connection ended"):
        ends.talk.proofs()


def test_a_scan_leaves_names_that_differ_to_the_next_delta(ends: Ends) -> None:
    ends.tell((CHANGED, b"b"))
    assert by_name.scanned(ends.active, ends.talk, Mark("g1", 0), False, lambda: [b"a", b"b"])
    shared = by_name.reference(ends.active)
    assert shared is not None
    assert (shared.mark, shared.extra) == (Mark("g1", 0), (b"a",))
    assert not by_name.scanned(ends.active, ends.talk, Mark("g1", 0), False, lambda: None)
    assert by_name.reference(ends.active) is None
    ends.kernel.recording = False
    assert not by_name.scanned(ends.active, ends.talk, Mark("g1", 0), True, list)


def test_a_scan_while_clients_write_ends_in_a_state_that_both_share(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads digests during the scan has the recorder forget what came before, but not what the scan needs."""
    fence_side.note(ends.active, reference={})
    storage.remove(ends.active.home / "marks.json")
    ends.tell((CHANGED, b"a"))
    cache.take(ends.active)
    peer = ends.passive.home / "peer.jsonl"

    def carry(asked: Push, *_: Any) -> tuple[int, list[str], dict[str, int], int]:
        subprocess.run(["rsync", "-aHAX", f"{ends.active.tree}/", f"{ends.passive.tree}/"], check=True)
        (Path(ends.active.path) / "b").write_text("written while both trees are read")
        ends.tell((CHANGED, b"b"))
        return 0, [], {"changed_entries": 1}, 0

    def ask(*_: Any) -> dict[str, Any]:
        return {"manifest": take.take_manifest(ends.passive.tree, peer)[0], "read_files": 0}

    @contextlib.contextmanager
    def talk(asked: Push) -> Iterator[Talk]:
        yield ends.talk

    monkeypatch.setattr(rsync, "with_retries", carry)
    monkeypatch.setattr(transfer_push, "ask", ask)
    monkeypatch.setattr(
        transfer_push, "fetch", lambda asked, target, what: storage.write_durably(target, peer.read_text())
    )
    monkeypatch.setattr(transfer_peer, "talk", talk)
    push = Push(COMPONENT, ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h")
    found = transfer_push._by_scan(ends.active, push, False, 0, lambda progress: None)
    shared = by_name.reference(ends.active)
    assert (found["equal"], found["shared"]) == (False, True)
    assert shared is not None
    assert shared.mark == Mark("g1", 1)
    assert ends.carry(final=True)["equal"]
    assert ends.differences() == []


def test_a_last_scan_writes_again_what_rsync_takes_for_the_same(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    root, other = Path(ends.active.path), Path(ends.passive.path)
    for side in (root, other):
        os.link(side / "a", side / "again")
        os.link(side / "b", side / "d" / "second")
    subprocess.run(["cp", "-p", root / "a", root / "copy"], check=True)
    (root / "copy").rename(root / "a")
    # The names of one file go together, or the others of them would be left behind.
    (root / "b").chmod(0o640)
    peer, asked_for = ends.passive.home / "peer.jsonl", []

    def carry(asked: Push, *_: Any) -> tuple[int, list[str], dict[str, int], int]:
        asked_for.append(asked.rewrite)
        if asked.rewrite:
            assert b"./a\0" in Path(asked.names).read_bytes()
            ends.run(asked)
        return 0, [], {"changed_entries": 1}, 0

    def ask(*_: Any) -> dict[str, Any]:
        return {"manifest": take.take_manifest(ends.passive.tree, peer)[0], "read_files": 0}

    @contextlib.contextmanager
    def talk(asked: Push) -> Iterator[Talk]:
        yield ends.talk

    monkeypatch.setattr(rsync, "with_retries", carry)
    monkeypatch.setattr(transfer_push, "ask", ask)
    monkeypatch.setattr(
        transfer_push, "fetch", lambda asked, target, what: storage.write_durably(target, peer.read_text())
    )
    monkeypatch.setattr(transfer_peer, "talk", talk)
    push = Push(COMPONENT, ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h")
    found = transfer_push._by_scan(ends.active, push, True, 0, lambda progress: None)
    assert (found["equal"], found["changed_entries"], asked_for) == (True, 2, [False, True])
    assert ends.differences() == []
    assert (other / "b").stat().st_ino == (other / "d" / "second").stat().st_ino
    # What rsync does not mend is said.
    (other / "a").write_text("odd")
    monkeypatch.setattr(rsync, "with_retries", lambda *_: (0, [], {}, 0))
    with pytest.raises(TransferError, match=r"both trees to be equal.*a.*nothing was switched"):
        transfer_push._by_scan(ends.active, push, True, 0, lambda progress: None)


def test_an_outcome_is_taken_once_and_only_while_it_holds(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"address": "192.0.2.2", "final": True, "backup_dir": "", "retries": 0}
    paths = transfer_push.jobs(ends.active, "push")
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([0] * 8 + [os.ST_RDONLY, 255]))
    request = job._request(ends.active, "push", {**options, "stands_in": 60})

    def left(sequence: int) -> None:
        storage.write_json(paths["request"], {**request, "id": "1"})
        mark = {"generation": "g1", "sequence": sequence}
        storage.write_json(paths["result"], {"id": "1", "ok": True, "equal": True, "mark": mark, "changed_entries": 3})

    monkeypatch.setattr(units, "wait", lambda unit, seconds: True)
    monkeypatch.setattr(units, "last_messages", lambda unit: "")
    left(0)
    values: dict[str, Any] = {"start": True, "job_id": "", "wait": 0}
    # The other side has kept something meanwhile: the next place for it is another.
    seen = {**options, "backup_dir": "/kept/2", "stands_at": "closed for 1.a"}
    taken = job.follow(COMPONENT, "push", seen, **values)
    assert (taken["running"], taken["result"]["changed_entries"]) == (False, 3)
    with pytest.raises(TransferError, match="to leave a result"):
        job.follow(COMPONENT, "push", options, **values)
    left(0)
    ends.tell((CHANGED, b"a"))
    with pytest.raises(TransferError, match="to leave a result"):
        job.follow(COMPONENT, "push", options, **values)


def test_a_delta_that_waits_for_its_tree_gives_way_to_another(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"address": "192.0.2.2", "final": True, "backup_dir": "", "retries": 0}
    paths = transfer_push.jobs(ends.active, "push")
    storage.write_json(paths["request"], {**job._request(ends.active, "push", {**options, "stands_in": 60}), "id": "1"})
    storage.write_json(paths["progress"], {"id": "1", "stage": transfer.ARMED})
    running, stopped = [True], []
    monkeypatch.setattr(units, "is_running", lambda unit: running[0])
    monkeypatch.setattr(units, "wait", lambda unit, seconds: False)
    monkeypatch.setattr(units, "stop", lambda unit: stopped.append(unit))
    found = job.follow(COMPONENT, "push", options, start=True, job_id="", wait=0)
    assert (found["id"], stopped) == ("1", [])
    found = job.follow(COMPONENT, "push", {**options, "final": False}, start=True, job_id="", wait=0)
    assert found["id"] not in ("", "1")
    assert stopped == ["bascule-course_files-push"]


def test_a_link_that_is_gone_stops_no_return_of_a_tree_in_which_nothing_has_happened(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened in the window, and left again before anybody came in: both hosts say that they hold the same."""
    read_only = os.statvfs_result([0] * 8 + [os.ST_RDONLY, 255])
    monkeypatch.setattr(os, "statvfs", lambda path: read_only)

    def gone(*_: Any) -> Any:
        raise LinkBroken(expected="the other side to answer", found="Connection timed out")

    monkeypatch.setattr(transfer_push, "_by_names", gone)
    options = {"address": "192.0.2.2", "final": True, "retries": 0}
    stands_at = fence_side.facts(ends.passive)["agreed"]

    def push(**more: Any) -> dict[str, Any]:
        request = job._request(ends.active, "push", {**options, "stands_at": stands_at, **more})
        return transfer_push.push(ends.active, request, lambda _: None)

    found = push()
    assert (found["equal"], found["changed_entries"], found["names"], found["scan"]) == (True, 0, 0, "")
    for unsure, said in (
        ({"stands_at": ""}, "was not seen to hold"),
        ({"stands_at": "another"}, "the other one another"),
        ({"final": False}, "timed out$"),
    ):
        with pytest.raises(LinkBroken) as error:
            push(**unsure)
        assert re.search(said, error.value.found)
    read_only = os.statvfs_result([0] * 10)
    with pytest.raises(LinkBroken):
        push()
    read_only = os.statvfs_result([0] * 8 + [os.ST_RDONLY, 255])
    ends.tell((CHANGED, b"a"))
    with pytest.raises(LinkBroken):
        push()


def test_doubt_about_changes_is_never_an_empty_list() -> None:
    assert Changes(0, 0, frozenset(), frozenset(), False, "why").touches(b"a")


def test_a_side_that_closes_knows_whether_something_is_left_to_carry(ends: Ends) -> None:
    assert by_name.carried(ends.active, client.mark(COMPONENT))
    ends.tell((CHANGED, b"a"))
    assert not by_name.carried(ends.active, client.mark(COMPONENT))
    assert not by_name.carried(ends.active, None)
    ends.carry(final=True)
    assert by_name.carried(ends.active, client.mark(COMPONENT))
    by_name.refer(ends.active, Mark("g1", 1), "name", [b"a"])
    assert not by_name.carried(ends.active, Mark("g1", 1))
