"""Volumes of the one storage, `local` (a directory, raw disks)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from . import cloudinit, guest_config
from .errors import ApiError, Failure
from .guest_config import Config
from .paths import Paths

STORAGE = "local"
CONTENT = "images,rootdir,vztmpl,iso,backup,snippets"
ARCHIVE = re.compile(r"vzdump-qemu-(\d+)-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.(vma(?:\.(?:zst|gz|lzo))?)$")


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

    def allocate(self, vmid: int, size: int) -> str:
        """A new sparse disk under the guest's first free number."""
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

    def cloudinit(self, vmid: int) -> str:
        """The name of the guest's cloud-init drive; the file is made at every start."""
        (self._paths.images / str(vmid)).mkdir(parents=True, exist_ok=True)
        return f"{STORAGE}:{vmid}/vm-{vmid}-cloudinit.raw"

    def fulfil(self, vmid: int, key: str, value: str) -> str:
        """Turn `local:4` (allocate 4 GiB) and `local:cloudinit` into the drive they ask for."""
        drive = guest_config.parse_options(value, "file")
        storage, _, rest = drive["file"].partition(":")
        if rest == "cloudinit":
            check_storage(storage)
            drive.update(file=self.cloudinit(vmid), media="cdrom")
        elif re.fullmatch(r"\d+(\.\d+)?", rest):
            check_storage(storage)
            size = guest_config.parse_size(f"{rest}G")
            drive.update(file=self.allocate(vmid, size), size=guest_config.format_size(size))
        elif drive["file"] not in ("none", "cdrom"):
            path = self.path(drive["file"])
            if not path.exists() and not cloudinit.is_drive(drive):
                raise ApiError(500, f"volume '{drive['file']}' does not exist")
        return guest_config.render_options(drive, "file")

    def remove(self, volid: str) -> None:
        path = self.path(volid)
        path.unlink(missing_ok=True)
        if path.parent == self._paths.dump:
            for beside in (_stem(path) + ".log", path.name + ".notes", path.name + ".protected"):
                path.with_name(beside).unlink(missing_ok=True)

    def remove_of(self, vmid: int, config: Config, unreferenced: bool = False) -> None:
        """Every volume the guest's configuration names, or every one it owns; never a file that is no volume."""
        for drive in guest_config.drives(config).values():
            if drive["file"].startswith(f"{STORAGE}:{vmid}/"):
                self.remove(drive["file"])
        directory = self._paths.images / str(vmid)
        for path in directory.glob(f"vm-{vmid}-*.raw") if unreferenced else ():
            path.unlink()
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

    def listed(self, content: str | None, vmid: int | None) -> list[dict[str, Any]]:
        found = []
        if content in (None, "images"):
            found += [self.describe(path) for path in sorted(self._paths.images.glob("[0-9]*/vm-*.raw"))]
        if content in (None, "backup"):
            archives = sorted(path for path in self._paths.dump.glob("vzdump-qemu-*") if is_archive(path))
            found += [self.describe(path) for path in archives]
        return [entry for entry in found if vmid is None or entry["vmid"] == vmid]

    def describe(self, path: Path) -> dict[str, Any]:
        stat = path.stat()
        if path.parent == self._paths.dump:
            match = ARCHIVE.match(path.name)
            entry: dict[str, Any] = {
                "volid": f"{STORAGE}:backup/{path.name}", "content": "backup", "ctime": int(stat.st_mtime),
                "format": match[3] if match else "vma", "size": stat.st_size, "subtype": "qemu",
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
            "volid": f"{STORAGE}:{path.parent.name}/{path.name}", "content": "images", "ctime": int(stat.st_ctime),
            "format": "raw", "size": stat.st_size, "used": stat.st_blocks * 512, "vmid": int(path.parent.name),
        }  # fmt: skip


def is_archive(path: Path) -> bool:
    return ARCHIVE.match(path.name) is not None


def _stem(path: Path) -> str:
    return path.name.partition(".vma")[0]
