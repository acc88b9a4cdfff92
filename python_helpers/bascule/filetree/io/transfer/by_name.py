"""Carry a tree over by the names that have changed, and prove of each that both sides hold the same.

Both sides have shared a state once, which has a name that both keep (`agreed`), and this side knows the point of its
recorder from then. What is the same on all names that may have changed since is the same on all.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Optional

from ....errors import BasculeError
from ....system.io import storage
from ... import delta
from ...changes import ROOT, Changes, Mark, parents
from ...delta import Delta, ScanNeeded
from ...manifest import printable
from ...transfer import NAMES, Push, TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..recorder import client
from . import entries, hard_links, owners, peer, receivers, recheck
from .peer import Talk

READER = "push"
EXTRA = 5000
_NAMED = 10
# Runs rsync as asked, goes on after the link has failed, judges the outcome; returns its figures.
Carry = Callable[[Push], dict[str, Any]]


@dataclass(frozen=True)
class Reference:
    """The state both sides have shared, its point in the recorder's generation, and names that were not the same."""

    mark: Mark
    agreed: str
    extra: tuple[bytes, ...] = ()


def reference(side: Side) -> Optional[Reference]:
    """Return what both sides have shared last, as far as this side knows."""
    known = fence_side.facts(side).get("reference")
    mark = Mark.from_any(known)
    if mark is None or not isinstance(known, dict) or not known.get("agreed"):
        return None
    return Reference(mark, str(known["agreed"]), tuple(bytes.fromhex(name) for name in known.get("extra", [])))


def carried(side: Side, now: Optional[Mark]) -> bool:
    """Tell whether the other side has all there is: nothing has happened since both were found the same."""
    shared = reference(side)
    same = now is not None and shared is not None and shared.mark == now and not shared.extra
    return same and recheck.standing(side) is None


def vouched(side: Side, now: Optional[Mark]) -> str:
    """Return the name of the state both sides share, when this one still holds it; empty when that is not known."""
    shared = reference(side)
    return shared.agreed if shared is not None and carried(side, now) else ""


def stands_at(side: Side, agreed: str) -> bool:
    """Tell whether this passive side holds a state that both agreed on: nothing was received since."""
    known = fence_side.facts(side)
    return bool(agreed) and known.get("agreed") == agreed and known.get("touched") is False


def refer(side: Side, mark: Mark, agreed: str, extra: Iterable[bytes] = ()) -> None:
    """Keep what both sides share now; what the recorder has told before may be forgotten."""
    names = [name.hex() for name in extra]
    fence_side.note(side, reference={**vars(mark), "agreed": agreed, "extra": names})
    client.remember(side, READER, mark)


def settle(side: Side, talk: Talk, mark: Optional[Mark], extra: Iterable[bytes]) -> bool:
    """Agree with the other side on a new shared state, unless too much was not the same; return whether they did."""
    names = list(extra)
    if mark is None or len(names) > EXTRA:
        fence_side.note(side, reference={})
        return False
    agreed = secrets.token_hex(8)
    # First there: a name that only the other side knows is no agreement, and only leads to a scan.
    talk.agree(agreed)
    refer(side, mark, agreed, names)
    return True


def carry(side: Side, asked: Push, talk: Talk, known: Changes, now: Mark, final: bool, run: Carry) -> dict[str, Any]:
    """Carry what has changed since both sides shared a state; ScanNeeded when that cannot be told."""
    shared = reference(side)
    agreed = talk.agreed()
    if shared is None or agreed != shared.agreed:
        raise ScanNeeded(expected=f"the other side to stand at {shared.agreed if shared else '?'}", found=agreed)
    doubt = recheck.standing(side)
    if doubt is not None:
        if doubt.names is None:
            raise ScanNeeded(expected=f"at most {EXTRA} differences", found="a verification has found more")
        shared = replace(shared, extra=(*shared.extra, *doubt.names))
    found = _plan(side, talk, known, shared, final)
    names = found.names
    # First: a second look, at what differs all the same, has to know the names that this one has found.
    hard_links.add_links(side, found.inodes)
    if asked.owners == NAMES:
        base = os.path.realpath(os.fsencode(side.tree))
        owners.check(side, owners.of_paths(base, found.present), talk)
    result: dict[str, Any] = {"names": len(names), "proof_rounds": 0}
    result.update(_transfer(side, asked, talk, found, run))
    different = _compare(side, asked, talk, names)
    different += _left_over(side, asked, talk, names)
    moved: Changes = _moved(side, now, final)
    different = [name for name in different if not moved.touches(name)]
    if different:
        # Same size and same time, and still not the same: written again, whatever rsync thinks of it. By its contents
        # alone it would leave a file its name in another one's that it has no longer.
        again = _plan(side, talk, replace(known, changed=frozenset(different), deleted=frozenset()), None, final)
        more = _transfer(side, replace(asked, rewrite=True), talk, again, run)
        result["changed_entries"] = result.get("changed_entries", 0) + more.get("changed_entries", 0)
        result["proof_rounds"] = 1
        different = [name for name in _compare(side, asked, talk, again.names) if not moved.touches(name)]
    if final and different:
        raise TransferError(
            expected="both trees to be equal after the last changes were carried over",
            found=f"{len(different)} names differ: {', '.join(printable(name) for name in different[:_NAMED])}",
            state="the passive side is not equal yet; nothing was switched",
            next_command="run the same playbook again with -e rsync_delta_sync_checksum=true",
        )
    if not final and hard_links.links_grown(side):
        hard_links.index_links(side)
    settle(side, talk, now, different)
    recheck.end(side, doubt)
    result.update(equal=not different and not moved.names, moving=len(moved.names), different=len(different))
    return result


