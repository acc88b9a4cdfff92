"""Carry a tree over to the other side, and take the manifests of both; read everything again and compare.

Runs inside a transient unit on the host of the leading side. What it is asked for comes in one file, what it found goes
into another, and its progress into a third, so that any controller can follow it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ....errors import BasculeError
from ....system import link_rate
from ....system.io import storage, throughput
from ... import delta, transfer
from ...changes import ROOT, Changes, Mark
from ...delta import ScanNeeded
from ...manifest import Comparison, compare
from ...transfer import LinkBroken, Push, TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import cache, take
from ..recorder import client
from . import by_name, entries, hard_links, owners, recheck, rsync
from . import peer as transfer_peer
from .rsync import Report

_MARGIN_NS = 50_000_000


def jobs(side: Side, operation: str) -> dict[str, Path]:
    """Return the files of an operation."""
    return {name: side.home / "jobs" / f"{operation}.{name}.json" for name in ("request", "progress", "result")}


def push(side: Side, request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Bring the other side up to date: by the names that have changed, or, in doubt, by a look at the whole tree."""
    asked = transfer.push_from(request["push"])
    final, retries = bool(request.get("final")), int(request.get("retries", 3))
    if final:
        # Everybody waits for it. Whoever freezes a moment later still sends its last writes over the same link.
        asked = replace(asked, bwlimit="0")
    if recheck.standing(side) is not None and not asked.backup_dir:
        # Which of the two is right nobody has looked at: what is replaced is kept.
        asked = replace(asked, backup_dir=fence_side.repair_dir(side))
    fence_side.apply_private(side)
    fence_side.check_source(side, side.tree)
    began_ns = time.time_ns() - _MARGIN_NS
    why, result = _doubt(side, asked), {}
    patience = rsync.Patience(final, retries, report)
    while not why:
        try:
            result = _by_names(side, asked, final, retries, report, float(request.get("stands_in", 0)))
            break
        except ScanNeeded as error:
            why = f"expected {error.expected}, found {error.found}"
        except LinkBroken as error:
            if final:
                result, left = _nothing_left(side, str(request.get("stands_at") or ""))
                if result:
                    break
                error = LinkBroken(**{**error.fields(), "found": f"{error.found}; the link is needed: {left}"})
            if patience.ends(error.found):
                raise error from None
    if why:
        if request.get("stands_in"):
            _stand_still(side, float(request["stands_in"]))
        report({"stage": "looking at the whole tree", "message": why})
        result = _by_scan(side, asked, final, retries, report)
    elif not final:
        # While nobody waits, so that the window reads only what changes from now on.
        report({"stage": "digests"})
        with ThreadPoolExecutor(max_workers=1) as pool:
            theirs = pool.submit(ask, asked, "manifest")
            _, count, result["read_all_because"] = cache.take(side)
            result.update(read_files=count.read_files, peer_read_files=theirs.result()["read_files"])
    result["retries"] = result.get("retries", 0) + patience.attempt
    fence_side.note(side, pushed_ns=began_ns)
    return {**result, "scan": why, "limit": asked.bwlimit}


def _doubt(side: Side, asked: Push) -> str:
    """Return why the names that have changed are not to be relied on; empty when they are."""
    if not side.recorder:
        return "no recorder is wanted for this tree"
    if asked.checksum:
        return "the content of every file was asked for"
    shared = by_name.reference(side)
    return "" if shared else "no earlier state is known that both sides shared"


def _by_names(
    side: Side, asked: Push, final: bool, retries: int, report: Report, stands_in: float = 0
) -> dict[str, Any]:
    """Carry over what has changed since both sides were the same.

    Everything is connected first. With `stands_in` the tree is waited for that long, until it stands still.
    """
    with contextlib.ExitStack() as open_now:
        through = open_now.enter_context(transfer_peer.connection(side, asked))
        talk = open_now.enter_context(transfer_peer.talk(through))
        patient = replace(through, timeout=through.timeout + int(stands_in))
        first = open_now.enter_context(rsync.ready(patient))
        if stands_in:
            talk.agreed()
            report({"stage": transfer.ARMED})
            _stand_still(side, stands_in)
        report({"stage": "changed names"})
        shared = by_name.reference(side)
        known, now = client.since(side.component, shared.mark if shared else None)
        if not known.complete or now is None:
            raise ScanNeeded(expected="all names that have changed", found=known.why)

        def run(what: Push) -> dict[str, Any]:
            # The one that waits is for names as they are; another writes them again.
            waiting = None if what.rewrite else first
            rc, changes, stats, tried = rsync.with_retries(what, final, retries, report, waiting)
            return {"rc": rc, "changes": changes, "retries": tried, "vanished": rc == transfer.VANISHED, **stats}

        empty = {"rc": 0, "changes": [], "vanished": False, "changed_entries": 0, "bytes_changed": 0}
        found = by_name.carry(side, through, talk, known, now, final, run)
        return {**empty, **found, "mark": vars(now)}


