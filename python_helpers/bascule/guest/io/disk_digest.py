"""Digest the disks of a stopped guest; where both sides are read at the same time, one of them in a unit of its own."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...system.io import storage, units
from ...system.io.process import Runner, run
from ...system.rsync import directory
from . import disks, pull

Disks = Sequence[Mapping[str, Any]]
# Seconds between two looks whether the unit has ended, one after the other as long as it takes.
_PATIENCE = 3600.0


def job_path(component: str) -> Path:
    """Return where it stands which disks are to be read."""
    return Path(directory(component)) / "disk-digest.job.json"


def result_path(component: str) -> Path:
    """Return where the digests are written when all disks were read."""
    return Path(directory(component)) / "disk-digest.json"


def position(wanted: Disks) -> dict[str, str]:
    """Read each disk whole and return its digest, as a receipt carries it.

    Raises:
        BasculeError: a process of the node has a disk open, before or after it was read.
    """
    return {f"disk:{disk['name']}": disks.digest(disk) for disk in wanted}


def end_others(component: str, runner: Runner = run) -> None:
    """End what an earlier decision has left running on these disks: a transfer, and what only reads them."""
    pull.end(component, runner=runner)
    units.stop(pull.digest_unit(component), runner)


def begin(component: str, wanted: Disks, runner: Runner = run) -> str:
    """Begin to digest the disks in a unit, and return what names its result."""
    end_others(component, runner)
    storage.remove(result_path(component))
    job_id = secrets.token_hex(8)
    storage.write_json(job_path(component), {"job_id": job_id, "disks": [dict(disk) for disk in wanted]})
    units.start(pull.digest_unit(component), [*units.AGENT, "guest_digest", component], runner)
    return job_id


def collect(component: str, wanted: Disks, job_id: str, runner: Runner = run) -> dict[str, str]:
    """Wait for the unit that `begin` has started and return the digests.

    A unit that was killed, or whose agent does not know how, leaves no result of that name: the disks are read here.
    """
    while not units.wait(pull.digest_unit(component), _PATIENCE, runner):
        pass
    found = storage.read_json(result_path(component)) or {}
    return dict(found["position"]) if found.get("job_id") == job_id else position(wanted)


def work(component: str) -> int:
    """Digest the disks that a job names, and write the digests down when all were read.

    When the unit is stopped, what was opened and activated to be read is closed and deactivated first.
    """
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _work(component)
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(component: str) -> int:
    job = storage.read_json(job_path(component))
    try:
        found = position(job["disks"])
    except (BasculeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    storage.write_json(result_path(component), {"job_id": job["job_id"], "position": found})
    return 0
