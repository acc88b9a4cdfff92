"""Notices go out beside a playbook: at once, later, or when it is gone; none is waited for longer than was said."""

from __future__ import annotations

import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.run.test_notices import SECRET, answering, serving

from bascule.run.io import notice_addresses
from bascule.run.io.notice_sender import Sender
from bascule.system.io.process import run

# Seconds until something is given up that comes as soon as it can.
PATIENCE = 60.0


def notice(port: int, body: str = "x") -> dict[str, Any]:
    return {"urls": [f"json://u:{SECRET}@127.0.0.1:{port}/"], "title": "t", "body": body}


def comes(what: Callable[[], bool]) -> bool:
    """Return whether something comes true."""
    until = time.monotonic() + PATIENCE
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


def test_what_is_sent_is_told_by_name_and_what_is_called_off_is_not_sent() -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as takes, serving(answering(500, [])) as refuses:
        sender = Sender()
        sender.send_after(0.0, "overrun", "overrun lead", notice(takes, "late"))
        assert comes(lambda: len(posts) == 1)
        sender.send_after(3600, "overrun", "overrun dba", notice(takes, "never"))
        sender.call_off("overrun")
        sender.leave("stopped lead", notice(takes, "never"))
        sender.send("go lead", notice(takes, "now"))
        sender.send("go dba", notice(refuses))
        sent, untold = sender.finish(PATIENCE)
    assert sorted(sent) == ["go lead", "overrun lead"]
    assert untold == ["go dba: not told: a service has refused it"]
    assert [one["message"] for one in posts] == ["late", "now"]


def test_a_service_that_hangs_is_given_up_and_the_others_are_told() -> None:
    held, seen = threading.Event(), []

    class Hangs(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            processes = run(["ps", "-eo", "args"]).stdout
            seen.append("bascule.run.io.notifier" in processes and SECRET not in processes)
            while not held.wait(0.5):
                # It answers, and never to an end.
                self.request.sendall(b"HTTP/1.1 200 OK\r\nX: y" if len(seen) == 1 else b"z")
                seen.append(True)

    posts: list[Any] = []
    with serving(Hangs) as silent, serving(answering(200, posts)) as takes:
        sender = Sender()
        sender.send("go lead", notice(silent))
        sender.send("go dba", notice(takes))
        assert comes(lambda: bool(seen and posts))
        began = time.monotonic()
        sent, untold = sender.finish(5.0)
        took = time.monotonic() - began
        held.set()
    assert (sent, untold) == (["go dba"], ["go lead: not told for certain: no answer within 5 s"])
    assert seen[0] is True, "the address stood in no argument list"
    assert took < PATIENCE / 2


def test_a_process_that_takes_nothing_or_cannot_begin_is_never_waited_for() -> None:
    sender = Sender()
    assert sender._process is not None
    os.kill(sender._process.pid, signal.SIGSTOP)
    for number in range(40):
        sender.send(f"{number}", notice(1, "x" * 10_000))
    sent, untold = sender.finish(0.0)
    assert sent == []
    assert len(untold) == 40
    assert untold[0] == "0: not told for certain: the notifier takes nothing any more"
    absent = Sender("/nowhere/python")
    absent.send("go lead", notice(1))
    assert absent.finish() == ([], [
        "go lead: not told for certain: the notifier could not be started: No such file or directory"
    ])  # fmt: skip


def test_whoever_is_killed_leaves_a_last_word(tmp_path: Path) -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as port:
        program = tmp_path / "starter.py"
        program.write_text(
            "import sys, time\nfrom bascule.run.io.notice_sender import Sender\n"
            "one = {'urls': [sys.argv[1]], 'title': 't', 'body': 'gone at {now}'}\n"
            "sender = Sender()\nsender.leave('stopped lead', {**one, 'body': 'earlier'})\n"
            "sender.leave('stopped lead', one)\nsender.send('go lead', {**one, 'body': 'go'})\ntime.sleep(600)\n"
        )
        starter = subprocess.Popen([sys.executable, str(program), f"json://127.0.0.1:{port}/"])
        assert comes(lambda: len(posts) == 1)
        starter.kill()
        starter.wait()
        assert comes(lambda: len(posts) == 2)
    assert posts[0]["message"] == "go"
    assert re.fullmatch(r"gone at \d\d:\d\d:\d\d \S+", posts[1]["message"])


def test_addresses_are_looked_at_and_never_shown() -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as port:
        wrong, silent = notice_addresses.look(
            {
                "lead": [f"json://u:{SECRET}@127.0.0.1:{port}/", f"nosuch://{SECRET}", f"slack://{SECRET}"],
                "dba": [f"json://u:{SECRET}@127.0.0.1:1/", f"{SECRET}{SECRET} x://y"],
            }
        )
    assert wrong == [
        "lead: address 2: nosuch is no service that apprise knows",
        "lead: address 3: apprise cannot read it as one of slack",
        "dba: address 2: what stands before :// is no service that apprise knows",
    ]
    assert silent == ["dba: address 1: 127.0.0.1:1: Connection refused"]
    assert posts == [], "nothing is sent"
