"""Talk to one Proxmox node: typed errors, booleans as 0 and 1, and repetition only where repeating is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Optional, Protocol

from .errors import LockTimeout, NodeUnreachable, refusal

Value = Any


class NotSent(Exception):
    """The connection could not be made: the server cannot have seen the request."""


class NoAnswer(Exception):
    """The request may have been received; no answer came."""


class Transport(Protocol):
    """One HTTP request to the API; returns status, reason, data, errors by parameter."""

    def __call__(
        self, method: str, path: str, values: Mapping[str, Value]
    ) -> tuple[int, str, Any, Optional[Mapping[str, str]]]: ...


class Api:
    """The API of one node."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = 5,
        pause: float = 1.0,
    ) -> None:
        self.name = name
        self._transport = transport
        self._sleep = sleep
        self._attempts = max(1, attempts)
        self._pause = pause

    def get(self, path: str, **values: Value) -> Any:
        """Read; repeated when the node cannot be reached, because reading twice harms nobody."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self._request("GET", path, values)
            except NodeUnreachable:
                if attempt == self._attempts:
                    raise
                self._sleep(self._pause * attempt)
        raise AssertionError("unreachable")

    def post(self, path: str, **values: Value) -> Any:
        """Start something; never repeated once the server may have seen it."""
        return self._write("POST", path, values)

    def put(self, path: str, **values: Value) -> Any:
        """Change something; with a digest among the values the server refuses when the object has moved on."""
        return self._write("PUT", path, values)

    def delete(self, path: str, **values: Value) -> Any:
        """Remove something."""
        return self._write("DELETE", path, values)

    def _write(self, method: str, path: str, values: Mapping[str, Value]) -> Any:
        for attempt in range(1, self._attempts + 1):
            try:
                return self._request(method, path, values)
            except (LockTimeout, _Unsent):
                # Proxmox says that it has not begun, or never got the request: repeating is safe.
                if attempt == self._attempts:
                    raise
                self._sleep(self._pause * attempt)
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, values: Mapping[str, Value]) -> Any:
        request = f"{method} {path} at {self.name}"
        try:
            status, reason, data, errors = self._transport(method, path, plain(values))
        except NotSent as error:
            raise _Unsent(
                expected=f"{request} to reach the node",
                found=str(error),
                state="nothing was changed by this request",
                next_command="look at the node (systemctl status pveproxy) and run the same command again",
            ) from error
        except NoAnswer as error:
            raise NodeUnreachable(
                expected=f"an answer to {request}",
                found=str(error),
                state="unknown: the request may have been carried out",
                next_command="run the same command again: it reads the truth first",
            ) from error
        if status >= 400:
            raise refusal(request, status, reason, errors)
        return data


class _Unsent(NodeUnreachable):
    """The request never left."""


def plain(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values as Proxmox takes them: booleans as 0 and 1, nothing that is None."""
    result: dict[str, Value] = {}
    for name, value in values.items():
        if value is None:
            continue
        result[name.replace("_", "-") if name in _DASHED else name] = int(value) if isinstance(value, bool) else value
    return result


_DASHED = {"notes_template", "overrule_shutdown", "destroy_unreferenced_disks"}
