"""Drive a nginx on this host: two files say what users get, its status says what it works on."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...system.io import storage
from ...system.io.process import Runner, run
from .. import mode as modes
from .. import nginx as config
from ..mode import EntranceError
from .workers import main_and_children

UNIT = "nginx.service"
_GOING = "is shutting down"


class Nginx:
    """The entrance's nginx. It looks at the two files with each request: there is nothing to reload."""

    def __init__(self, options: Mapping[str, Any], runner: Runner = run, proc: Path = Path("/proc")) -> None:
        self.folder = str(options["folder"])
        self.status = str(options["status"])
        self._options = options
        self._run = runner
        self._proc = proc

    def durable(self) -> str:
        """Return the mode that the files give, also after a start of nginx."""
        return mode_in(self.folder)

    def runtime(self) -> str:
        """Return the mode that users get now; an nginx that does not answer is an error."""
        self.in_flight()
        return self.durable()

    def mode(self) -> str:
        """Return the mode that users get now."""
        return self.durable()

    def in_flight(self) -> int:
        """Return how many requests nginx works on, for whichever of its services."""
        where = urllib.parse.urlsplit(self.status)
        connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=5)
        try:
            connection.request("GET", where.path or "/", headers={"Connection": "close"})
            answer = connection.getresponse()
            text = answer.read(65536).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise EntranceError(
                expected=f"the status of nginx at {self.status}",
                found=str(error) or type(error).__name__,
                state=f"{self.folder} says {self.durable()}, which nginx follows when it runs",
                next_command="systemctl status nginx; when it answers again, run the same playbook again",
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise EntranceError(expected=f"the status of nginx at {self.status}", found=f"status {answer.status}")
        return config.parse_status(text)

    def set_mode(self, mode: str, check: bool = False) -> bool:
        """Write the mode durably, closing before opening, and read it again; return whether that changed anything."""
        modes.checked(mode)
        if self.durable() == mode and not self._needless(mode):
            return False
        if check:
            return True
        write_mode(self.folder, mode)
        if self.durable() != mode:
            raise EntranceError(
                expected=f"mode {mode} in {self.folder}",
                found=self.durable(),
                state="somebody else writes there",
                next_command="run the same playbook again",
            )
        return True

    def ready(self, mode: str) -> None:
        """See that a mode can be set: one that does not answer is an error."""
        self.runtime()

    def keep_out(self) -> None:
        """Take the mode back to maintenance."""
        write_mode(self.folder, modes.MAINTENANCE)

    def drain(self, seconds: float, cut: bool) -> tuple[int, float]:
        """Wait until nginx works on nothing and no worker of before a reload is left; return (first, seconds).

        A worker of before a reload may know no rule. nginx has no way to cut a request: `cut` changes nothing.
        """
        begun = time.monotonic()
        first = left = self.in_flight()
        while left or self.old_workers():
            if time.monotonic() - begun >= seconds:
                raise EntranceError(
                    expected=f"no request in flight at nginx within {seconds:g} s",
                    found=f"{left} requests in flight, {self.old_workers()} workers of before a reload",
                    state=f"new users get the {self.mode()} page; the requests in flight go on",
                    next_command="run the same playbook again; nginx cannot cut requests: who must, stops what is "
                    "behind it",
                )
            time.sleep(0.05)
            left = self.in_flight()
        return first, round(time.monotonic() - begun, 3)

    def old_workers(self) -> int:
        """Return how many workers of before a reload are still there."""
        return sum(_GOING in title for _, title in self._workers())

    def measure(self, backends: Sequence[str], cut: bool) -> tuple[dict[str, Any], list[str]]:
        """Return what was measured and what keeps this nginx from being moved; nothing is changed."""
        found = []
        done = self._run(["nginx", "-T"], check=False, timeout=30)
        dump = done.stdout
        if done.rc != 0:
            found.append(f"nginx -t refuses the configuration: {done.stderr.strip()[-300:]}")
        else:
            found += self._config_faults(dump)
        if cut:
            found.append("nginx cannot cut requests in flight: leave web_entrance_drain_cut off")
        if self._needless(self.durable()):
            found.append(f"{self.folder} has both files, open and forward: nginx shows the maintenance page")
        version = self._run(["nginx", "-v"], check=False).stderr.strip().rpartition("/")[2]
        return {
            "version": version,
            "mode": self.mode(),
            "mode_durable": self.durable(),
            "servers": [],
            "in_flight": self.in_flight(),
            "config_sha256": hashlib.sha256(dump.encode()).hexdigest(),
        }, found

    def _config_faults(self, dump: str) -> list[str]:
        options = self._options
        header = str(options["forwarded_header"])
        try:
            scheme = str(options.get("scheme") or "https")
            found = config.faults(dump, self.folder, str(options["name"]), int(options["port"]), header, scheme)
        except EntranceError as error:
            return [f"nginx -T cannot be read: {error.message()}"]
        begun = self._begun()
        late = [path for path in config.files_of(dump) if begun and storage.is_file(path) and _changed(path) > begun]
        if late:
            found.append(f"{', '.join(late)} changed after nginx has read it: nginx -t && systemctl reload nginx")
        return found

    def _begun(self) -> float:
        """Return since when the oldest worker runs that is not going; 0 where none is known."""
        ticks = os.sysconf("SC_CLK_TCK")
        up = (storage.read_text(self._proc / "uptime") or "").split()
        since = []
        for pid, title in self._workers():
            fields = (storage.read_text(self._proc / pid / "stat") or "").rpartition(")")[2].split()
            if _GOING not in title and len(fields) > 19 and up:
                since.append(time.time() - float(up[0]) + int(fields[19]) / ticks)
        return min(since, default=0.0)

    def _workers(self) -> list[tuple[str, str]]:
        _, children = main_and_children(UNIT, self._run, self._proc)
        titles = [(pid, (storage.read_text(self._proc / pid / "cmdline") or "").replace("\0", " ")) for pid in children]
        return [(pid, title) for pid, title in titles if title.startswith("nginx: worker process")]

    def _needless(self, mode: str) -> bool:
        return mode == modes.MAINTENANCE and any(storage.is_file(Path(self.folder) / name) for name in _FILES)


# The file of each mode that has one; with both, as with none, nginx shows the maintenance page.
_FILES = (modes.OPEN, modes.FORWARD)


def mode_in(folder: str) -> str:
    """Return the mode that the files in a folder give."""
    return config.mode_of(*(storage.is_file(Path(folder) / name) for name in _FILES))


def write_mode(folder: str, mode: str) -> None:
    """Write a mode durably: what is not said any more goes first."""
    for name in _FILES:
        path = Path(folder) / name
        if name != mode and storage.is_file(path):
            storage.remove(path)
    if mode in _FILES:
        # Nothing in it, and nothing secret: nginx looks only whether it is there.
        storage.write_durably(Path(folder) / mode, "", 0o644)


def _changed(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError as error:
        raise BasculeError(expected=f"{path} to be read", found=str(error)) from error
