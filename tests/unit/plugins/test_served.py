"""Modules that run through the machine's server: what they are given and what becomes of it, and when it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from bascule.plugin import module_talker, served
from bascule.system.ssh import Target

MODULE = """
import os, sys, time
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.bascule.plugin.module import run_module

def main(module):
    values = module.params
    if values["note"]:
        with open(values["note"], "w") as file:
            file.write(str(os.getpid()))
    if values["until"]:
        while not os.path.exists(values["until"]):
            time.sleep(0.01)
        open(values["until"] + ".seen", "w").close()
    if values["signal"]:
        os.kill(os.getpid(), values["signal"])
    print("noise", file=sys.stderr)
    return {"changed": True, "said": values["say"] * values["times"], "process": os.getpid(), "session": os.getsid(0)}

if __name__ == "__main__":
    run_module({
        "say": {"type": "str", "required": True}, "times": {"type": "int", "default": 1},
        "until": {"type": "str", "default": ""}, "note": {"type": "str", "default": ""},
        "signal": {"type": "int", "default": 0},
    }, main)
"""
# As a login shell does, it may greet before it runs what it is told.
LOGIN = 'echo a greeting; echo of {name} >&2; eval "$1"'
PATIENCE_SECONDS = 60


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A controller with one module; the playbook is a process that sleeps."""
    (tmp_path / "bascule_say.py").write_text(MODULE)
    # The path of a socket is short.
    directory = Path(tempfile.mkdtemp(prefix="bascule-"))
    monkeypatch.setattr(served, "PLACE", directory / "here")
    monkeypatch.setattr(served, "THERE", str(directory / "there"))
    monkeypatch.setattr(served, "_module_paths", lambda: [str(tmp_path / "bascule_say.py")])
    served.payload.cache_clear()
    playbook = subprocess.Popen(["sleep", "3600"])
    monkeypatch.setattr(os, "getppid", lambda: playbook.pid)
    yield directory
    playbook.kill()
    playbook.wait()
    wait_until(lambda: not list(directory.glob("here/*.socket")))
    served.payload.cache_clear()
    shutil.rmtree(directory)


def wait_until(there: Any) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def machine(name: str = "db", login: str = LOGIN, **more: Any) -> Target:
    """A machine that is this one."""
    return Target(name, ("sh", "-c", login.format(name=name), "sh"), **more)


def server(where: Optional[Target] = None) -> served.Server:
    """The server behind a connection that is there."""
    found = served.find(where or machine(), sys.executable)
    assert found is not None
    return found


def ask(where: Optional[Target] = None, **arguments: Any) -> dict[str, Any]:
    """Have the module run; return the answer."""
    return server(where).ask(
        {
            "module": "bascule_say",
            "params": json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_module_name": "bascule_say", **arguments}}),
            "profile": "legacy",
        }
    )


@pytest.mark.usefixtures("place")
def test_a_module_runs_in_a_process_of_its_own_each_time() -> None:
    answers = [ask(say="yes"), ask(say="yes")]
    results = [json.loads(answer["out"]) for answer in answers]
    assert [(answer["rc"], answer["err"]) for answer in answers] == [(0, "noise\n")] * 2
    assert all(result["said"] == "yes" and result["changed"] for result in results)
    assert len({result["process"] for result in results}) == 2
    assert all(result["session"] == result["process"] for result in results)


@pytest.mark.usefixtures("place")
def test_what_is_long_comes_whole() -> None:
    assert len(json.loads(ask(say="é" * 1000, times=5000)["out"])["said"]) == 5_000_000


@pytest.mark.usefixtures("place")
def test_a_sign_of_life_is_no_request() -> None:
    server()._talker.sendall(module_talker.HEAD.pack(0, 0))
    assert json.loads(ask(say="yes")["out"])["said"] == "yes"


@pytest.mark.usefixtures("place")
def test_a_module_that_fails_or_is_killed_says_so() -> None:
    refused = ask(times=2)
    assert refused["rc"] == 1
    assert "missing required arguments: say" in json.loads(refused["out"])["msg"]
    assert ask(say="x", signal=int(signal.SIGKILL))["rc"] == 128 + signal.SIGKILL
    assert json.loads(ask(say="still there")["out"])["said"] == "still there"


def test_nobody_waits_for_a_module_that_is_slow(place: Path) -> None:
    slow = threading.Thread(target=ask, kwargs={"say": "late", "until": str(place / "go")})
    slow.start()
    assert json.loads(ask(say="soon")["out"])["said"] == "soon"
    assert slow.is_alive()
    (place / "go").touch()
    slow.join(PATIENCE_SECONDS)
    assert not slow.is_alive()


