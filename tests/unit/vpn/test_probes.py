"""A refusal is told from silence by real sockets; a trainer's attempt leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.system.io import reach
from bascule.vpn.io import probe, trainer
from bascule.vpn.state import VpnError

from .world import BEN, SERVER, FakeHost

TRAINER = f"""
[Interface]
PrivateKey = secret-of-anna
Address = 10.99.0.2/24
[Peer]
PublicKey = {SERVER}
AllowedIPs = 10.0.0.0/8
"""


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A socket that takes datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_a_port_that_takes_datagrams_is_silent_and_one_that_does_not_refuses(bound: socket.socket) -> None:
    port = bound.getsockname()[1]
    assert probe.ask("127.0.0.1", port, 2, 0.05) == "silent"
    bound.close()
    assert probe.ask("127.0.0.1", port) == "refused"


def test_one_that_answers_is_heard(bound: socket.socket) -> None:
    def echo() -> None:
        data, where = bound.recvfrom(2048)
        bound.sendto(data, where)

    thread = threading.Thread(target=echo)
    thread.start()
    assert probe.ask("127.0.0.1", bound.getsockname()[1], 1, 5) == "answered"
    thread.join()


def test_where_no_way_leads_nothing_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is no refusal counts as silence."""

    def nowhere(*_: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", nowhere)
    assert probe.ask("127.0.0.1", 9, 1, 0.01) == "silent"


class Trainer(FakeHost):
    """A trainer's machine: a tunnel shakes hands when `answers`, and leads to what is behind."""

    def __init__(self, root: Path, answers: bool = True) -> None:
        super().__init__(root, "closed")
        self.answers = answers
        self.file = self.write("etc/wireguard/trainer.conf", TRAINER)
        self.asked: list[bool] = []

    @property
    def up(self) -> bool:
        """Whether the tunnel of an attempt is there."""
        return (self.root / "sys/class/net" / trainer.INTERFACE).is_dir()

    def wg_quick(self, words: list[str], stdin: str | None) -> None:
        """Bring the tunnel up, which shakes hands."""
        path = Path(words[1])
        if words[0] == "up":
            assert path.stat().st_mode & 0o077 == 0
            assert "Endpoint = 192.0.2.1:51820" in path.read_text()
        self.handshake = 1700000000 if words[0] == "up" and self.answers else 0
        super().wg_quick(words, stdin)

    def why_not(self, address: str, port: int, seconds: float) -> str:
        """Say whether a place is reached."""
        self.asked.append(self.up)
        return "" if self.up and self.answers else f"no connection to {address}, port {port}"

    def attempt(self, key: str = SERVER) -> dict[str, Any]:
        """Try the server."""
        return trainer.attempt(
            str(self.file), key, "192.0.2.1:51820", [("10.1.0.20", 443)], 0.0,
            runner=self, why_not=self.why_not, root=self.root,
        )  # fmt: skip

    def left(self) -> list[str]:
        """Return what an attempt has left."""
        return [path.name for path in (self.root / "run/bascule").glob("*")] + (["tunnel"] if self.up else [])


def test_a_trainer_comes_in_and_nothing_is_left(tmp_path: Path) -> None:
    machine = Trainer(tmp_path)
    found = machine.attempt()
    assert (found["handshake"], found["reached"], found["reached_without"]) == (True, ["10.1.0.20:443"], [])
    assert machine.asked == [False, True], "without the tunnel first"
    assert machine.left() == []


def test_a_side_that_is_closed_answers_no_handshake(tmp_path: Path) -> None:
    machine = Trainer(tmp_path, answers=False)
    found = machine.attempt()
    assert (found["handshake"], found["seconds"], found["reached"]) == (False, None, [])
    assert machine.left() == []


def test_what_a_killed_attempt_has_left_is_taken_away_first(tmp_path: Path) -> None:
    machine = Trainer(tmp_path)
    machine.write(f"run/bascule/{trainer.INTERFACE}.conf", "old")
    machine.link(True, trainer.INTERFACE)
    machine.attempt()
    assert machine.asked == [False, True], "what was left would have led there"
    assert machine.left() == []


def test_an_attempt_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Trainer(tmp_path)

    def breaks(words: list[str], stdin: str | None) -> Any:
        return 1, ""

    monkeypatch.setattr(machine, "wg", breaks)
    with pytest.raises(AssertionError):
        machine.attempt()
    assert machine.left() == []


@pytest.mark.parametrize(
    ("way", "why"),
    [("no file", "there is no such file"), ("up", "the tunnel trainer is up here"), ("other key", "no peer with")],
)
def test_a_machine_that_cannot_try_is_told_why(tmp_path: Path, way: str, why: str) -> None:
    machine = Trainer(tmp_path)
    if way == "no file":
        machine.file.unlink()
    if way == "up":
        machine.link(True, "trainer")
    with pytest.raises(VpnError, match=why) as told:
        machine.attempt(BEN if way == "other key" else SERVER)
    assert "secret" not in str(told.value)
    assert machine.left() == []


def test_a_name_is_looked_up() -> None:
    assert reach.addresses("127.0.0.1") == ["127.0.0.1"]
    assert reach.addresses("no-such-name.invalid") == []
