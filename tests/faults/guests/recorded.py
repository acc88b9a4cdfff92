"""Every failure that was recorded from Proxmox's own API, and how a verb of the role is made to meet it.

The names are those of the recordings (`captures/errors.txt` beside Proxmox's schemas: no part of the project).
`text` is what Proxmox said, with the guest's number and the node's name left open; a verb has to say the same words.
Where the stand-in cannot be brought to say it by itself (the role never sends a ticket, or a boolean that is none), its
answer is ordered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SOURCE, TARGET = "source", "target"
Order = Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """One recorded failure."""

    name: str
    verb: str
    text: str
    # The status of the answer; 200 where a task fails later.
    status: int = 200
    # The number that the recorded guest had.
    number: int = 200
    side: str = SOURCE
    orders: Sequence[Order] = ()
    withdrawn: str = ""
    # Variables of the component that differ.
    variables: Mapping[str, Any] | None = None
    backup_storage: str = ""
    move: str = "delta"
    # An archive is made, and carried over, before it fails.
    archived: bool = False
    # The guest at the target is lost on the way.
    breaks: bool = False
    # The role does not run into it.
    avoided: bool = False

    def said(self, number: int, node: str) -> str:
        """The words about another guest."""
        return self.text.format(vmid=number, node=node)


def refused(
    name: str, verb: str, status: int, text: str, *, method: str = "GET", path: str = "/api2", count: int | None = 1,
    side: str = SOURCE, errors: str = "", empty: bool = False, reason: str = "", **more: Any,
) -> Failure:  # fmt: skip
    """A request that is refused as it was recorded; `errors` is the parameter that the text is about."""
    order: dict[str, Any] = {"fault": "refused", "method": method, "path": path, "status": status, "count": count}
    order["text"] = reason or text
    if errors:
        order["errors"] = {errors: text}
    if empty:
        order["empty"] = True
    return Failure(name, verb, text, status, side=side, orders=(order,), **more)


def task(name: str, verb: str, kind: str, text: str, side: str = SOURCE, at: str = "", **more: Any) -> Failure:
    """A request that is accepted, and whose task fails."""
    order = {"fault": "task_fails", "type": kind, "text": more.pop("ordered", text), **({"at": at} if at else {})}
    return Failure(name, verb, text, side=side, orders=(order,), **more)


CSRF = "Permission denied - invalid csrf token"
NO_BACKUPS = "value 'backup' does not have a value in the enumeration 'iso, vztmpl, import'"
INVALID = "Parameter verification failed."
TIMEOUT = "can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout"
LOCKED = "VM is locked (backup)"
# A copy of a guest that is moved warm is made anew while the guest serves: sync goes through backup and restore.
WARM = "warm"

# Before prepare: no guest at the target.
FRESH = (
    refused("noauth", "audit", 401, "No ticket", empty=True),
    refused("badpw", "audit", 401, "authentication failure"),
    refused("badticket", "audit", 401, "Authentication failed!", empty=True),
    Failure("badtoken", "audit", "Authentication failed!", 401, variables={"secret": "wrong"}),
    Failure("nosuchtoken", "audit", "Authentication failed!", 401, variables={"token_id": "bascule@pve!nosuch"}),
    refused("malformedtoken", "audit", 401, "Authentication failed!", empty=True),
    refused("501", "audit", 501, "Method 'GET /nodes/{node}/foo' not implemented", path="/network", side=TARGET),
    Failure("badstorage", "audit", "storage 'nope' does not exist", 500, backup_storage="nope"),
    Failure(
        "node unreachable", "audit", "Network is unreachable", 595, side=TARGET,
        orders=({"fault": "api_down", "status": 595, "count": None},),
    ),
    Failure(
        "cur locked", "audit", "locked (backup)",
        orders=({"fault": "lock_held", "lock": "backup", "seconds": 3600},),
    ),
    # An archive never goes through the API: nothing asks for what would be refused, and prepare succeeds.
    refused(
        "upload backup", "prepare", 400, NO_BACKUPS,
        method="POST", path="/upload", count=None, errors="content", reason=INVALID, avoided=True, archived=True,
    ),
)  # fmt: skip

BROKEN_RESTORE = Failure(
    "broken restore", "sync", "No space left on device", move=WARM, side=TARGET, archived=True, breaks=True,
    orders=({"fault": "storage_full", "at": "restore"},),
)  # fmt: skip

# After prepare: the guest serves at the source, and its passive copy stands at the target.
PREPARED = (
    refused("nocsrf", "freeze", 401, CSRF, method="PUT", path="/config", empty=True),
    refused("badcsrf", "freeze", 401, CSRF, method="PUT", path="/config", empty=True),
    refused(
        "bool", "freeze", 400, "type check ('boolean') failed - got 'true'", method="PUT", path="/config",
        errors="onboot", reason=INVALID,
    ),
    refused(
        "bool yes", "freeze", 400, "type check ('boolean') failed - got 'banana'", method="PUT", path="/config",
        errors="onboot", reason=INVALID,
    ),
    refused(
        "json body null", "freeze", 500, "unable to parse value of 'onboot' - got undefined value", method="PUT",
        path="/config",
    ),
    refused("put locked", "freeze", 500, LOCKED, method="PUT", path="/config", count=5),
    refused("put lock timeout", "freeze", 500, TIMEOUT, method="PUT", path="/config", count=5),
    Failure(
        "403 vzdump", "sync", "Permission check failed (/storage/local, Datastore.AllocateSpace)", 403,
        withdrawn="Datastore.AllocateSpace", move=WARM,
    ),
    Failure(
        "403 start", "check", "Permission check failed (/vms/{vmid}, VM.PowerMgmt)", 403, number=100, side=TARGET,
        withdrawn="VM.PowerMgmt",
    ),
    refused(
        "501b", "sync", 501, "Method 'POST /version' not implemented", method="POST", path="/vzdump", move=WARM
    ),
    refused(
        "badupid", "check", 400, "unable to parse worker upid", path=":qmstart:", side=TARGET, errors="upid",
        reason=INVALID,
    ),
    refused("goneupid", "check", 400, "no such task", path=":qmstart:", side=TARGET, errors="upid", reason=INVALID),
    task("start locked", "check", "qmstart", LOCKED, TARGET),
    task("start lock timeout", "check", "qmstart", TIMEOUT, TARGET),
    task(
        "vzdump nonexist", "sync", "vzdump", "Backup of VM {vmid} failed - unable to find VM '{vmid}'",
        ordered="unable to find VM '{vmid}'", number=999, move=WARM,
    ),
    # The archive of this guest is finished and whole, and the job has failed all the same: it is not used.
    task("vzdump multi", "sync", "vzdump", "job errors", at="end", move=WARM),
    # The role asks for the storage's content first; where that goes well, the task may find it gone.
    task(
        "vzdump badstorage", "sync", "vzdump", "could not activate storage 'nope': storage 'nope' does not exist",
        move=WARM,
    ),
    task(
        "vzdump locked", "sync", "vzdump", "Backup of VM {vmid} failed - VM is locked (backup)", ordered=LOCKED,
        move=WARM,
    ),
    refused(
        "restore exists", "sync", 500, "unable to restore VM {vmid} - VM {vmid} already exists on node '{node}'",
        method="POST", path="/qemu", side=TARGET, move=WARM, archived=True,
    ),
    # The first of these two is none of the recorded: what a broken restore leaves behind is what the next meets.
    BROKEN_RESTORE,
    # The archive that was never restored goes before another one comes.
    Failure(
        "delete locked", "prepare", LOCKED, side=TARGET, archived=True,
        orders=({"fault": "lock_held", "lock": "backup", "seconds": 3600},),
    ),
)  # fmt: skip

# Recorded as well, and no failures.
ACCEPTED = ("op resources", "json body", "delete nonex vol")
