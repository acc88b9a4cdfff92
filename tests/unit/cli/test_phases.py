"""`bascule` in real playbooks: detached, followed and left, asked and answered, ended; and its exit status."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from tests.unit.plugins.test_lost import are_held
from tests.unit.plugins.test_play import ELSEWHERE, INVENTORY, PATIENCE_SECONDS, STATE, VERB, World, never_left

from bascule.run.io.command import Command
from bascule.run.outcome import WORDS, Status

BASCULE = ["-m", "bascule.cli.main"]
SENTINEL = "sentinel-7f3a"
QUESTION = "Type the name of the site"
CONFIRM = ("-e", "confirm=toulouse")
# The check of a component waits until the test lets it go on.
WAITS = """
- name: Wait for the test
  ansible.builtin.wait_for: {path: "{{ lookup('env', 'BASCULE_TEST_HOSTS') }}/go-on", timeout: 1800, sleep: 1}
  delegate_to: localhost
  connection: local
  when: bascule_verb == 'check'
"""
# Takes the password as sudo does, after its prompt, and no other.
SUDO = """#!/bin/sh
while [ "$1" != sh ]; do case $1 in -p) prompt=$2; shift;; esac; shift; done
printf %s "$prompt" >&2
read -r password
[ "$password" = "{password}" ] || exit 1
exec "$@"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world before any move, where the verbs answer."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    made.answer_verbs()
    never_left(made, frozen=False)
    yield made
    for one in commands(made):
        note = one.told("process")
        if note and one.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note["pid"]), signal.SIGKILL)
    shutil.rmtree(tmp_path, ignore_errors=True)


def surroundings(world: World) -> dict[str, str]:
    """Return the environment of a person's shell."""
    return {**world.surroundings(), "ANSIBLE_STDOUT_CALLBACK": "bascule_progress"}


