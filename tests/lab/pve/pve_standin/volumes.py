"""Volumes of the storage `local` (a directory, raw disks), and of `local-lvm` where a node has it.

That one stands in for LVM-thin: no device mapper, but real block devices (loop devices) of whole extents.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from . import cloudinit, guest_config
from .errors import ApiError, Failure
from .guest_config import Config
from .paths import Paths

STORAGE = "local"
THIN = "local-lvm"
THIN_CONTENT = "images,rootdir"
EXTENT = 4 << 20
CONTENT = "images,rootdir,vztmpl,iso,backup,snippets"
ARCHIVE = re.compile(r"vzdump-(?:qemu|lxc)-(\d+)-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.((?:vma|tar)(?:\.(?:zst|gz|lzo))?)$")


def check_storage(storage: str) -> None:
    if storage != STORAGE:
        raise Failure(f"storage '{storage}' does not exist")


class Volumes:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, volid: str) -> Path:
        try:
            return self._paths.volume(volid)
        except ValueError as error:
            raise Failure(str(error)) from error

    def usage(self) -> dict[str, int]:
        stat = os.statvfs(self._paths.storage)
        return {
            "total": stat.f_blocks * stat.f_frsize,
            "used": (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
            "avail": stat.f_bavail * stat.f_frsize,
        }

    def check(self, storage: str) -> None:
        """Refuse a storage that the node has not."""
        if storage != THIN or not self._paths.devices.is_dir():
            check_storage(storage)

    def allocate(self, vmid: int, size: int, storage: str = STORAGE) -> str:
        """A new sparse disk under the guest's first free number."""
        if storage == THIN:
            return self._thin(vmid, size)
        directory = self._paths.images / str(vmid)
        directory.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            path = directory / f"vm-{vmid}-disk-{number}.raw"
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
                break
            except FileExistsError:
                number += 1
        os.ftruncate(descriptor, size)
        os.close(descriptor)
        return f"{STORAGE}:{vmid}/{path.name}"

    def _thin(self, vmid: int, size: int, name: str = "") -> str:
        """A new block device of whole extents, with this name or the first that is free."""
        self._paths.thin.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in self._paths.devices.iterdir()}
        names = [name] if name else [f"vm-{vmid}-disk-{number}" for number in range(99)]
        name = next((found for found in names if found not in taken), "")
        if not name:
            raise Failure(f"no name is free for a new volume of VM {vmid} on '{THIN}'")
        behind = self._paths.thin / name
        with behind.open("wb") as made:
            made.truncate(-(-size // EXTENT) * EXTENT)
        done = subprocess.run(["losetup", "--find", "--show", str(behind)], capture_output=True, text=True, check=False)
        if done.returncode:
            behind.unlink()
            raise Failure(f"lvcreate '{name}' error: {done.stderr.strip()}")
        (self._paths.devices / name).symlink_to(done.stdout.strip())
        return f"{THIN}:{name}"

    def cloudinit(self, vmid: int, storage: str = STORAGE) -> str:
        """The name of the guest's cloud-init drive; what is in it is made at every start."""
        if storage == THIN:
            return self._thin(vmid, EXTENT, f"vm-{vmid}-cloudinit")
        (self._paths.images / str(vmid)).mkdir(parents=True, exist_ok=True)
        return f"{STORAGE}:{vmid}/vm-{vmid}-cloudinit.raw"

    def fulfil(self, vmid: int, key: str, value: str) -> str:
        """Turn `local:4` (allocate 4 GiB) and `local:cloudinit` into the drive they ask for."""
        drive = guest_config.parse_options(value, "file")
        storage, _, rest = drive["file"].partition(":")
        if rest == "cloudinit":
            self.check(storage)
            drive.update(file=self.cloudinit(vmid, storage), media="cdrom")
        elif re.fullmatch(r"\d+(\.\d+)?", rest):
            self.check(storage)
            size = guest_config.parse_size(f"{rest}G")
            drive.update(file=self.allocate(vmid, size, storage), size=guest_config.format_size(size))
        elif drive["file"] not in ("none", "cdrom"):
            path = self.path(drive["file"])
            if not path.exists() and not cloudinit.is_drive(drive):
                raise ApiError(500, f"volume '{drive['file']}' does not exist")
        return guest_config.render_options(drive, "file")

    def remove(self, volid: str) -> None:
        path = self.path(volid)
        if path.parent == self._paths.devices:
            if path.exists():
                subprocess.run(["losetup", "--detach", str(path.resolve())], check=True)
            (self._paths.thin / path.name).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if path.parent == self._paths.dump:
            for beside in (_stem(path) + ".log", path.name + ".notes", path.name + ".protected"):
                path.with_name(beside).unlink(missing_ok=True)

    def remove_of(self, vmid: int, config: Config, unreferenced: bool = False) -> None:
        """Every volume the guest's configuration names, or every one it owns; never a file that is no volume."""
        for drive in guest_config.drives(config).values():
            if drive["file"].startswith((f"{STORAGE}:{vmid}/", f"{THIN}:vm-{vmid}-")):
                self.remove(drive["file"])
        directory = self._paths.images / str(vmid)
        for path in directory.glob(f"vm-{vmid}-*.raw") if unreferenced else ():
            path.unlink()
        self.remove_folder(vmid)

    def remove_folder(self, vmid: int) -> None:
        """The folder of a guest that has no volume any more."""
        directory = self._paths.images / str(vmid)
        if directory.exists() and not any(directory.iterdir()):
            directory.rmdir()

    def keeps(self) -> int | None:
        """How many backups of a guest the storage keeps by its retention; None is all of them."""
        path = self._paths.retention
        return int(path.read_text()) if path.exists() else None

    def unprotected(self, vmid: int) -> list[str]:
        """The guest's backups that pruning may remove, the oldest first."""
        rows = [row for row in self.listed("backup", vmid) if "protected" not in row]
        return [row["volid"] for row in sorted(rows, key=lambda row: (row["ctime"], row["volid"]))]

    def listed(self, content: str | None, vmid: int | None, storage: str = STORAGE) -> list[dict[str, Any]]:
        found = []
        if storage == THIN:
            devices = sorted(self._paths.devices.glob("vm-*")) if content in (None, "images") else []
            found = [self.describe(path) for path in devices]
            return [entry for entry in found if vmid is None or entry["vmid"] == vmid]
        if content in (None, "images", "rootdir"):
            disks = [self.describe(path) for path in sorted(self._paths.images.glob("[0-9]*/vm-*.raw"))]
            found += [entry for entry in disks if content in (None, entry["content"])]
        if content in (None, "backup"):
            archives = sorted(path for path in self._paths.dump.glob("vzdump-*") if is_archive(path))
            found += [self.describe(path) for path in archives]
        return [entry for entry in found if vmid is None or entry["vmid"] == vmid]

    def describe(self, path: Path) -> dict[str, Any]:
        stat = path.stat()
        if path.parent == self._paths.devices:
            # LVM does not tell how much of a volume is used.
            return {
                "volid": f"{THIN}:{path.name}", "content": "images", "ctime": int(stat.st_ctime), "format": "raw",
                "size": size_of(path), "vmid": int(path.name.split("-")[1]),
            }  # fmt: skip
        if path.parent == self._paths.dump:
            match = ARCHIVE.match(path.name)
            entry: dict[str, Any] = {
                "volid": f"{STORAGE}:backup/{path.name}", "content": "backup", "ctime": int(stat.st_mtime),
                "format": match[3] if match else "vma", "size": stat.st_size, "subtype": path.name.split("-")[1],
                "vmid": int(match[1]) if match else 0,
            }  # fmt: skip
            notes = path.with_name(path.name + ".notes")
            if notes.exists():
                entry["notes"] = notes.read_text().strip()
            if path.with_name(path.name + ".protected").exists():
                entry["protected"] = 1
            return entry
        if path.parent.name in ("iso", "snippets"):
            kind = path.parent.name
            return {
                "volid": f"{STORAGE}:{kind}/{path.name}", "content": kind, "ctime": int(stat.st_ctime),
                "format": "iso" if kind == "iso" else "snippet", "size": stat.st_size,
            }  # fmt: skip
        return {
            "volid": f"{STORAGE}:{path.parent.name}/{path.name}", "ctime": int(stat.st_ctime),
            "format": "raw", "size": stat.st_size, "used": stat.st_blocks * 512, "vmid": int(path.parent.name),
            # Whose it is says what it is.
            "content": "rootdir" if self._paths.of_container(int(path.parent.name)) else "images",
        }  # fmt: skip


def size_of(path: Path) -> int:
    """The bytes of a file or of a block device."""
    with path.open("rb") as disk:
        return disk.seek(0, os.SEEK_END)


def is_archive(path: Path) -> bool:
    return ARCHIVE.match(path.name) is not None


def _stem(path: Path) -> str:
    return re.sub(r"\.(vma|tar)(\.\w+)?$", "", path.name)
