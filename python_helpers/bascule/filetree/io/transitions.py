"""Freeze, thaw, close and open one side of a file tree, on its own host, under its guard."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ...errors import BasculeError
from ...guard import state as rule
from ...guard.io import store
from ...guard.state import GuardState, Receipt, Word
from ...system.io import units
from .. import decisions
from ..mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, TreeError
from .fence import outside as from_outside
from .fence import side as fence_side
from .fence import way_past
from .fence.side import BASE, Side
from .manifest import cache, closing_manifest, flush
from .recorder import client
from .transfer import by_name, hard_links, job, receivers

_MARGIN_NS = 50_000_000


def freeze(component: str, side_name: str, value: bool, *, check: bool = False) -> tuple[list[str], GuardState]:
    """Freeze or thaw the tree; return what was, or would be, done.

    A side that is not open has no client to freeze. Thawing it is refused; only in check mode, where the switch before
    it has not happened, it is let pass.
    """
    side = _side(component, side_name)
    guard = side.guard()
    if guard.status != rule.OPEN and (value or check):
        return [], guard
    if value:
        view = fence_side.look(side)
        fence_side.check_nested(side, view)
        fence_side.check_alone(side, view)
        way_past.check(side)
    wanted = FROZEN if value else ACTIVE
    guard, marked = store.frozen(component, side.name, value, root=side.base / "guard", check=True)
    if check:
        done = fence_side.plan(side, wanted)
        return done + (_mark(value) if marked else []), guard
    if not value:
        # The mark goes last: a tree that is marked as frozen but writable is frozen again by whoever looks.
        done = fence_side.apply(side, wanted)
        guard, marked = store.frozen(component, side.name, False, root=side.base / "guard")
        return done + (_mark(False) if marked else []), guard
    guard, marked = store.frozen(component, side.name, True, root=side.base / "guard")
    try:
        done = fence_side.apply(side, wanted)
    except (BasculeError, OSError):
        if marked and side.part:
            fence_side.undo_freeze(side)
        if marked and fence_side.look(side).state == ACTIVE:
            store.frozen(component, side.name, False, root=side.base / "guard")
        raise
    return done + (_mark(True) if marked else []), guard


def make_ready(component: str, side_name: str, *, check: bool = False) -> tuple[list[str], str]:
    """Let root's private path receive; return what was done and where a transfer keeps what it replaces."""
    side = _side(component, side_name)
    if check:
        return fence_side.plan(side, PASSIVE), fence_side.backup_dir(side)
    closing_manifest.seal(side)
    return fence_side.apply(side, PASSIVE), fence_side.backup_dir(side)


