"""What is started has the journal enabled, and nothing of the folder that a person stands in is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.cli import start
from bascule.errors import BasculeError
from bascule.run.arguments import Given
from bascule.run.io import identity
from bascule.run.phases import PHASES

ENABLED = "[defaults]\ncallbacks_enabled = ansible.posix.timer, bascule_journal ; ours\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with no settings of Ansible."""
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_CALLBACKS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(identity.RUNS, str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin() -> None:
    start.start(PHASES["audit"], Given(()), None)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("text", ["", "[defaults]\ncallbacks_enabled = timer\n", "[ssh_connection]\n", "no settings"])
def test_settings_without_the_journal_are_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool, text: str
) -> None:
    path = elsewhere / ("other.cfg" if by_name else "ansible.cfg")
    path.write_text(text)
    if by_name:
        monkeypatch.setenv("ANSIBLE_CONFIG", str(path))
    with pytest.raises(BasculeError, match=rf"{path.name}.*unset ANSIBLE_CONFIG"):
        begin()
    assert not (elsewhere / "runs").exists()


def test_settings_with_it_are_taken(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start._must_journal({**os.environ, **start.configured()})
    (elsewhere / "ansible.cfg").write_text(ENABLED)
    start._must_journal({})
    start._must_journal({"ANSIBLE_CONFIG": str(elsewhere)})
    (elsewhere / "ansible.cfg").write_text("[defaults]\n")
    start._must_journal({"ANSIBLE_CALLBACKS_ENABLED": "bascule_journal"})


def test_nothing_is_imported_from_where_a_person_stands(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "runpy.py").write_text("")
    for name in ("ansible_runner", "signal", "json"):
        (elsewhere / f"{name}.py").write_text(f"open({str(elsewhere / 'imported')!r}, 'a').write({name!r})\n")
    program = elsewhere / "program"
    program.write_text(f"#!/bin/sh\ntouch {elsewhere}/begun\n")
    program.chmod(0o755)
    monkeypatch.setattr(start, "program", lambda: str(program))
    monkeypatch.setattr(start, "file", Path)
    command = start.start(PHASES["audit"], Given(()), None)
    os.waitpid(int(command.told("supervisor")["pid"]), 0)
    assert not (elsewhere / "imported").exists()
    assert (elsewhere / "begun").exists(), command.output.read_text()
