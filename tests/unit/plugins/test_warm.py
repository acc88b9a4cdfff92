"""A playbook from the warm process does what the real program does, and nothing of it meets the next."""

from __future__ import annotations

import subprocess

import pytest
from tests import warm

from .test_play import PATIENCE_SECONDS, World, play, said, world

__all__ = ["world"]
# What a playbook has of its own: directory, environment, roles, exit status.
OWN = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: toy, tasks_from: own}
    - ansible.builtin.debug: {msg: "{{ lookup('pipe', 'pwd') }} {{ lookup('env', 'BASCULE_TEST_SAYS') }}"}
    - ansible.builtin.fail: {msg: WHY}
"""


@pytest.fixture
def own(world: World) -> World:
    """Make a world whose role is found by the environment alone."""
    (world.path / "roles/toy/tasks/own.yml").write_text("- ansible.builtin.debug: {msg: a role of this world}\n")
    world.environment["BASCULE_TEST_SAYS"] = "said by this world"
    return world


def test_it_says_and_does_what_the_real_program_does(own: World) -> None:
    (own.path / "play.yml").write_text(OWN.replace("WHY", "wanted"))
    assert warm.server().can(own.surroundings())
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory", str(own.path / "play.yml")],
        cwd=own.path,
        env=own.surroundings(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert own.run(OWN.replace("WHY", "wanted")) == (done.returncode, done.stdout + done.stderr)
    assert done.returncode == 2
    assert f"{own.path} said by this world" in done.stdout
    assert "a role of this world" in done.stdout
    # The next one sees nothing of it, and its own errors.
    del own.environment["BASCULE_TEST_SAYS"]
    own.environment["ANSIBLE_STDOUT_CALLBACK"] = "bascule_progress"
    _, output = own.run(OWN.replace("WHY", "another"))
    assert "said by this world" not in output
    assert "TASK [" not in output
    assert "another" in output
    rc, output = own.run("- hosts: [")
    assert rc not in (0, 2), output


def test_what_ansible_reads_while_it_is_imported_is_left_to_the_real_program(own: World) -> None:
    kept = own.surroundings()
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_FORKS", "ANSIBLE_SSH_CONTROL_PATH_DIR", "HOME", "LANG", "TZ"):
        assert not warm.server().can({**kept, name: "/elsewhere"}), name
    assert not warm.server().can({name: value for name, value in kept.items() if name != "ANSIBLE_NOCOLOR"})


def test_one_that_does_not_end_is_killed_and_the_next_one_runs(world: World) -> None:
    held = (
        "- {hosts: localhost, connection: local, gather_facts: false, tasks: [{ansible.builtin.pause: {minutes: 9}}]}"
    )
    (world.path / "held.yml").write_text(held)
    # Without an inventory that the world's configuration can read it would end by itself.
    (world.path / "held").mkdir()
    (world.path / "held/hosts.yml").write_text("all: {hosts: {localhost: {}}}\n")
    with pytest.raises(TimeoutError):
        warm.server().run(["-i", "held/hosts.yml", "held.yml"], world.path, world.surroundings(), patience=0.1)
    rc, output = world.run(play("check"))
    assert rc == 0, output
    assert said(output)
