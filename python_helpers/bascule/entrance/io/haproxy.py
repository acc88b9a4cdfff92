"""Drive a HAProxy on this host: its mode map, in the file and in the running process, and its runtime socket."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...system.io import storage
from ...system.io.process import Runner, run
from .. import mode as modes
from ..mode import EntranceError
from .workers import main_and_children

_ANSWER_LIMIT = 4 * 1024 * 1024
_UNKNOWN = "?"


class Haproxy:
    """The entrance's HAProxy: what its map says durably and what the running process does."""

    def __init__(
        self,
        map_file: str,
        runtime_socket: str,
        key: str,
        runner: Runner = run,
        proc: Path = Path("/proc"),
        backend: str = "",
    ) -> None:
        self.map_file = map_file
        self.socket = runtime_socket
        self.key = key
        self._run = runner
        self._proc = proc
        self._backend = backend

    def command(self, text: str, timeout: float = 5.0) -> str:
        """Send one command to the runtime socket and return the answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(timeout)
                client.connect(self.socket)
                client.sendall(text.encode() + b"\n")
                answer = b""
                while len(answer) < _ANSWER_LIMIT:
                    part = client.recv(65536)
                    if not part:
                        break
                    answer += part
        except OSError as error:
            raise EntranceError(
                expected=f"HAProxy to answer at {self.socket}",
                found=str(error),
                state=f"{self.map_file} says {self.durable() or 'nothing'}, which HAProxy follows when it starts",
                next_command="systemctl status haproxy; when it answers again, run the same playbook again",
            ) from error
        return answer.decode("utf-8", "replace")

    def durable(self) -> str | None:
        """Return the mode in the file, which HAProxy follows when it starts or reloads."""
        return modes.parse_map(storage.read_text(self.map_file), self.key)

    def runtime(self) -> str | None:
        """Return the mode that the running process follows."""
        return modes.parse_show_map(self.command(f"show map {self.map_file}"), self.key)

    def mode(self) -> str:
        """Return the mode that users get now; without an entry that is the maintenance page."""
        return self.runtime() or modes.MAINTENANCE

    def stat(self) -> list[dict[str, str]]:
        """Return the statistics rows."""
        return modes.parse_stat(self.command("show stat"))

    def info(self) -> dict[str, str]:
        """Return what HAProxy says about itself."""
        return modes.parse_info(self.command("show info"))

    def set_mode(self, mode: str, check: bool = False) -> bool:
        """Make the mode durable, then effective, then read both again; return whether that changed anything."""
        modes.checked(mode)
        durable, runtime = self.durable(), self.runtime()
        if (durable, runtime) == (mode, mode):
            return False
        if check:
            return True
        if durable != mode:
            # Nothing in it is secret; HAProxy reads it before it drops its rights.
            storage.write_durably(self.map_file, modes.render_map(self.key, mode), 0o644)
        if runtime != mode:
            verb = "set" if runtime is not None else "add"
            complaint = self.command(f"{verb} map {self.map_file} {self.key} {mode}").strip()
            if complaint:
                raise self._differs(mode, complaint)
        durable, runtime = self.durable(), self.runtime()
        if (durable, runtime) != (mode, mode):
            raise self._differs(mode, f"file: {durable}, running process: {runtime}")
        return True

    def ready(self, mode: str) -> None:
        """See that a mode can be set: one that does not answer is an error."""
        self.runtime()

    def keep_out(self) -> None:
        """Take the mode back to maintenance as far as that can be done: first in the file, which needs no process."""
        storage.write_durably(self.map_file, modes.render_map(self.key, modes.MAINTENANCE), 0o644)
        with contextlib.suppress(EntranceError):
            self.set_mode(modes.MAINTENANCE)

    def drain(self, seconds: float, cut: bool) -> tuple[int, float]:
        """Wait until the backend works on nothing and no worker of before a reload is left; return (first, seconds).

        A worker that outlived a reload follows the map as it was then: until it is gone the entrance is not closed.
        """
        begun, backend = time.monotonic(), self._backend
        first = left = modes.in_flight(self.stat(), backend)
        while left or self.old_workers():
            waited = time.monotonic() - begun
            if waited >= seconds:
                if not (cut and left):
                    raise EntranceError(
                        expected=f"no request in flight at {backend} within {seconds:g} s",
                        found=f"{left} requests in flight, {self.old_workers()} workers of before a reload",
                        state=f"new users get the {self.mode()} page; the requests in flight go on",
                        next_command="run the same playbook again, or allow web_entrance_drain_cut",
                    )
                self._cut(backend)
                seconds, cut = waited + 2, False
            time.sleep(0.05)
            left = modes.in_flight(self.stat(), backend)
        return first, round(time.monotonic() - begun, 3)

    def old_workers(self) -> int:
        """Return how many workers of before a reload are still there."""
        master, children = main_and_children("haproxy.service", self._run, self._proc)
        if not master:
            return 0
        own = self._program(master)
        # The master may run programs beside its workers; they hold no user's connection, and stay over a reload.
        workers = [pid for pid in children if self._program(pid) in (own, _UNKNOWN) or own == _UNKNOWN]
        return max(0, len(workers) - 1)

    def _program(self, pid: str) -> str:
        """Return what a process runs, whether that file was replaced since or not; nothing when it is gone."""
        try:
            return str((self._proc / pid / "exe").readlink()).removesuffix(" (deleted)")
        except FileNotFoundError:
            return ""
        except OSError:
            return _UNKNOWN

    def measure(self, backends: Sequence[str], cut: bool) -> tuple[dict[str, Any], list[str]]:
        """Return what was measured and what keeps this HAProxy from being moved; nothing is changed."""
        info, rows = self.info(), self.stat()
        durable, runtime = self.durable(), self.runtime()
        faults = [f"HAProxy has no backend {name}" for name in backends if name not in modes.backends(rows)]
        if durable != runtime:
            faults.append(f"the map file says {durable}, the running HAProxy {runtime}")
        return {
            "version": info.get("Version", ""),
            "mode": runtime or modes.MAINTENANCE,
            "mode_durable": durable or modes.MAINTENANCE,
            "servers": [server.to_dict() for server in modes.servers(rows)],
            "in_flight": modes.in_flight(rows, self._backend),
            "config_sha256": self.config_digest(),
        }, faults

    def config_digest(self, config: str = "/etc/haproxy/haproxy.cfg") -> str:
        """Return the digest of the configuration, empty when there is none."""
        path = Path(config)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    def _cut(self, backend: str) -> None:
        for server in modes.servers(self.stat()):
            if server.backend == backend:
                self.command(f"shutdown sessions server {backend}/{server.name}")

    def _differs(self, mode: str, found: str) -> EntranceError:
        return EntranceError(
            expected=f"mode {mode} in {self.map_file} and in the running HAProxy",
            found=found,
            state=f"file: {self.durable()}",
            next_command="run the same playbook again; if it fails again: systemctl status haproxy",
        )
