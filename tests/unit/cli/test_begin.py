"""What ansible-runner starts gets arguments, environment and password by a pipe, and ansible-runner sees none of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule.run.io import command as commands
from bascule.run.io import presence
from bascule.run.io.command import Command

SECRET = "sentinel-51c2 ä"
# What ansible-runner would set for whatever it starts.
MEDDLES = ("ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_CALLBACK_PLUGINS", "AWX_ISOLATED_DATA_DIR")


def supervised(folder: Path, given: bytes) -> Command:
    """Start it as `bascule run` does, and wait."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(commands.__file__).parents[3])}
    subprocess.run(
        [sys.executable, "-m", "bascule.cli.supervise", str(folder)], input=given, env=environment, check=False
    )
    return Command(folder)


@pytest.mark.parametrize("password", [None, SECRET])
def test_arguments_environment_and_password_go_by_the_pipe_alone(tmp_path: Path, password: str | None) -> None:
    script = f'cat > {tmp_path}/input; env > {tmp_path}/env; echo "$0" > {tmp_path}/argument; umask > {tmp_path}/umask'
    script += "; echo shown; exit 7"
    folder = tmp_path / "command"
    folder.mkdir()
    handed: dict[str, Any] = {
        "line": ["/bin/sh", "-c", script, f"{SECRET} as an argument"],
        "environment": {"PATH": os.environ["PATH"], "TOKEN": f"{SECRET} of the environment"},
        "password": password,
        "umask": 0o022,
    }
    command = supervised(folder, json.dumps(handed).encode())
    assert (command.status, command.output.read_text()) == (7, "shown\n")
    assert (tmp_path / "input").read_text() == (password or "")
    assert (tmp_path / "argument").read_text() == f"{SECRET} as an argument\n"
    # As whoever has started it has it, and not as the folder of the command is kept.
    assert int((tmp_path / "umask").read_text(), 8) == 0o022
    environment = (tmp_path / "env").read_text()
    assert f"TOKEN={SECRET} of the environment\n" in environment
    assert [name for name in MEDDLES if f"{name}=" in environment] == []
    seen = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert [path for path, text in seen.items() if "sentinel" in text or "echo shown" in text] == []
    kept = seen[folder / "artifacts/runner/command"]
    assert [name for name in MEDDLES if name in kept] == list(MEDDLES), "ansible-runner would have set them"


@pytest.mark.parametrize("given", [b"", b'{"line": ["/bin/sh", "-c", "echo begun"'])
def test_what_was_not_handed_over_whole_is_not_begun(tmp_path: Path, given: bytes) -> None:
    command = supervised(tmp_path, given)
    assert command.status == 1
    assert "begun\n" not in command.output.read_text().replace("nothing was begun\n", "")


def test_what_was_stopped_before_it_began_is_not_begun(tmp_path: Path) -> None:
    Command(tmp_path).tell("supervisor", presence.process(os.getpid()))
    assert Command(tmp_path).interrupt()
    handed: dict[str, Any] = {
        "line": ["/bin/sh", "-c", "touch $0", str(tmp_path / "begun")],
        "environment": {},
        "password": None,
        "umask": 0,
    }
    command = supervised(tmp_path, json.dumps(handed).encode())
    assert command.status == 1
    assert not (tmp_path / "begun").exists()