def still_true(side: Side, result: dict[str, Any]) -> bool:
    """Tell whether nothing has happened since a final transfer by names ended well."""
    mark = Mark.from_any(result.get("mark"))
    if recheck.standing(side) is not None:
        return False
    if mark is None or not result.get("equal") or not os.statvfs(side.tree).f_flag & os.ST_RDONLY:
        return False
    return client.mark(side.component) == mark


def _nothing_left(side: Side, stands_at: str) -> tuple[dict[str, Any], str]:
    """Return the outcome of a last transfer that has nothing to carry, or why that is not certain without a link.

    `stands_at` is the state in which the other side was seen, by another way than the link. It is the one that both
    have agreed on last, and nothing has happened here since.
    """
    if not os.statvfs(side.tree).f_flag & os.ST_RDONLY:
        return {}, f"{side.path} is not frozen"
    now = client.mark(side.component)
    vouched = by_name.vouched(side, now)
    if not stands_at:
        return {}, "the other side was not seen to hold what both have agreed on"
    if now is None or not vouched:
        return {}, f"{side.path} was changed since both sides were the same, or nobody has recorded whether it was"
    if vouched != stands_at:
        return {}, f"this side holds {vouched}, the other one {stands_at}"
    nothing = {"rc": 0, "changes": [], "vanished": False, "changed_entries": 0, "bytes_changed": 0, "names": 0}
    return {**nothing, "equal": True, "mark": vars(now)}, ""


def _stand_still(side: Side, seconds: float) -> None:
    """Wait until nobody can write any more."""
    deadline = time.monotonic() + seconds
    while not os.statvfs(side.tree).f_flag & os.ST_RDONLY:
        if time.monotonic() > deadline:
            raise TransferError(
                expected=f"{side.path} to be frozen within {seconds:g} s",
                found="it is writable",
                state="nothing was transferred",
                next_command="run the same playbook again",
            )
        time.sleep(0.01)


def _by_scan(side: Side, asked: Push, final: bool, retries: int, report: Report) -> dict[str, Any]:
    """Look at the whole tree, then take both manifests."""
    found_different = recheck.standing(side)
    mark = client.mark(side.component) if side.recorder else None
    if mark:
        # Whoever reads the digests meanwhile must not have the recorder forget what happens during the scan.
        client.remember(side, by_name.READER, mark)
        hard_links.index_links(side)
    if asked.owners == transfer.NAMES:
        report({"stage": "owners"})
        with transfer_peer.talk(asked) as talk:
            owners.check(side, owners.of_tree(side.tree), talk)
    rc, changes, stats, tried = rsync.with_retries(asked, final, retries, report)
    result: dict[str, Any] = {
        "rc": rc,
        "changes": changes,
        "retries": tried,
        "vanished": rc == transfer.VANISHED,
        **stats,
    }
    digest, count, doubt, other = _both(side, asked, report)
    if final and digest != other["manifest"]:
        more = _write_again(side, asked, retries, report)
        result["changed_entries"] = result.get("changed_entries", 0) + more
        digest, count, doubt, other = _both(side, asked, report)
    equal = digest == other["manifest"]
    result.update(
        manifest=digest, files=count.files, bytes=count.bytes, moving=count.moving, read_files=count.read_files,
        peer_manifest=other["manifest"], peer_read_files=other["read_files"], equal=equal,
        read_all_because=doubt,
    )  # fmt: skip
    if final and not equal:
        raise TransferError(
            expected="both trees to be equal after the last changes were carried over",
            found="; ".join(_name_differences(side, asked)) or f"manifests {digest[:12]} and {other['manifest'][:12]}",
            state="the passive side is not equal yet; nothing was switched",
            next_command="run the same playbook again with -e rsync_delta_sync_checksum=true",
        )
    if side.recorder:
        with transfer_peer.talk(asked) as talk:
            result["shared"] = by_name.scanned(side, talk, mark, equal, lambda: _different(side, asked))
    # Each path that differs is named for the next transfer, or that one looks at the whole tree as well.
    recheck.end(side, found_different)
    return result


def _both(side: Side, asked: Push, report: Report) -> tuple[str, Any, str, dict[str, Any]]:
    """Take the manifests of both sides; return this one's digest, its counts and why all was read, and the other's."""
    report({"stage": "digests"})
    with ThreadPoolExecutor(max_workers=1) as pool:
        theirs = pool.submit(ask, asked, "manifest")
        return *cache.take(side), theirs.result()