def test_the_sources_are_sent_once_and_again_when_one_has_changed(place: Path, tmp_path: Path) -> None:
    ask(say="x")
    assert len(list((place / "there").iterdir())) == 1
    assert list((place / "there").glob("*/ansible/modules/__pycache__/*.pyc"))
    server(machine("another-with-the-same-run"))
    assert len(list((place / "there").iterdir())) == 1
    (tmp_path / "bascule_say.py").write_text(MODULE + "\n# another\n")
    served.payload.cache_clear()
    server(machine("third"))
    assert len(list((place / "there").iterdir())) == 2
    # What no playbook has used for a week goes when the next one comes.
    for path in (place / "there").iterdir():
        os.utime(path, (0, 0))
    server(machine("fourth"))
    (tmp_path / "bascule_say.py").write_text(MODULE + "\n# a third\n")
    served.payload.cache_clear()
    server(machine("fifth"))
    assert len(list((place / "there").iterdir())) == 2


def test_what_runs_ends_in_peace_when_the_connection_ends(place: Path) -> None:
    failures: list[BaseException] = []

    def asks() -> None:
        try:
            ask(say="x", until=str(place / "go"), note=str(place / "runs"))
        except AnsibleConnectionFailure as error:
            failures.append(error)

    asking = threading.Thread(target=asks)
    asking.start()
    wait_until((place / "runs").exists)
    (talker,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(place).encode() in _command(entry) and b"module_talker" in _command(entry)
    ]
    os.kill(talker, signal.SIGKILL)
    asking.join(PATIENCE_SECONDS)
    assert len(failures) == 1
    assert "while bascule_say ran" in str(failures[0])
    (place / "go").touch()
    wait_until((place / "go.seen").exists)
    # It is not left behind by what no longer listens.
    for path in served.PLACE.glob("*.socket"):
        path.unlink()


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_server_ends_with_the_playbook(place: Path) -> None:
    process = json.loads(ask(say="x")["out"])["process"]
    assert process
    os.kill(os.getppid(), signal.SIGKILL)
    os.waitpid(os.getppid(), 0)
    wait_until(lambda: not any(str(place).encode() in _command(entry) for entry in Path("/proc").glob("[0-9]*")))
    assert not list(served.PLACE.glob("*.socket"))


@pytest.mark.usefixtures("place")
def test_what_was_killed_and_could_not_clear_up_is_started_again() -> None:
    left = socket.socket(socket.AF_UNIX)
    ask(say="x")
    (path,) = served.PLACE.glob("*.socket")
    path.unlink()
    left.bind(str(path))
    left.close()
    assert json.loads(ask(say="again")["out"])["said"] == "again"


@pytest.mark.usefixtures("place")
def test_a_machine_that_cannot_be_reached_is_unreachable_and_asked_anew() -> None:
    for _ in range(2):
        with pytest.raises(AnsibleConnectionFailure, match="no route"):
            served.find(machine(login="echo no route >&2; exit 255"), sys.executable)
    assert not served.serves_all()


@pytest.mark.parametrize("trouble", ["echo a password is required >&2; exit 1;", "exit 0;", "echo BASCULE WANTS ham;"])
def test_where_there_can_be_no_server_it_is_left_to_ansible(place: Path, trouble: str) -> None:
    tried = place / "tried"
    for _ in range(2):
        assert served.find(machine(login=f"echo >>{tried}; {trouble}"), sys.executable) is None
    assert tried.read_text() == "\n", "it was tried twice"
    assert not served.serves_all()


SUDO = """#!/bin/sh
while [ "$1" != sh ]; do prompt=$1; shift; done
for try in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r given || exit 1
  echo "$given" >>"$(dirname "$0")/tried"
  [ "$given" != "c0rrect p ssword" ] || exec "$@"
done
"""
PASSWORD = "c0rrect p ssword"


def by_sudo(place: Path, password: str) -> Target:
    """The way to the machine by a sudo that wants a password."""
    (place / "sudo").write_text(SUDO)
    (place / "sudo").chmod(0o755)
    return machine(sudo=(str(place / "sudo"),), password=password, note=str(place / "note"))


def test_sudo_is_given_its_password_before_the_server_speaks(place: Path) -> None:
    assert json.loads(ask(by_sudo(place, PASSWORD), say="yes")["out"])["said"] == "yes"
    assert (place / "tried").read_text() == f"{PASSWORD}\n"
    arguments = b"".join(_command(entry) for entry in Path("/proc").glob("[0-9]*"))
    assert str(place).encode() in arguments
    assert PASSWORD.encode() not in arguments


