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
    """Which processes have led to one, the nearest first, and whether the last of them is this host's SSH server."""

    by_server: bool
    names: tuple[str, ...]


def way_in(pid: int, *, proc: Path = PROC) -> WayIn:
    """Look for this host's own SSH server above a process.

    It is a program of root's whose name begins with sshd (since OpenSSH 9.8 a session's is sshd-session) and that runs
    as root: anybody may start an sshd of their own. See proc_pid_stat(5) and proc_pid_status(5).
    """
    names: list[str] = []
    passed = {pid}
    while True:
        try:
            # The name, which may hold blanks and brackets, stands in brackets before the state and the parent.
            pid = int((proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
            if pid <= 0 or pid in passed:
                return WayIn(False, tuple(names))
            passed.add(pid)
            place = proc / str(pid)
            name = os.path.basename(os.readlink(place / "exe"))
            names.append(name)
            if name.startswith("sshd") and (place / "exe").stat().st_uid == 0 and _is_root(place):
                return WayIn(True, tuple(names))
        except (OSError, ValueError, IndexError):
            return WayIn(False, tuple(names))


def _is_root(place: Path) -> bool:
    lines = (place / "status").read_text("utf-8", "replace").splitlines()
    return [line.split()[1:] for line in lines if line.startswith("Uid:")] == [["0"] * 4]
