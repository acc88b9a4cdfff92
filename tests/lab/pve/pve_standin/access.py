"""Who asks, and what they may do: API tokens from a file of the node, privileges by path."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, Unauthorised
from .paths import Paths

# What a token has on `/` unless the node's privileges file says otherwise.
PRIVILEGES = (
    "Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit", "SDN.Use", "Sys.Audit", "Sys.Modify",
    "VM.Allocate", "VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Cloudinit",
    "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.Console",
    "VM.Monitor", "VM.PowerMgmt",
)  # fmt: skip
HEADER = re.compile(r"PVEAPIToken=([^@!\s]+@[^@!\s]+![^=\s]+)=(\S+)")


@dataclass(frozen=True)
class Caller:
    """A token, `user@realm!name`, and its privileges by path."""

    name: str
    privileges: dict[str, frozenset[str]]

    def may(self, path: str, privilege: str) -> bool:
        """The nearest path that says anything decides, as an ACL that propagates."""
        while True:
            if path in self.privileges:
                return privilege in self.privileges[path]
            if path in ("", "/"):
                return False
            path = path.rpartition("/")[0] or "/"

    def need(self, path: str, privilege: str) -> None:
        if not self.may(path, privilege):
            raise ApiError(403, f"Permission check failed ({path}, {privilege})")

    def shown(self) -> dict[str, dict[str, int]]:
        return {path: dict.fromkeys(sorted(names), 1) for path, names in self.privileges.items()}


class Access:
    """Reads the token file at each request: a token can be added or withdrawn while the node runs."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def caller(self, authorization: str | None) -> Caller:
        if not authorization:
            raise Unauthorised("No ticket")
        match = HEADER.fullmatch(authorization)
        expected = self._secrets().get(match[1]) if match else None
        if not match or not expected or not hmac.compare_digest(expected.encode(), match[2].encode()):
            raise Unauthorised("Authentication failed!")
        return Caller(match[1], self._privileges(match[1]))

    def _secrets(self) -> dict[str, str]:
        lines: list[str] = []
        for path in (self._paths.tokens, self._paths.root_token):
            with contextlib.suppress(FileNotFoundError):
                lines += path.read_text().splitlines()
        return {name: secret for name, _, secret in (line.partition(" ") for line in lines) if secret}

    def _privileges(self, token: str) -> dict[str, frozenset[str]]:
        """`{"user@realm!token": {"/": ["VM.Audit", …], "/storage/local": […]}}`"""
        if not self._paths.privileges.exists():
            return {"/": frozenset(PRIVILEGES)}
        stored: dict[str, Any] = json.loads(self._paths.privileges.read_text())
        return {path: frozenset(names) for path, names in stored.get(token, {"/": PRIVILEGES}).items()}