def test_a_password_that_sudo_refuses_is_no_matter_for_ansible(place: Path) -> None:
    """It would only try it again, once for each task."""
    for said in ("sudo asked again: the password is wrong", "it was refused when it was tried before"):
        with pytest.raises(AnsibleActionFail, match=said) as caught:
            served.find(by_sudo(place, "wr0ng"), sys.executable)
        assert "wr0ng" not in f"{caught.value} {caught.value.result}"
        assert caught.value.result["next_command"]
    assert (place / "tried").read_text() == "wr0ng\n"


class Connection(SimpleNamespace):
    """What Ansible knows of a connection."""

    def __init__(self, become: Any, transport: str = "ssh", **options: Any) -> None:
        super().__init__(transport=transport, become=become)
        self.options = {"remote_user": "ops", "ssh_executable": "ssh", "host": "10.0.0.1", **options}

    def get_option(self, name: str) -> Any:
        """Return an option."""
        return self.options.get(name)

    def _build_command(self, *parts: str) -> list[bytes]:
        return [part.encode() for part in parts[:1] + parts[2:]]


def sudo(**options: Any) -> Any:
    """Become another user by sudo."""
    return SimpleNamespace(name=options.pop("by", "sudo"), get_option=options.get)


def test_a_connection_is_used_as_ansible_would() -> None:
    found = served.way(Connection(sudo(become_pass="secret", become_flags="-H -S -n")))
    assert found is not None
    assert found.argv[-2:] == ("--", "10.0.0.1")
    assert (found.sudo, found.password) == (("sudo", "-H"), "secret")
    assert served.way(Connection(None, remote_user="root")) == Target("10.0.0.1", found.argv)


@pytest.mark.parametrize(
    "connection",
    [
        Connection(sudo(), transport="local"),
        Connection(sudo(), password="secret"),
        Connection(sudo(become_user="postgres")),
        Connection(sudo(by="doas")),
        Connection(sudo(), private_key="secret"),
        Connection(None),
    ],
    ids=["another connection", "a password", "another user", "another way", "a key in a variable", "nobody's root"],
)
def test_what_is_no_way_of_ours_is_left_to_ansible(connection: Connection) -> None:
    assert served.way(connection) is None


@pytest.mark.parametrize(
    ("variables", "python"),
    [
        ({}, "/usr/bin/python3"),
        ({"ansible_python_interpreter": "auto_silent"}, "/usr/bin/python3"),
        ({"ansible_python_interpreter": "/opt/python/bin/python3"}, "/opt/python/bin/python3"),
        ({"ansible_facts": {"discovered_interpreter_python": "/usr/bin/python3.9"}}, "/usr/bin/python3.9"),
    ],
)
def test_the_interpreter_is_the_declared_or_the_found_one(variables: dict[str, Any], python: str) -> None:
    assert served.interpreter(variables) == python


class Task(SimpleNamespace):
    """A task as Ansible hands it over."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"async_val": 0, "environment": [], "delegate_to": "db-mtp", **values})


class Runs(served.ModuleAction):
    """An action that runs modules."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Do nothing."""
        return {}


@pytest.mark.parametrize(
    ("name", "task", "variables", "asked"),
    [
        ("bascule_guard", Task(), {}, True),
        ("command", Task(), {}, False),
        ("bascule_guard", Task(async_val=30), {}, False),
        ("bascule_guard", Task(environment=[{"LANG": "C"}]), {}, False),
        ("bascule_guard", Task(), {"ansible_delegated_vars": {"db-mtp": {served.VARIABLE: False}}}, False),
        ("bascule_guard", Task(delegate_to=None), {served.VARIABLE: False}, False),
        ("bascule_guard", Task(delegate_to=None), {served.VARIABLE: "no"}, False),
    ],
    ids=[
        "ours",
        "another's",
        "in the background",
        "with an environment",
        "switched off there",
        "switched off",
        "switched off by a text",
    ],
)
def test_a_server_is_asked_for_what_it_can_run(
    monkeypatch: pytest.MonkeyPatch, name: str, task: Task, variables: dict[str, Any], asked: bool
) -> None:
    monkeypatch.setattr(served, "way", lambda connection: machine())
    monkeypatch.setattr(served, "find", lambda where, python: served.Server(socket.socket()))
    action = Runs.__new__(Runs)
    action._task, action._connection = task, None
    assert (action._server(name, variables) is not None) == asked
