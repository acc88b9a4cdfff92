"""Dumps that are encrypted before they touch a disk, and read again only as they were written."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ...errors import BasculeError, CommandFailed
from . import age_keys, storage

# Seconds.
LONGEST = 7 * 86400
_CHUNK = 1 << 20
# Bytes that a dump leaves free: the guard writes to the same disk, and a side that cannot write cannot close or open.
_LEFT = 1 << 30


def seal(
    argv: Sequence[str],
    path: Path,
    recipients: Sequence[str],
    env: Optional[Mapping[str, str]] = None,
    timeout: float = LONGEST,
) -> dict[str, Any]:
    """Run a program and write what it prints, encrypted with age; return `path`, `bytes` and `sha256` of the file.

    Raises:
        CommandFailed: the program or age has failed or not ended in `timeout` seconds, or the disk became too full;
            nothing is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    words = [word for recipient in recipients for word in ("--recipient", recipient)]
    free = shutil.disk_usage(path.parent).free
    limit = free - min(_LEFT, free // 10)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        ) as dump:
            complaint: list[bytes] = []
            stderr = dump.stderr
            reader = threading.Thread(target=lambda: complaint.append(stderr.read() if stderr else b""), daemon=True)
            reader.start()
            try:
                sealed = subprocess.run(
                    ["prlimit", f"--fsize={limit}:", "age", "--encrypt", *words],
                    stdin=dump.stdout,
                    stdout=descriptor,
                    stderr=subprocess.PIPE,
                    check=False,
                    timeout=timeout,
                )
            except BaseException:
                dump.kill()
                raise
            if dump.stdout is not None:
                # Or a dump whose reader is gone would wait for it for ever.
                dump.stdout.close()
            reader.join()
        os.fsync(descriptor)
    except subprocess.TimeoutExpired as error:
        storage.remove(partial)
        raise CommandFailed(
            expected=f"{argv[0]} and age to write {path} within {timeout:g} s", found="they were still at work"
        ) from error
    finally:
        os.close(descriptor)
    if dump.returncode or sealed.returncode:
        storage.remove(partial)
        said = (b"".join(complaint) + sealed.stderr).decode("utf-8", "replace").strip()
        raise CommandFailed(expected=f"{argv[0]} and age to write {path}", found=said[-1000:])
    partial.rename(path)
    storage.sync_directory(path.parent)
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest(path)}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read from its beginning to its end."""
    found = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def reading(dump: Mapping[str, Any]) -> list[str]:
    """Check a dump's digest; return the command that prints it, decrypted with this host's key."""
    sealed = Path(str(dump["path"]))
    found = digest(sealed)
    if found != dump["sha256"]:
        raise BasculeError(
            expected=f"{sealed} with SHA-256 {dump['sha256']}",
            found=f"SHA-256 {found}: the file has been changed or damaged",
            state="nothing was restored",
            next_command="take the dump again, or use the copy of the other site",
        )
    return ["age", "--decrypt", "--identity", str(age_keys.KEY), str(sealed)]


def unseal(dump: Mapping[str, Any], path: Path, *, owner: str) -> None:
    """Check a dump's digest and decrypt it into a file that only its owner reads."""
    argv = reading(dump)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.PIPE,
            check=False,
            timeout=LONGEST,
        )
    finally:
        os.close(descriptor)
    if done.returncode:
        storage.remove(path)
        raise CommandFailed(
            expected=f"age to decrypt {dump['path']} with this host's key",
            found=done.stderr.decode("utf-8", "replace")[-500:],
        )
    shutil.chown(path, owner, owner)
