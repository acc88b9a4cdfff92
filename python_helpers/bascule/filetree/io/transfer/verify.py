"""Read everything at both sides again and compare; put right what differs at the passive side, when somebody asks.

A verification has a name of its own, which both sides keep: one that was interrupted is gone on with, and what a side
has read under that name is not read again unless it has changed since. A repair writes to the passive side only, keeps
what it replaces, and proves nothing by itself: the verification is run again, under the same name.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ....errors import BasculeError
from ....guard import state as rule
from ....system.io import storage
from ... import delta, transfer
from ...changes import ROOT, Changes
from ...manifest import compare, printable
from ...mounts import ACTIVE, CLOSED, FROZEN, PASSIVE
from ...transfer import TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import cache, closing_manifest, flush, take
from . import by_name, owners, peer, push, recheck, rsync
from . import entries as transfer_entries

REREAD = "reread"
_TOKEN = re.compile(r"[0-9a-f]{16}")
# What was read longer ago is read again, whatever it was read for.
_KEPT_SECONDS = 86400
# With more differences than this, a transfer that compares every content is the way.
REPAIRABLE = 100_000
_SHOWN = 20
_REPORT_SECONDS = 0.5
Report = Callable[[dict[str, Any]], None]


def verify(side: Side, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Read every byte at both sides again, and compare."""
    asked = transfer.push_from(request["push"])
    fence_side.apply_private(side)
    guard = side.guard()
    if guard.status == rule.OPEN:
        fence_side.prove(side, FROZEN if guard.frozen else ACTIVE)
    known, doubt = fence_side.facts(side), recheck.standing(side)
    moved = [int(known[name]) for name in ("opened_ns", "pushed_ns") if known.get(name)]
    since_ns = None if request.get("final") else (max(moved) if moved else 0)
    token, resumed = _name(side, bool(request.get("again")))
    peer_path = side.manifest.with_name("peer.jsonl")
    with ThreadPoolExecutor(max_workers=1) as pool:
        theirs = pool.submit(push.ask, asked, f"{REREAD} {token}")
        digest, count = reread(side, token, Pace(cache.total(side), report).at)
        report({"stage": "waiting for the other side"})
        other = theirs.result()
    push.fetch(asked, peer_path, "fetch verify")
    report({"stage": "comparing"})
    found = compare(take.read_manifest(_own(side)), take.read_manifest(peer_path), since_ns, REPAIRABLE + 1)
    names = [one.path for one in found.differences]
    if names:
        cache.forget(side, names if len(names) <= REPAIRABLE else ())
        recheck.begin(side, None if len(names) > by_name.EXTRA else names)
    else:
        recheck.end(side, doubt)
    storage.write_durably(_different(side), b"".join(name + b"\0" for name in names))
    storage.write_json(_state(side), {**(storage.read_json(_state(side)) or {}), "done": True})
    return {
        **found.to_dict(), "manifest": digest, "peer_manifest": other["manifest"], "files": count.files,
        "bytes": count.bytes, "read_bytes": count.read_bytes, "peer_files": other["files"],
        "peer_read_bytes": other["read_bytes"], "kept_as_at_receipt": _as_at_receipt(other),
        "since_ns": since_ns, "ever_switched": bool(known.get("opened_ns")), "resumed": resumed,
        "changed_while_read": [*count.moving_names, *other["moving_names"]][:_SHOWN],
    }  # fmt: skip


def reread(side: Side, token: str, progress: Optional[take.Progress] = None) -> tuple[str, take.Count]:
    """Read this side's tree again under the name of a verification."""
    # What is still to be written the kernel does not let go of, and would be read from memory.
    flush.settle(side)
    path = side.home / "jobs" / "reread.json"
    known = storage.read_json(path) or {}
    if known.get("token") != token:
        known = {"token": token, "began_ns": time.time_ns()}
        # Whatever the clock did since: what was read under another name is not believed.
        for old in (_own(side), _own(side).with_suffix(".part"), _own(side).with_suffix(".interrupted")):
            storage.remove(old)
        storage.write_json(path, known)
    began = int(known["began_ns"])
    return take.take_manifest(
        side.tree, _own(side), owners=side.owners, cached=False, since_ns=began, progress=progress
    )


def answer(side: Side, token: str) -> dict[str, Any]:
    """Read again for the other side, and tell whether this side still stands where its receipt says."""
    if not _TOKEN.fullmatch(token):
        raise TransferError(expected="the name of a verification", found=repr(token[:50]))
    fence_side.prove(side, PASSIVE if fence_side.look(side).state == PASSIVE else CLOSED)
    guard = side.guard()
    digest, count = reread(side, token)
    receipt = closing_manifest.at_receipt(side)
    # What looks as it did is not what it was, where a disk has changed it: an earlier digest would hide that.
    cache.replace(side, _own(side))
    epoch = str(guard.receipt.epoch) if guard.receipt else ""
    received = bool(epoch) and fence_side.facts(side).get("received") == epoch
    return {"manifest": digest, "receipt": receipt, "received": received, **count.to_dict()}


