"""Ask this host's SSH server whom it would let in, and tell what it has started; changes nothing."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import BasculeError
from .. import sshd
from . import reach
from .process import Runner, run

PROGRAM = "/usr/sbin/sshd"
PROC = Path("/proc")


def refusals(address: str, user: str = sshd.USER, *, runner: Runner = run) -> list[str]:
    """Return why a user would not be let in here from an address by a key of one forced command.

    Where the server cannot be asked (another program, a `Match` that wants to know more, a name of several addresses)
    nothing is known against it.
    """
    known = [address] if _is_address(address) else reach.addresses(address)
    if len(known) != 1:
        return []
    address = known[0]
    who = f"user={user},host={address},addr={address}"
    try:
        done = runner([PROGRAM, "-T", "-C", who], check=False)
    except BasculeError:
        return []
    return sshd.refusals(done.stdout, address, user) if done.rc == 0 else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class WayIn:
    """Which processes have led to one, the nearest first, and whether the last is this host's server of that user."""

    by_server: bool
    names: tuple[str, ...]


def way_in(pid: int, uid: int, *, proc: Path = PROC) -> WayIn:
    """Look for this host's own SSH server above a process, or at it, and for its session of that user.

    It is a program of root's whose name begins with sshd (since OpenSSH 9.8 a session's is sshd-session) and that runs
    as root: anybody may start an sshd of their own. Right below it such a program runs as the user who has come in: who
    came in as somebody else may have become that user since. See proc_pid_stat(5) and proc_pid_status(5).
    """
    names: list[str] = []
    passed = {pid}
    session = _is_server(proc / str(pid)) and _is_of(proc / str(pid), uid)
    while True:
        try:
            # The name, which may hold blanks and brackets, stands in brackets before the state and the parent.
            pid = int((proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
            if pid <= 0 or pid in passed:
                return WayIn(False, tuple(names))
            passed.add(pid)
            place = proc / str(pid)
            names.append(os.path.basename(os.readlink(place / "exe")))
            server = _is_server(place)
            if server and _is_of(place, 0):
                return WayIn(session, tuple(names))
            session = server and _is_of(place, uid)
        except (OSError, ValueError, IndexError):
            return WayIn(False, tuple(names))


def _is_server(place: Path) -> bool:
    """Tell whether a process runs the program of an SSH server that is root's."""
    try:
        name = os.path.basename(os.readlink(place / "exe"))
        return name.startswith("sshd") and (place / "exe").stat().st_uid == 0
    except OSError:
        return False


def _is_of(place: Path, uid: int) -> bool:
    """Tell whether a process has the rights of that user alone."""
    lines = (place / "status").read_text("utf-8", "replace").splitlines()
    return [line.split()[1:] for line in lines if line.startswith("Uid:")] == [[str(uid)] * 4]
