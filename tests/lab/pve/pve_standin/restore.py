"""Restore: the archive is read through its decompressor, verified on the way, and written as sparse raw disks.

As with Proxmox a failed restore removes its volumes and leaves the VMID behind with `memory: 128`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from . import cloudinit, guest_config, vma
from .errors import Failure, Vanished
from .faults import Faults
from .guest_config import Config
from .guest_store import GuestStore
from .qemu import Qemu
from .tasks import Task
from .volumes import STORAGE, Volumes, size_of

DECOMPRESSORS = {".zst": ["zstd", "-q", "-d", "-c"], ".gz": ["gzip", "-d", "-c"], ".vma": ["cat"]}
MAP = re.compile(r"#qmdump#map:(\S+):(\S+):(\S*):(\S*):$")
PLACEHOLDER: Config = {"memory": "128"}


def new_mac() -> str:
    """A MAC in Proxmox's own range."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def with_mac(value: str) -> str:
    """A network card without a MAC gets one."""
    card = guest_config.parse_net(value)
    card.setdefault("macaddr", new_mac())
    return guest_config.render_net(card)


class Restore:
    def __init__(self, store: GuestStore, volumes: Volumes, qemu: Qemu, faults: Faults) -> None:
        self._store = store
        self._volumes = volumes
        self._qemu = qemu
        self._faults = faults

    def reserve(self, vmid: int, force: bool, node: str) -> None:
        """Take the VMID, before the task begins; an existing guest needs `force`."""
        prefix = f"unable to restore VM {vmid} -"
        with self._store.locked(vmid):
            if self._store.exists(vmid):
                config = self._store.load(vmid)
                if not force:
                    raise Failure(f"{prefix} VM {vmid} already exists on node '{node}'")
                if "lock" in config:
                    raise Failure(f"{prefix} VM is locked ({config['lock']})")
                self._store.change(vmid, lock="create")
            else:
                self._store.save(vmid, {**PLACEHOLDER, "lock": "create"})

    def run(
        self, task: Task, vmid: int, archive: Path, unique: bool, overrides: Config, storage: str = STORAGE
    ) -> None:
        with self._store.locked(vmid, task.log):
            try:
                if self._store.load(vmid).get("protection") == "1":
                    raise Failure(f"unable to restore VM {vmid} - - protection mode enabled")
                if self._qemu.pid(vmid) is not None:
                    raise Failure(f"unable to restore VM {vmid} - vm is running")
                config = self._extract(task, vmid, archive, unique, storage)
            except Vanished:
                # Nobody is left who could take the lock away, or the volumes.
                raise
            except BaseException:
                with contextlib.suppress(Failure):
                    self._store.change(vmid, lock=None)
                task.log(
                    "error before or during data restore, some or all disks were not completely restored. "
                    f"VM {vmid} state is NOT cleaned up."
                )
                raise
            config.update(overrides)
            self._store.save(vmid, config)

    def _extract(self, task: Task, vmid: int, archive: Path, unique: bool, storage: str) -> Config:
        command = DECOMPRESSORS.get(archive.suffix)
        if command is None:
            raise Failure(f"unable to parse archive name '{archive.name}'")
        extract = "vma extract -v -r /var/tmp/vzdumptmp.fifo"
        # What is not compressed is not piped.
        plain = archive.suffix == ".vma"
        task.log(
            f"restore vma archive: {extract} {archive}"
            if plain
            else f"restore vma archive: {' '.join(command)} {archive} | {extract} -"
        )
        made: list[str] = []
        try:
            with opened(command, archive) as stream:
                try:
                    header = vma.read_header(stream)
                    text = self._announce(task, header)
                    self._clear(vmid)
                    disks = self._allocate(task, vmid, header, made, storage)
                    if self._faults.take("storage_full", vmid, at="restore"):
                        raise vma.VmaError("write failed - No space left on device")
                    self._write(task, header, stream, disks)
                except vma.VmaError as error:
                    task.log(f"vma: {error}")
                    piped = f"set -o pipefail && {' '.join(command)} {archive} | vma extract -v - "
                    words = f"{extract} {archive}" if plain else piped
                    raise Failure(f"command '{words}' failed: exit code 133") from error
        except Vanished:
            raise
        except BaseException:
            for volid in made:
                self._volumes.remove(volid)
            raise
        return self._config(vmid, text, dict(zip(disks, made, strict=True)), unique, storage)

    @staticmethod
    def _announce(task: Task, header: vma.Header) -> str:
        for name, content in header.configs.items():
            task.log(f"CFG: size: {len(content)} name: {name}")
        for device in header.devices:
            task.log(f"DEV: dev_id={device.ident} size: {device.size} devname: {device.name}")
        task.log(f"CTIME: {time.strftime('%a %b %e %H:%M:%S %Y', time.localtime(header.ctime))}")
        if "qemu-server.conf" not in header.configs:
            raise vma.VmaError("archive does not contain the guest's configuration")
        return header.configs["qemu-server.conf"].decode()

    def _clear(self, vmid: int) -> None:
        """What stood under this VMID goes: from here on a failure leaves the placeholder."""
        self._volumes.remove_of(vmid, self._store.load(vmid))
        self._store.save(vmid, {**PLACEHOLDER, "lock": "create"})

    def _allocate(self, task: Task, vmid: int, header: vma.Header, made: list[str], storage: str) -> dict[str, Path]:
        disks = {}
        for device in header.devices:
            volid = self._volumes.allocate(vmid, device.size, storage)
            made.append(volid)
            path = self._volumes.path(volid)
            if storage == STORAGE:
                task.log(f"Formatting '{path}', fmt=raw size={device.size} preallocation=off")
            task.log(f"new volume ID is '{volid}'")
            task.log(f"map '{device.name}' to '{path}' (write zeros = 0)")
            disks[device.name] = path
        return disks

    @staticmethod
    def _write(task: Task, header: vma.Header, stream: IO[bytes], disks: dict[str, Path]) -> None:
        total = sum(device.size for device in header.devices)
        began, done, sparse, shown = time.monotonic(), 0, 0, 0
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(path.open("r+b", buffering=0)) for name, path in disks.items()}
            targets = {name: file.fileno() for name, file in files.items()}
            for device, number, mask, blocks in vma.read_clusters(stream, header):
                base = number * vma.CLUSTER
                for offset, piece in vma.pieces(mask, blocks):
                    os.pwrite(targets[device.name], piece[: max(0, device.size - base - offset)], base + offset)
                done += min(vma.CLUSTER, device.size - base)
                sparse += (16 - mask.bit_count()) * vma.BLOCK
                percent = 100 * done // total
                if percent > shown:
                    task.check()
                    shown = percent
                    seconds = int(time.monotonic() - began)
                    task.log(f"progress {percent}% (read {done} bytes, duration {seconds} sec)")
            for target in targets.values():
                os.fsync(target)
        task.log(f"total bytes read {done}, sparse bytes {sparse} ({100 * sparse / max(done, 1):.3g}%)")
        task.log("rescan volumes...")

    def _config(self, vmid: int, text: str, volids: dict[str, str], unique: bool, storage: str) -> Config:
        """The archived configuration with its drives on their new volumes."""
        config = guest_config.parse("\n".join(line for line in text.splitlines() if not line.startswith("#qmdump#")))
        # Which device holds which disk is said by the map lines, not by order.
        devices = {match[1]: match[2] for match in map(MAP.match, text.splitlines()) if match}
        config.pop("lock", None)
        for key, drive in guest_config.drives(config).items():
            if key in devices:
                drive["file"] = volids[devices[key]]
                size = size_of(self._volumes.path(drive["file"]))
                drive["size"] = guest_config.format_size(size)
            elif cloudinit.is_drive(drive):
                drive["file"] = self._volumes.cloudinit(vmid, storage)
            elif drive.get("media") != "cdrom":
                # Left out of the backup: Proxmox keeps the line as a comment, which is read as part of the Notes.
                comment = f"{key}: {config.pop(key)}"
                config["description"] = "\n".join(filter(None, (config.get("description", ""), comment)))
                continue
            config[key] = guest_config.render_options(drive, "file")
        config["vmgenid"] = str(uuid.uuid4())
        if unique:
            config["smbios1"] = f"uuid={uuid.uuid4()}"
            for key in [key for key in config if re.fullmatch(r"net\d+", key)]:
                card = guest_config.parse_net(config[key])
                config[key] = guest_config.render_net({**card, "macaddr": new_mac()})
        return config


def config_in(archive: Path) -> str:
    """The guest's configuration in an archive, with the lines that map its disks; only its head is read."""
    command = DECOMPRESSORS.get(archive.suffix)
    if command is None:
        raise Failure(f"unable to parse archive name '{archive.name}'")
    with subprocess.Popen([*command, str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        try:
            return vma.read_header(process.stdout).configs["qemu-server.conf"].decode()
        except vma.VmaError as error:
            raise Failure(f"vma: {error}") from error
        finally:
            process.kill()


@contextlib.contextmanager
def opened(command: list[str], archive: Path) -> Iterator[IO[bytes]]:
    """The archive's decompressed bytes; a complaint of the decompressor is a failure too."""
    full = [*command, str(archive)]
    process = subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 20)
    assert process.stdout
    assert process.stderr
    try:
        yield process.stdout
        # Proxmox runs the pipe with pipefail: a damaged tail is a failure although all clusters came.
        if process.stdout.read(1):
            raise vma.VmaError("bytes behind the end of the archive")
        complaint = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            raise Failure(f"{command[0]}: {complaint or 'failed'}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
