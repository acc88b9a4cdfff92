"""Take the samples of one machine: room, load, errors in its journal. It is sent as text, and imports nothing of ours.

Run as `python3 -` (3.9 or newer) with a last line that calls `main`; it prints one line of JSON and changes nothing.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

# File systems that hold nothing of anybody's, cannot fill up, or may hang whoever asks.
_SPARED = frozenset(
    (
        *("autofs", "bpf", "binfmt_misc", "cgroup", "cgroup2", "cifs", "configfs", "debugfs", "devpts", "devtmpfs"),
        *("efivarfs", "erofs", "hugetlbfs", "iso9660", "mqueue", "nfs", "nfs4", "nsfs", "proc", "pstore", "ramfs"),
        *("securityfs", "selinuxfs", "smb3", "squashfs", "sysfs", "tmpfs", "tracefs"),
    )
)
_PATIENCE_SECONDS = 40
ERRORS = "journal_errors"


def main(units: Mapping[str, Sequence[str]], since: Mapping[str, float]) -> None:
    """Print what was measured.

    Args:
        units: patterns of systemd units, by the component whose they are.
        since: from when on errors count, in seconds since the epoch by this machine's clock, by component; of one that
            is not there those of the last hour do.
    """
    now = time.time()
    found: dict[str, Any] = {"at": now, "machine": _machine(), "values": {}, "why": {}}
    takes: dict[str, Callable[[], float]] = {"disk_used": _disk_used, "load": _load}
    takes |= {
        f"{ERRORS} {name}": partial(_errors, patterns, since.get(name, now - 3600)) for name, patterns in units.items()
    }
    for name, take in takes.items():
        try:
            found["values"][name] = take()
        except FileNotFoundError as error:
            found["why"][name] = f"{error.filename or error} is missing on this machine"
        except subprocess.TimeoutExpired as error:
            found["why"][name] = f"{error.cmd[0]} has not ended within {error.timeout:g} s"
        except (OSError, ValueError, LookupError, ArithmeticError) as error:
            found["why"][name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def _machine() -> str:
    """Return what tells this machine from another one, whatever its address; its own number stays with it."""
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            text = file.read().strip()
    except (OSError, ValueError):
        text = ""
    return hashlib.sha256((text or platform.node()).encode()).hexdigest()[:12]


def _disk_used() -> float:
    """Return the share in use of the fullest file system, by blocks or by inodes, as `df` counts it."""
    shares, seen = [], set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = (part.split() for part in line.partition(" - "))
            device, place, kind, options = before[2], before[4], after[0], after[-1].split(",")
            if kind in _SPARED or kind.startswith("fuse") or device in seen or "ro" in options:
                continue
            seen.add(device)
            try:
                room = os.statvfs(re.sub(r"\\([0-7]{3})", lambda one: chr(int(one[1], 8)), place))
            except OSError:
                # Hidden below another mount.
                continue
            for total, free, left in (
                (room.f_blocks, room.f_bfree, room.f_bavail),
                (room.f_files, room.f_ffree, room.f_favail),
            ):
                if total and total - free + left > 0:
                    shares.append(round(100 * (total - free) / (total - free + left), 1))
    if not shares:
        raise ValueError("no file system whose room could be asked for")
    return max(shares)


def _load() -> float:
    """Return the load of the last five minutes for each processor."""
    return round(os.getloadavg()[1] / (os.cpu_count() or 1), 2)


def _errors(patterns: Sequence[str], since: float) -> int:
    """Return how many lines of priority error or worse the units have written since."""
    known = _run("systemctl", "list-units", "--all", "--no-legend", "--plain", "--full")
    names = [line.split()[0] for line in known.splitlines() if line.split()]
    if not any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns):
        raise ValueError(f"systemd knows no unit like {', '.join(patterns)} here")
    fields = "--output-fields=_SYSTEMD_UNIT,UNIT"
    asked = ("--quiet", "--no-pager", "--priority=err", f"--since=@{since:.0f}", "--output=json", fields)
    told = _run("journalctl", *asked)
    # What systemd itself says of a unit stands under another field than what the unit says.
    entries = [json.loads(line) for line in told.splitlines()]
    units = [str(one.get("UNIT") or one.get("_SYSTEMD_UNIT") or "") for one in entries]
    return sum(any(fnmatch.fnmatchcase(unit, pattern) for pattern in patterns) for unit in units)


def _run(*argv: str) -> str:
    done = subprocess.run(
        argv, capture_output=True, timeout=_PATIENCE_SECONDS, stdin=subprocess.DEVNULL, check=False, errors="replace"
    )
    if done.returncode != 0:
        raise OSError(f"{argv[0]} has ended with {done.returncode}: {' '.join(done.stderr.split())[-200:]}")
    return done.stdout
