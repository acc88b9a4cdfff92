"""Carry a tree over to the other side, and take the manifests of both; read everything again and compare.

Runs inside a transient unit on the host of the leading side. What it is asked for comes in one file, what it found goes
into another, and its progress into a third, so that any controller can follow it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Optional

from ..errors import BasculeError
from ..files import transfer
from ..files.mounts import ACTIVE, FROZEN
from ..files.transfer import Push, TransferError
from ..guard import state as rule
from ..integrity.manifest import compare
from . import files, files_side, tree
from .files_side import Side

_RETRY_PAUSE = 3.0
_NAMED = 20
_MARGIN_NS = 50_000_000
Report = Callable[[dict[str, Any]], None]


def jobs(side: Side, operation: str) -> dict[str, Path]:
    """Return the files of an operation."""
    return {name: side.home / "jobs" / f"{operation}.{name}.json" for name in ("request", "progress", "result")}


def work(component: str, operation: str) -> int:
    """Do what the request file of an operation asks for, and leave the result; 0 when it succeeded."""
    side = files_side.load(component)
    paths = jobs(side, operation)
    request = files.read_json(paths["request"]) or {}
    started = time.time()

    def report(progress: dict[str, Any]) -> None:
        # Progress is worth nothing after a crash: replaced at once, but not forced to the disk.
        temporary = paths["progress"].with_suffix(".new")
        temporary.write_text(
            json.dumps({**progress, "id": request.get("id"), "seconds": round(time.time() - started, 1)})
        )
        os.replace(temporary, paths["progress"])

    try:
        outcome = {"push": push, "verify": verify}[operation](side, request, report)
        result = {"ok": True, **outcome}
    except BasculeError as error:
        result = {"ok": False, "error": error.fields()}
    except OSError as error:
        result = {"ok": False, "error": TransferError(expected=f"{operation} to succeed", found=str(error)).fields()}
    result.update(id=request.get("id"), seconds=round(time.time() - started, 3))
    files.write_json(paths["result"], result)
    return 0 if result["ok"] else 1


def push(side: Side, request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Bring the other side up to date, then take both manifests."""
    asked = transfer.push_from(request["push"])
    final = bool(request.get("final"))
    files_side.apply_private(side)
    files_side.check_source(side, side.tree)
    began_ns = time.time_ns() - _MARGIN_NS
    rc, changes, stats, retries = _with_retries(asked, final, int(request.get("retries", 3)), report)
    result: dict[str, Any] = {
        "rc": rc,
        "changes": changes,
        "retries": retries,
        "vanished": rc == transfer.VANISHED,
        **stats,
    }
    report({"stage": "digests"})
    with ThreadPoolExecutor(max_workers=1) as pool:
        theirs = pool.submit(ask, asked, "manifest")
        digest, count = tree.take_manifest(side.tree, side.manifest)
        other = theirs.result()
    files_side.note(side, pushed_ns=began_ns)
    result.update(
        manifest=digest, files=count.files, bytes=count.bytes, moving=count.moving, read_files=count.read_files,
        peer_manifest=other["manifest"], peer_read_files=other["read_files"], equal=digest == other["manifest"],
    )  # fmt: skip
    if final and not result["equal"]:
        raise TransferError(
            expected="both trees to be equal after the last changes were carried over",
            found="; ".join(_name_differences(side, asked)) or f"manifests {digest[:12]} and {other['manifest'][:12]}",
            state="the passive side is not equal yet; nothing was switched",
            next_command="run the same playbook again with -e rsync_delta_sync_checksum=true",
        )
    return result


def preview(side: Side, asked: Push) -> dict[str, Any]:
    """Return what a transfer would do, without doing it."""
    files_side.check_source(side, side.tree if os.path.ismount(side.tree) else side.path)
    rc, changes, stats, stderr = _rsync(asked, lambda _: None)
    transfer.judge(rc, stderr, False, asked.max_delete)
    return {"changes": changes, "sampled_at": time.time(), **stats}


