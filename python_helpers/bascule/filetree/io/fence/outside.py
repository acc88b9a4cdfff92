"""Write to the other side's tree as a client does: through its service, from this machine, with a declared command.

A fence that only its own host has tried says nothing of a service that still sees the tree writable. The command is the
operator's (of a Samba or NFS client, of the application): exit status 0 means that the write was let in. Whoever was
never let in while a side was open proves nothing by being refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....errors import CommandFailed
from ....guard import state as rule
from ....guard.state import Epoch, Receipt
from ....system.io.process import run
from ....system.moments import now
from ...mounts import TreeError
from . import side as fence_side
from .side import Side

# What the side that tries has noted: that it was let in at the other one, and what that was worth at an opening.
LET_IN, AT_OPENING = "let_in_outside", "outside_at_opening"
ADDRESS = "{address}"
LONGEST_SECONDS = 30.0
REFUSED, OFF, NOT_PROVED, ADMITTED = "refused", "off", "not_proved", "admitted"
_UNDECLARED = "rsync_delta_sync_write_from_outside names no command: only the closed side's own host has tried"
_UNOPENED = "that side had not been open since this one was"


def look(side: Side, argv: Sequence[str], address: str) -> str:
    """Write at `address`, the other side, while it is open; note that it was let in, and return the moment.

    A command that does not come in at an open side is refused: it would call every side fenced.
    """
    let_in, said = _try(argv, address)
    if not let_in:
        raise TreeError(
            expected=f"the command of rsync_delta_sync_write_from_outside to be let in at {address}, which is open",
            found=said,
            state="nothing was changed",
            next_command=f"try the command by hand at {side.name} and mend it, then run the same playbook again",
        )
    at = now()
    fence_side.note(side, **{LET_IN: {"since": _since(side), "at": at}})
    return at


def before_opening(side: Side, argv: Sequence[str], address: str, epoch: str, receipt: Receipt) -> None:
    """Refuse to open while the other side, which has given its receipt, lets a write in; else note what that proves."""
    let_in, _ = _try(argv, address)
    if let_in:
        raise TreeError(
            expected=f"no write to be let in at {address}: {receipt.side} has closed",
            found="the command of rsync_delta_sync_write_from_outside was let in",
            state=f"{side.name} was not opened, {receipt.side} has given its receipt: no side is open",
            next_command=f"stop what still writes at {receipt.side}, then run the same playbook again to go on, or "
            "playbooks/rollback.yml to go back",
        )
    noted = fence_side.facts(side).get(LET_IN) or {}
    at = f"let in at {noted['at']}" if noted and noted["since"] == _since(side) else ""
    if not _was_open(side, receipt):
        at = _UNOPENED
    fence_side.note(side, **{AT_OPENING: {"epoch": epoch, "why": at}})


def proof(side: Side, argv: Sequence[str], address: str) -> Mapping[str, Any]:
    """Try again at the closed side, from the open one; return a word and its reason."""
    if not argv:
        return _said(OFF, _UNDECLARED)
    guard = side.guard()
    if guard.status != rule.OPEN:
        return _said(NOT_PROVED, f"{side.name} is {guard.status}: there is no open side to try from")
    let_in, said = _try(argv, address)
    if let_in:
        return _said(ADMITTED, f"the declared command was let in at {address}, which has closed")
    noted = fence_side.facts(side).get(AT_OPENING) or {}
    why = str(noted.get("why", "")) if noted.get("epoch") == str(guard.opened) else ""
    if not why:
        return _said(NOT_PROVED, f"{said}; but nobody saw it let in before the switch")
    return _said(REFUSED, f"{said}; {why}")


def _try(argv: Sequence[str], address: str) -> tuple[bool, str]:
    """Run the command; return whether it was let in, and what it said."""
    try:
        done = run([word.replace(ADDRESS, address) for word in argv], timeout=LONGEST_SECONDS, check=False)
    except CommandFailed as error:
        return False, str(error.found)
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    return done.rc == 0, f"exit status {done.rc}{f': {last[0][:200]}' if last else ''}"


def _since(side: Side) -> str:
    """Return the epoch of this side's own last receipt: what was seen before it is about another time."""
    receipt = side.guard().receipt
    return str(receipt.epoch) if receipt else ""


def _was_open(side: Side, receipt: Receipt) -> bool:
    """Whether the other side was open after this one last closed, as its receipt says."""
    if "opened" not in receipt.position:
        return True
    opened, own = str(receipt.position["opened"]), side.guard().receipt
    return bool(opened) and (own is None or Epoch.parse(opened) >= own.epoch)


def _said(word: str, reason: str) -> dict[str, str]:
    return {"word": word, "reason": reason}
