"""The controller's part: what a module has loaded is confirmed by a connection of its own, or said to be undone."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bascule.errors import BasculeError
from bascule.plugin import confirmed, served
from bascule.system.ssh import Target

SSH = """#!/bin/sh
echo "$@" >>{log}
{answer}
"""


class FakeSsh:
    """A stand-in for ssh that notes its arguments."""

    def __init__(self, path: Path, answer: str = "exit 0") -> None:
        self.log = path / "log"
        program = path / "ssh"
        program.write_text(SSH.format(log=self.log, answer=answer))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.where = Target("fw-a", (str(program), "-o", "ControlPath=/tmp/kept", "-o", "ControlMaster=auto", "fw-a"))


def test_a_change_is_confirmed_by_a_connection_that_is_not_kept(tmp_path: Path) -> None:
    ssh = FakeSsh(tmp_path)
    confirmed.confirm(ssh.where, "edge", "token", 60)
    said = ssh.log.read_text().split()
    assert said.index("ControlPath=none") < said.index("ControlPath=/tmp/kept"), "ssh takes what comes first"
    assert said.index("ControlMaster=no") < said.index("ControlMaster=auto")
    assert said[-3:] == ["firewall_confirm", "edge", "token"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [("echo 'Connection timed out' >&2; exit 255", "Connection timed out"), ("exec sleep 60", "still")],
)
def test_who_is_cut_off_says_that_a_timer_undoes(tmp_path: Path, answer: str, why: str) -> None:
    ssh, began = FakeSsh(tmp_path, answer), time.monotonic()
    with pytest.raises(BasculeError) as caught:
        confirmed.confirm(ssh.where, "edge", "token", 3)
    assert time.monotonic() - began < 30, "it gives up before the undo"
    assert why in caught.value.found
    assert "restores the rules of before, 3 s after" in caught.value.state
    assert "the controller has to be let in" in caught.value.next_command


def test_a_machine_that_is_this_one_is_not_connected_to() -> None:
    here = Target("here", ("sh", "-c"))
    assert confirmed.fresh(here) is here


class Task:
    """What an action knows of its task."""

    action, delegate_to, check_mode = "bascule_firewall_rules", "fw-a", False
    args: ClassVar[dict[str, Any]] = {"component": "edge", "undo_seconds": 5}


@pytest.mark.parametrize(
    ("result", "confirms"),
    [
        ({"changed": True, "token": "t"}, True),
        ({"changed": False, "token": ""}, False),
        ({"changed": True, "token": ""}, False),
        ({"failed": True, "msg": "no nft"}, False),
    ],
)
def test_only_a_change_is_confirmed_and_one_that_is_not_fails(
    result: dict[str, Any], confirms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Scope:
        def __init__(self, *_: Any) -> None: ...

        def way_in(self, host: str) -> Target:
            return Target(host, ("ssh",))

    def confirm(*given: Any) -> None:
        asked.append(given[1:])
        raise BasculeError(expected="a new connection", found="none")

    action = confirmed.ConfirmedAction.__new__(confirmed.ConfirmedAction)
    action._task = Task()
    action._play_context = type("Context", (), {"become_pass": None})()
    monkeypatch.setattr(confirmed, "Scope", Scope)
    monkeypatch.setattr(confirmed, "confirm", confirm)
    monkeypatch.setattr(served.ModuleAction, "run", lambda *_, **__: {})
    monkeypatch.setattr(confirmed.ConfirmedAction, "_execute_module", lambda *_, **__: dict(result))
    done = action.run(None, {})
    assert asked == ([("edge", "t", 5.0)] if confirms else [])
    assert "token" not in done
    assert bool(done.get("failed")) == (confirms or bool(result.get("failed")))