def verify(side: Side, request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Read every byte at both sides again, and compare."""
    asked = transfer.push_from(request["push"])
    files_side.apply_private(side)
    guard = side.guard()
    if guard.status == rule.OPEN:
        files_side.prove(side, FROZEN if guard.frozen else ACTIVE)
    report({"stage": "reading both sides"})
    known = files_side.facts(side)
    moved = [int(known[name]) for name in ("opened_ns", "pushed_ns") if known.get(name)]
    since_ns = None if request.get("final") else (max(moved) if moved else 0)
    own_path = side.manifest.with_name("verify.jsonl")
    peer_path = side.manifest.with_name("peer.jsonl")
    with ThreadPoolExecutor(max_workers=1) as pool:
        theirs = pool.submit(ask, asked, "reread")

        def progress(entries: int, size: int) -> None:
            report({"stage": "reading", "files": entries, "bytes": size})

        digest, count = tree.take_manifest(side.tree, own_path, cached=False, progress=progress)
        other = theirs.result()
    _fetch(asked, peer_path, "fetch verify")
    report({"stage": "comparing"})
    found = compare(tree.read_manifest(own_path), tree.read_manifest(peer_path), since_ns)
    return {
        **found.to_dict(), "manifest": digest, "peer_manifest": other["manifest"], "files": count.files,
        "bytes": count.bytes, "peer_files": other["files"], "peer_receipt": other["receipt"],
        "peer_received": other["received"], "since_ns": since_ns, "ever_switched": bool(known.get("opened_ns")),
    }  # fmt: skip


def _with_retries(asked: Push, final: bool, retries: int, report: Report) -> tuple[int, list[str], dict[str, int], int]:
    """Go on where a broken link left off; every other failure is final."""
    all_changes: list[str] = []
    attempt = 0
    while True:
        rc, changes, stats, stderr = _rsync(asked, report)
        all_changes += changes
        if rc not in transfer.LINK_FAILURES or attempt >= retries:
            transfer.judge(rc, stderr, final, asked.max_delete)
            return rc, all_changes, stats, attempt
        attempt += 1
        report({"stage": "waiting for the link", "attempt": attempt, "message": stderr.strip()[-300:]})
        time.sleep(_RETRY_PAUSE * attempt)


def _rsync(asked: Push, report: Report) -> tuple[int, list[str], dict[str, int], str]:
    """Run rsync and read its output while it runs; the first changes are kept by name."""
    changes: list[str] = []
    text: list[str] = []
    counted = 0
    last = 0.0
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            transfer.rsync_command(asked), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            env={**os.environ, "LC_ALL": "C"},
        ) as process,
    ):  # fmt: skip
        for line in _lines(process.stdout):
            progress = transfer.parse_progress(line)
            if progress:
                if time.monotonic() - last > 0.5:
                    last = time.monotonic()
                    report({"stage": "transfer", **progress})
            elif transfer.is_change(line):
                counted += 1
                if len(changes) < _NAMED:
                    changes.append(line.strip())
            elif ": " in line:
                text.append(line)
        rc = process.wait()
        errors.seek(max(0, errors.tell() - 8192))
        message = errors.read().decode("utf-8", "backslashreplace")
    return rc, changes, {**transfer.parse_stats("\n".join(text)), "changed_entries": counted}, message


def _lines(stream: Optional[IO[bytes]]) -> Iterator[str]:
    """Yield lines as they come; rsync ends a line of progress with a carriage return."""
    rest = b""
    while stream is not None and (data := os.read(stream.fileno(), 65536)):
        *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        for raw in lines:
            yield raw.decode("utf-8", "backslashreplace")


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


def _fetch(asked: Push, target: Path, what: str) -> None:
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
    command = f"{transfer.RECEIVE} {asked.opened or 'none'} {what}"
    return [*transfer.ssh_command(asked), *options, f"root@{asked.address}", command]


def _name_differences(side: Side, asked: Push) -> list[str]:
    """Name what differs between the two manifests just taken; nothing when the link has failed meanwhile."""
    peer = side.manifest.with_name("peer.jsonl")
    try:
        _fetch(asked, peer, "fetch own")
        found = compare(tree.read_manifest(side.manifest), tree.read_manifest(peer), None, 10)
    except BasculeError:
        return []
    return [one.describe() for one in found.differences]