def _plan(side: Side, talk: Talk, known: Changes, shared: Optional[Reference], final: bool) -> Delta:
    if known.inodes and not hard_links.links_known(side, known.generation):
        raise ScanNeeded(expected="the inode of every name to be written down", found="that was not done yet")
    tree = entries.Tree(side.tree)
    more = list(shared.extra) if shared else []
    if not final:
        more += entries.open_for_writing(side)
    found = delta.plan(known, more, tree.look, tree.below, lambda inodes: hard_links.links_of(side, inodes))
    if found.swept:
        delta.add_unwanted(found, talk.names_below(sorted(found.swept)))
    if found.listed:
        delta.add_gone(found, talk.names_in(sorted(found.listed)), tree.look)
    return found


def _transfer(side: Side, asked: Push, talk: Talk, found: Delta, run: Carry) -> dict[str, Any]:
    path = side.home / "jobs" / "push.names"
    storage.write_durably(path, delta.list_for_rsync(found.kept))
    missing = sorted(found.missing)
    standing = peer.check_cap(talk, asked, missing)
    gone = talk.remove(missing, asked.backup_dir) if missing else 0
    # Also with nothing in it: an rsync that is connected ahead of time marks the other side as touched when it begins
    # there, which may be late. After both have agreed on a state, that would take the agreement back.
    result = run(replace(asked, names=str(path)))
    if ROOT in found.present:
        talk.give_root(entries.attributes(side.tree, asked.owners))
    return {**result, "names_missing": standing, "changed_entries": result.get("changed_entries", 0) + gone}


def _compare(side: Side, asked: Push, talk: Talk, names: list[bytes]) -> list[bytes]:
    if not names and not talk.unclean:
        return []
    talk.prove(names)
    own = entries.Tree(side.tree, asked.owners).fingerprints(names)
    return delta.unequal(names, own, talk.proofs())


def _left_over(side: Side, asked: Push, talk: Talk, names: list[bytes]) -> list[bytes]:
    """Return what the other side alone has where a transfer was at work that has not ended well.

    A part of a file lies beside it, and what such a transfer was to carry is to be carried again.
    """
    if not talk.ended:
        return []
    if receivers.had_the_whole_tree(talk.ended):
        raise ScanNeeded(
            expected="no transfer of the whole tree that has not ended well", found="one that was ended now"
        )
    there = talk.names_in(sorted({above for name in names for above in parents(name)}))
    known, here = set(names), entries.Tree(side.tree)
    found = [name for name in there if name not in known and here.look(name) is None]
    count = talk.standing(sorted(found))[0] if found else 0
    if count > asked.max_delete:
        raise ScanNeeded(expected=f"at most {asked.max_delete} parts of files", found=str(count))
    return found


def _moved(side: Side, now: Mark, final: bool) -> Changes:
    """Return what has changed since the names were read; nothing may have, in the final delta."""
    later, _ = client.since(side.component, now)
    if not later.complete:
        raise ScanNeeded(expected="the recorder to go on recording during the transfer", found=later.why)
    if final and later.names:
        raise TransferError(
            expected="a tree that stands still",
            found=f"{len(later.names)} names changed during the transfer: "
            + ", ".join(printable(name) for name in sorted(later.names)[:_NAMED]),
            state="the passive side may be partly updated; nothing was switched",
            next_command="find out who writes there, freeze again, then run the same playbook again",
        )
    return later


def scanned(
    side: Side, talk: Talk, mark: Optional[Mark], equal: bool, different: Callable[[], Optional[list[bytes]]]
) -> bool:
    """After a scan: both sides share a state, but for names that differ and have not changed since it began."""
    if mark is None:
        return settle(side, talk, None, [])
    later, _ = client.since(side.component, mark)
    if not later.complete:
        return settle(side, talk, None, [])
    if equal:
        return settle(side, talk, mark, [])
    try:
        names = different()
    except BasculeError:
        names = None
    if names is None:
        return settle(side, talk, None, [])
    return settle(side, talk, mark, [name for name in names if not later.touches(name)])
