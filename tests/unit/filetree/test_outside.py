"""A closed side is tried as a client would: who was let in is refused, and somebody who comes in stops the opening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.filetree.io import transitions
from bascule.filetree.io.fence import outside, side
from bascule.filetree.mounts import TreeError

from .world import COMPONENT, Kernel, adopt, fill, host, use

THERE, HERE = "192.0.2.1", "192.0.2.2"


class Sides:
    """Two hosts, and a service at each that lets a write in while the file of its address is there."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.services = tmp_path / "services"
        self.services.mkdir()
        # It says why it was refused, as a client does.
        self.argv = ["sh", "-c", f"test -e {self.services}/{outside.ADDRESS} || {{ echo read-only >&2; exit 7; }}"]
        self._monkeypatch = monkeypatch
        self.source, self.target = (host(tmp_path, monkeypatch, name) for name in ("files-mtp", "files-tls"))
        for kernel, status in ((self.source, "open"), (self.target, "closed")):
            fill(kernel.side, a="one")
            adopt(kernel.side, status)

    def serve(self, address: str, value: bool = True) -> None:
        path = self.services / address
        path.touch() if value else path.unlink(missing_ok=True)

    def at(self, kernel: Kernel) -> Kernel:
        use(kernel, self._monkeypatch)
        return kernel

    def look(self, kernel: Kernel, address: str) -> str:
        return outside.look(self.at(kernel).side, self.argv, address)

    def close(self, kernel: Kernel, epoch: str) -> dict[str, Any]:
        receipt: dict[str, Any] = transitions.close(COMPONENT, self.at(kernel).side.name, epoch)["receipt"]
        return receipt

    def open_(self, kernel: Kernel, epoch: str, receipt: dict[str, Any], address: str) -> None:
        name = self.at(kernel).side.name
        transitions.open_(COMPONENT, name, epoch, receipt, outside=(self.argv, address))

    def proof(self, kernel: Kernel, address: str) -> tuple[str, str]:
        found = outside.proof(self.at(kernel).side, self.argv, address)
        return found["word"], found["reason"]

    def move(self, epoch: str) -> None:
        """From the source to the target, where the source's service knows that it is closed."""
        receipt = self.close(self.source, epoch)
        self.serve(THERE, False)
        self.open_(self.target, epoch, receipt, THERE)


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sides:
    both = Sides(tmp_path, monkeypatch)
    both.serve(THERE)
    return both


def test_who_was_let_in_before_proves_the_fence_by_being_refused(sides: Sides) -> None:
    at = sides.look(sides.target, THERE)
    sides.move("1.a")
    assert sides.proof(sides.target, THERE) == ("refused", f"exit status 7: read-only; let in at {at}")


def test_a_service_that_still_writes_at_the_closed_side_keeps_the_other_one_closed(sides: Sides) -> None:
    sides.look(sides.target, THERE)
    receipt = sides.close(sides.source, "1.a")
    with pytest.raises(TreeError, match="files-mtp has closed; found: the command"):
        sides.open_(sides.target, "1.a", receipt, THERE)
    assert sides.target.side.guard().status == "closed"
    sides.serve(THERE, False)
    sides.open_(sides.target, "1.a", receipt, THERE)
    sides.serve(THERE)
    assert sides.proof(sides.target, THERE)[0] == "admitted"


def test_a_refusal_of_somebody_who_was_never_let_in_proves_nothing(sides: Sides) -> None:
    sides.move("1.a")
    assert sides.proof(sides.target, THERE)[0] == "not_proved"


def test_a_command_that_does_not_come_in_at_the_open_side_is_refused(sides: Sides) -> None:
    sides.serve(THERE, False)
    with pytest.raises(TreeError, match="read-only"):
        sides.look(sides.target, THERE)
    sides.argv = ["/nowhere/smbclient"]
    with pytest.raises(TreeError, match="/nowhere/smbclient"):
        sides.look(sides.target, THERE)
    assert outside.LET_IN not in side.facts(sides.target.side)


def test_what_was_seen_before_an_earlier_receipt_does_not_count(sides: Sides) -> None:
    """Forward, back, forward: each closing is proved by who was let in since the one before."""
    sides.look(sides.target, THERE)
    sides.move("1.a")
    sides.serve(HERE)
    at = sides.look(sides.source, HERE)
    receipt = sides.close(sides.target, "2.b")
    sides.serve(HERE, False)
    sides.serve(THERE)
    sides.open_(sides.source, "2.b", receipt, HERE)
    assert sides.proof(sides.source, HERE) == ("refused", f"exit status 7: read-only; let in at {at}")
    sides.move("3.c")
    assert sides.proof(sides.target, THERE)[0] == "not_proved"


def test_a_side_that_was_not_open_since_has_let_nobody_in(sides: Sides) -> None:
    """A move that is turned round between the closing and the opening is not called unproved for ever."""
    sides.close(sides.source, "1.a")
    receipt = sides.close(sides.target, "2.b")
    sides.open_(sides.source, "2.b", receipt, HERE)
    word, reason = sides.proof(sides.source, HERE)
    assert word == "refused"
    assert "had not been open since" in reason


def test_nobody_is_tried_where_none_is_declared(sides: Sides) -> None:
    sides.argv = []
    sides.move("1.a")
    assert sides.proof(sides.target, THERE)[0] == "off"


def test_a_side_that_is_not_open_proves_nothing_from_outside(sides: Sides) -> None:
    assert sides.proof(sides.target, THERE)[0] == "not_proved"
