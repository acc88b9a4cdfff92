"""What squawk advises on files of PostgreSQL: an index that would block writes, a column that rewrites its table.

Advice alone: it refuses nothing, and where the program is not there, or says nothing that can be read, that is said.
Source: https://squawkhq.com/docs/rules
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ...errors import BasculeError
from ...system.io.process import run
from ..files import Migration

PROGRAM = "squawk"
# The first is for files that may stop half-way, which ours do not; the time that a lock is waited for is Bascule's own.
_NOT_OURS = "prefer-robust-stmts,require-lock-timeout,require-statement-timeout"
_SECONDS = 60


def advice(migrations: Iterable[Migration]) -> list[str]:
    """Return what it advises on the ways up of migrations, a line each; or why it has not."""
    ways = [one.up for one in migrations]
    if not ways:
        return []
    if shutil.which(PROGRAM) is None:
        return [f"none on {len(ways)} files: {PROGRAM} is not installed (pip install 'bascule[advice]')"]
    said: list[str] = []
    for within in (True, False):
        chosen = [way for way in ways if way.transaction is within]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="bascule-schema-") as folder:
            for way in chosen:
                Path(folder, way.name).write_bytes(way.data)
            option = ["--assume-in-transaction"] if within else ["--no-assume-in-transaction"]
            argv = [PROGRAM, "--reporter=Json", f"--exclude={_NOT_OURS}", *option]
            try:
                done = run([*argv, *(way.name for way in chosen)], cwd=folder, timeout=_SECONDS, check=False)
                said += [_line(one) for one in json.loads(done.stdout)]
            except (BasculeError, ValueError, KeyError, TypeError) as error:
                why = error.found if isinstance(error, BasculeError) else f"it cannot be read: {error}"
                said.append(f"none on {len(chosen)} files: {PROGRAM} has failed: {why[:200]}")
    return said


def _line(one: dict[str, object]) -> str:
    place = f"{one['file']} line {int(str(one['line'])) + 1}"
    return f"{place}: {one['message']} {one['help'] or ''}".rstrip() + f" ({one['rule_name']})"
