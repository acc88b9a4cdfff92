"""`bascule.pyz guest_pull JOB`: carry disks or an archive over from the other node, as a unit that a re-run follows."""

from __future__ import annotations

import os
import sys
import time

from ..errors import BasculeError
from ..io import archive_basis, disks, files, rsync
from ..proxmox.pull import Job, progress, rsync_command, statistics

_WRITE_EVERY = 0.5


class _Status:
    """What a follower reads; replaced at once, never half written."""

    def __init__(self, path: str, job_id: str) -> None:
        self._path = path
        self._said = 0.0
        self.values: dict[str, object] = {"job_id": job_id, "state": "running", "progress": ""}

    def write(self) -> None:
        """Make what is known durable."""
        files.write_json(self._path, self.values)

    def progress(self, text: str) -> None:
        """Tell progress, now and then."""
        if time.monotonic() - self._said >= _WRITE_EVERY:
            self._said = time.monotonic()
            self.values["progress"] = text
            self.write()


def main(argv: list[str]) -> int:
    """Carry the job out; its outcome stands in the status file."""
    path = argv[0]
    data = files.read_json(path)
    job = Job.from_dict(data["job"])
    status = _Status(path.replace(".job.json", ".status.json"), str(data["job_id"]))
    status.write()
    os.umask(0o077)
    began = time.monotonic()
    based = False
    totals: dict[str, int] = {"literal": 0, "matched": 0, "sent": 0, "received": 0}
    try:
        for number, (source, target) in enumerate(job.pairs, 1):
            label = f"{os.path.basename(target)} ({number}/{len(job.pairs)})"
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
    except (BasculeError, OSError) as error:
        status.values |= {"state": "failed", "error": str(error)}
        status.write()
        print(error, file=sys.stderr)
        return 1
    status.values |= {"state": "done", "based": based, "seconds": round(time.monotonic() - began, 3), **totals}
    status.write()
    return 0
