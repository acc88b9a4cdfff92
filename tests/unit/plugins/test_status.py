"""What status says of controllers that live or died, and of what does not reach the other side."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import PATIENCE_SECONDS, ROOT, World, have_moved, play

from bascule.run import chain

WAITS = """
- name: Wait until somebody has looked
  ansible.builtin.wait_for: {path: "{{ lookup('env', 'BASCULE_TEST_HOSTS') }}/looked", timeout: 600}
  delegate_to: localhost
  vars: {ansible_connection: local}
"""
CUT = """
- name: Tell that nobody follows
  ansible.builtin.set_fact:
    __toy_open:
      guard: "{{ __toy_guards | selectattr('status', 'equalto', 'open') | first }}"
      apart: nobody streams from it
      unseen: "{{ 'it does not run' if inventory_hostname == 'low' else '' }}"
"""
# The closed side says it of itself, as a replica does; the other one only tries whether it is let in.
FOLLOWED = """
- name: Tell how it comes over
  ansible.builtin.set_fact:
    __toy_open: >-
      {{ {'guard': __toy_guards | selectattr('status', 'equalto', 'open') | first}
         | combine({'apart': ''} if inventory_hostname == 'top' else {}) }}
    __toy_closed:
      guard: "{{ __toy_guards | selectattr('status', 'equalto', 'closed') | first }}"
      carried: "{{ 'it follows' if inventory_hostname == 'low' else '' }}"
      missed: "{{ missed | default('') if inventory_hostname == 'low' else '' }}"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def status(world: World) -> str:
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    return output


def test_a_controller_is_seen_while_it_lives_and_named_when_it_was_killed(world: World) -> None:
    (world.path / "roles/toy/tasks/verb.yml").write_text(WAITS)
    (world.path / "play.yml").write_text(play("freeze"))
    process = subprocess.Popen(
        ["ansible-playbook", "-i", "inventory", "play.yml"],
        cwd=world.path, env=world.surroundings(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while not list(world.path.glob("runs/*/controllers/*.json")) and time.monotonic() < deadline:
            time.sleep(0.2)
        told = status(world)
        at_work = (
            rf"Controller: AT WORK: play\.yml, process {process.pid} of \w+ on \S+, begun \S+Z, in play \"freeze\"; "
        )
        assert re.search(at_work + "now freeze of top", told), told
        assert re.search(r"Last verb: cutover/freeze of top.*: under way", told)
        assert f"Next: none while process {process.pid} is at work" in told
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        told = status(world)
        assert re.search(rf"Controller: DEAD: play\.yml, process {process.pid} .*it left freeze of top", told), told
        assert re.search(r"Last verb: .*NOT ENDED: its controller is dead", told)
        assert "Next: ansible-playbook" in told
    finally:
        # What the killed one has left goes as well.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# Another machine's name; the kernel gives it to a name space of its own.
ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")


def test_another_machine_sees_a_controller_live_and_sees_it_killed(world: World) -> None:
    (world.path / "roles/toy/tasks/verb.yml").write_text(WAITS)
    (world.path / "play.yml").write_text(play("freeze"))

    def asked() -> str:
        # It has no runs of its own.
        environment = {**world.surroundings(), "BASCULE_RUNS": str(world.path / "elsewhere")}
        command = [*ELSEWHERE, "ansible-playbook", "-i", "inventory", str(ROOT / "playbooks/status.yml")]
        done = subprocess.run(
            command, cwd=world.path, env=environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def note_at(site: str) -> str:
        found = list(world.hosts.glob(f"j-{site}/controllers/*/*.json"))
        return found[0].read_text() if found else ""

    process = subprocess.Popen(
        ["ansible-playbook", "-i", "inventory", "play.yml"],
        cwd=world.path, env=world.surroundings(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: note_at("mtp"))
        wait_for(lambda: '"kind":"begin"' in "".join(path.read_text() for path in world.hosts.rglob("*.jsonl")))
        told = asked()
        at_work = (
            rf"Controller: AT WORK: play\.yml, process {process.pid} of \w+ on \S+, begun \S+Z, in play \"freeze\"; "
        )
        assert re.search(at_work + r"now freeze of top; heard of \d+ s ago at (mtp|tls)", told), told
        assert re.search(r"Last verb: cutover/freeze of top.*: under way", told)
        assert f"Next: none while process {process.pid} on " in told
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: all('"gone"' in note_at(site) for site in ("mtp", "tls")))
        told = asked()
        assert re.search(rf"Controller: DEAD: play\.yml, process {process.pid} .*it left freeze of top", told), told
        assert re.search(r"Last verb: .*NOT ENDED: its controller is dead", told)
        assert "Next: ansible-playbook" in told
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not seen() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert seen()


def test_copies_that_lack_entries_and_a_side_that_nobody_follows_are_told(world: World) -> None:
    have_moved(world)
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    (copy,) = world.hosts.glob("j-tls/journal/*/*.jsonl")
    entries = chain.parse(copy.read_text()).entries
    copy.write_text("".join(map(chain.line, entries[:3])))
    (world.path / "roles/toy/tasks/state.yml").write_text(world.state + CUT)
    told = status(world)
    assert "Controller:" not in told, "it has ended by itself"
    assert f"Copies: tls LACKS {len(entries) - 3} entries that others hold" in told
    assert re.search(r"low +active at Toulouse .*; NOT CARRIED OVER: nobody streams from it", told)
    assert re.search(r"low +active at Toulouse .*; NOT SEEN TO SERVE: it does not run", told)
    assert re.search(r"Users: not known of low; served at Toulouse since before this run \(.*top", told), told
    assert "Carried over" not in told


def test_what_comes_to_the_other_side_is_told_and_a_silent_side_is_not_all_fine(world: World) -> None:
    have_moved(world)
    (world.path / "roles/toy/tasks/state.yml").write_text(world.state + FOLLOWED)
    told = status(world)
    assert "Carried over: low: it follows; top: the other side can be reached\n" in told, told
    assert "NOT CARRIED OVER" not in told
    rc, told = world.run(playbook=ROOT / "playbooks/status.yml", arguments=("-e", "missed=IO_is_off"))
    assert rc == 0, told
    assert re.search(r"low +active at Toulouse .*; NOT CARRIED OVER: IO_is_off", told), told
    (world.path / "roles/toy/tasks/state.yml").write_text("[]\n")
    world.are_down("a-mtp", "j-mtp")
    told = status(world)
    assert re.search(r"low +active at Toulouse \(a-tls open .*; a-mtp NOT READ: exit status 255: no route", told), told
    assert re.search(r"Journal: .*mtp NOT READ \(.*no route to j-mtp\)", told)
    assert "Carried over" not in told
    (following,) = [line for line in told.splitlines() if line.startswith("Next: ")]
    assert following.startswith("Next: make the machine that was not read reachable, then ask again: ")