def close(
    component: str, side_name: str, epoch: str, *, other: Optional[GuardState] = None, check: bool = False
) -> dict[str, Any]:
    """Close for an epoch: fence, prove, give the receipt.

    A side that is back after `other` has given it up closes for good: its permit cannot be taken back.

    Where the recorder vouches that the other side has all there is, the receipt names the state both have agreed on,
    and the tree is read when nobody waits for it any more; else its manifest is taken first.
    """
    side = _side(component, side_name)
    if check:
        done = fence_side.plan(side, CLOSED)
        return {"changed": True, "done": [*done, "give the receipt"], "receipt": None}
    if side.guard().status in (rule.OPEN, rule.OPENING):
        # What clients wrote there would be on neither side. One that is closed holds what its receipt says.
        view = fence_side.look(side)
        fence_side.check_nested(side, view)
        fence_side.check_alone(side, view)
        # A side that nobody may serve from any more is closed as far as it can be; without proof it gives no receipt.
        if not side.guard().frozen and other is None:
            way_past.check(side)
    root = side.base / "guard"
    closing = (
        store.giving_way(component, side.name, other, epoch, root=root)
        if other is not None
        else store.closing(component, side.name, epoch, root=root)
    )
    with closing as guard:
        done = []
        for operation in ("push", "verify", "repair", "links", closing_manifest.OPERATION):
            unit = f"bascule-{component}-{operation}"
            if units.stop(unit):
                done.append(f"stop {unit}: it belonged to an earlier epoch")
        with fence_side.no_receiver(side):
            done += fence_side.apply(side, CLOSED)
            if guard.receipt is not None:
                left = bool(fence_side.facts(side).get("left", True))
                return {"changed": bool(done), "done": done, "receipt": guard.receipt.to_dict(), "left": left}
            # The last thing that is asked of this side's recorder: nothing writes here from now on.
            point = client.mark(component) if side.recorder else None
            opened = rule.last_open(guard.state)
            position = {"opened": str(opened) if opened else "", "recorder": point.to_text() if point else ""}
            agreed, found = by_name.vouched(side, point), _Looked()
            if agreed:
                closing_manifest.owe(side, epoch)
                position["agreed"] = agreed
            else:
                found = _look(side)
                closing_manifest.keep(side, epoch)
                closing_manifest.settle(side)
                position["manifest"] = found.digest
                done += _stop_recording(component)
            left = not by_name.carried(side, point)
            fence_side.note(side, left=left)
            receipt = guard.closed(position)
            fence_side.note(side, received="", agreed=_agreed(epoch), touched=False, reference={})
            hard_links.forget(side)
    if agreed:
        # Whoever wants to know it and finds it not done does it himself.
        with contextlib.suppress(BasculeError):
            job.begin(side, closing_manifest.OPERATION)
    return {
        "changed": True,
        "done": [*done, "give the receipt"],
        "receipt": receipt.to_dict(),
        "left": left,
        "read_files": found.read_files,
        "files": found.files,
        "read_all_because": found.doubt,
    }


@dataclass(frozen=True)
class _Looked:
    """What a look at a tree that was just closed has found; nothing where none was needed."""

    digest: str = ""
    files: int = 0
    read_files: int = 0
    doubt: str = ""


def _look(side: Side) -> _Looked:
    digest, count, doubt = cache.take(side)
    if count.moving:
        raise TreeError(
            expected=f"a tree that stands still at {side.path}",
            found=f"{count.moving} files changed while they were read: {', '.join(count.moving_names)}",
            state=f"{side.path} is closed, but no receipt was given: nothing can open",
            next_command="run the same playbook again; if it stays so, look at the disk",
        )
    return _Looked(digest, count.files, count.read_files, doubt)


def open_(
    component: str,
    side_name: str,
    epoch: str,
    receipt: Optional[Mapping[str, Any]],
    services: Sequence[str] = (),
    *,
    word: Optional[Word] = None,
    outside: tuple[Sequence[str], str] = ((), ""),
    check: bool = False,
) -> dict[str, Any]:
    """Open for an epoch with the other side's receipt: compare, make writable, prove.

    Where the other side is lost, a person's word takes the place of its receipt, and nothing can be compared.
    `outside`: a command that writes through the other side's service, and that side's address; it must not be let in.
    """
    side = _side(component, side_name)
    if check:
        done = fence_side.plan(side, ACTIVE)
        return {"changed": True, "done": done, "guard": side.guard().to_dict(), "still_read_only": []}
    other = Receipt.from_dict(receipt or {}) if word is None else None
    fence_side.apply_private(side)
    if other is not None and outside[0]:
        from_outside.before_opening(side, *outside, epoch, other)
    # Compared and found equal, or ahead by itself: then the other side is behind, and not the same.
    position = dict(other.position) if other else {}
    known = position.get("manifest") or position.get("agreed")
    same = bool(known) and not decisions.reached(side.guard(), position)
    with fence_side.no_receiver(side):
        fence_side.check_source(side, side.path)
        with _opening(side, epoch, other, word) as guard:
            if not guard.was_open:
                fence_side.note(side, opened_ns=time.time_ns() - _MARGIN_NS, agreed="", reference={})
                # Whatever they left is part of a tree that was compared with the other side's, or leads.
                receivers.forget(side, receivers.standing(side))
            done = _record(side, epoch, same and not guard.was_open)
            closing_manifest.settle(side)
            done += fence_side.apply(side, ACTIVE)
            guard.opened()
    done += _restart(side, services)
    if side.recorder:
        # Without it a changed file with several names leads to a look at the whole tree, no more.
        with contextlib.suppress(BasculeError):
            job.begin(side, "links")
    return {
        "changed": bool(done) or not guard.was_open,
        "done": done,
        "guard": side.guard().to_dict(),
        "still_read_only": fence_side.still_read_only(side),
    }


