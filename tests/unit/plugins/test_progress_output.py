"""What a person sees by default, and where the details lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import ROOT, World, never_left

WRITE = """
- name: Write a file
  ansible.builtin.copy: {content: "new\\n", dest: "{{ place }}", mode: "0600"}
  delegate_to: localhost
  connection: local
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world in which nothing chooses an output but the project's configuration."""
    made = World(tmp_path)
    made.environment["ANSIBLE_STDOUT_CALLBACK"] = configured()
    made.answer_verbs()
    never_left(made, frozen=False)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def configured() -> str:
    """Return the output that the project's configuration chooses."""
    read = ConfigParser()
    read.read(ROOT / "ansible.cfg")
    return read["defaults"]["stdout_callback"]


def test_the_terminal_is_quiet_and_the_details_lie_in_the_run(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/30_sync.yml")
    assert rc == 0, output
    assert "TASK [" not in output
    assert "(1/1) SYNC: bring the passive side up to date" in output
    (log,) = (world.path / "runs/latest/output").iterdir()
    assert "-sync-" in log.name
    assert log.stat().st_mode & 0o077 == 0
    assert f"details: runs/{log.resolve().parent.parent.name}/output/{log.name}" in output
    text = log.read_text()
    for part in ("PLAY [(1/1) SYNC", "TASK [Announce the verb]", "TASK [toy : Record]", "PLAY RECAP"):
        assert part in text, part


def test_a_playbook_that_only_asks_keeps_none(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    assert "details: " not in output
    assert not (world.path / "runs").exists()


def test_differences_that_were_asked_for_are_shown(world: World) -> None:
    place = world.path / "changed"
    place.write_text("old\n")
    (world.path / "roles/toy/tasks/sync.yml").write_text(WRITE)
    rc, output = world.run(
        playbook=ROOT / "playbooks/30_sync.yml",
        arguments=("--check", "--diff", "--limit", "low", "-e", f"place={place}"),
    )
    assert rc == 0, output
    assert "-old" in output
    assert "+new" in output
    assert "would change" in output
    assert place.read_text() == "old\n"


def test_ansibles_own_output_is_one_variable_away(world: World) -> None:
    world.environment["ANSIBLE_STDOUT_CALLBACK"] = "default"
    rc, output = world.run(playbook=ROOT / "playbooks/30_sync.yml")
    assert rc == 0, output
    assert "TASK [Announce the verb]" in output
    assert not (world.path / "runs/latest/output").exists()
