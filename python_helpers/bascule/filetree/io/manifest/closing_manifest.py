"""What a side held at its receipt, read after the window: nobody waits for it, and nothing is received before that.

A side whose recorder vouches that the other one has all there is gives its receipt without looking at its tree again.
What a verification and a return want to know of it is read afterwards, while the tree stands still. Until then no
earlier digest is believed by time stamps alone, and the recorder goes on: it knows what changed before the closing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....system.io import storage
from ...mounts import TreeError
from ..fence import side as fence_side
from ..fence.side import Side
from ..recorder import client
from . import cache

OPERATION = "seal"
_WAIT = 3600.0
# A side that has promised to close for a later epoch has not opened in between.
_CLOSED = (rule.CLOSED, rule.CLOSING)


def owe(side: Side, epoch: str) -> None:
    """Note that the manifest of this closing has still to be taken."""
    fence_side.note(side, unsealed=epoch)


def settle(side: Side) -> None:
    """Note that nothing is owed: the manifest has been taken, or this side opens again and holds something else."""
    fence_side.note(side, unsealed="")


def owed(side: Side) -> str:
    """Return the epoch of a closing whose manifest has still to be taken; empty when there is none."""
    return str(fence_side.facts(side).get("unsealed") or "")


def keep(side: Side, epoch: str) -> None:
    """Keep the manifest just taken as what the side held at its closing."""
    kept = side.manifest.with_name(f"fence-{epoch}.jsonl")
    if not kept.exists():
        os.link(side.manifest, kept)


def seal(side: Side) -> list[str]:
    """Take the manifest of the last closing, unless that was done; the recorder is not needed any more then."""
    if not owed(side):
        return []
    with storage.locked(side.home / "seal.lock", _WAIT):
        epoch = owed(side)
        if not epoch:
            return []
        _check_closed(side, epoch)
        digest, count, _ = cache.take(side)
        if count.moving:
            raise TreeError(
                expected=f"a tree that stands still at {side.path}",
                found=f"{count.moving} files changed while they were read: {', '.join(count.moving_names)}",
                state=f"{side.path} is closed; nothing is received there",
                next_command="run the same playbook again; if it stays so, look at the disk",
            )
        # Whoever opens says so before anybody can write: what was read until here was read of a closed tree.
        _check_closed(side, epoch)
        keep(side, epoch)
        fence_side.note(side, unsealed="", sealed={"epoch": epoch, "manifest": digest})
        done = [f"take the manifest of the closing for {epoch}"]
        # One that goes on does no harm.
        with contextlib.suppress(BasculeError):
            done += client.stop(side.component)
            if side.guard().status not in _CLOSED:
                done += client.start(side)
        return done


def work(side: Side, request: Mapping[str, Any], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Take it as an operation that nobody waits for."""
    return {"done": seal(side)}


def at_receipt(side: Side) -> str:
    """Return the digest of what this side held at its last receipt; empty when it has given none."""
    receipt = side.guard().receipt
    if receipt is None:
        return ""
    if receipt.position.get("manifest"):
        return receipt.position["manifest"]
    seal(side)
    sealed: dict[str, Any] = fence_side.facts(side).get("sealed") or {}
    return str(sealed.get("manifest", "")) if sealed.get("epoch") == str(receipt.epoch) else ""


def _check_closed(side: Side, epoch: str) -> None:
    guard = side.guard()
    if guard.status not in _CLOSED or owed(side) != epoch:
        raise TreeError(
            expected=f"{side.component} at {side.name} to stand as it was closed for {epoch}",
            found=guard.describe(),
            state="what it held then is not known; nothing was received",
            next_command="ansible-playbook playbooks/status.yml",
        )