def _opening(
    side: Side, epoch: str, receipt: Optional[Receipt], word: Optional[Word]
) -> contextlib.AbstractContextManager[store.Opening]:
    root = side.base / "guard"
    if receipt is None and word is not None:
        return store.opening_by_word(side.component, side.name, word, root=root)
    return store.opening(
        side.component,
        side.name,
        epoch,
        receipt,
        reached=lambda: _reached(side, receipt) if receipt else "no receipt",
        root=root,
    )


def _record(side: Side, epoch: str, same: bool) -> list[str]:
    """Have the recorder run before anybody can write here: both sides are the same at this moment, for the way back.

    An opening does not wait for a recorder that fails: without it the next transfer looks at the whole tree.
    """
    try:
        done = client.start(side)
        point = client.mark(side.component) if side.recorder and same else None
    except BasculeError as error:
        return [f"go on without the recorder: {error.found}"]
    if point:
        by_name.refer(side, point, _agreed(epoch))
        # What was read here since only transfers wrote still holds, but for what looks otherwise by now.
        if not closing_manifest.owed(side):
            cache.trust(side)
    return done


def _stop_recording(component: str) -> list[str]:
    """Stop the recorder of a side that is closed; one that goes on does no harm, and no receipt waits for it."""
    try:
        return client.stop(component)
    except BasculeError as error:
        return [f"leave the recorder running: {error.found}"]


def _agreed(epoch: str) -> str:
    """Name the state at a closing, which both sides share once the other has reached it."""
    return f"closed for {epoch}"


def _reached(side: Side, receipt: Receipt) -> Union[bool, str]:
    """Compare this tree with the receipt, unless this side holds the latest data by itself."""
    if decisions.reached(side.guard(), dict(receipt.position)):
        return True
    if by_name.stands_at(side, receipt.position.get("agreed", "")):
        return True
    wanted = receipt.position.get("manifest", "")
    if not wanted:
        return "it is not in the state that both sides agreed on last; carry the changes over (sync) first"
    # First: what is read then is on the disk, also when this host loses its power at the next moment.
    flush.settle(side)
    digest, _, _ = cache.take(side)
    if digest == wanted:
        return True
    return (
        f"its tree has the manifest {digest[:16]}, the closed side {wanted[:16]}; carry the changes over (sync) first"
    )


def _restart(side: Side, services: Sequence[str]) -> list[str]:
    wanted = {name if "." in name else f"{name}.service" for name in services}
    units_seen = {str(one["unit"]) for one in fence_side.still_read_only(side)}
    done = []
    for unit in sorted(wanted & units_seen):
        units.restart(unit)
        done.append(f"restart {unit}, whose own mount namespace showed the tree read-only")
    return done


def _mark(value: bool) -> list[str]:
    return ["mark the guard as frozen" if value else "mark the guard as thawed"]


def _side(component: str, name: str) -> Side:
    side = fence_side.load(component, BASE)
    if side.name != name:
        raise TreeError(
            expected=f"the side {name} of {component} on this host",
            found=f"its side {side.name}",
            state="nothing was changed",
            next_command="compare the inventory with the host; a side is never renamed during a migration",
        )
    if side.guard().status == rule.UNKNOWN:
        raise TreeError(
            expected=f"{component} at {name} to have been taken over",
            found="no guard",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    return side
