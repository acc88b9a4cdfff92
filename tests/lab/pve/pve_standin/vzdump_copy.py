"""Copies of a running guest's disks, taken by QEMU at one moment while the guest goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import guest_config, qmp
from .errors import Failure, Interrupted
from .guest_config import Config
from .qemu import Qemu, has_agent
from .vzdump_write import Backup, Source


class Copies:
    def __init__(self, qemu: Qemu, backup: Backup, vmid: int, config: Config, scratch: Path) -> None:
        self._qemu = qemu
        self._backup = backup
        self._vmid = vmid
        self._config = config
        self._scratch = scratch

    def _monitor(self, command: str, **arguments: Any) -> Any:
        return self._qemu.monitor(self._vmid, command, **arguments)

    @contextlib.contextmanager
    def made(self, mode: str, sources: list[Source]) -> Iterator[list[Source]]:
        """Copies of all disks as they were at one moment; the guest is running again when they are yielded."""
        began = time.monotonic()
        copies = [
            dataclasses.replace(source, path=self._scratch / f"vzdumptmp-{self._vmid}-{source.key}.raw")
            for source in sources
        ]
        try:
            for source, copy in zip(sources, copies, strict=True):
                with copy.path.open("wb") as out:
                    out.truncate(source.device.size)
                file = {"driver": "file", "filename": str(copy.path)}
                self._monitor(
                    "blockdev-add", driver="raw", node_name=f"copy-{copy.key}", file=file,
                    **{"detect-zeroes": "unmap", "discard": "unmap"},
                )  # fmt: skip
            frozen = mode == "snapshot" and self._freeze()
            try:
                jobs = [
                    {
                        "type": "blockdev-backup",
                        "data": {
                            "job-id": f"backup-{copy.key}", "device": f"drive-{copy.key}",
                            "target": f"copy-{copy.key}", "sync": "full", "auto-dismiss": False,
                        },
                    }
                    for copy in copies
                ]  # fmt: skip
                # All disks in one transaction: they show the same moment.
                self._monitor("transaction", actions=jobs)
            finally:
                if frozen:
                    self._thaw()
            self._backup.say(f"started backup task '{uuid.uuid4()}'")
            delay = "" if mode == "snapshot" else f" after {int(time.monotonic() - began)} seconds"
            self._backup.say(f"resuming VM again{delay}")
            self._monitor("cont")
            self._await(copies)
            yield copies
        finally:
            self._drop(copies)

    def _freeze(self) -> bool:
        if not has_agent(self._config):
            return False
        if not self._qemu.agent_answers(self._vmid, self._config):
            self._backup.say("skipping guest-agent 'fs-freeze', agent configured but not running?")
            return False
        self._backup.say("issuing guest-agent 'fs-freeze' command")
        try:
            self._qemu.agent(self._vmid, "fsfreeze-freeze", timeout=30)
        except (qmp.Unreachable, qmp.Refused) as error:
            self._backup.say(f"VM {self._vmid} qmp command 'guest-fsfreeze-freeze' failed - {error}", "ERROR")
        # Thaw in any case: a command that timed out may still have frozen the guest.
        return True

    def _thaw(self) -> None:
        self._backup.say("issuing guest-agent 'fs-thaw' command")
        try:
            self._qemu.agent(self._vmid, "fsfreeze-thaw", timeout=30)
        except (qmp.Unreachable, qmp.Refused) as error:
            self._backup.say(f"VM {self._vmid} qmp command 'guest-fsfreeze-thaw' failed - {error}", "ERROR")

    def _await(self, copies: list[Source]) -> None:
        wanted = {f"backup-{copy.key}" for copy in copies}
        while True:
            jobs = [job for job in self._monitor("query-jobs") if job["id"] in wanted]
            if self._backup.task.stopped.is_set():
                self._backup.say("interrupted by signal", "ERROR")
                self._backup.say("aborting backup job")
                raise Interrupted
            for job in jobs:
                if job["status"] == "concluded" and job.get("error"):
                    self._backup.say(f"job failed with err - {job['error']}", "ERROR")
                    self._backup.say("aborting backup job")
                    raise Failure(str(job["error"]))
            if all(job["status"] == "concluded" for job in jobs):
                return
            time.sleep(0.1)

    def _drop(self, copies: list[Source]) -> None:
        """Leave nothing of the copies behind, neither in QEMU nor on disk."""
        for copy in copies:
            drop_copy(self._qemu, self._vmid, copy.key)
            copy.path.unlink(missing_ok=True)


def drop_copy(qemu: Qemu, vmid: int, key: str) -> None:
    """End the job that makes a copy, and close the copy's file."""
    job = f"backup-{key}"
    with contextlib.suppress(Failure):
        for _ in range(100):
            state = {entry["id"]: entry["status"] for entry in qemu.monitor(vmid, "query-jobs")}.get(job)
            if state is None:
                break
            if state == "concluded":
                qemu.monitor(vmid, "job-dismiss", id=job)
            else:
                with contextlib.suppress(Failure):
                    qemu.monitor(vmid, "job-cancel", id=job)
                time.sleep(0.1)
    with contextlib.suppress(Failure):
        qemu.monitor(vmid, "blockdev-del", node_name=f"copy-{key}")


def clean_up(qemu: Qemu, vmid: int, config: Config) -> None:
    """What a daemon that was killed during a backup left in a running guest: a job, a file, frozen file systems."""
    for key in guest_config.disks(config):
        drop_copy(qemu, vmid, key)
    if has_agent(config):
        with contextlib.suppress(qmp.Unreachable, qmp.Refused):
            if qemu.agent(vmid, "fsfreeze-status") == "frozen":
                qemu.agent(vmid, "fsfreeze-thaw", timeout=30)
