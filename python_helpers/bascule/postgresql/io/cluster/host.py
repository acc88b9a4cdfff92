"""What a host says around its cluster: who else manages it, which programs it lacks, in which unit the server runs."""

from __future__ import annotations

import glob
import os
import shutil
import stat
from pathlib import Path

from ....errors import CommandFailed
from ....system.io import storage, units
from ....system.io.process import run
from ... import layout
from ... import managers as rule
from ... import tools as needs
from ...spec import Spec

KEEPALIVED = Path("/etc/keepalived/keepalived.conf")
PACEMAKER = Path("/var/lib/pacemaker/cib/cib.xml")
# Bytes; more is no configuration and no script that anybody wrote.
_LARGEST = 4 * 1024 * 1024
_OS_RELEASE = "/etc/os-release"


def managers(spec: Spec) -> list[str]:
    """Name whatever else decides who is primary on this host, with what shows it."""
    running = units.active()
    found = rule.deciding(running)
    mark = Path(spec.data) / "patroni.dynamic.json"
    if mark.exists() and not any(name.startswith("patroni") for name in found):
        found.append(f"patroni ({mark})")
    addresses = [spec.address] if spec.address else []
    for name in rule.watching(running):
        texts = _keepalived(KEEPALIVED) if name == rule.WATCHES["keepalived"] else {str(PACEMAKER): _text(PACEMAKER)}
        found += [why] if (why := rule.why(name, texts, addresses, [spec.port, spec.pooler_port])) else []
    return found


def missing(spec: Spec) -> list[str]:
    """Name the programs that this host lacks, or that are of another major version, with the command to type."""
    lacking = [tool for tool in needs.needed(spec) if shutil.which(tool.program) is None]
    if found := needs.finding(spec.side, lacking, storage.read_text(_OS_RELEASE) or ""):
        return [found]
    said = run([f"{spec.programs}/postgres", "--version"], timeout=20, check=False).stdout
    return [found] if (found := needs.other_major(spec, said)) else []


def process(data: str) -> dict[str, str]:
    """Return the unit and the programs' directory of the server that runs in a data directory, or nothing."""
    lines = (storage.read_text(Path(data) / "postmaster.pid") or "").splitlines()
    if not lines or not lines[0].strip().isdigit():
        return {}
    place = Path("/proc") / lines[0].strip()
    try:
        executable = os.readlink(place / "exe")
    except OSError:
        return {}
    return layout.of_process(storage.read_text(place / "cgroup") or "", executable)


def clusters() -> list[str]:
    """Return the clusters that Debian's own tools know on this host, with port and data directory."""
    try:
        lines = run(["pg_lsclusters", "--no-header"], timeout=20, check=False).stdout.splitlines()
    except CommandFailed:
        return []
    # Version, name, port, status, owner, data directory, log: pg_lsclusters(1).
    rows = [line.split() for line in lines]
    return [f"{row[0]}/{row[1]} on port {row[2]} in {row[5]}" for row in rows if len(row) > 5]


def same_place(one: str, other: str) -> bool:
    """Whether two paths lead to the same place."""
    return os.path.realpath(one) == os.path.realpath(other)


def _keepalived(main: Path, deepest: int = 4) -> dict[str, str | None]:
    """Return the configuration with what it includes, and the programs it runs, by path."""
    text = _text(main)
    found: dict[str, str | None] = {str(main): text}
    if text is None:
        return found
    for pattern in rule.includes(text):
        for path in sorted(glob.glob(str(main.parent / pattern))):
            if not deepest:
                found[f"{path} (included too deep)"] = None
            elif path not in found:
                found.update(_keepalived(Path(path), deepest - 1))
    _follow(str(main), text, found, script=False)
    return found


def _follow(path: str, text: str, found: dict[str, str | None], *, script: bool) -> None:
    """Add the programs that a file runs, and those that they run; what cannot be followed stands there without text."""
    paths, lost = rule.followed(path, text, script=script)
    found.update(dict.fromkeys(lost))
    for one in paths:
        if one not in found:
            found[one] = read = _text(Path(one))
            if read is not None:
                _follow(one, read, found, script=True)


def _text(path: Path) -> str | None:
    """Return the text of a regular file; None where there is none, or where it cannot be read whole.

    A pipe is never opened: whoever reads from one takes what is meant for somebody else.
    """
    try:
        real = os.path.realpath(path)
        if not stat.S_ISREG(os.lstat(real).st_mode):
            return None
        with os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(_LARGEST + 1)
        return data.decode() if len(data) <= _LARGEST else None
    except (OSError, ValueError):
        return None
