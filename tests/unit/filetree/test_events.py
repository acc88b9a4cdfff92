"""Events as the kernel writes them, and what the recorder makes of them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bascule.filetree import changes, events
from bascule.filetree.changes import CHANGED, GONE, WHOLE, Mark
from bascule.filetree.events import Event, EventsUnreadable
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.recorder import client, handles, service
from bascule.filetree.io.recorder.handles import Handles, WatchEnded
from bascule.filetree.io.recorder.service import Recorder

HANDLE = struct.pack("=II8s", 8, 1, b"\x02\0\0\0\0\0\0\0")


def raw(mask: int, name: bytes = b"", handle: bytes = HANDLE, version: int = 3) -> bytes:
    """Return an event with one record of a directory and a name, padded as the kernel does."""
    info = b""
    if handle:
        body = b"\0" * 8 + handle + name + b"\0"
        body += b"\0" * (-len(body) % 4)
        info = struct.pack("=BBH", 2, 0, 4 + len(body)) + body
    return struct.pack("=IBBHQii", 24 + len(info), version, 0, 24, mask, -1, 7) + info


def test_events_are_read_as_the_kernel_writes_them() -> None:
    odd = "درس \n".encode() + b"\xff"
    data = raw(events.CREATE, odd) + raw(events.Q_OVERFLOW, handle=b"") + raw(events.ATTRIB | events.ONDIR, b".")
    found = list(events.parse(data))
    assert [(one.mask, one.directory, one.name, one.pid) for one in found] == [
        (events.CREATE, HANDLE, odd, 7),
        (events.Q_OVERFLOW, b"", b"", 7),
        (events.ATTRIB | events.ONDIR, HANDLE, b".", 7),
    ]
    with pytest.raises(EventsUnreadable, match="version 4"):
        list(events.parse(raw(events.CREATE, b"a", version=4)))


@pytest.mark.parametrize(
    ("mask", "kinds"),
    [
        (events.CREATE, (CHANGED,)),
        (events.MODIFY | events.CLOSE_WRITE, (CHANGED,)),
        (events.DELETE, (GONE,)),
        (events.DELETE | events.CREATE, (CHANGED,)),
        (events.CREATE | events.ONDIR, (CHANGED,)),
        (events.DELETE | events.ONDIR, (WHOLE, GONE)),
        (events.MOVED_FROM | events.ONDIR, (WHOLE, GONE)),
        (events.MOVED_TO | events.ONDIR, (WHOLE, CHANGED)),
        (events.MOVED_TO, (CHANGED,)),
    ],
)
def test_what_an_event_says_about_a_name(mask: int, kinds: tuple[bytes, ...]) -> None:
    assert Event(mask, HANDLE, b"a").kinds() == kinds


def test_a_name_lies_below_the_root() -> None:
    assert events.path_of(changes.ROOT, b"a") == b"a"
    assert events.path_of(b"a/b", b"c") == b"a/b/c"
    assert events.path_of(b"a/b", b".") == b"a/b"
    assert events.path_of(changes.ROOT, b".") == changes.ROOT


class Kernel:
    """A watch whose events the test writes, over a pipe that the recorder can wait for."""

    def __init__(self) -> None:
        self.descriptor, self._in = os.pipe()
        self.queue: list[Event] = []
        self.absent: set[bytes] = set()
        self.broken = ""

    def happen(self, mask: int, name: bytes) -> None:
        self.queue.append(Event(mask, b"root", name))
        os.write(self._in, b"x")

    def ask(self) -> None:
        self.queue.append(Event(events.OPEN | events.ONDIR, b"root", b".", os.getpid()))
        os.write(self._in, b"x")

    def check(self) -> None:
        if self.broken:
            raise WatchEnded(expected="the tree", found=self.broken)

    def read(self) -> list[Event]:
        if self.queue:
            os.read(self.descriptor, 4096)
        found, self.queue = self.queue, []
        return found

    def paths(self, found: list[Event]) -> Iterator[tuple[Event, bytes]]:
        return ((event, changes.ROOT) for event in found)

    def missing(self, directory: bytes, names: list[bytes]) -> set[bytes]:
        return set(names) & self.absent

    def inode_to_note(self, event: Event, directory: bytes) -> int | None:
        return int(event.target) if event.changes_a_file else None

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._in)


class Running:
    """A recorder in a thread, over simulated watches."""

    def __init__(
        self,
        base: Path,
        monkeypatch: pytest.MonkeyPatch,
        memory: int = 1 << 20,
        kernel: Callable[[], Kernel] = Kernel,
    ) -> None:
        self.make = kernel
        self.state = base / client.ACCOUNT / "c"
        runtime = base / f"{client.ACCOUNT}-c"
        for directory in (self.state, runtime):
            directory.mkdir(parents=True, exist_ok=True)
        self.kernels: list[Kernel] = []
        monkeypatch.setattr(service, "Watch", self._watch)
        monkeypatch.setattr("signal.set_wakeup_fd", lambda number: None)
        monkeypatch.setattr(client, "STATE", base)
        monkeypatch.setattr(client, "RUNTIME", base)
        self.recorder = Recorder("/srv", self.state, runtime, memory=memory)
        self.thread = threading.Thread(target=self.recorder.run)
        self.thread.start()

    def _watch(self, path: str, unlimited: bool = True) -> Kernel:
        self.kernels.append(self.make())
        return self.kernels[-1]

    @property
    def kernel(self) -> Kernel:
        return self.kernels[-1]

    def stop(self) -> None:
        self.recorder.stop(15, None)
        # One that was awake has seen it by itself, and may be gone.
        with socket.socket(socket.AF_UNIX) as nudge, contextlib.suppress(ConnectionRefusedError):
            nudge.connect(str(self.state.parents[1] / f"{client.ACCOUNT}-c" / "socket"))
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    found = Running(tmp_path, monkeypatch)
    yield found
    if found.thread.is_alive():
        found.stop()


def test_what_happened_before_the_question_is_in_the_answer(running: Running) -> None:
    begin = client.mark("c")
    running.kernel.happen(events.CREATE, b"a")
    running.kernel.happen(events.DELETE, b"b")
    found, now = client.since("c", begin)
    assert (set(found.changed), set(found.deleted), found.complete) == ({b"a"}, {b"b"}, True)
    assert begin is not None
    assert now == Mark(begin.generation, 2)
    # What is forgotten can not be asked for any more, and says so.
    client.drain("c", forget=now)
    late, _ = client.since("c", begin)
    assert not late.complete
    assert "forget" in late.why
    assert client.since("c", now)[0].names == frozenset()


@pytest.mark.parametrize(
    ("mask", "name", "absent", "noted"),
    [
        (events.MODIFY | events.CLOSE_WRITE, b"#2392", True, False),
        # Names that users give may look the same.
        (events.MODIFY | events.CLOSE_WRITE, b"#2392", False, True),
        (events.MODIFY | events.DELETE, b"#2392", True, True),
        (events.MODIFY | events.MOVED_FROM, b"#2392", True, True),
        (events.CREATE, b"#2392", True, True),
        (events.MODIFY, b"#23a", True, True),
        (events.MODIFY, b"a#23", True, True),
        (events.ATTRIB | events.ONDIR, b"#2392", True, True),
    ],
)
def test_a_file_without_a_name_changes_no_tree(
    running: Running, mask: int, name: bytes, absent: bool, noted: bool
) -> None:
    """As the kernel tells of a file that was opened without one (O_TMPFILE), written and closed."""
    begin = client.mark("c")
    running.kernel.absent = {name} if absent else set()
    running.kernel.happen(mask, name)
    found, now = client.since("c", begin)
    assert (name in found.names, now == begin) == (noted, not noted)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda kernel: kernel.happen(events.Q_OVERFLOW, b""), "queue overflowed"),
        (lambda kernel: setattr(kernel, "broken", "it was unmounted"), "unmounted"),
    ],
)
def test_whatever_breaks_a_generation_is_told_and_a_new_one_begins(running: Running, act: object, why: str) -> None:
    begin = client.mark("c")
    assert callable(act)
    act(running.kernel)
    client.drain("c")
    found, now = client.since("c", begin)
    assert not found.complete
    assert why in found.why
    assert begin is not None
    assert now is None or now.generation != begin.generation


class Short(Kernel):
    """A watch whose kernel says for a while that it has no memory to find the directory of an event."""

    def __init__(self, base: Path, times: int) -> None:
        super().__init__()
        self.times = times
        self.handles = Handles(os.fsencode(base), base.stat().st_dev, lambda: None, self._call)

    def paths(self, found: list[Event]) -> Iterator[tuple[Event, bytes]]:
        for event in found:
            if event.name == b"a":
                with self.handles.opened(event.directory) as there:
                    assert there is not None
            yield event, changes.ROOT

    def _call(self, mount: int, handle: bytes) -> int:
        if self.times:
            self.times -= 1
            ctypes.set_errno(errno.ENOMEM)
            return -1
        return os.dup(mount)


@pytest.mark.parametrize(("times", "why"), [(1, ""), (handles.TRIES - 1, ""), (10**6, "no memory to find a file")])
def test_no_memory_is_outlived_and_only_when_it_stays_a_generation_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, why: str
) -> None:
    monkeypatch.setattr(handles, "_LONGEST_PAUSE", 0.0001)
    running = Running(tmp_path, monkeypatch, kernel=lambda: Short(tmp_path, times))
    begin = client.mark("c")
    running.kernel.happen(events.CREATE, b"a")
    running.kernel.happen(events.CREATE, b"b")
    found, now = client.since("c", begin)
    if why:
        client.drain("c")
        again = client.mark("c")
    running.stop()
    assert begin is not None
    assert (found.complete, why in found.why) == (not why, True)
    if why:
        # What was not named is not kept quiet, and from here on it records again.
        assert again is not None
        assert again.generation != begin.generation
    else:
        assert (now and now.generation, set(found.changed)) == (begin.generation, {b"a", b"b"})


def test_more_names_than_there_is_room_for_end_a_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tmp_path, monkeypatch, memory=3 * changes.NAME_COST)
    begin = client.mark("c")
    for name in (b"a", b"b", b"c", b"d"):
        running.kernel.happen(events.CREATE, name)
    client.drain("c")
    found, _ = client.since("c", begin)
    running.stop()
    assert "names have changed since the last transfer" in found.why


def test_a_journal_stays_small_however_often_a_name_changes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_COMPACT_FROM", 1000)
    begin = client.mark("c")
    for number in range(300):
        running.kernel.happen(events.MODIFY, b"name %d" % (number % 3))
        client.drain("c")
    found, _ = client.since("c", begin)
    assert found.changed == {b"name 0", b"name 1", b"name 2"}
    assert len(list(running.state.glob("journal.*"))) <= 2
    assert max(path.stat().st_size for path in running.state.glob("journal.*")) < 1300


def test_a_run_that_was_cut_short_is_owned_up_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Running(tmp_path, monkeypatch)
    begin = client.mark("c")
    left = (first.state / "status.json").read_bytes()
    first.stop()
    assert client.drain("c") == {}
    assert client.since("c", begin)[0].why == "the recorder does not answer"
    # As a kill leaves it: nothing was said at the end.
    (first.state / "status.json").write_bytes(left)
    second = Running(tmp_path, monkeypatch)
    found, _ = client.since("c", begin)
    second.stop()
    assert "killed" in found.why


def test_the_unit_quotes_a_path_and_takes_only_two_capabilities() -> None:
    text = client.unit_text(Side("c", "a", '/srv/100% "courses" $HOME', ".s"))
    assert 'RequiresMountsFor="/srv/100%% \\"courses\\" $HOME"' in text
    assert 'files_recorder "/srv/100%% \\"courses\\" $$HOME"' in text
    assert "AmbientCapabilities=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH\n" in text
    assert "PrivateTmp" not in text


def test_the_slowest_reader_decides_what_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side("c", "a", "/srv", ".s", tmp_path)
    side.home.mkdir()
    told: list[Mark | None] = []
    monkeypatch.setattr(client, "drain", lambda component, forget=None: told.append(forget))
    client.remember(side, "manifest", Mark("g", 5))
    client.remember(side, "push", Mark("g", 9))
    client.remember(side, "push", Mark("h", 2))
    assert told == [Mark("g", 5), Mark("g", 5), Mark("h", 2)]
    assert client.remembered(side, "manifest") == Mark("g", 5)
    assert json.loads((side.home / "marks.json").read_text())["push"]["generation"] == "h"
