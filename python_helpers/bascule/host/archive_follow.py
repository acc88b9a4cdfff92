"""`bascule.pyz archive_follow COMPONENT`: digest the next archive of a guest while vzdump writes it."""

from __future__ import annotations

import sys

from ..io import archive_follow, files


def main(argv: list[str]) -> int:
    """Follow, and write the digest down when the archive is complete."""
    component = argv[0]
    job = files.read_json(archive_follow.job_path(component))
    found = archive_follow.follow(job) if job else None
    if found is None:
        print("no archive was finished in time", file=sys.stderr)
        return 1
    files.write_json(archive_follow.result_path(component), found)
    return 0
