"""A HAProxy's runtime socket in memory, and answers that follow its mode."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bascule.entrance.io.https import Target
from bascule.entrance.requests import Answer


class FakeHaproxy:
    """Answers the commands that the entrance uses; `busy` is how many more times a request is in flight."""

    def __init__(self, directory: Path, mode: str = "open") -> None:
        self.map_file = directory / "mode.map"
        self.socket = directory / "admin.sock"
        self.mode: str | None = mode
        self.map_file.write_text(f"mode {mode}\n")
        self.busy = 0
        self.stubborn = False
        self.commands: list[str] = []

    def answer(self, command: str) -> str:
        """Answer one command."""
        self.commands.append(command)
        words = command.split()
        if words[:2] == ["show", "map"]:
            return f"0x1 mode {self.mode}\n" if self.mode else "\n"
        if words[:2] in (["set", "map"], ["add", "map"]):
            if not self.stubborn:
                self.mode = words[4]
            return "\n"
        if words[:2] == ["show", "stat"]:
            count, self.busy = (1, self.busy - 1) if self.busy else (0, 0)
            return (
                "# pxname,svname,qcur,scur,status,check_status\n"
                f"be_courses,courses,0,{count},UP,L7OK\nbe_courses,BACKEND,0,{count},UP,\n"
            )
        if words[:2] == ["show", "info"]:
            return "Name: HAProxy\nVersion: 2.6.12\n"
        if words[:2] == ["shutdown", "sessions"]:
            self.busy = 0
        return "\n"

    def options(self) -> dict[str, Any]:
        """Return what a module gets as `entrance`."""
        return {
            "map_file": str(self.map_file),
            "socket": str(self.socket),
            "key": "mode",
            "backend": "be_courses",
            "address": "192.0.2.1",
            "port": 443,
            "name": "courses.example.org",
            "ca_file": "/none",
            "forwarded_header": "X-Bascule-Forwarded",
        }

    def ask(self, where: Target, *_: Any, **__: Any) -> Answer:
        """Answer as a user would be answered."""
        if self.mode == "open":
            return Answer(status=200, tls="TLSv1.3")
        return Answer(status=503, headers={"retry-after": "5"}, tls="TLSv1.3")

    @contextmanager
    def running(self) -> Iterator[FakeHaproxy]:
        """Serve the socket."""
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(fake.answer(self.rfile.readline().decode().strip()).encode())

        with socketserver.ThreadingUnixStreamServer(str(self.socket), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()
