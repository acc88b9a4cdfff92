"""Writes an archive that is the same, byte by byte, whenever and by whomever the same files are packed."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from ...system.io import storage


def write(path: Path, folder: str, files: Mapping[str, bytes]) -> None:
    """Write a tar.gz file, durably.

    Args:
        path: the archive.
        folder: the folder that its files lie in.
        files: the content of each by its name.
    """
    packed = io.BytesIO()
    # No time, no user and no name of a file: only what is in it.
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            one = tarfile.TarInfo(f"{folder}/{name}")
            one.size, one.mode = len(files[name]), 0o755 if name.endswith(".py") else 0o644
            archive.addfile(one, io.BytesIO(files[name]))
    storage.write_durably(path, packed.getvalue())