def _write_again(side: Side, asked: Push, retries: int, report: Report) -> int:
    """Write again what differs after a scan of a tree that stands still; return how many entries that changed.

    What looks the same to rsync may differ all the same: a name that was one of another file's, with its size and time.
    """
    try:
        names = _different(side, asked)
    except BasculeError:
        # The link: what differs is not known.
        return 0
    if not names:
        return 0
    report({"stage": "writing again what differs", "message": f"{len(names)} paths"})
    seen = entries.Tree(side.tree)
    changes = Changes(0, 0, frozenset(names), frozenset(), True, "")
    try:
        found = delta.plan(changes, [], seen.look, seen.below, lambda inodes: _linked(side, inodes))
    except ScanNeeded:
        return 0
    listed = side.home / "jobs" / "push.names"
    storage.write_durably(listed, delta.list_for_rsync(found.kept))
    gone = transfer_peer.remove(asked, sorted(found.missing))
    again = replace(asked, names=str(listed), rewrite=True, checksum=False)
    _, _, stats, _ = rsync.with_retries(again, True, retries, report)
    if ROOT in found.present:
        with transfer_peer.talk(asked) as talk:
            talk.give_root(entries.attributes(side.tree, asked.owners))
    return stats.get("changed_entries", 0) + gone


def _linked(side: Side, inodes: frozenset[int]) -> dict[int, Iterable[bytes]]:
    """Return all names of some files, from the manifest just taken."""
    found: dict[int, Iterable[bytes]] = {}
    for entry in take.read_manifest(side.manifest):
        if entry.links > 1 and entry.inode in inodes:
            found[entry.inode] = [*found.get(entry.inode, []), entry.path]
    return found


def links(side: Side, request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write down all names of files that have several: needed when one of them changes."""
    fence_side.apply_private(side)
    return {"links": hard_links.index_links(side)}


def preview(side: Side, asked: Push) -> dict[str, Any]:
    """Return what a transfer would do, without doing it."""
    fence_side.check_source(side, side.tree if os.path.ismount(side.tree) else side.path)
    rc, changes, stats, stderr = rsync.once(asked, lambda _: None)
    transfer.judge(rc, stderr, False, asked.max_delete)
    return {"changes": changes, "sampled_at": time.time(), **stats}


def ask(asked: Push, what: str, timeout: float = 86400) -> dict[str, Any]:
    """Ask the other side for something it answers in JSON."""
    done = subprocess.run(
        _remote(asked, what), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout
    )
    with contextlib.suppress(ValueError):
        answer = json.loads(done.stdout)
        if done.returncode == 0 and isinstance(answer, dict):
            return answer
    raise TransferError(
        expected=f"the other side to answer '{what}'",
        found=f"exit status {done.returncode}: {done.stderr.decode('utf-8', 'backslashreplace').strip()[-1500:]}",
        state="the active side was only read",
        next_command="run the same playbook again",
    )


def rate(asked: Push, seconds: float) -> dict[str, Any]:
    """Return what the link carries over SSH for a stream of some seconds, and by how much the other clock is ahead.

    It is what SSH can encrypt where that is less than the link.
    """
    intervals, ahead = throughput.pour(_remote(asked, transfer.RATE), seconds)
    return {"rate": link_rate.judge(intervals), "sampled_at": time.time(), "clock_difference": round(ahead, 3)}


def fetch(asked: Push, target: Path, what: str) -> None:
    """Fetch a manifest that the other side has just taken."""
    with target.open("wb") as out:
        os.fchmod(out.fileno(), 0o600)
        done = subprocess.run(
            _remote(asked, what, "-C"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=3600,
        )
    if done.returncode != 0:
        raise TransferError(
            expected="the other side's manifest",
            found=done.stderr.decode("utf-8", "backslashreplace").strip()[-1500:],
            state="the active side was only read",
            next_command="run the same playbook again",
        )


def _remote(asked: Push, what: str, *options: str) -> list[str]:
    return [
        *transfer.ssh_command(asked),
        *options,
        f"{asked.account}@{asked.address}",
        f"{transfer.request(asked)} {what}",
    ]


def _name_differences(side: Side, asked: Push) -> list[str]:
    """Name what differs between the two manifests just taken; nothing when the link has failed meanwhile."""
    try:
        return [one.describe() for one in _compared(side, asked, 10).differences]
    except BasculeError:
        return []


def _different(side: Side, asked: Push) -> Optional[list[bytes]]:
    """Return the paths in which the two manifests just taken differ; None when they are too many."""
    found = _compared(side, asked, by_name.EXTRA)
    return [one.path for one in found.differences] if found.different <= by_name.EXTRA else None


def _compared(side: Side, asked: Push, names_kept: int) -> Comparison:
    peer = side.manifest.with_name("peer.jsonl")
    fetch(asked, peer, "fetch own")
    return compare(take.read_manifest(side.manifest), take.read_manifest(peer), None, names_kept)
