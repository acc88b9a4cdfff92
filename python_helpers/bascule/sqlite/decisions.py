"""Where a database is, and what keeps it from being moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BasculeError
from ..guard import state as rule
from ..guard.state import GuardState

# The file lies at its path, where the application finds it.
OPEN = "open"
# A directory lies at the path, which is no database to anybody; the file lies inside, for Bascule alone.
CLOSED = "closed"
# A directory lies at the path, and nothing inside: a side that never had a copy.
EMPTY = "empty"
# The directory lies at the path, and the file still beside it: something was cut off on its way.
BETWEEN = "between"
# Nothing lies there.
MISSING = "missing"

# A file system whose locks and whose memory that is shared are not those of this host alone.
SHARED = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "lustre",
    "virtiofs",
)


class SqliteError(BasculeError):
    """A database does not do what it was told, or cannot be asked."""


def path_faults(paths: Sequence[str]) -> list[str]:
    """Return what is wrong with the paths as they are declared."""
    wrong = [f"{path} is not an absolute path in its shortest form" for path in paths if not _plain(path)]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    return wrong + [f"{path} is declared twice" for path in twice] + ([] if paths else ["no database is declared"])


# What SQLite says of a directory, whoever asks; any other word is no refusal by the fence.
REFUSED = "unable to open database file"


def faults(measured: Mapping[str, Any]) -> list[str]:
    """Return what keeps one database from being moved, as `measure` has described it."""
    path, found = measured["path"], []
    if measured["file_system"] in SHARED:
        found.append(f"lies on {measured['file_system']}, on which another host may have it open")
    found += other_names(measured["symlink"], measured["links"], measured["mounted"])
    if measured["mode"] == BETWEEN:
        found.append("was cut off between open and closed: the same playbook again brings it to an end")
    return [f"{path} {words}" for words in found]


def other_names(symlink: bool, links: int, mounted: Sequence[str]) -> list[str]:
    """Return by what else than its path a database is found, so that it would stay open when the path is closed."""
    found = ["is a symbolic link: declare where it leads"] if symlink else []
    if links > 1:
        found.append(f"has {links} names (hard links): by another one it would stay open")
    if mounted:
        found.append(f"is mounted by itself at {', '.join(mounted)}: mount its directory instead")
    return found


def strangers(holders: Sequence[Mapping[str, Any]]) -> str:
    """Return who holds a database, for an error: program and number of each."""
    return ", ".join(f"{one['command']} ({one['pid']})" for one in holders[:10])


def receipt_faults(position: Mapping[str, str], here: Mapping[str, str], side: str) -> list[str]:
    """Return why what lies here is not exactly what the other side's receipt says; nothing when it is.

    Args:
        position: the digest of each database by its path, as the side that has closed gave it.
        here: the same of what lies here.
        side: the name of the side that lies here.
    """
    return [
        f"{path} is {there[:12] or 'unknown'} by the receipt, and {here.get(path, 'missing')[:12]} at {side}"
        for path, there in sorted(position.items())
        if here.get(path) != there
    ] + [f"{path} is not in the receipt" for path in sorted(set(here) - set(position))]


def _plain(path: str) -> bool:
    return path.startswith("/") and all(part not in ("", ".", "..") for part in path[1:].split("/"))


def together(modes: Sequence[str]) -> str:
    """Return the mode of a side by those of its databases: OPEN, CLOSED, or BETWEEN where they do not agree."""
    if all(mode == OPEN for mode in modes):
        return OPEN
    return CLOSED if all(mode in (CLOSED, EMPTY) for mode in modes) else BETWEEN


def service_faults(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> list[str]:
    """Return why it is not one side alone that serves, as its guard says and its host sees; nothing when it is."""
    found = []
    for name, guard in guards.items():
        if guard.status == rule.UNKNOWN:
            found.append(f"{name} was not taken over: ansible-playbook playbooks/20_prepare.yml")
        elif guard.status not in (rule.OPEN, rule.CLOSED):
            found.append(f"the guard of {name} says {guard.status}")
        elif guard.status == rule.OPEN and guard.frozen:
            found.append(f"{name} is frozen: nobody writes")
        elif modes[name] != guard.status:
            found.append(f"the guard of {name} says {guard.status}, and its databases are {modes[name]}")
    statuses = [guard.status for guard in guards.values()]
    found += [f"the guards of both sides say {one}" for one in (rule.OPEN, rule.CLOSED) if statuses == [one, one]]
    return found


def interrupted(guards: Mapping[str, GuardState], modes: Mapping[str, str]) -> bool:
    """Tell whether a move was interrupted between its freeze and its thaw: nobody writes, on purpose."""
    return (
        all(
            guard.status not in (rule.UNKNOWN, rule.OPEN) or (guard.status == rule.OPEN and guard.frozen)
            for guard in guards.values()
        )
        and OPEN not in modes.values()
    )
