"""Who asks, and what they may do: API tokens and tickets, privileges by path."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import secrets
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from .errors import ApiError, Unauthorised
from .guest_store import write_durably
from .paths import Paths

# What a token has on `/` unless the node's privileges file says otherwise.
PRIVILEGES = (
    "Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit", "SDN.Use",
    "Sys.Audit", "Sys.Incoming", "Sys.Modify",
    "VM.Allocate", "VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Cloudinit",
    "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.Console",
    "VM.Migrate", "VM.Monitor", "VM.PowerMgmt",
)  # fmt: skip
# Version 9 has split the privilege for the guest agent.
AGENT_9 = ("VM.GuestAgent.Audit", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted")
HEADER = re.compile(r"PVEAPIToken=([^@!\s]+@[^@!\s]+![^=\s]+)=(\S+)")
TICKET = re.compile(r"PVE:([^@:\s]+@[^@:\s]+):([0-9A-F]{8})::[0-9a-f]{64}")
TICKET_SECONDS = 2 * 3600


def defaults(version: str) -> frozenset[str]:
    if version.startswith("8"):
        return frozenset(PRIVILEGES)
    return frozenset(name for name in PRIVILEGES if name != "VM.Monitor") | frozenset(AGENT_9)


@dataclass(frozen=True)
class Caller:
    """A token, `user@realm!name`, or a user with a ticket, and its privileges by path."""

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

    def need(self, path: str, privileges: str) -> None:
        """One of the privileges parted by `|`, or a refusal that names them."""
        if not any(self.may(path, privilege) for privilege in privileges.split("|")):
            raise ApiError(403, f"Permission check failed ({path}, {privileges})")

    def shown(self) -> dict[str, dict[str, int]]:
        return {path: dict.fromkeys(sorted(names), 1) for path, names in self.privileges.items()}


class Access:
    """Reads the token file at each request: a token can be added or withdrawn while the node runs."""

    def __init__(self, paths: Paths, version: str = "8.4") -> None:
        self._paths = paths
        self._all = defaults(version)
        self._key = secrets.token_bytes(32)

    def _sign(self, text: str) -> str:
        return f"{text}:{hmac.new(self._key, text.encode(), 'sha256').hexdigest()}"

    def login(self, name: str, password: str) -> dict[str, Any]:
        """A ticket for two hours; a ticket that is still good is as good as the password."""
        known = self._secrets(self._paths.users).get(name)
        if not (known and hmac.compare_digest(known.encode(), password.encode())) and self._ticket(password) != name:
            raise ApiError(401, "authentication failure")
        moment = f"{int(time.time()):08X}"
        return {
            "username": name, "ticket": self._sign(f"PVE:{name}:{moment}:"),
            "CSRFPreventionToken": self._sign(f"{moment}:{name}"),
        }  # fmt: skip

    def _ticket(self, ticket: str) -> str | None:
        """Whose ticket it is; None when it is not ours or has run out."""
        match = TICKET.fullmatch(ticket)
        if not match or not hmac.compare_digest(ticket, self._sign(ticket.rpartition(":")[0])):
            return None
        return match[1] if time.time() - int(match[2], 16) < TICKET_SECONDS else None

    def caller_of(self, headers: Mapping[str, str] | Message, method: str) -> Caller:
        """Whoever sends such headers: a token first, else a ticket, which needs a second secret to write."""
        cookie = SimpleCookie(headers.get("Cookie", "")).get("PVEAuthCookie")
        if headers.get("Authorization") or cookie is None:
            return self.caller(headers.get("Authorization"))
        name = self._ticket(urllib.parse.unquote(cookie.value))
        if name is None:
            raise Unauthorised("Authentication failed!")
        given = headers.get("CSRFPreventionToken", "")
        text = given.rpartition(":")[0]
        if method != "GET" and not (text.endswith(f":{name}") and hmac.compare_digest(given, self._sign(text))):
            raise Unauthorised("Permission denied - invalid csrf token")
        return Caller(name, self._privileges(name))

    def caller(self, authorization: str | None) -> Caller:
        if not authorization:
            raise Unauthorised("No ticket")
        match = HEADER.fullmatch(authorization)
        expected = self._secrets(self._paths.tokens, self._paths.root_token).get(match[1]) if match else None
        if not match or not expected or not hmac.compare_digest(expected.encode(), match[2].encode()):
            raise Unauthorised("Authentication failed!")
        return Caller(match[1], self._privileges(match[1]))

    @staticmethod
    def _secrets(*paths: Path) -> dict[str, str]:
        lines: list[str] = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                lines += path.read_text().splitlines()
        return {name: secret for name, _, secret in (line.partition(" ") for line in lines) if secret}

    def forget(self, vmid: int) -> None:
        """Drop whatever is granted on a guest itself, for everybody: Proxmox does so whenever it destroys one."""
        if self._paths.privileges.exists():
            stored: dict[str, dict[str, Any]] = json.loads(self._paths.privileges.read_text())
            kept = {token: {p: n for p, n in of.items() if p != f"/vms/{vmid}"} for token, of in stored.items()}
            if kept != stored:
                write_durably(self._paths.privileges, json.dumps(kept))

    def _privileges(self, token: str) -> dict[str, frozenset[str]]:
        """`{"user@realm!token": {"/": ["VM.Audit", …], "/storage/local": […]}}`"""
        if not self._paths.privileges.exists():
            return {"/": self._all}
        stored: dict[str, Any] = json.loads(self._paths.privileges.read_text())
        return {path: frozenset(names) for path, names in stored.get(token, {"/": self._all}).items()}
