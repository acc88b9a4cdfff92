"""What a guest writes to its serial console is kept from its first byte, and told when it did not boot."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bascule.agent.__main__ import main as agent
from bascule.guest.io import console
from bascule.system.io import units
from bascule.system.io.process import Result


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The component's folder, and one for sockets."""
    monkeypatch.setattr(console, "directory", lambda component: str(tmp_path / component))
    (tmp_path / "c").mkdir()
    return tmp_path


class Units:
    """systemd, as far as it is asked: nothing runs."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **options: object) -> Result:
        self.commands.append(tuple(argv))
        return Result(tuple(argv), 0, "inactive\n", "")


def serve(path: Path, pieces: Sequence[bytes], after: float) -> threading.Thread:
    """A guest whose console appears after a while, writes, and ends."""

    def run() -> None:
        time.sleep(after)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            connection, _ = listener.accept()
            with connection:
                for piece in pieces:
                    connection.sendall(piece)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_the_output_is_kept_from_the_first_byte(place: Path) -> None:
    thread = serve(place / "100.serial0", [b"\x1b[0;1mLinux version 6.1\r\n", b"Kernel panic\r\n"], after=0.1)
    assert console.record("c", 100, 30, str(place)) == 39
    thread.join()
    found = console.end("c", Units())
    assert found["connected"]
    assert found["path"] == str(place / "c/console.log")
    assert found["last"] == ["Linux version 6.1", "Kernel panic"]
    assert (place / "c/console.log").stat().st_mode & 0o777 == 0o600


def test_a_guest_without_a_console_is_told_from_a_silent_one(place: Path) -> None:
    assert console.record("c", 100, 0.1, str(place)) == 0
    assert console.end("c", Units()) == {"connected": False, "path": "", "size": 0, "last": []}
    thread = serve(place / "100.serial0", [], after=0)
    assert console.record("c", 100, 30, str(place)) == 0
    thread.join()
    assert console.end("c", Units()) == {"connected": True, "path": "", "size": 0, "last": []}


def test_a_guest_that_writes_for_ever_fills_no_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LARGEST", 1000)
    thread = serve(place / "100.serial0", [b"x" * 900, b"y" * 900], after=0)
    assert console.record("c", 100, 30, str(place)) == 1000
    thread.join()
    assert console.end("c", Units())["size"] == 1000


def test_the_time_is_bounded(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place / "100.serial0"))
        listener.listen(1)
        assert console.record("c", 100, 0.3, str(place)) == 0


def test_reading_begins_anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "c/console.log").write_text("of an earlier boot")
    running = Units()
    console.begin("c", 100, 60, running)
    assert not (place / "c/console.log").exists()
    assert running.commands[-1][-len(units.AGENT) - 4 :] == (*units.AGENT, "guest_console", "c", "100", "60")
    assert console.end("c", running)["path"] == ""
    told: list[object] = []
    monkeypatch.setattr(console, "record", lambda *given: told.append(given))
    assert agent(["guest_console", "c", "100", "60.0"]) == 0
    assert told == [("c", 100, 60.0)]