def repair(side: Side, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Write again, at the passive side, what the last verification has found to differ there; keep what it replaces."""
    asked = transfer.push_from(request["push"])
    fence_side.apply_private(side)
    fence_side.check_source(side, side.tree)
    names = _to_repair(side)
    if not asked.backup_dir:
        asked = replace(asked, backup_dir=fence_side.repair_dir(side))
    report({"stage": "repairing", "message": f"{len(names)} paths"})
    seen = transfer_entries.Tree(side.tree)
    changes = Changes(0, 0, frozenset(names), frozenset(), True, "")
    try:
        found = delta.plan(changes, [], seen.look, seen.below, lambda inodes: _links_of(side, inodes))
    except delta.ScanNeeded as error:
        raise _too_much(error.found) from error
    if asked.owners == transfer.NAMES:
        base = os.path.realpath(os.fsencode(side.tree))
        with peer.talk(asked) as talk:
            owners.check(side, owners.of_paths(base, found.present), talk)
    listed = side.home / "jobs" / "repair.names"
    storage.write_durably(listed, delta.list_for_rsync(found.kept))
    peer.remove(asked, sorted(found.missing))
    # Written again whatever rsync thinks of it: only a file that is replaced loses a link it should not have.
    what = replace(asked, names=str(listed), rewrite=True)
    rc, done, stats, retries = rsync.with_retries(what, False, int(request.get("retries", 3)), report)
    with peer.talk(asked) as talk:
        if ROOT in found.present:
            talk.give_root(transfer_entries.attributes(side.tree, asked.owners))
        talk.prove(found.names)
        own = transfer_entries.Tree(side.tree, asked.owners).fingerprints(found.names)
        left = delta.unequal(found.names, own, talk.proofs())
        kept = talk.kept(asked.backup_dir)
    return {
        "rc": rc, "changes": done, "retries": retries, **stats, "changed_entries": len(names),
        "repaired": [printable(name) for name in names[:_SHOWN]], "asked_for": len(names), "written": len(found.names),
        "left": [printable(name) for name in left[:_SHOWN]], "kept_in": kept,
    }  # fmt: skip


class Pace:
    """Turns what was read into progress with a rate and what remains."""

    def __init__(self, total: int, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._report, self._clock = total, report, clock
        self._began = self._last = clock()

    def at(self, entries: int, size: int) -> None:
        """Take a look, and say now and then how far it is."""
        now = self._clock()
        if now - self._last < _REPORT_SECONDS:
            return
        self._last = now
        rate = size / (now - self._began)
        left = max(0, self._total - size) / rate if rate else 0.0
        self._report(
            {
                "stage": "reading",
                "files": entries,
                "bytes": size,
                "total_bytes": self._total,
                "rate_bytes": int(rate),
                "remaining": f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}",
            }
        )


def _as_at_receipt(other: Mapping[str, Any]) -> Optional[bool]:
    """Tell whether the passive side is what its receipt says; None where it has given none, or has received since."""
    if not other["receipt"] or other["received"]:
        return None
    return bool(other["receipt"] == other["manifest"])


def _name(side: Side, again: bool) -> tuple[str, bool]:
    """Return the name of this verification, and whether one that was interrupted, or is repeated, is gone on with."""
    guard = side.guard()
    opened = str(rule.last_open(guard) or "")
    known = storage.read_json(_state(side)) or {}
    fresh = time.time() - float(known.get("at", 0)) < _KEPT_SECONDS
    if known.get("token") and known.get("opened") == opened and fresh and (again or not known.get("done")):
        storage.write_json(_state(side), {**known, "done": False})
        return str(known["token"]), True
    token = secrets.token_hex(8)
    storage.write_json(_state(side), {"token": token, "opened": opened, "at": time.time(), "done": False})
    return token, False


def _to_repair(side: Side) -> list[bytes]:
    names = _listed(side)
    state = storage.read_json(_state(side)) or {}
    if not names or not state.get("done") or state.get("opened") != str(rule.last_open(side.guard()) or ""):
        raise TransferError(
            expected="differences that a verification under the present epoch has found",
            found="none" if not names else "those of an earlier one, or of one that has not ended",
            state="nothing was written",
            next_command="ansible-playbook playbooks/70_verify.yml",
        )
    if len(names) > REPAIRABLE:
        raise _too_much(f"more than {REPAIRABLE} differences")
    return names


def _too_much(found: str) -> BasculeError:
    return TransferError(
        expected="differences that can be repaired by name",
        found=found,
        state="nothing was written",
        next_command="ansible-playbook playbooks/30_sync.yml -e rsync_delta_sync_checksum=true",
    )


def _links_of(side: Side, inodes: frozenset[int]) -> dict[int, Iterable[bytes]]:
    """Return all names of some files, from this side's own manifest just taken."""
    found: dict[int, Iterable[bytes]] = {}
    for entry in take.read_manifest(_own(side)):
        if entry.links > 1 and entry.inode in inodes:
            found[entry.inode] = [*found.get(entry.inode, []), entry.path]
    return found


def _listed(side: Side) -> list[bytes]:
    return storage.read_bytes(_different(side)).split(b"\0")[:-1]


def _own(side: Side) -> Path:
    return side.manifest.with_name("verify.jsonl")


def _different(side: Side) -> Path:
    return side.home / "jobs" / "verify.different"


def _state(side: Side) -> Path:
    return side.home / "jobs" / "verify.state.json"
