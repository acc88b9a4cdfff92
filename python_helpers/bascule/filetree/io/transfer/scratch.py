"""A file of Bascule's own goes to the other side and nowhere else: by the same rsync, key and forced command as a tree.

It goes into a directory that is no part of any tree, so it needs no permit: it is tried while the other side serves,
and after the switch. Both ends remove what they have made when rsync ends, however it ends; how the file came is kept
as a few figures, for one question.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....system.io import storage
from ... import transfer
from ...transfer import Push, TransferError
from ..fence.side import Side
from . import push as transfer_push
from . import rsync

# The question how it came; no permit is needed for it.
ASK = "scratch"
SIZE = 1 << 16
# Less is left to those who serve.
ROOM = 64 << 20
# Nobody who comes in here leaves more than a file of that size, or stays longer.
_LARGEST = "--max-size=1m"
_LONGEST = 60.0


def place(side: Side) -> Path:
    """Return where it comes in."""
    return side.home / "scratch"


def send(side: Side, asked: Push) -> dict[str, Any]:
    """Send a file to the other side; return how it came.

    Returns:
        `side` and `status` as the other side says them, `bytes`, and `seconds` from the first byte to its answer.

    Raises:
        TransferError: it did not come, or came as something else.
    """
    _require_room(side)
    out = side.home / "scratch.out"
    begun = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    try:
        storage.make_directory(out, 0o700)
        name, content = f"canary-{secrets.token_hex(8)}", os.urandom(SIZE)
        (out / name).write_bytes(content)
        what = replace(
            asked, source=str(out), target=str(place(side)), backup_dir="", names="", dry_run=False, checksum=False
        )
        rc, _, _, said = rsync.once(what, lambda _: None)
        transfer.judge(rc, said, True, what.max_delete)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    came = transfer_push.ask(asked, ASK, _LONGEST)
    wanted = {name: hashlib.sha256(content).hexdigest()}
    if came.get("files") != wanted:
        raise TransferError(
            expected=f"the file {name} at {came.get('side')}, as it was sent",
            found=", ".join(came.get("files") or {}) or "no file",
            state="nothing of any tree was touched; what was made for the trial is removed",
            next_command="run the same playbook again; nobody else may try at the same time",
        )
    seconds = round(time.monotonic() - begun, 3)
    return {"side": came.get("side"), "status": came.get("status"), "bytes": len(content), "seconds": seconds}


def is_asked(side: Side, words: list[str]) -> bool:
    """Say whether a request is a transfer into the scratch place."""
    return words[2:3] == ["--server"] and words[-1].rstrip("/") == str(place(side))


def receive(side: Side, command: str) -> int:
    """Let a transfer in, note what it has brought, and remove that; return rsync's exit status."""
    request = transfer.parse_request(command, str(place(side)), str(side.kept), side.owners)
    if request.backup_dir:
        raise TransferError(expected="a trial that replaces nothing", found=request.backup_dir, state="nothing came in")
    _require_room(side)
    with storage.locked(side.home / "scratch.lock", 10):
        storage.remove(_note(side))
        shutil.rmtree(place(side), ignore_errors=True)
        try:
            storage.make_directory(place(side), 0o700)
            argv = [*request.argv[:2], _LARGEST, *request.argv[2:]]
            try:
                code = subprocess.run(argv, check=False, close_fds=False, cwd="/", timeout=_LONGEST).returncode
            except subprocess.TimeoutExpired:
                return transfer.STREAM_BROKEN
            if code == 0:
                storage.write_json(_note(side), _found(place(side)))
        finally:
            shutil.rmtree(place(side), ignore_errors=True)
    return code if code >= 0 else transfer.STREAM_BROKEN


def told(side: Side) -> dict[str, Any]:
    """Return what the last trial has brought, once."""
    found = storage.read_json(_note(side)) or {}
    storage.remove(_note(side))
    return {"side": side.name, "status": side.guard().status, "files": found}


def _found(directory: Path) -> dict[str, str]:
    """Return the digests of the plain files in a directory."""
    plain = [one for one in directory.iterdir() if one.is_file() and not one.is_symlink()]
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(plain)}


def _require_room(side: Side) -> None:
    free = shutil.disk_usage(side.home).free
    if free < ROOM:
        raise TransferError(
            expected=f"{ROOM >> 20} MiB free where {side.home} lies, at {side.name}",
            found=f"{free >> 20} MiB",
            state="nothing was sent or received",
            next_command=f"make room at {side.name}, then run the same playbook again",
        )


def _note(side: Side) -> Path:
    return side.home / "scratch.json"
