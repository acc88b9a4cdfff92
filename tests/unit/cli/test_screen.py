"""A live view at a terminal: it shows what the journal says, goes before a question, and is none with NO_COLOR."""

from __future__ import annotations

import datetime
import io
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

from bascule.cli.screen import Boards, LiveScreen, screen
from bascule.run import chain
from bascule.run.io import command as commands
from bascule.run.io import identity, presence
from bascule.run.io.command import Command

CLOCK = "window: users wait for"


def journal(path: Path) -> None:
    """Write the journal of a cutover that has frozen a database; another decision's stands beside it."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    common = {"time": now, "run": "r", "controller": "here", "phase": "cutover", "verb": "freeze", "component": "db"}
    entries = [
        {**common, "epoch": "d", "kind": "decision", "verb": "", "component": "", "data": {"decision": "GO"}},
        {**common, "epoch": "d", "kind": "begin", "data": {}},
        {**common, "epoch": "other", "kind": "begin", "component": "nobody", "data": {}},
    ]
    path.parent.mkdir(parents=True)
    path.write_text("".join(chain.line(chain.make(None, one)) for one in entries))


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """A command whose playbook, a process that only sleeps, has frozen a database."""
    monkeypatch.setenv(identity.RUNS, str(tmp_path / "runs"))
    command = commands.begin("cutover")
    command.may_ask()
    journal(tmp_path / "runs/r/journal.jsonl")
    command.tell("run", {"run": "r", "decision": "d"})
    command.tell("progress", {"db": "12 of 40 MB, 3 MB/s"})
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        command.tell("process", presence.process(sleeper.pid))
        yield command
        sleeper.kill()
    command.answer("the end of the test")


def watching(tmp_path: Path, **environment: str) -> Any:
    """Follow it at a terminal."""
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return pexpect.spawn(
        sys.executable,
        ["-m", "bascule.cli.main", "watch"],
        env={**plain, "TERM": "xterm", identity.RUNS: str(tmp_path / "runs"), **environment},
        cwd=str(tmp_path),
        timeout=60,
        encoding="utf-8",
        dimensions=(40, 160),
    )  # fmt: skip


def asks(command: Command, question: str) -> threading.Thread:
    """Ask what the follower passes on."""
    thread = threading.Thread(target=command.ask, args=(question, []), daemon=True)
    thread.start()
    return thread


def test_the_view_moves_goes_before_a_question_and_comes_back(running: Command, tmp_path: Path) -> None:
    terminal = watching(tmp_path)
    terminal.expect(f"{CLOCK} \\d+ s")
    terminal.expect("return: nothing has switched")
    terminal.expect("cutover.*freeze.*switch")
    terminal.expect("db.*> \\d+ s.*12 of 40 MB, 3 MB/s")
    assert "nobody" not in terminal.before
    # What is printed stands above it, whole.
    with running.output.open("a") as output:
        output.write("  db              freeze       2.0 s  changed\n")
    terminal.expect("db              freeze       2.0 s  changed\r\n")
    terminal.expect(CLOCK)
    thread = asks(running, "Which site?")
    terminal.expect_exact("Which site? ")
    # Nothing is drawn over what is typed: for longer than the view rests.
    assert terminal.expect([pexpect.TIMEOUT, CLOCK], timeout=4) == 0
    terminal.sendline("toulouse")
    thread.join(60)
    terminal.expect(CLOCK)
    terminal.close(force=True)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=lambda one: next(iter(one)))
def test_it_is_plain_where_it_has_to_be(running: Command, tmp_path: Path, environment: dict[str, str]) -> None:
    terminal = watching(tmp_path, **environment)
    running.output.write_text("plain line\n")
    terminal.expect_exact("plain line\r\n")
    asks(running, "Which site?")
    # It looks at the journal every second, so it would have come.
    assert terminal.expect([pexpect.TIMEOUT, CLOCK], timeout=4) == 0
    assert "\x1b" not in terminal.before
    terminal.close(force=True)


def test_without_a_terminal_it_is_plain(running: Command, tmp_path: Path) -> None:
    running.output.write_text("plain line\n")
    running.tell("end", {"status": 0})
    (running.folder / "artifacts/runner").mkdir(parents=True)
    (running.folder / "artifacts/runner/rc").write_text("0")
    done = subprocess.run(
        [sys.executable, "-m", "bascule.cli.main", "watch"],
        env={**os.environ, identity.RUNS: str(tmp_path / "runs")}, cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "plain line\n" in done.stdout
    assert (CLOCK in done.stdout, "\x1b" in done.stdout) == (False, False)


class Terminal(io.StringIO):
    """A terminal at which somebody presses Ctrl-C during every write, if asked to."""

    presses = False

    def isatty(self) -> bool:
        """It is one."""
        return True

    def write(self, text: str) -> int:
        """Take what is written."""
        if self.presses:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return super().write(text)


@pytest.fixture
def terminal(running: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of a program that takes Ctrl-C as Python does."""
    monkeypatch.setenv("TERM", "xterm")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Terminal()
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_it_is_drawn_comes_after_that(running: Command, terminal: Terminal) -> None:
    view = LiveScreen(terminal, Boards(running))
    terminal.presses = True
    with pytest.raises(KeyboardInterrupt):
        view.refresh()
    assert CLOCK in terminal.getvalue()
    with pytest.raises(KeyboardInterrupt):
        view.show("a line\nand half")
    assert "a line" in terminal.getvalue()
    with pytest.raises(KeyboardInterrupt):
        view.stop()
    # All of it was taken away, and nothing is lost.
    assert terminal.getvalue().endswith("and half")
    terminal.presses = False
    view.stop()
    view.show(" of another\n")
    assert terminal.getvalue().endswith("and half of another\n")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_view_that_cannot_be_drawn_ends_and_the_lines_go_on(running: Command, terminal: Terminal) -> None:
    (running.folder / "progress.json").write_text('{"db": "9 of 40 MB"')
    view = LiveScreen(terminal, Boards(running))
    view.show("printed\n")
    view.refresh()
    view.show("printed as well\n")
    view.refresh()
    said = terminal.getvalue().rpartition("printed\n")[2].splitlines()
    assert (len(said), said[-1]) == (2, "printed as well")
    assert said[0].startswith("there is no live view from here on, lines go on: ")


def test_a_terminal_that_is_gone_ends_the_follower_and_no_view(
    running: Command, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = LiveScreen(terminal, Boards(running))
    view.refresh()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", gone)
    with pytest.raises(OSError, match="Input/output error"):
        view.show("a line\n")
    view.stop()


@pytest.mark.parametrize("name", ["", "dumb", "unknown"])
def test_a_terminal_of_which_nothing_is_known_has_lines_alone(
    running: Command, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert isinstance(screen(running, terminal), LiveScreen)
    monkeypatch.setenv("TERM", name)
    assert not isinstance(screen(running, terminal), LiveScreen)
    monkeypatch.delenv("TERM")
    assert not isinstance(screen(running, terminal), LiveScreen)
