"""The copies of a run's journal at the sites, read over SFTP: by another way than the playbooks write and read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...system.io.sftp import NotRead, read_files
from ...system.ssh import Target
from .identity import checked_name
from .journal import SITE_DIRECTORY


def read(run: str, targets: Mapping[str, Target]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the text that each machine of each site holds of the run, and why others could not be read.

    Args:
        run: the run id.
        targets: by site, the machine that may hold its copy, with its spares.
    """
    copies: dict[str, dict[str, str]] = {}
    unread: dict[str, str] = {}
    for site, first in targets.items():
        copies[site] = {}
        for where in (replace(first, spares=()), *first.spares):
            try:
                texts = read_files(where, f"{SITE_DIRECTORY}/{checked_name(run)}", ".jsonl")
            except NotRead as error:
                unread[where.host] = error.found
            else:
                copies[site][where.host] = "".join(
                    text if text.endswith("\n") else f"{text}\n" for text in texts.values() if text
                )
    return copies, unread