def bascule(world: World, *words: str) -> tuple[int, str]:
    """Run a command without a terminal."""
    done = subprocess.run(
        [sys.executable, *BASCULE, *words],
        cwd=world.path,
        env=surroundings(world),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _hear() -> None:
    """Take Ctrl-C as a terminal's programs do, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def at_terminal(world: World, *words: str) -> Any:
    """Run a command at a terminal of its own."""
    return pexpect.spawn(
        sys.executable,
        [*BASCULE, *words],
        cwd=str(world.path),
        env=surroundings(world),
        timeout=PATIENCE_SECONDS,
        encoding="utf-8",
        dimensions=(50, 200),
        preexec_fn=_hear,
    )


def status(terminal: Any) -> int:
    """Return the exit status when all was printed."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus is not None, terminal.before
    return int(terminal.exitstatus)


def commands(world: World) -> list[Command]:
    """Return the commands, the oldest first."""
    return [Command(path) for path in sorted((world.path / "runs/.commands").glob("*"))]


def until(what: Any) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def waits(world: World) -> None:
    """Let the verbs wait in `check`."""
    world.verb = WAITS + VERB
    world.answer_verbs()


def go_on(world: World) -> None:
    """Let what waits go on."""
    (world.hosts / "go-on").touch()


def test_what_was_typed_and_the_environment_lie_nowhere(world: World) -> None:
    (world.path / "bin/sudo").write_text(SUDO.format(password=SENTINEL))
    (world.path / "bin/sudo").chmod(0o755)
    inventory = INVENTORY.replace(
        "ansible_connection: ssh", "ansible_connection: ssh, ansible_user: x, ansible_become: true"
    )
    (world.path / "inventory/hosts.yml").write_text(inventory)
    world.environment = {"SOME_TOKEN": f"{SENTINEL}-of-the-environment"}
    terminal = at_terminal(world, "status", "-i", "inventory", "-K", "-e", f"x={SENTINEL}-of-an-argument")
    terminal.expect("BECOME password: ")
    terminal.sendline(SENTINEL)
    terminal.expect("mtp 0 entries, tls 0 entries")
    assert status(terminal) == Status.DONE
    found = [path for path in (world.path / "runs").rglob("*") if path.is_file() and SENTINEL in path.read_text()]
    assert found == []
    (command,) = commands(world)
    assert (command.folder / "artifacts/runner/command").is_file(), "ansible-runner has started it"
    assert command.folder.stat().st_mode & 0o077 == 0
    others = [path for path in command.folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert others == []


def test_a_lost_terminal_and_a_killed_follower_end_nothing_and_it_is_watched_again(world: World) -> None:
    waits(world)
    first = at_terminal(world, "run", "cutover", "-i", "inventory", *CONFIRM)
    first.expect("put fresh samples to the gates")
    # The terminal goes: whoever is at it is sent SIGHUP.
    first.close(force=True)
    second = at_terminal(world, "watch")
    second.expect("GO or NO-GO")
    second.expect("put fresh samples to the gates")
    second.kill(signal.SIGKILL)
    second.close()
    (command,) = commands(world)
    assert command.lives()
    assert not command.ended()
    go_on(world)
    code, said = bascule(world, "watch", command.name)
    assert code == Status.DONE, said
    assert "GO or NO-GO" in said
    assert WORDS[Status.DONE] in said
    assert ("thaw", "top", "ok") in world.outcomes()
    # What has ended is shown again, with what it has come to.
    assert bascule(world, "watch") == (code, said)


def test_a_trial_is_not_done(world: World) -> None:
    code, said = bascule(world, "run", "cutover", "-i", "inventory", "--check")
    assert code == Status.NOTHING, said


def test_the_name_is_asked_by_whoever_follows_and_is_exact(world: World) -> None:
    terminal = at_terminal(world, "run", "cutover", "-i", "inventory", "--limit", "low")
    terminal.expect("left out by --limit: top")
    terminal.expect(QUESTION)
    # Who follows from elsewhere is asked as well; the first answer counts.
    other = at_terminal(world, "watch")
    other.expect("left out by --limit: top")
    other.expect(QUESTION)
    other.sendline("toulouse")
    assert status(other) == Status.DONE
    terminal.expect("answered elsewhere")
    assert status(terminal) == Status.DONE
    assert ("switch", "low", "ok") in world.outcomes()


def test_another_answer_and_no_answer_are_no_go(world: World) -> None:
    terminal = at_terminal(world, "run", "cutover", "-i", "inventory")
    # What was typed before the question is no answer to it.
    terminal.sendline("toulouse")
    terminal.expect(QUESTION)
    terminal.sendline("toulouse ")
    assert status(terminal) == Status.NO_GO
    code, said = bascule(world, "run", "cutover", "-i", "inventory")
    assert code == Status.NO_GO, said
    assert not (world.path / "runs/latest").exists()


def test_ctrl_c_leaves_it_running_or_ends_it(world: World) -> None:
    waits(world)
    terminal = at_terminal(world, "run", "cutover", "-i", "inventory", *CONFIRM)
    terminal.expect("put fresh samples to the gates")
    terminal.sendintr()
    terminal.expect("leave it running")
    terminal.sendline("")
    assert status(terminal) == Status.RUNNING
    (command,) = commands(world)
    assert command.lives()
    # Two that change something are not at work together.
    code, said = bascule(world, "rollback", "-i", "inventory", "-e", "confirm=montpellier")
    assert code == Status.REFUSED, said
    assert f"bascule watch {command.name}" in said
    assert [one.name for one in commands(world)] == [command.name]
    again = at_terminal(world, "watch")
    again.expect("put fresh samples to the gates")
    again.sendintr()
    again.expect("leave it running")
    again.sendline("stop")
    assert status(again) == Status.PERSON
    # ansible-runner has still to end after the playbook.
    until(lambda: not command.lives())


def test_what_has_failed_is_held_and_is_run_again(world: World) -> None:
    code, said = bascule(world, "run", "cutover", "-i", "inventory", *CONFIRM, "-e", "speed=1")
    assert code == Status.NO_GO, said
    code, said = bascule(world, "run", "cutover", "-i", "inventory", *CONFIRM, "-e", "fail_at=top.switch")
    assert code == Status.HELD, said
    code, said = bascule(world, "run", "cutover", "-i", "inventory", *CONFIRM)
    assert code == Status.DONE, said
    code, said = bascule(world, "rollback", "-i", "inventory", "-e", "confirm=montpellier")
    assert code == Status.DONE, said
    code, said = bascule(world, "status", "-i", "inventory")
    assert code == Status.ROLLED_BACK, said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["run", "nothing"], "a phase out of audit"),
        (["run", "cutover", "--ask-vault-pass"], "--vault-password-file"),
        (["run", "cutover", "-k"], "by key only"),
        (["watch"], "a command in"),
        (["run"], "no phase"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(world: World, words: list[str], why: str) -> None:
    code, said = bascule(world, *words)
    assert code == Status.REFUSED
    assert why in said
    assert not (world.path / "runs").exists()


def test_runs_that_cannot_be_kept_are_refused_with_what_does_without(world: World) -> None:
    (world.path / "runs").write_text("no folder")
    code, said = bascule(world, "run", "cutover", "-i", "inventory", *CONFIRM)
    assert code == Status.REFUSED, said
    assert "ansible-playbook playbooks/60_cutover.yml" in said
    assert f"{world.path}/runs/.commands" in said
    assert "Traceback" not in said
    code, said = bascule(world, "watch")
    assert (code, "Traceback" in said) == (Status.REFUSED, False), said


def test_what_ansible_refuses_is_refused(world: World) -> None:
    for words in (["--no-such-option"], ["-i", "nowhere"], ["-i", "inventory", "-e", "plan_name=x"]):
        code, said = bascule(world, "run", "sync", *words)
        assert code == Status.REFUSED, said


def test_a_playbook_whose_supervisor_was_killed_is_followed_to_its_end(world: World) -> None:
    waits(world)
    terminal = at_terminal(world, "run", "cutover", "-i", "inventory", *CONFIRM)
    terminal.expect("put fresh samples to the gates")
    (command,) = commands(world)
    os.kill(int(command.told("supervisor")["pid"]), signal.SIGKILL)
    go_on(world)
    assert status(terminal) == Status.DONE
    assert command.status is None
    assert ("thaw", "top", "ok") in world.outcomes()


def test_a_site_is_given_up_with_who_and_how(world: World) -> None:
    # Read at the machines, of which one is gone.
    world.state = STATE
    world.answer_verbs()
    are_held(world)
    world.are_down("a-mtp", "j-mtp")
    code, said = bascule(world, "site-lost", "montpellier", "--by", "Nadia", "-i", "inventory", *CONFIRM)
    assert code == Status.REFUSED, said
    assert "by 'Nadia', fenced ''" in " ".join(said.split())
    words = ("--by=Nadia", "--fenced", "power cut", "-i", "inventory")
    code, said = bascule(world, "site-lost", "montpellier", *words, *CONFIRM)
    assert code == Status.DONE, said
    assert "montpellier is given up as lost by Nadia, fenced: power cut." in said
    assert ("thaw", "top", "ok") in world.outcomes()
