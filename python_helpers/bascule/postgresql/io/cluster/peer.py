"""How this side reaches the other side's server: the same way as the base backup and the standby do."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ....errors import BasculeError
from ....system.io.process import run
from ... import conf, control, lsn
from ...spec import Spec

# Log comes in whole segments, and one more is made ready beside the one that is written.
_ROOM = 32 << 20
_PAUSE = 1.0


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


@dataclass(frozen=True)
class Server:
    """The other side's server, as it says itself."""

    timeline: int
    history: list[tuple[int, str]]
    end: str
    in_recovery: bool


def server(spec: Spec) -> Server:
    """Ask the other side's server where it stands; no whole answer is an error, never a guess."""
    connection = f"{conf.conninfo(spec)} replication=true"
    argv = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", connection]
    asked = [*argv, "-c", "IDENTIFY_SYSTEM", "-c", "SHOW in_hot_standby"]
    done = run(asked, timeout=30, user=spec.owner, cwd="/", check=False)
    lines = done.stdout.split()
    words = lines[0].split("|") if lines else []
    if done.rc != 0 or len(lines) != 2 or len(words) < 3 or not words[1].isdigit():
        raise _silent(spec, "its timeline", reason(done.stderr))
    number = int(words[1])
    history = ""
    if number > 1:
        done = run([*argv, "-c", f"TIMELINE_HISTORY {number}"], timeout=30, user=spec.owner, cwd="/", check=False)
        history = done.stdout.partition("|")[2]
        if done.rc != 0 or not control.parse_history(history):
            raise _silent(spec, f"the history of timeline {number}", reason(done.stderr))
    lsn.parse(words[2])
    return Server(number, control.parse_history(history), words[2], lines[1] != "off")


def settled(spec: Spec, patience: float) -> Server:
    """Wait until the other side's server answers; one that stands in recovery, until it has replayed all it has.

    The answers of one that still replays name a timeline and an end that it is only passing.
    """
    deadline = time.monotonic() + patience
    before: Server | None = None
    error = _silent(spec, "where its log ends", "it still replays")
    while True:
        try:
            found = server(spec)
            if not found.in_recovery or found == before:
                return found
            before = found
        except BasculeError as refused:
            before, error = None, refused
        if time.monotonic() > deadline:
            raise error
        time.sleep(_PAUSE)


def _silent(spec: Spec, what: str, why: str) -> BasculeError:
    return BasculeError(
        expected=f"{spec.peer_side} to tell {what}, to see whether {spec.side} has what it never had",
        found=why,
        state=f"{spec.side} is closed and stands still: it was not compared, and does not follow",
        next_command=f"mend what is named, then ansible-playbook playbooks/30_sync.yml --limit {spec.component}",
    )


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
