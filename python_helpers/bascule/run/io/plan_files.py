"""The files of an inventory as a plan vouches for them, and the plan's own file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import PlanError
from ...system.io import storage
from .. import plans

# Beside an inventory that is one file, Ansible reads these.
_BESIDE = ("group_vars", "host_vars")
_FOLDER = "plans"


def inventory(sources: Iterable[str], salt: str) -> dict[str, str]:
    """Return the digest of every file of the inventories, by its name from the inventory's own folder on.

    Args:
        sources: as Ansible was given them: folders, files, or lists of hosts (`a,b`), which are digested as text.
        salt: the plan's own.

    Raises:
        PlanError: a file cannot be read.
    """
    try:
        return _digests(sources, salt)
    except OSError as error:
        raise PlanError(
            expected="every file of the inventory to be read, as a plan vouches for it",
            found=str(error),
            state="nothing was closed or changed",
            next_command="make it readable or take it away, then run this again",
        ) from error


def _digests(sources: Iterable[str], salt: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in sources:
        path = Path(os.path.abspath(source))
        if storage.is_directory(path):
            files = _below(path)
            root = path.parent
        elif storage.is_file(path):
            files = [path, *(one for name in _BESIDE for one in _below(path.parent / name))]
            root = path.parent.parent
        else:
            found[f"-i {source}"] = plans.digest(salt, source)
            continue
        for one in files:
            name = str(one.relative_to(root))
            # Two inventories may have the same name.
            while name in found:
                name = f"-i {name}"
            found[name] = plans.digest(salt, storage.read_bytes(one))
    return found


def read(path: str) -> dict[str, Any]:
    """Return the plan of a file.

    Raises:
        PlanError: there is none, it is no plan, or it was changed.
    """
    try:
        return plans.read(storage.read_text(path), path)
    except OSError as error:
        raise PlanError(
            expected="a file with a plan", found=str(error), state="nothing was closed or changed"
        ) from error


def write(run: Path, plan: Mapping[str, Any]) -> Path:
    """Write a plan into its run's folder, and return where."""
    path = run / _FOLDER / f"{plan['id'][:8]}.json"
    storage.make_directory(path.parent, 0o700)
    storage.write_json(path, plan)
    return path


def _below(folder: Path) -> list[Path]:
    """Return the files below a folder; hidden ones, which Ansible does not read either, are left out."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(place) / name for name in names if not name.startswith(".")]
        # A pipe would be waited for for ever.
        found += [one for one in files if storage.is_file(one)]
    return found
