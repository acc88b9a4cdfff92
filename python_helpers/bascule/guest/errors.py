"""What can go wrong between Bascule and a Proxmox node, as types; the text is always Proxmox's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Optional

from ..errors import BasculeError

UNREACHABLE = (595, 596, 597, 598, 599)
# The config of a virtual machine, or of a container.
_OF_A_GUEST = re.compile(r"qemu-server|/lxc/\d+\.conf")


class ProxmoxError(BasculeError):
    """Anything a Proxmox node refused, failed or did not answer."""


class ApiRefused(ProxmoxError):
    """The API answered a request with an error status."""

    def __init__(
        self,
        request: str,
        status: int,
        reason: str,
        errors: Optional[Mapping[str, str]] = None,
        state: str = "",
        next_command: str = "",
    ) -> None:
        self.request = request
        self.status = status
        self.reason = reason
        self.errors = dict(errors or {})
        words = "; ".join(f"{name}: {text}" for name, text in sorted(self.errors.items()))
        super().__init__(
            expected=f"{request} to be accepted",
            found=f"{status} {reason}{f' ({words})' if words else ''}",
            state=state or "nothing was changed by this request",
            next_command=next_command,
        )


class NotAuthenticated(ApiRefused):
    """401: the token is wrong, unknown or expired."""


class NotPermitted(ApiRefused):
    """403: the token lacks a privilege, which the reason names."""


class BadRequest(ApiRefused):
    """400: a parameter this server does not take."""


class TaskGone(BadRequest):
    """There is no task of this name any more: its log has been rotated away, or the node is another one."""


class ConfigChanged(ApiRefused):
    """The config is not the one that was read: somebody else changed it in between."""


class GuestLocked(ApiRefused):
    """The guest carries a lock (a backup, a migration, a snapshot …)."""


class LockTimeout(ApiRefused):
    """Proxmox gave up waiting for its own lock file; the request was not carried out."""


class NoSuchGuest(ApiRefused):
    """There is no guest with this number at this node."""


class GuestExists(ApiRefused):
    """The number is taken."""


class AgentSilent(ApiRefused):
    """The guest agent does not answer."""


class NodeUnreachable(ProxmoxError):
    """No answer, or an answer of a proxy that could not reach the node."""


class TaskFailed(ProxmoxError):
    """A task ended badly; `words` are the log's own."""

    def __init__(self, upid: str, exitstatus: str, words: str, next_command: str = "", log: Sequence[str] = ()) -> None:
        self.upid = upid
        self.log = tuple(log)
        self.exitstatus = exitstatus
        self.words = words
        found = exitstatus if not words or words == exitstatus else f"{exitstatus}: {words}"
        super().__init__(
            expected=f"the task {upid} to end with OK",
            found=found,
            state="the task has ended; what it left behind is read again by the next run",
            next_command=next_command or "mend what the task's log names, then run the same command again",
        )


class TaskLate(ProxmoxError):
    """A task is still running when the time allowed for it is over; it goes on at the node."""


def refusal(request: str, status: int, reason: str, errors: Optional[Mapping[str, str]] = None) -> ProxmoxError:
    """Return the typed error for a refused request. Status first; text only where Proxmox has one status for all."""
    if status in UNREACHABLE:
        return NodeUnreachable(
            expected=f"{request} to reach the node",
            found=f"{status} {reason}",
            state="unknown: no answer proves nothing",
            next_command="look at the node (systemctl status pveproxy) and run the same command again",
        )
    if status == 401:
        return NotAuthenticated(
            request, status, reason or "not authenticated", errors, next_command="check the token's id and secret"
        )
    if status == 403:
        return NotPermitted(
            request, status, reason, errors, next_command="grant the token the privilege named, then run again"
        )
    if status == 400 and (errors or {}).get("upid", "").strip() == "no such task":
        return TaskGone(request, status, reason, errors, next_command="run the same command again: it reads the truth")
    if status in (400, 501):
        return BadRequest(request, status, reason, errors)
    lowered = reason.lower()
    kinds = (
        ("detected modified configuration", ConfigChanged, "run the same command again: it reads the config first"),
        ("got timeout", LockTimeout, "run the same command again"),
        ("is locked (", GuestLocked, "wait for the job that holds the lock, then run again"),
        ("already exists", GuestExists, "choose a free number, or look at the guest that has it"),
        ("does not exist", NoSuchGuest, ""),
        ("guest agent is not running", AgentSilent, "look at the agent inside the guest"),
        ("qga socket", AgentSilent, "look at the agent inside the guest"),
    )
    for text, kind, following in kinds:
        if text in lowered and (kind is not NoSuchGuest or _OF_A_GUEST.search(lowered)):
            return kind(request, status, reason, errors, next_command=following)
    return ApiRefused(request, status, reason, errors)
