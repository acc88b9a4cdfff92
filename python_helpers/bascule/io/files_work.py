"""Do a long operation on a file tree: what it is asked for comes in a file, what it found goes into another."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ..errors import BasculeError
from ..files.transfer import TransferError
from . import files, files_push, files_seal, files_side, files_verify

OPERATIONS = {
    "push": files_push.push,
    "links": files_push.links,
    "verify": files_verify.verify,
    "repair": files_verify.repair,
    files_seal.OPERATION: files_seal.work,
}


def work(component: str, operation: str) -> int:
    """Do what the request file of an operation asks for, and leave the result; 0 when it succeeded."""
    side = files_side.load(component)
    paths = files_push.jobs(side, operation)
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
        outcome = OPERATIONS[operation](side, request, report)
        result = {"ok": True, **outcome}
    except BasculeError as error:
        result = {"ok": False, "error": error.fields()}
    except OSError as error:
        result = {"ok": False, "error": TransferError(expected=f"{operation} to succeed", found=str(error)).fields()}
    result.update(id=request.get("id"), seconds=round(time.time() - started, 3))
    files.write_json(paths["result"], result)
    return 0 if result["ok"] else 1
