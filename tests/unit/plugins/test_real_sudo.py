"""Root on a machine by the real sshd, through a bastion, and the real sudo with a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.plugins.conftest import PASSWORD, Machine

from bascule.plugin import served
from bascule.system.io import entering, remote
from bascule.system.ssh import TRY


def test_a_script_runs_as_root_and_gets_its_own_input(machine: Machine) -> None:
    for user in ("asked", "free"):
        answer = machine.run(machine.way(user), f"{TRY}; cat", "a\n\nb\n")
        assert answer == remote.Answer("a\n\nb\n"), machine.log
    assert "Accepted publickey for jump" in machine.log, "it went round the bastion"


def test_a_wrong_password_is_told_and_tried_once(machine: Machine) -> None:
    for said in ("sudo asked again: the password is wrong, or sudo wants more than one", "it was refused when"):
        assert said in machine.run(machine.way("asked", "wr0ng"), "cat", f"{PASSWORD}\n{PASSWORD}\n").error


def test_sudo_that_wants_a_terminal_says_so(machine: Machine) -> None:
    assert "you must have a tty" in machine.run(machine.way("barred"), "cat").error


def test_a_user_without_sudo_is_named(machine: Machine) -> None:
    assert "jump is not in the sudoers file" in machine.run(machine.way("jump"), "cat").error


def test_the_password_is_in_no_argument_and_no_environment(machine: Machine) -> None:
    with entering.start(machine.way("asked"), "cat", 60) as running:
        try:
            seen = b"".join(
                path.read_bytes()
                for process in Path("/proc").glob("[0-9]*")
                for path in (process / "cmdline", process / "environ")
                if _readable(path)
            )
        finally:
            running.kill()
    assert b"bascule asks for the password" in seen, "sudo was looked at while it ran"
    assert PASSWORD.encode() not in seen


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_the_module_server_answers(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    playbook = subprocess.Popen(["sleep", "3600"])
    short = Path("/tmp") / f"bascule-real-{os.getpid()}"
    monkeypatch.setattr(served, "PLACE", short)
    monkeypatch.setattr(served, "THERE", "/run/bascule-modules")
    monkeypatch.setattr(served, "_module_paths", lambda: [str(tmp_path / "bascule_root.py")])
    monkeypatch.setattr(os, "getppid", lambda: playbook.pid)
    (tmp_path / "bascule_root.py").write_text(
        'import os\n\nif __name__ == "__main__":\n    print(os.getuid(), os.path.exists("/run/sshd"))\n'
        "    raise SystemExit(0)\n"
    )
    served.payload.cache_clear()
    try:
        found = served.find(machine.way("asked"), sys.executable)
        assert found is not None
        assert found.ask({"module": "bascule_root", "params": "{}", "profile": "legacy"})["out"] == "0 True\n"
    finally:
        playbook.kill()
        playbook.wait()
        deadline = time.monotonic() + 60
        while list(short.glob("*.socket")) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(short, ignore_errors=True)
        served.payload.cache_clear()
