"""vzdump: a consistent archive of a guest, running or not, with Proxmox's own log.

A running guest is copied by QEMU itself (`blockdev-backup`: freeze, start the job, thaw; the copy shows the moment of
the job's start while the guest writes on), then the archive is written from that copy. A stopped guest's disks are read
where they are; the lines about `kvm` are Proxmox's wording.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import guest_config, guest_store, vma
from .container_archive import ContainerArchive
from .containers import Containers
from .errors import Failure, Interrupted, Vanished
from .faults import Faults
from .guest_config import Config
from .guest_store import GuestStore
from .paths import Paths
from .qemu import Qemu, has_agent
from .tasks import Task
from .volumes import STORAGE, Volumes, check_storage, size_of
from .vzdump_copy import Copies
from .vzdump_text import clock, now, whole_size
from .vzdump_write import Archive, Backup, Source

COMPRESSORS: dict[str, tuple[str, list[str]]] = {
    "0": ("", ["cat"]),
    "zstd": (".zst", ["zstd", "-q", "-T2", "-c"]),
    "gzip": (".gz", ["gzip", "-c"]),
}


@dataclass(frozen=True)
class Job:
    vmids: tuple[int, ...]
    mode: str = "snapshot"
    compress: str = "0"
    storage: str = STORAGE
    lockwait_minutes: int = 180
    notes_template: str | None = None
    stopwait_minutes: int = 10
    remove: bool = True
    protected: bool = False
    given: dict[str, Any] = field(default_factory=dict)


def command_text(job: Job) -> str:
    """The job as vzdump's command line, with the parameters it was given."""
    vmids = " ".join(str(vmid) for vmid in job.vmids)
    options = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in job.given.items())
    return f"vzdump {vmids} {options}".rstrip()


