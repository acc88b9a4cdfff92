"""How this side reaches the other side's server: the same way as the base backup and the standby do."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import BasculeError
from ..postgresql import conf
from ..postgresql.spec import Spec
from .process import run

# Log comes in whole segments, and one more is made ready beside the one that is written.
_ROOM = 32 << 20


def identify(spec: Spec) -> str:
    """Log in for replication at the other side and return its system identifier; the error says why it cannot."""
    connection = f"{conf.conninfo(spec)} replication=true"
    argv = ["psql", "-X", "-A", "-t", "-d", connection, "-c", "IDENTIFY_SYSTEM"]
    done = run(argv, timeout=30, user=spec.owner, cwd="/", check=False)
    if done.rc != 0:
        raise BasculeError(
            expected=f"{spec.side} to log in at {spec.peer_side} for replication (TLS 1.3, its certificate, SCRAM)",
            found=reason(done.stderr),
            state=f"nothing was copied; {spec.peer_side} serves as before",
            next_command=f"mend what is named, then ansible-playbook playbooks/20_prepare.yml --limit {spec.component}",
        )
    return done.stdout.split("|", 1)[0].strip()


def timeline(spec: Spec) -> tuple[int, str] | None:
    """Return the other side's timeline and its history file; None when nobody answers."""
    connection = f"{conf.conninfo(spec)} replication=true"
    argv = ["psql", "-X", "-A", "-t", "-d", connection, "-c"]
    done = run([*argv, "IDENTIFY_SYSTEM"], timeout=30, user=spec.owner, cwd="/", check=False)
    words = done.stdout.strip().split("|")
    if done.rc != 0 or len(words) < 2 or not words[1].isdigit():
        return None
    number = int(words[1])
    if number == 1:
        return number, ""
    history = run([*argv, f"TIMELINE_HISTORY {number}"], timeout=30, user=spec.owner, cwd="/", check=False)
    return (number, history.stdout.partition("|")[2]) if history.rc == 0 else None


def complaint(spec: Spec) -> str:
    """Return why this side cannot follow the other, as far as can be told, or an empty text."""
    try:
        identify(spec)
    except BasculeError as error:
        return error.found
    log = Path(spec.data) / "pg_wal"
    free = shutil.disk_usage(log).free if log.exists() else _ROOM
    return "" if free >= _ROOM else f"only {free} bytes free at {log}: the log that comes has no room"


def reason(text: str) -> str:
    """Return what libpq complains about, without the address it repeats before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = "; ".join(lines) or "no answer"
    return words.split(" failed: ", 1)[-1] if words.startswith("psql: error: connection to server") else words
