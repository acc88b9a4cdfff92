"""Which components hold off the scheduled backups of a node: shared by all of them, kept durably on the node itself.

A job stands here from the moment it is about to be switched off until it is on again. What is not here was not switched
off by Bascule, and is not switched on by it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...system.io import storage

REGISTRY = Path("/var/lib/bascule/backup-holds.json")
HOLDS = "holds"
LEAVES = "leaves"

Holds = dict[str, dict[str, str]]


def hold(component: str, enabled: Iterable[str], check: bool = False) -> list[str]:
    """Hold the jobs that are enabled, and those that others hold already; return the ones to switch off now."""
    wanted = sorted(set(enabled))
    with _registry(check) as holds:
        for job in {*wanted, *holds}:
            holds.setdefault(job, {})[component] = HOLDS
    return wanted


def leave(component: str, check: bool = False) -> list[str]:
    """Begin to let go; return the jobs that nobody else holds, to be switched on before `left` is said."""
    with _registry(check) as holds:
        mine = [job for job, holders in holds.items() if component in holders]
        for job in mine:
            holds[job][component] = LEAVES
        return sorted(job for job in mine if HOLDS not in holds[job].values())


def left(component: str, check: bool = False) -> bool:
    """Let go; return whether this component held anything."""
    with _registry(check) as holds:
        mine = [job for job, holders in holds.items() if component in holders]
        for job in mine:
            del holds[job][component]
            if not holds[job]:
                del holds[job]
    return bool(mine)


@contextmanager
def _registry(check: bool) -> Iterator[Holds]:
    if check:
        yield _copy(storage.read_json(REGISTRY) or {})
        return
    storage.make_directory(REGISTRY.parent)
    with REGISTRY.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = storage.read_json(REGISTRY) or {}
        holds = _copy(before)
        yield holds
        if holds != before:
            storage.write_json(REGISTRY, holds)


def _copy(holds: Mapping[str, Mapping[str, str]]) -> Holds:
    return {job: dict(holders) for job, holders in holds.items()}
