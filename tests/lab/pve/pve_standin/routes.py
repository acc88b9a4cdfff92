"""The table of endpoints: a method and a path, the parameters it takes, the privilege it needs, what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .access import Caller
from .errors import ApiError, Failure
from .node import Node
from .params import Param, verify


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
    pattern: re.Pattern[str]
    privilege: tuple[str, str] | None
    spec: Mapping[str, Param]
    action: Action


ROUTES: list[Route] = []


def route(
    method: str, path: str, privilege: tuple[str, str] | None = None, spec: Mapping[str, Param] | None = None
) -> Callable[[Action], Action]:
    pattern = re.sub(r"\{(\w+)\}", lambda match: f"(?P<{match[1]}>[^/]+)", path)
    # A volume's own name contains slashes and stands last.
    pattern = pattern.replace("(?P<volume>[^/]+)", "(?P<volume>.+)")

    def add(action: Action) -> Action:
        ROUTES.append(Route(method, re.compile(pattern), privilege, spec or {}, action))
        return action

    return add


def answer(node: Node, caller: Caller, method: str, path: str, given: dict[str, Any]) -> Any:
    """What the endpoint says, or an ApiError."""
    for entry in ROUTES:
        match = entry.pattern.fullmatch(path) if entry.method == method else None
        if match:
            parts = match.groupdict()
            _check_path(node, parts)
            values = verify(entry.spec, given)
            if entry.privilege:
                caller.need(entry.privilege[0].format(**parts), entry.privilege[1])
            try:
                return entry.action(Request(node, caller, parts, values, given))
            except Failure as failure:
                raise ApiError(500, str(failure)) from failure
    raise ApiError(501, f"Method '{method} {path}' not implemented")


def _check_path(node: Node, parts: dict[str, str]) -> None:
    if "vmid" in parts:
        verify({"vmid": Param("integer", minimum=100, maximum=999999999)}, {"vmid": parts["vmid"]})
    if "node" in parts and parts["node"] != node.name:
        raise ApiError(
            500,
            f"hostname lookup '{parts['node']}' failed - failed to get address info for: {parts['node']}: "
            "Name or service not known",
        )
