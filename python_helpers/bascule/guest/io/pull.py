"""Start, find and follow the unit that carries disks or archives over to this node."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from ...errors import BasculeError
from ...system.io import rsync, storage
from ...system.io.process import Runner, run
from ...system.rsync import Job, directory, progress, rsync_command, statistics, unit_name
from . import archive_basis, disk_blocks, disks

AGENT = "/usr/local/lib/bascule/bascule.pyz"
# Seconds between two notes of progress.
_WRITE_EVERY = 0.5


def digest_unit(component: str) -> str:
    """Return the systemd unit that digests the disks of a component."""
    return f"bascule-{component}-disk-digest"


def begin(job: Mapping[str, Any], runner: Runner = run) -> tuple[str, bool]:
    """Start the job, or find the one that runs already; return its id and whether it was started now.

    A running transfer of an archive is followed: an archive does not change. One of disks belongs to an earlier
    decision, and the disk may have changed behind it: it is ended, and what it wrote is where the new one goes on from.
    """
    wanted = Job.from_dict(job)
    unit = unit_name(wanted.component, wanted.name)
    path = _path(wanted, "job")
    found = storage.read_json(path) or {}
    if is_active(unit, runner):
        if not wanted.disks and found.get("job") == dict(job):
            return str(found["job_id"]), False
        stop(unit, runner)
    if wanted.disks:
        # Of an earlier decision: whoever reads a disk keeps it from being written.
        stop(digest_unit(wanted.component), runner)
    if found.get("job"):
        archive_basis.salvage(found["job"], wanted)
    job_id = secrets.token_hex(8)
    storage.remove(_path(wanted, "status"))
    storage.write_json(path, {"job_id": job_id, "job": dict(job)})
    if storage.read_text(AGENT) is None:
        raise BasculeError(
            expected=f"the host agent {AGENT}",
            found="no such file",
            state="nothing was carried over",
            next_command="ansible-playbook playbooks/20_prepare.yml: it installs the host agent",
        )
    # --collect: a unit that failed must not stand in the way of the next one of that name.
    description = f"Bascule: {wanted.component}, transfer of {wanted.name}"
    runner(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={unit}",
            f"--description={description}",
            "--property=KillMode=control-group",
            "--",
            "/usr/bin/python3",
            AGENT,
            "guest_pull",
            str(path),
        ],
        timeout=30,
    )
    return job_id, True


def follow(
    component: str,
    name: str,
    job_id: str,
    wait: float,
    runner: Runner = run,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Return the job's status as soon as it has ended, or as it is after `wait` seconds."""
    path = Path(directory(component)) / f"pull-{name}.status.json"
    unit = unit_name(component, name)
    deadline = clock() + wait
    began = clock()
    while True:
        status: Optional[dict[str, Any]] = storage.read_json(path)
        if status and status.get("job_id") == job_id and status.get("state") != "running":
            return status
        now = clock()
        if now >= deadline:
            return status if status and status.get("job_id") == job_id else {"job_id": job_id, "state": "running"}
        if now - began > 1 and not is_active(unit, runner):
            last = storage.read_json(path) or {}
            if last.get("job_id") == job_id and last.get("state") != "running":
                return dict(last)
            raise BasculeError(
                expected=f"the unit {unit} to run until it has a result",
                found="it has ended without one (killed, or the node was restarted)",
                state="nothing uses what has arrived so far",
                next_command="run the same command again: it carries over what is missing",
            )
        sleep(0.1)


def end(component: str, names: tuple[str, ...] = ("delta",), runner: Runner = run) -> bool:
    """End transfers that an earlier decision left running: nothing may write a disk that is about to be opened."""
    return any(stop(unit_name(component, name), runner) for name in names)


def is_active(unit: str, runner: Runner = run) -> bool:
    """Return whether the unit runs, or is about to."""
    found = runner(["systemctl", "show", "--property=ActiveState", "--value", f"{unit}.service"], check=False)
    return found.stdout.strip() in ("active", "activating", "reloading", "deactivating")


def stop(unit: str, runner: Runner = run) -> bool:
    """Stop the unit with everything it started; return whether it was running."""
    if not is_active(unit, runner):
        return False
    runner(["systemctl", "stop", f"{unit}.service"], timeout=120)
    return True


def _path(job: Job, kind: str) -> Path:
    return Path(directory(job.component)) / f"pull-{job.name}.{kind}.json"


class _Status:
    """What a follower reads; replaced at once, never half written."""

    def __init__(self, path: str, job_id: str) -> None:
        self._path = path
        self._said = 0.0
        self.values: dict[str, object] = {"job_id": job_id, "state": "running", "progress": ""}

    def write(self) -> None:
        """Make what is known durable."""
        storage.write_json(self._path, self.values)

    def progress(self, text: str) -> None:
        """Tell progress, now and then."""
        if time.monotonic() - self._said >= _WRITE_EVERY:
            self._said = time.monotonic()
            self.values["progress"] = text
            self.write()


def work(path: str) -> int:
    """Carry disks or an archive over as a job file says; the outcome stands in the status file beside it.

    When the unit is stopped, what was opened and activated to be written is closed and deactivated first.
    """
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _work(path)
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(path: str) -> int:
    data = storage.read_json(path)
    job = Job.from_dict(data["job"])
    status = _Status(path.replace(".job.json", ".status.json"), str(data["job_id"]))
    status.write()
    os.umask(0o077)
    began = time.monotonic()
    based = False
    totals: dict[str, int] = {"literal": 0, "matched": 0, "sent": 0, "received": 0}
    try:
        count = len(job.pairs) + len(job.blocks)
        for number, (source, target) in enumerate(job.pairs, 1):
            label = f"{os.path.basename(target)} ({number}/{count})"
            if job.disks:
                disks.must_be_quiet(target)

            def tell(text: str, label: str = label) -> None:
                found = progress(text)
                if found:
                    status.progress(f"{label} {found}")

            basis = archive_basis.offer(job, target)
            based = basis is not None
            output = rsync.carry(rsync_command(job, source, target, basis), tell)
            for name, value in statistics(output).items():
                totals[name] += value
            rsync.make_durable(target)
        for number, disk in enumerate(job.blocks, len(job.pairs) + 1):
            label = f"{disk['name']} ({number}/{count})"

            def said(text: str, label: str = label) -> None:
                status.progress(f"{label} {text}")

            for name, value in disk_blocks.carry(job, disk, said).items():
                totals[name] += value
    except (BasculeError, OSError) as error:
        status.values |= {"state": "failed", "error": str(error)}
        status.write()
        print(error, file=sys.stderr)
        return 1
    status.values |= {"state": "done", "based": based, "seconds": round(time.monotonic() - began, 3), **totals}
    status.write()
    return 0
