"""The basis of the next archive's transfer: the archive that was restored last, kept beside the others on each node.

Its folder belongs to Bascule alone and holds one file, and while a transfer runs what has arrived of it. Proxmox does
not list it, and nothing is restored from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...system.io import storage
from ...system.rsync import Job, arriving, basis_folder


def offer(job: Job, target: str) -> int | None:
    """Give the basis the name of the archive that comes, by which rsync looks it up; return its size, or None."""
    folder = Path(job.basis)
    if not job.basis or not folder.is_dir():
        return None
    found = _cleaned(folder)
    if found is None:
        return None
    size = found.stat().st_size
    os.replace(found, folder / Path(target).name)
    storage.make_directory(arriving(job))
    storage.sync_directory(folder)
    return size


def salvage(earlier: Mapping[str, Any], job: Job) -> None:
    """An archive that came before and was never restored is no archive: a basis when there is none, else it goes."""
    before = Job.from_dict(earlier)
    wanted = {target for _, target in job.pairs}
    for _, target in before.pairs if before.basis else ():
        path = Path(target)
        if target in wanted or not path.is_file():
            continue
        folder = Path(before.basis)
        if folder.is_dir() and _cleaned(folder) is not None:
            path.unlink()
        else:
            storage.make_directory(folder)
            os.replace(path, folder / path.name)
            storage.sync_directory(folder)
        storage.sync_directory(path.parent)


def keep(archive: str, component: str, check: bool = False) -> bool:
    """Make an archive that has been restored the one basis of this node; return whether anything changed."""
    path = Path(archive)
    folder = Path(basis_folder(str(path.parent), component))
    if not path.is_file():
        return False
    if check:
        return True
    storage.make_directory(folder)
    # An archive that Proxmox has made may be read by others, and what is made from the basis takes its mode.
    path.chmod(0o600)
    os.replace(path, folder / path.name)
    storage.sync_directory(folder)
    _remove_others(folder, path.name)
    # What Proxmox keeps beside an archive it has made itself.
    stem = path.name.partition(".vma")[0]
    for beside in (f"{path.name}.notes", f"{stem}.log"):
        storage.remove(path.with_name(beside))
    storage.sync_directory(folder)
    storage.sync_directory(path.parent)
    return True


def drop(dump_directory: str, component: str, check: bool = False) -> bool:
    """Remove the basis; return whether there was one."""
    folder = Path(basis_folder(dump_directory, component))
    if not folder.is_dir():
        return False
    if not check:
        shutil.rmtree(folder)
        storage.sync_directory(folder.parent)
    return True


def _remove_others(folder: Path, name: str) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != name:
            entry.unlink()


def _cleaned(folder: Path) -> Path | None:
    """Return the newest archive, and remove what an interrupted run has left beside it."""
    archives = [entry for entry in folder.iterdir() if entry.is_file()]
    newest = max(archives, key=lambda entry: entry.stat().st_mtime_ns, default=None)
    _remove_others(folder, newest.name if newest else "")
    return newest
