"""Start, find and follow the long operations of a file tree."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ..errors import BasculeError
from ..files import decide, rate, transfer
from ..files.transfer import Push, TransferError
from . import files, files_push, files_side, units
from .files_side import Side


def at_once(component: str, operation: str, options: dict[str, Any]) -> dict[str, Any]:
    """Do a short operation that changes nothing."""
    empty: dict[str, Any] = {"running": False, "id": "", "result": None}
    try:
        side = files_side.load(component)
    except BasculeError:
        if operation == "preview":
            return empty
        raise
    push = _push(side, {**options, "dry_run": True, "backup_dir": ""})
    if operation == "hello":
        return {**empty, "result": files_push.ask(push, "hello", 30)}
    if not side.identity.exists():
        return empty
    return {**empty, "result": files_push.preview(side, push)}


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
    side = files_side.load(component)
    unit = f"bascule-{component}-{operation}"
    paths = files_push.jobs(side, operation)
    if start:
        found, job_id = _start(side, unit, operation, options)
        if not found:
            # Something else of the same name runs: it must end first.
            units.wait(unit, wait)
            return {"running": True, "id": "", "progress": {"stage": "waiting for an earlier one"}}
    ended = units.wait(unit, wait)
    result = files.read_json(paths["result"])
    if isinstance(result, dict) and result.get("id") == job_id:
        return _ended(result, job_id)
    if not ended:
        progress = files.read_json(paths["progress"])
        mine = isinstance(progress, dict) and progress.get("id") == job_id
        return {"running": True, "id": job_id, "progress": progress if mine else {}}
    raise TransferError(
        expected=f"{unit} to leave a result",
        found=f"it ended without one; {units.last_messages(unit) or 'it logged nothing'}",
        state="the active side was only read; the passive side may be partly updated",
        next_command="run the same playbook again: what was transferred stays",
    )


def _start(side: Side, unit: str, operation: str, options: dict[str, Any]) -> tuple[bool, str]:
    paths = files_push.jobs(side, operation)
    request = _request(side, operation, options)
    with files.locked(side.home / "jobs" / f"{operation}.lock"):
        before = files.read_json(paths["request"]) or {}
        if units.is_running(unit):
            same = _asked(before) == _asked(request)
            if not same and (files.read_json(paths["progress"]) or {}).get("stage") == transfer.ARMED:
                # It waits for a tree that is not going to stand still: what is asked for now comes first.
                units.stop(unit)
            else:
                return same, str(before.get("id", ""))
        elif before.get("stands_in") and _asked(before) == _asked(request) and _holds(side, paths, before):
            # What began when the tree came to rest has ended meanwhile; it is taken as the outcome once.
            files.write_json(paths["request"], {**before, "stands_in": 0})
            return True, str(before["id"])
        request["id"] = secrets.token_hex(8)
        files.remove(paths["result"])
        files.remove(paths["progress"])
        files.write_json(paths["request"], request)
        units.start(unit, [*units.AGENT, "files_job", side.component, operation])
    return True, str(request["id"])


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    """Return what two requests for the same have in common: each attempt keeps what it replaces in its own place."""
    push = {key: value for key, value in request.get("push", {}).items() if key != "backup_dir"}
    return {**{key: value for key, value in request.items() if key not in ("id", "stands_in")}, "push": push}


def _holds(side: Side, paths: dict[str, Any], before: dict[str, Any]) -> bool:
    ended = files.read_json(paths["result"])
    if not isinstance(ended, dict) or not ended.get("ok") or ended.get("id") != before.get("id"):
        return False
    return files_push.still_true(side, ended)


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
    if operation == "verify":
        request["again"] = bool(options.get("again"))
    return request


def _push(side: Side, options: dict[str, Any]) -> Push:
    opened = decide.last_open(side.guard())
    # For the last transfer everybody waits, and what shares the link has come to rest as well.
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
    )


def _share(side: Side, options: dict[str, Any]) -> str:
    """Return the limit that leaves others their share of the link."""
    address = str(options["address"])
    measured = float(options.get("link_mbit") or 0)
    if measured > 0 and not options.get("dry_run"):
        files_side.note(side, link={"mbit": measured, "address": address, "at": time.time()})
    known = measured or files_side.link_mbit(side, address)
    return rate.share(known, float(options.get("link_percent") or 0))
