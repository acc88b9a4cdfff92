"""Read the other side's encrypted dumps by SSH, and check that each arrived as it was written there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import rsync, sealed, storage
from ....system.rsync import Job as Transfer
from ....system.rsync import progress, rsync_command
from ... import dump_restore
from ...spec import Spec
from .job import Job

CONTENTS = "contents.json"


class Fetcher:
    """Fills a directory that has the same name at both sides; what arrived whole before is not brought again."""

    def __init__(self, spec: Spec, directory: Path, job: Job, rate: str) -> None:
        self.spec = spec
        self.directory = directory
        self.job = job
        self.transfer = Transfer(
            spec.component, "dump", spec.peer_address, spec.ssh_port, "root", (), False, 131072,
            dump_restore.kibibytes(rate), False,
        )  # fmt: skip

    def contents(self, manifest: str) -> dict[str, Any]:
        """Bring the list of contents."""
        self.job.note(step="bringing the dump here")
        storage.make_directory(self.directory, 0o700)
        if not self._there({"file": CONTENTS, "sha256": manifest}):
            self._pull(CONTENTS)
        self._proved(CONTENTS, manifest)
        found: dict[str, Any] = storage.read_json(self.directory / CONTENTS)
        return found

    def dumps(self, dumps: Sequence[Mapping[str, Any]]) -> bool:
        """Bring the dumps themselves; return whether any had to be brought."""
        missing = [dump for dump in dumps if not self._there(dump)]
        total = sum(int(dump["bytes"]) for dump in missing)
        free = shutil.disk_usage(self.directory).free
        if free < total:
            raise BasculeError(
                expected=f"{total} bytes free at {self.directory} on {self.spec.side}",
                found=f"{free} bytes",
                state="nothing was restored",
                next_command=f"free space on {self.spec.side}, then run the same playbook again",
            )
        for number, dump in enumerate(missing):
            self.job.note(step=f"bringing dump {number + 1} of {len(missing)} here ({total / 1e6:.0f} MB in all)")
            self._pull(dump["file"])
            self._proved(dump["file"], dump["sha256"])
        return bool(missing)

    def _there(self, dump: Mapping[str, Any]) -> bool:
        path = self.directory / str(dump["file"])
        return path.exists() and sealed.digest(path) == str(dump["sha256"])

    def _pull(self, name: str) -> None:
        path = self.directory / name
        command = rsync_command(self.transfer, str(path), str(path))
        rsync.carry(command, lambda text: self.job.tell(progress(text) or ""))
        path.chmod(0o600)
        rsync.make_durable(str(path))

    def _proved(self, name: str, digest: str) -> None:
        found = sealed.digest(self.directory / name)
        if found == digest:
            return
        # Not to go on from there: it is brought whole the next time.
        storage.remove(self.directory / name)
        raise BasculeError(
            expected=f"{name} with SHA-256 {digest}, as it was written at {self.spec.peer_side}",
            found=f"SHA-256 {found} after the transfer: it was changed or damaged on its way",
            state="nothing was restored",
            next_command="run the same playbook again: the file is brought again",
        )
