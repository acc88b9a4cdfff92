"""A refusal is told from silence by real sockets; a trainer's attempt leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import StoreError
from bascule.system.io import reach, storage
from bascule.vpn.io import probe, trainer
from bascule.vpn.state import VpnError

from .world import BEN, PRIVATE, SERVER, FakeHost

TRAINER = f"""
[Interface]
PrivateKey = {PRIVATE}
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


def test_one_that_ought_to_refuse_is_asked_on_while_it_is_silent(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that has just refused often is silent for a while."""
    port = bound.getsockname()[1]
    timer = threading.Timer(2.5, bound.close)
    timer.start()
    assert probe.ask_closed("127.0.0.1", port) == "refused"
    timer.join()
    monkeypatch.setattr(probe, "PATIENCE", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        assert probe.ask_closed("127.0.0.1", other.getsockname()[1]) == "silent"


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
        return [path.name for path in (self.root / "run/bascule").glob("*.conf")] + (["tunnel"] if self.up else [])


def test_a_trainer_comes_in_and_nothing_is_left(tmp_path: Path) -> None:
    machine = Trainer(tmp_path)
    found = machine.attempt()
    assert (found["handshake"], found["reached"], found["reached_without"]) == (True, ["10.1.0.20:443"], [])
    assert machine.asked == [False, True], "without the tunnel first"
    assert machine.left() == []


def test_the_handshake_of_another_server_is_none(tmp_path: Path) -> None:
    machine = Trainer(tmp_path)
    machine.file.write_text(TRAINER.replace(SERVER, BEN))
    assert not machine.attempt(BEN)["handshake"], "the interface has shaken hands with another key"


def test_attempts_on_one_machine_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_TURN", 0.1)
    machine = Trainer(tmp_path)
    machine.link(True, trainer.INTERFACE)
    with storage.locked(tmp_path / "run/bascule/bascule-vpn.lock"), pytest.raises(StoreError, match="another command"):
        machine.attempt()
    assert machine.left() == ["tunnel"], "it is the other one's"


def test_what_a_killed_attempt_has_left_goes_also_where_nothing_can_be_tried(tmp_path: Path) -> None:
    machine = Trainer(tmp_path)
    machine.write(f"run/bascule/{trainer.INTERFACE}.conf", PRIVATE)
    machine.link(True, trainer.INTERFACE)
    machine.file.unlink()
    with pytest.raises(VpnError, match="there is no such file"):
        machine.attempt()
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


def test_what_wg_quick_says_of_a_configuration_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Trainer(tmp_path)

    def fails(words: list[str], _: str | None) -> Any:
        return (1, PRIVATE) if words[0] == "up" else (0, "")

    monkeypatch.setattr(machine, "wg_quick", fails)
    with pytest.raises(VpnError, match="exit status 1") as told:
        machine.attempt()
    assert "secret" not in str(told.value)
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
