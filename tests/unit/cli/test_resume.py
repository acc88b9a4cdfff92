"""`bascule resume`: the command that `status` prints is carried out, once it is confirmed, from any controller."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.test_phases import CONFIRM, at_terminal, bascule, commands, status, until
from tests.unit.plugins.test_play import ELSEWHERE, VERB, World, never_left

from bascule.run.io.command import Command
from bascule.run.outcome import Status

# The sync of a component waits until the test lets it go on.
WAITS = """
- name: Wait for the test
  ansible.builtin.wait_for: {path: "{{ lookup('env', 'BASCULE_TEST_HOSTS') }}/go-on", timeout: 1800, sleep: 1}
  delegate_to: localhost
  connection: local
  when: bascule_verb == 'sync'
"""
HERE = ("-i", "inventory")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world that is prepared, and where the verbs answer."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    made.answer_verbs()
    yield made
    for one in commands(made):
        end(one)
    shutil.rmtree(tmp_path, ignore_errors=True)


def end(command: Command) -> None:
    """Kill a playbook and what has started it, all at once."""
    for name in ("supervisor", "process"):
        note = command.told(name)
        if note and command.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note["pid"]), signal.SIGKILL)


def note_of(world: World, site: str) -> str:
    return "".join(path.read_text() for path in world.hosts.glob(f"j-{site}/controllers/*/*.json"))


def test_another_controller_goes_on_with_what_was_killed_and_with_its_limit(world: World) -> None:
    never_left(world, frozen=True)
    never_left_alone(world, "top")
    world.verb = WAITS + VERB
    world.answer_verbs()
    terminal = at_terminal(world, "run", "cutover", *HERE, "--limit", "low", *CONFIRM)
    until(lambda: any((e["kind"], e["verb"]) == ("begin", "sync") for e in world.copy("j-tls")))
    (killed,) = commands(world)
    end(killed)
    terminal.close(force=True)
    until(lambda: all('"gone"' in note_of(world, site) for site in ("mtp", "tls")))
    (world.hosts / "go-on").touch()
    # It has no folder of this run.
    world.environment["BASCULE_RUNS"] = str(world.path / "elsewhere")
    code, said = bascule(world, "resume", *HERE, "-e", "confirm=montpellier")
    assert code == Status.NO_GO, said
    following = "ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse --limit low -i inventory to go on"
    assert f"\nNext: {following}\n" in said
    assert f"\nbascule resume: {following}\n" in said
    assert "left out by --limit: top" in said
    # The site's name was typed before anybody knew that nobody knows whether it is gone.
    for site in ("mtp", "tls"):
        shutil.rmtree(world.hosts / f"j-{site}/controllers")
    code, said = bascule(world, "resume", *HERE, *CONFIRM)
    assert code == Status.NO_GO, said
    assert "whether a controller is at work is not known: look first, and confirm cutover by its own name" in said
    assert "whether it is still at work is not known here" in said
    code, said = bascule(world, "resume", *HERE, *CONFIRM, "--yes", "cutover")
    assert code == Status.DONE, said
    ends = [(e["verb"], e["component"], e["data"]["result"]) for e in world.copy("j-mtp") if e["kind"] == "end"]
    assert ("thaw", "low", "ok") in ends
    assert not [one for one in ends if one[1] == "top"]


def never_left_alone(world: World, name: str) -> None:
    """Let one component serve, which takes no part."""
    path = world.hosts / "a-mtp/guard" / f"{name}.json"
    path.write_text(path.read_text().replace('"frozen": true', '"frozen": false'))


def test_a_phase_that_asks_nothing_is_begun_by_its_exact_name_alone(world: World) -> None:
    never_left(world, frozen=False)
    code, said = bascule(world, "resume", *HERE, *CONFIRM)
    assert code == Status.NO_GO, said
    assert "bascule resume: sync was not confirmed; nothing was begun" in said
    code, said = bascule(world, "resume", *HERE, "--yes", "prepare")
    assert code == Status.NO_GO, said
    terminal: Any = at_terminal(world, "resume", *HERE)
    terminal.expect("Type the name of the phase to begin it .sync.: ")
    terminal.sendline("sync")
    assert status(terminal) == Status.DONE
    assert [one.phase for one in commands(world)] == ["status", "status", "status", "sync"]
    assert ("sync", "top", "ok") in world.outcomes()


def test_what_is_finished_or_for_a_person_begins_nothing(world: World) -> None:
    never_left(world, frozen=False)
    assert bascule(world, "run", "verify", *HERE)[0] == Status.DONE
    code, said = bascule(world, "resume", *HERE, *CONFIRM)
    assert code == Status.DONE, said
    assert "Next: none is needed" in said
    assert "bascule resume: there is no one command to carry out; nothing was begun" in said
    never_left(world, frozen=True)
    assert bascule(world, "run", "cutover", *HERE, *CONFIRM, "-e", "fail_at=top.sync")[0] == Status.HELD
    code, said = bascule(world, "resume", *HERE, *CONFIRM)
    assert code == Status.HELD, said
    assert "Next: a person must decide: ansible-playbook playbooks/60_cutover.yml" in said
    assert [one.phase for one in commands(world)] == ["verify", "status", "cutover", "status"]


def test_a_limit_is_that_of_what_was_interrupted(world: World) -> None:
    for word in (["--limit", "low"], ["-l", "low"], ["--lim=low"]):
        code, said = bascule(world, "resume", *HERE, *word)
        assert code == Status.REFUSED, said
        assert "no --limit" in said
    assert not (world.path / "runs").exists()
