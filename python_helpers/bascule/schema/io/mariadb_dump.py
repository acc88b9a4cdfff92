"""A dump of one MariaDB database by its own programs, and its return into another database.

Nothing of a connection stands in an argument list: it is in an option file for the moment. On the way into a copy, what
runs as somebody (DEFINER) becomes the copy's own account, which alone may make it; bodies are compared afterwards.
Events stand in a second part that no copy is given, as they would run there.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...system import pymysql_way
from ...system.io.process import environment_in_english
from ..store import SchemaError

_DUMP = (
    "--single-transaction", "--quick", "--hex-blob", "--no-tablespaces", "--skip-comments", "--skip-dump-date",
    "--default-character-set=utf8mb4",
)  # fmt: skip
_ALL = ("--routines", "--triggers")
_EVENTS = ("--events", "--no-data", "--no-create-info", "--skip-triggers")
_BORDER = b"-- bascule: what follows are events, which no copy is given\n"
_NAME = rb"`(?:[^`]|``)*`"
_DEFINER = re.compile(rb"^((?:/\*!\d+ CREATE\*/ )?/\*!\d+ |CREATE )DEFINER=" + _NAME + rb"@" + _NAME)
_DAY = 86400.0


def dump(way: Mapping[str, str], path: Path, label: str) -> None:
    """Write a dump of a database into a file that is there, and flush it."""
    with _options(way) as options, path.open("wb") as out:
        for part in (_ALL, _EVENTS):
            if part is _EVENTS:
                out.write(_BORDER)
            out.flush()
            _run(
                ["mariadb-dump", f"--defaults-file={options}", *_DUMP, *part, way["database"]],
                f"{label} to be dumped",
                out,
            )
        out.flush()
        os.fsync(out.fileno())


def restore(way: Mapping[str, str], path: Path, label: str) -> None:
    """Give a dump, without its events, to a database."""
    with _options(way) as options:
        argv = ["mariadb", f"--defaults-file={options}", "--batch", "--default-character-set=utf8mb4", way["database"]]
        with tempfile.TemporaryFile() as errors:
            client = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, env=environment_in_english()
            )
            try:
                with path.open("rb") as source:
                    _give(source, client)
                status = client.wait(timeout=_DAY)
            except (OSError, subprocess.TimeoutExpired) as error:
                client.kill()
                client.wait()
                status = getattr(error, "errno", None) or 1
            if status:
                errors.seek(0)
                raise SchemaError(expected=f"{label} to take the backup", found=_said(errors.read()))


def _give(source: IO[bytes], client: subprocess.Popen[bytes]) -> None:
    if client.stdin is None:
        return
    with client.stdin as pipe:
        for line in source:
            if line == _BORDER:
                return
            pipe.write(_DEFINER.sub(rb"\1", line))


def _run(argv: list[str], what: str, out: IO[bytes]) -> None:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=_DAY,
            check=False,
            env=environment_in_english(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SchemaError(expected=what, found=str(error)) from error
    if done.returncode:
        raise SchemaError(expected=what, found=_said(done.stderr))


@contextmanager
def _options(way: Mapping[str, str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bascule-schema-") as folder:
        path = Path(folder, "options.cnf")
        path.write_text(pymysql_way.option_file(way), encoding="utf-8")
        yield str(path)


def _said(stderr: bytes) -> str:
    """Return what a program says, without the statement that it may quote."""
    lines = [" ".join(line.split()) for line in stderr.decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "rror" in line]
    return " ".join(errors or lines)[-600:] or "it gave no reason"
