"""The table of endpoints: a method and a path, the parameters it takes, the privilege it needs, what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .access import Caller
from .errors import ApiError, Failure
from .node import Node
from .params import VMID, Param, verify


@dataclass(frozen=True)
class Request:
    node: Node
    caller: Caller
    path: dict[str, str]
    values: dict[str, Any]
    given: dict[str, Any]

    @property
    def vmid(self) -> int:
        return int(self.path["vmid"])


Action = Callable[[Request], Any]


@dataclass(frozen=True)
class WithTotal:
    """Data with the number of all entries beside it, of which it may be a part."""

    data: Any
    total: int


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    pattern: re.Pattern[str]
    # A path, and the privilege needed there; several, of which one is enough, are parted by `|`.
    privilege: tuple[str, str] | None
    spec: Mapping[str, Param]
    action: Action
    # The privilege that version 9 has instead.
    since_9: str = ""

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.path}"

    def takes(self, version: str) -> Mapping[str, Param]:
        return {name: rule for name, rule in self.spec.items() if version.startswith("8") or not rule.only_8}

    def needed(self, version: str) -> tuple[str, str] | None:
        if self.privilege and self.since_9 and not version.startswith("8"):
            return self.privilege[0], self.since_9
        return self.privilege


ROUTES: list[Route] = []


def route(
    method: str,
    path: str,
    privilege: tuple[str, str] | None = None,
    spec: Mapping[str, Param] | None = None,
    since_9: str = "",
) -> Callable[[Action], Action]:
    pattern = re.sub(r"\{(\w+)\}", lambda match: f"(?P<{match[1]}>[^/]+)", path)
    # A volume's own name contains slashes and stands last.
    pattern = pattern.replace("(?P<volume>[^/]+)", "(?P<volume>.+)")

    def add(action: Action) -> Action:
        ROUTES.append(Route(method, path, re.compile(pattern), privilege, spec or {}, action, since_9))
        return action

    return add


def answer(node: Node, caller: Caller, method: str, path: str, given: dict[str, Any]) -> Any:
    """What the endpoint says, or an ApiError."""
    for entry in ROUTES:
        match = entry.pattern.fullmatch(path) if entry.method == method else None
        if match:
            parts = match.groupdict()
            _check_node(node, parts)
            if node.schema:
                node.schema.request(entry.endpoint, {**parts, **given})
            _check_path(parts)
            values = verify(entry.takes(node.version), given)
            needed = entry.needed(node.version)
            if needed:
                caller.need(needed[0].format(**parts), needed[1])
            try:
                result = entry.action(Request(node, caller, parts, values, given))
            except Failure as failure:
                raise ApiError(500, str(failure)) from failure
            _check_answer(node, entry, result)
            return result
    raise ApiError(501, f"Method '{method} {path}' not implemented")


def _check_answer(node: Node, entry: Route, result: Any) -> None:
    data = result.data if isinstance(result, WithTotal) else result
    if data is None and entry.path.endswith("/interfaces"):
        # Of a container that does not run Proxmox answers null, whatever its schema says.
        return
    problems = node.schema.answer(entry.endpoint, data) if node.schema else []
    if problems:
        raise AssertionError(f"Proxmox would not answer {entry.endpoint} like this: {'; '.join(problems)}")


def _check_path(parts: dict[str, str]) -> None:
    if "vmid" in parts:
        verify({"vmid": VMID}, {"vmid": parts["vmid"]})


def _check_node(node: Node, parts: dict[str, str]) -> None:
    if "node" in parts and parts["node"] != node.name:
        raise ApiError(
            500,
            f"hostname lookup '{parts['node']}' failed - failed to get address info for: {parts['node']}: "
            "Name or service not known",
        )
