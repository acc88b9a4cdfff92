"""Start, find and follow the long operations of a file tree."""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any

from ....errors import BasculeError
from ....guard.state import last_open
from ....system import link_rate
from ....system.io import storage, units
from ... import transfer
from ...transfer import Push, TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import closing_manifest
from . import push, scratch, verify
from . import push as transfer_push


def at_once(component: str, operation: str, options: dict[str, Any]) -> dict[str, Any]:
    """Do a short operation that changes nothing."""
    empty: dict[str, Any] = {"running": False, "id": "", "result": None}
    try:
        side = fence_side.load(component)
    except BasculeError:
        if operation in ("preview", transfer.RATE):
            return empty
        raise
    push = _push(side, {**options, "dry_run": True, "backup_dir": ""})
    if operation == "hello":
        return {**empty, "result": transfer_push.ask(push, "hello", 30)}
    if operation == scratch.ASK:
        return {**empty, "result": scratch.send(side, push)}
    if not side.identity.exists():
        return empty
    if operation == transfer.RATE:
        return {**empty, "result": transfer_push.rate(push, float(options["rate_seconds"]))}
    return {**empty, "result": transfer_push.preview(side, push)}


def foresee(component: str, operation: str, options: dict[str, Any]) -> dict[str, Any]:
    """Say what a long operation would change."""
    if operation == "repair":
        return {"running": False, "id": "", "result": None, "changed": True}
    if operation != "push":
        return {"running": False, "id": "", "result": None}
    answer = at_once(component, "preview", options)
    return {**answer, "changed": bool((answer["result"] or {}).get("changed_entries"))}


def begin(side: Side, operation: str) -> None:
    """Start an operation that nobody waits for, unless it is running."""
    unit = f"bascule-{side.component}-{operation}"
    if not units.is_running(unit):
        units.start(unit, [*units.AGENT, "files_job", side.component, operation])


def follow(
    component: str, operation: str, options: dict[str, Any], *, start: bool, job_id: str, wait: float
) -> dict[str, Any]:
    """Start the unit, or find the one that runs the same, and wait a while for its end."""
    side = fence_side.load(component)
    unit = f"bascule-{component}-{operation}"
    paths = transfer_push.jobs(side, operation)
    if start:
        found, job_id = _start(side, unit, operation, options)
        if not found:
            # Something else of the same name runs: it must end first.
            units.wait(unit, wait)
            return {"running": True, "id": "", "progress": {"stage": "waiting for an earlier one"}}
    ended = units.wait(unit, wait)
    result = storage.read_json(paths["result"])
    if isinstance(result, dict) and result.get("id") == job_id:
        return _ended(result, job_id)
    if not ended:
        progress = storage.read_json(paths["progress"])
        mine = isinstance(progress, dict) and progress.get("id") == job_id
        return {"running": True, "id": job_id, "progress": progress if mine else {}}
    raise TransferError(
        expected=f"{unit} to leave a result",
        found=f"it ended without one; {units.last_messages(unit) or 'it logged nothing'}",
        state="the active side was only read; the passive side may be partly updated",
        next_command="run the same playbook again: what was transferred stays",
    )


def _start(side: Side, unit: str, operation: str, options: dict[str, Any]) -> tuple[bool, str]:
    paths = transfer_push.jobs(side, operation)
    request = _request(side, operation, options)
    with storage.locked(side.home / "jobs" / f"{operation}.lock"):
        before = storage.read_json(paths["request"]) or {}
        if units.is_running(unit):
            same = _asked(before) == _asked(request)
            if not same and (storage.read_json(paths["progress"]) or {}).get("stage") == transfer.ARMED:
                # It waits for a tree that is not going to stand still: what is asked for now comes first.
                units.stop(unit)
            else:
                return same, str(before.get("id", ""))
        elif before.get("stands_in") and _asked(before) == _asked(request) and _holds(side, paths, before):
            # What began when the tree came to rest has ended meanwhile; it is taken as the outcome once.
            storage.write_json(paths["request"], {**before, "stands_in": 0})
            return True, str(before["id"])
        request["id"] = secrets.token_hex(8)
        storage.remove(paths["result"])
        storage.remove(paths["progress"])
        storage.write_json(paths["request"], request)
        units.start(unit, [*units.AGENT, "files_job", side.component, operation])
    return True, str(request["id"])


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    """Return what two requests for the same have in common: each attempt keeps what it replaces in its own place."""
    push = {key: value for key, value in request.get("push", {}).items() if key != "backup_dir"}
    own = ("id", "stands_in", "stands_at")
    return {**{key: value for key, value in request.items() if key not in own}, "push": push}