class Vzdump:
    def __init__(
        self, paths: Paths, node: str, store: GuestStore, qemu: Qemu, faults: Faults, container_store: GuestStore,
        containers: Containers, container_archive: ContainerArchive,
    ) -> None:  # fmt: skip
        self._paths = paths
        self._node = node
        self._store = store
        self._qemu = qemu
        self._faults = faults
        self._volumes = Volumes(paths)
        self._container_store = container_store
        self._containers = containers
        self._container_archive = container_archive

    def run(self, task: Task, job: Job) -> None:
        try:
            check_storage(job.storage)
        except Failure as failure:
            raise Failure(
                f"could not activate storage '{job.storage}': {failure} could not get storage information for "
                f"'{job.storage}': {failure}"
            ) from failure
        with self._node_lock(task, job):
            task.log(f"INFO: starting new backup job: {command_text(job)}")
            errors = 0
            for vmid in job.vmids:
                try:
                    self._guest(task, job, vmid)
                except Interrupted as interrupted:
                    task.log(f"ERROR: Backup job failed - {interrupted}")
                    raise
                except Failure:
                    errors += 1
            if errors:
                task.log("INFO: Backup job finished with errors")
                raise Failure("job errors")
            task.log("INFO: Backup job finished successfully")

    @contextlib.contextmanager
    def _node_lock(self, task: Task, job: Job) -> Iterator[None]:
        """One vzdump at a time on a node."""
        with self._paths.vzdump_lock.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if not job.lockwait_minutes:
                    task.log("ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)")
                    raise Vanished from error
                task.log("INFO: trying to get global lock - waiting...")
                self._await(task, held.fileno(), job.lockwait_minutes)
                task.log("INFO: got global lock")
            yield

    @staticmethod
    def _await(task: Task, descriptor: int, minutes: int) -> None:
        deadline = time.monotonic() + 60 * minutes
        while True:
            task.check()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    task.log("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout")
                    raise Vanished from error
                time.sleep(0.2)

    def _guest(self, task: Task, job: Job, vmid: int) -> None:
        started = time.monotonic()
        container = self._container_store.exists(vmid)
        if not container and not self._store.exists(vmid):
            self._failed(task.log, vmid, f"unable to find VM '{vmid}'")
        kind = "lxc" if container else "qemu"
        stamp = datetime.datetime.now().strftime("%Y_%m_%d-%H_%M_%S")
        stem = self._paths.dump / f"vzdump-{kind}-{vmid}-{stamp}"
        backup = Backup(task, stem.with_name(stem.name + ".log"))
        try:
            backup.say(f"Starting Backup of VM {vmid} ({kind})")
            task.log(f"INFO: Backup started at {now()}")
            self._back_up(backup, job, vmid, stem, container)
            backup.say(f"Finished Backup of VM {vmid} ({clock(time.monotonic() - started)})")
            task.log(f"INFO: Backup finished at {now()}")
        except Failure as failure:
            self._failed(lambda line: _both(backup, line), vmid, str(failure), failure)
        finally:
            backup.close()

    @staticmethod
    def _failed(log: Callable[[str], None], vmid: int, reason: str, cause: Failure | None = None) -> None:
        log(f"ERROR: Backup of VM {vmid} failed - {reason}")
        log(f"INFO: Failed at {now()}")
        raise cause if isinstance(cause, Interrupted) else Failure(reason)

    def _back_up(self, backup: Backup, job: Job, vmid: int, stem: Path, container: bool) -> None:
        store = self._container_store if container else self._store
        config = store.load(vmid)
        keeps = self._volumes.keeps()
        if keeps is not None and not job.remove and not job.protected and len(self._volumes.unprotected(vmid)) >= keeps:
            raise Failure(
                f"There is a max backup limit of {keeps} enforced by the target storage or the vzdump parameters. "
                "Either increase the limit or delete old backups."
            )
        running = (self._containers.pid(vmid) if container else self._qemu.pid(vmid)) is not None
        backup.say(f"status = {'running' if running else 'stopped'}")
        with store.locked(vmid):
            guest_store.check_lock(store.load(vmid), "CT" if container else "VM")
            store.change(vmid, lock="backup")
        try:
            if container:
                self._archive_container(backup, job, vmid, config, running, stem)
            else:
                self._archive(backup, job, vmid, config, running, stem)
        finally:
            with store.locked(vmid):
                store.change(vmid, lock=None)

    def _archive_container(
        self, backup: Backup, job: Job, vmid: int, config: Config, running: bool, stem: Path
    ) -> None:
        """On raw files in a folder there is no snapshot: a running container is suspended instead."""
        backup.say(f"backup mode: {'suspend' if running else 'stop'}")
        backup.say("ionice priority: 7")
        extension, compressor = COMPRESSORS[job.compress]
        words = shlex.join(compressor)
        if self._faults.take("storage_full", vmid, at="vzdump"):
            words = f"stdbuf -o0 {words} > /dev/full"
        target = stem.with_name(f"{stem.name}.tar{extension}")
        self._container_archive.write(backup, vmid, config, running, target, words)
        self._finish(backup, job, vmid, target, config.get("hostname", f"CT{vmid}"))

    def _archive(self, backup: Backup, job: Job, vmid: int, config: Config, running: bool, stem: Path) -> None:
        mode = job.mode if running else "stop"
        name = config.get("name", f"VM{vmid}")
        details = [f"VM Name: {name}", *self._included(vmid, config)]
        modes = [f"backup mode: {mode}", "ionice priority: 7"]
        # A guest that goes on running is described before its mode is named, a stopped one after.
        for line in details + modes if running and mode == "snapshot" else modes + details:
            backup.say(line)
        extension, compressor = COMPRESSORS[job.compress]
        if self._faults.take("storage_full", vmid, at="vzdump"):
            # Not played: the compressor really writes to a device that is full, and says so in its own words.
            compressor = ["sh", "-c", 'exec stdbuf -o0 "$@" > /dev/full', "sh", *compressor]
        target = stem.with_name(f"{stem.name}.vma{extension}")
        sources = self._sources(vmid, config)
        if running:
            self._running(backup, job, vmid, config, sources, target, compressor)
        else:
            self._stopped(backup, config, sources, target, compressor)
        self._finish(backup, job, vmid, target, name)

    def _finish(self, backup: Backup, job: Job, vmid: int, target: Path, name: str) -> None:
        """What stands beside an archive, and which older ones go."""
        backup.say(f"archive file size: {whole_size(target.stat().st_size)}")
        if job.notes_template is not None:
            backup.say("adding notes to backup")
            target.with_name(target.name + ".notes").write_text(self._notes(job.notes_template, vmid, name))
        if job.protected:
            backup.say("marking backup as protected")
            target.with_name(target.name + ".protected").touch()
        keeps = self._volumes.keeps()
        if job.remove and keeps is not None:
            backup.say(f"prune older backups with retention: keep-last={keeps}")
            for volid in self._volumes.unprotected(vmid)[:-keeps]:
                self._volumes.remove(volid)

    def _notes(self, template: str, vmid: int, name: str) -> str:
        values = {"guestname": name, "node": self._node, "vmid": str(vmid), "cluster": self._node}
        for key, value in values.items():
            template = template.replace("{{" + key + "}}", value)
        return template.replace("\\n", "\n")

    @staticmethod
    def _included(vmid: int, config: Config) -> list[str]:
        return [
            f"include disk '{key}' '{drive['file']}' {drive.get('size', '')}".rstrip()
            for key, drive in guest_config.disks(config).items()
            if drive.get("backup", "1") == "1"
        ]

    def _sources(self, vmid: int, config: Config) -> list[Source]:
        sources: list[Source] = []
        for key, drive in guest_config.disks(config).items():
            if drive.get("backup", "1") != "1":
                continue
            path = self._paths.volume(drive["file"])
            if not path.exists():
                raise Failure(f"volume '{drive['file']}' does not exist")
            device = vma.Device(len(sources) + 1, f"drive-{key}", size_of(path))
            sources.append(Source(key, device, path))
        if not sources:
            raise Failure("no disks to back up")
        return sources

    def _stopped(
        self, backup: Backup, config: Config, sources: list[Source], target: Path, compressor: list[str]
    ) -> None:
        backup.say(f"creating vzdump archive '{target}'")
        backup.say("starting kvm to execute backup task")
        backup.say(f"started backup task '{uuid.uuid4()}'")
        try:
            self._write(backup, config, sources, target, compressor)
        finally:
            backup.say("stopping kvm after backup task")

    def _running(
        self, backup: Backup, job: Job, vmid: int, config: Config, sources: list[Source], target: Path,
        compressor: list[str],
    ) -> None:  # fmt: skip
        """The guest is down or still only until the copying has begun, and up again whatever happens."""
        try:
            if job.mode == "stop":
                self._stop(backup, vmid, config, job.stopwait_minutes * 60)
            if job.mode == "suspend":
                backup.say("suspending guest")
                self._qemu.monitor(vmid, "stop")
            backup.say(f"creating vzdump archive '{target}'")
            if job.mode == "stop":
                backup.say("starting kvm to execute backup task")
                self._qemu.start(vmid, config, paused=True, say=backup.task.log)
            with Copies(self._qemu, backup, vmid, config, self._paths.scratch).made(job.mode, sources) as copies:
                self._write(backup, config, copies, target, compressor)
        except BaseException:
            with contextlib.suppress(Failure):
                if self._qemu.pid(vmid) is None:
                    self._qemu.start(vmid, config, paused=False, say=backup.task.log)
                else:
                    self._qemu.monitor(vmid, "cont")
            raise

    @staticmethod
    def _write(backup: Backup, config: Config, sources: list[Source], target: Path, compressor: list[str]) -> None:
        try:
            Archive(backup, config, sources, compressor).write(target)
        except BaseException as error:
            if isinstance(error, Interrupted):
                backup.say("interrupted by signal", "ERROR")
            backup.say("aborting backup job")
            raise

    def _stop(self, backup: Backup, vmid: int, config: Config, seconds: int) -> None:
        """Shut the guest down: its disks show a clean end."""
        backup.say("stopping virtual guest")
        if has_agent(config) and not self._qemu.agent_answers(vmid, config):
            backup.say(f"QEMU Guest Agent is not running - VM {vmid} qmp command 'guest-ping' failed - got timeout")
        self._qemu.shutdown(vmid, config, seconds, backup.task.check)


def _both(backup: Backup, line: str) -> None:
    level, _, text = line.partition(": ")
    backup.say(text, level)
