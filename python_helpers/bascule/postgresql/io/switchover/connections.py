"""The controller's connections to the agents at both sides of a switch: opened before it starts, JSON line by line."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from ....errors import BasculeError
from ....system.io import entering
from ....system.ssh import Target

HOLD = "BASCULE_TEST_SWITCH_HOLD"


class Hold:
    """For tests only: stop the switch at a step until a file says go on.

    BASCULE_TEST_SWITCH_HOLD=STEP:DIRECTORY makes DIRECTORY/STEP.reached appear at that step, and waits for
    DIRECTORY/STEP.go. Steps are `old.NAME`, `new.NAME` (marks of the two agents) and `driver.NAME`.
    """

    def __init__(self, setting: str | None = None) -> None:
        step, _, directory = (os.environ.get(HOLD, "") if setting is None else setting).partition(":")
        self.step = step
        self.directory = Path(directory) if directory else None

    def names(self, prefix: str) -> list[str]:
        """Return what the agent with this prefix has to stop at."""
        return [self.step[len(prefix) + 1 :]] if self.step.startswith(f"{prefix}.") else []

    def wait(self, step: str) -> None:
        """Stop here when it is the step."""
        if self.directory is None or step != self.step:
            return
        (self.directory / f"{step}.reached").touch()
        while not (self.directory / f"{step}.go").exists():
            time.sleep(0.01)


class Agent:
    """The agent at one side; use it as a context manager."""

    def __init__(self, target: Target, script: str, label: str, hold: Hold) -> None:
        self.label = label
        self._hold = hold
        self._names: Collection[str] = hold.names(label)
        self._host = target.host
        self._buffer = b""
        self._asked = 0
        self._process = entering.start(target, script)
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, selectors.EVENT_READ)
        self._errors = b""

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            # It takes back what it has to when its input ends.
            self._process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def drop(self) -> None:
        """End the connection to an agent that has been asked nothing yet, also one that does not hear of it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._process.kill()
        self.__exit__(None, None, None)

    def is_alive(self) -> bool:
        """Whether the connection stands, as far as this end knows."""
        return self._process.poll() is None

    def send(self, do: str, **arguments: Any) -> int:
        """Ask, without waiting; return the question's number."""
        self._asked += 1
        hold = {"hold": list(self._names)} if self._names else {}
        self._write({"do": do, "number": self._asked, **arguments, **hold})
        return self._asked

    def answer(self, timeout: float, number: int = 0) -> dict[str, Any]:
        """Wait for the answer to a question; those to earlier ones that nobody waits for any more are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            line = self._line(deadline, timeout)
            try:
                said: dict[str, Any] = json.loads(line)
            except ValueError as error:
                raise self._lost(f"no JSON: {line[:200]!r}") from error
            if "at" in said:
                held = time.monotonic()
                self._hold.wait(f"{self.label}.{said['at']}")
                deadline += time.monotonic() - held
                self._write({"go": True})
            elif int(said.get("number", 0)) < number:
                continue
            elif "ok" in said:
                found: dict[str, Any] = said["ok"]
                return found
            else:
                raise BasculeError(**{str(key): str(value) for key, value in said["error"].items()})

    def _write(self, value: dict[str, Any]) -> None:
        try:
            if self._process.stdin is None:
                raise BrokenPipeError
            rest = memoryview(json.dumps(value).encode() + b"\n")
            while rest:
                rest = rest[self._process.stdin.write(rest) or 0 :]
        except (BrokenPipeError, OSError) as error:
            raise self._lost(str(error) or "the connection has ended") from error

    def _line(self, deadline: float, timeout: float) -> bytes:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return line
            left = deadline - time.monotonic()
            ready = self._selector.select(left) if left > 0 else []
            if not ready:
                raise self._lost(f"no answer within {timeout:g} s")
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                if self._process.stderr is not None and key.fd == self._process.stderr.fileno():
                    self._errors = (self._errors + chunk)[-4000:]
                    if not chunk:
                        self._selector.unregister(key.fileobj)
                elif not chunk:
                    raise self._lost("the connection has ended")
                else:
                    self._buffer += chunk

    def _lost(self, why: str) -> BasculeError:
        words = " ".join(self._errors.decode("utf-8", "replace").split())[-600:]
        return BasculeError(
            expected=f"an answer from the host agent at {self._host}",
            found=f"{why}{': ' + words if words else ''}",
            next_command="ansible-playbook playbooks/status.yml",
        )