def _holds(side: Side, paths: dict[str, Any], before: dict[str, Any]) -> bool:
    ended = storage.read_json(paths["result"])
    if not isinstance(ended, dict) or not ended.get("ok") or ended.get("id") != before.get("id"):
        return False
    return transfer_push.still_true(side, ended)


def _ended(result: dict[str, Any], job_id: str) -> dict[str, Any]:
    if result.get("ok"):
        changed = bool(result.get("changed_entries"))
        return {"running": False, "id": job_id, "result": result, "changed": changed}
    raise TransferError(**{key: str(value) for key, value in result.get("error", {}).items()})


def _request(side: Side, operation: str, options: dict[str, Any]) -> dict[str, Any]:
    push = _push(side, options)
    request: dict[str, Any] = {"push": vars(push), "final": bool(options.get("final"))}
    if operation in ("push", "repair"):
        request["retries"] = options.get("retries", 3)
        request["stands_in"] = options.get("stands_in", 0)
        request["stands_at"] = options.get("stands_at", "")
    if operation == "verify":
        request["again"] = bool(options.get("again"))
    return request


def _push(side: Side, options: dict[str, Any]) -> Push:
    opened = last_open(side.guard())
    # For the last transfer everybody waits.
    limit = "0" if options.get("final") else str(options.get("bwlimit") or _share(side, options))
    return Push(
        component=side.component,
        source=side.tree,
        target=side.tree,
        address=options["address"],
        identity=str(side.identity),
        known_hosts=str(side.known_hosts),
        opened=str(opened) if opened else "",
        backup_dir=options.get("backup_dir", ""),
        max_delete=options.get("max_delete", 1000),
        bwlimit=limit,
        checksum=bool(options.get("checksum")),
        dry_run=bool(options.get("dry_run")),
        port=options.get("port", 22),
        owners=side.owners,
        account=side.account,
    )


def _share(side: Side, options: dict[str, Any]) -> str:
    """Return the limit that leaves others their share of the link."""
    address = str(options["address"])
    measured = float(options.get("link_mbit") or 0)
    if measured > 0 and not options.get("dry_run"):
        fence_side.note(side, link={"mbit": measured, "address": address, "at": time.time()})
    known = measured or fence_side.link_mbit(side, address)
    return link_rate.share(known, float(options.get("link_percent") or 0))


OPERATIONS = {
    "push": push.push,
    "links": push.links,
    "verify": verify.verify,
    "repair": verify.repair,
    closing_manifest.OPERATION: closing_manifest.work,
}


def work(component: str, operation: str) -> int:
    """Do what the request file of an operation asks for, and leave the result; 0 when it succeeded."""
    side = fence_side.load(component)
    paths = push.jobs(side, operation)
    request = storage.read_json(paths["request"]) or {}
    started = time.time()

    def report(progress: dict[str, Any]) -> None:
        # Progress is worth nothing after a crash: replaced at once, but not forced to the disk.
        temporary = paths["progress"].with_suffix(".new")
        temporary.write_text(
            json.dumps({**progress, "id": request.get("id"), "seconds": round(time.time() - started, 1)})
        )
        os.replace(temporary, paths["progress"])

    try:
        outcome = OPERATIONS[operation](side, request, report)
        result = {"ok": True, **outcome}
    except BasculeError as error:
        result = {"ok": False, "error": error.fields()}
    except OSError as error:
        result = {"ok": False, "error": TransferError(expected=f"{operation} to succeed", found=str(error)).fields()}
    result.update(id=request.get("id"), seconds=round(time.time() - started, 3))
    storage.write_json(paths["result"], result)
    return 0 if result["ok"] else 1
