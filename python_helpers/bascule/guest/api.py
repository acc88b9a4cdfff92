"""Talk to one Proxmox node: typed errors, booleans as 0 and 1, and repetition only where repeating is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Optional, Protocol

from .errors import BadRequest, LockTimeout, NodeUnreachable, ProxmoxError, refusal

Value = Any

# Parameters that not every version takes: the first and the last major version that does.
VERSIONED: Mapping[str, tuple[int, Optional[int]]] = {
    "notification-policy": (8, 8),
    "notification-target": (8, 8),
    "allow-ksm": (9, None),
    "ha-managed": (9, None),
    "intel-tdx": (9, None),
    "with-conntrack-state": (9, None),
}
# Connecting to the node behind the proxy failed: the node has not seen the request. Behind every other number of a
# proxy (596 and on) it may have.
_NOT_CONNECTED = 595


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
        self._version = ""

    def version(self) -> str:
        """Return the version of Proxmox at this node, such as 8.4.21; it is asked once."""
        if not self._version:
            found = self.get("version")
            self._version = str(found.get("version", "")) if isinstance(found, Mapping) else ""
            if not self._version.partition(".")[0].isdigit():
                said, self._version = self._version, ""
                raise ProxmoxError(
                    expected=f"the version of Proxmox at {self.name}",
                    found=repr(said),
                    state="nothing was changed",
                    next_command="look at what answers on the API's port of this node",
                )
        return self._version

    @property
    def major(self) -> int:
        """Return the major version: 8 or 9."""
        return int(self.version().partition(".")[0])

    def get(self, path: str, /, **values: Value) -> Any:
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
        given = plain(values)
        self._fit(request, given)
        try:
            status, reason, data, errors = self._transport(method, path, given)
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
        if status == _NOT_CONNECTED:
            raise _Unsent(
                expected=f"{request} to reach the node",
                found=f"{status} {reason}".strip(),
                state="nothing was changed by this request; no answer proves nothing about the node",
                next_command="look at the node (systemctl status pveproxy) and run the same command again",
            )
        if status >= 400:
            raise refusal(request, status, reason, errors)
        return data

    def _fit(self, request: str, given: Mapping[str, Value]) -> None:
        """Refuse, before anything is sent, what this version of Proxmox would refuse."""
        for name in sorted(set(given) & set(VERSIONED)):
            first, last = VERSIONED[name]
            if self.major < first or (last is not None and self.major > last):
                raise BadRequest(
                    request,
                    400,
                    f"Proxmox {self.version()} does not take this parameter",
                    {name: f"known from version {first}{'' if last is None else f' to {last}'}"},
                    state="nothing was sent",
                )


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


_DASHED = {
    "notes_template",
    "overrule_shutdown",
    "notification_mode",
    *(name.replace("-", "_") for name in VERSIONED),
}
