"""Whoever follows at a terminal is asked while it is asked, sees what becomes of it, and may leave or end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from bascule.run.io import command as commands
from bascule.run.io import identity, presence
from bascule.run.io.command import Command
from bascule.run.outcome import Status

QUESTION = "Which site?"


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Command, list[str]]]:
    """A command whose playbook, a process that only sleeps, asks; and what was answered."""
    monkeypatch.setenv(identity.RUNS, str(tmp_path / "runs"))
    command = commands.begin("cutover")
    command.may_ask()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(command.ask(QUESTION, [])), daemon=True)
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        command.tell("process", presence.process(sleeper.pid))
        thread.start()
        yield command, answers
        sleeper.kill()
    command.answer("the end of the test")
    thread.join(60)


def _hear() -> None:
    """Take Ctrl-C as a terminal's programs do, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def watching(tmp_path: Path) -> Any:
    """Follow it at a terminal."""
    runs = {**os.environ, identity.RUNS: str(tmp_path / "runs")}
    words = ["-m", "bascule.cli.main", "watch"]
    terminal = pexpect.spawn(
        sys.executable, words, env=runs, cwd=str(tmp_path), timeout=120, encoding="utf-8", preexec_fn=_hear
    )
    terminal.expect_exact(QUESTION)
    return terminal


def ended(terminal: Any) -> int:
    """Return the exit status."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return int(terminal.exitstatus)


def test_what_is_answered_elsewhere_is_asked_no_more(asking: tuple[Command, list[str]], tmp_path: Path) -> None:
    terminal = watching(tmp_path)
    assert asking[0].answer("toulouse")
    terminal.expect("answered elsewhere")
    terminal.sendintr()
    terminal.expect("leave it running")
    terminal.sendline("")
    assert ended(terminal) == Status.RUNNING
    assert asking[1] == ["toulouse"]


def test_an_end_of_input_is_no_answer(asking: tuple[Command, list[str]], tmp_path: Path) -> None:
    terminal = watching(tmp_path)
    terminal.sendeof()
    assert ended(terminal) == Status.RUNNING
    assert asking[1] == []


def test_who_ends_it_at_the_question_is_not_asked_again(asking: tuple[Command, list[str]], tmp_path: Path) -> None:
    terminal = watching(tmp_path)
    # The playbook takes its time.
    os.kill(int(asking[0].told("process")["pid"]), signal.SIGSTOP)
    terminal.sendintr()
    terminal.expect("leave it running] ")
    terminal.sendline("stop")
    with pytest.raises(pexpect.TIMEOUT):
        terminal.expect_exact(QUESTION, timeout=3)
    os.kill(int(asking[0].told("process")["pid"]), signal.SIGCONT)
    assert ended(terminal) == Status.PERSON
