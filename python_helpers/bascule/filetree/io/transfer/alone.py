"""Whether an account that is not root is there for transfers alone, as far as this host can tell; changes nothing.

Whoever runs a program as the account can start its one command by sudo. So it owns nothing beside the tree, no program
of it runs, and its keys let nobody in for anything else. None of that holds for later: each look is one moment.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ....errors import BasculeError
from ....system import mountinfo
from ....system.io import sshd
from ....system.io.sshd import PROC
from ..fence.mount_tables import mounts_of

# What sshd reads of an account unless it is told otherwise.
KEYS = (".ssh/authorized_keys", ".ssh/authorized_keys2")
_LARGEST = 1 << 20
# What a pipe takes without anybody reading.
_SAID = 4000
_NAMED = 3


def faults(known: pwd.struct_passwd, path: str, command: str, *, proc: Path = PROC) -> list[str]:
    """Return what an account is there for beside transfers to the tree at `path`; nothing when for these alone.

    `command` is how each forced command of the account begins.
    """
    name, found = known.pw_name, []
    owned = list(_owned(known, path))
    if owned:
        found.append(
            f"{name} owns {_few(owned)}: it is there for something else than transfers (make an account for them alone)"
        )
    running = list(_running(known, command, proc))
    if running:
        found.append(
            f"programs of {name} run, each of which could ask for what the other side may: {_few(running)} "
            "(end them and what starts them, or make an account for transfers alone)"
        )
    return found + _doors(known, command)


def with_rights(known: pwd.struct_passwd, work: Callable[[], str]) -> tuple[bool, str]:
    """Do something in a process of its own that has no more rights than an account.

    Returns whether it was done, and the text that `work` has returned, or why it was not done.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code, text = 2, ""
        try:
            os.close(told)
            os.initgroups(known.pw_name, known.pw_gid)
            os.setgid(known.pw_gid)
            os.setuid(known.pw_uid)
            os.umask(0o077)
            text = work()
            code = 0
        except (BasculeError, OSError) as error:
            text = str(error)
        finally:
            try:
                os.write(tell, text.encode("utf-8", "backslashreplace")[:_SAID])
            finally:
                os._exit(code)
    os.close(tell)
    with os.fdopen(told, "rb") as said:
        answer = said.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code == 0, answer if code in (0, 2) else f"exit status {code}"


def _owned(known: pwd.struct_passwd, path: str) -> Iterator[str]:
    """Tell what the account owns of the tree and of the file system that holds it, down to the first level of each."""
    mounts = mounts_of("self")
    holder = mountinfo.holder(mounts, path)
    # Another file system may be one that does not answer.
    passed_over = {known.pw_dir, *(one.path for one in mounts)}
    for place in sorted({path, holder.path if holder else path}):
        if not os.path.isdir(place):
            continue
        inside = sorted(os.path.join(place, name) for name in os.listdir(place))
        for one in (place, *(entry for entry in inside if entry not in passed_over)):
            try:
                if os.lstat(one).st_uid == known.pw_uid:
                    yield one
            except FileNotFoundError:
                continue


def _running(known: pwd.struct_passwd, command: str, proc: Path) -> Iterator[str]:
    """Name the programs of the account that are none of a transfer's."""
    for pid in sorted(int(one) for one in os.listdir(proc) if one.isdigit()):
        place = proc / str(pid)
        try:
            said = dict(line.split(":", 1) for line in (place / "status").read_text("utf-8", "replace").splitlines())
            if str(known.pw_uid) not in said["Uid"].split() or said["State"].split()[0] in ("Z", "X"):
                continue
            asked = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            if _is_manager(place, known.pw_uid):
                continue
            # The server's own process for a session, and what it starts for the other side.
            own = asked.startswith("sshd") or command.strip() in asked
            # One that ended while it was looked at had no way in any more.
            if not (own and sshd.way_in(pid, known.pw_uid, proc=proc).by_server) and _lives(place):
                yield f"{said['Name'].strip()} (process {pid})"
        except (FileNotFoundError, ProcessLookupError):
            # It has ended meanwhile.
            continue


def _lives(place: Path) -> bool:
    """Tell whether a process has not ended."""
    state = (place / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    return state not in ("Z", "X")


def _is_manager(place: Path, uid: int) -> bool:
    """Tell whether a process is systemd's manager of the account, which comes and goes with sessions."""
    return f"/user@{uid}.service/init.scope" in (place / "cgroup").read_text("utf-8", "replace")


def _doors(known: pwd.struct_passwd, command: str) -> list[str]:
    """Tell which keys let somebody in by the account for anything else; read with no more rights than its own."""
    done, said = with_rights(known, lambda: json.dumps(list(_lines(known, command))))
    if not done:
        return [f"what lets others in as {known.pw_name} cannot be read: {said}"]
    found: list[str] = json.loads(said)
    return found


def _lines(known: pwd.struct_passwd, command: str) -> Iterator[str]:
    ours = re.compile(rf'from="[^"]*",restrict,command="{re.escape(command)}[^" ]+" \S+ \S+( .*)?')
    for name in KEYS:
        path = os.path.join(known.pw_dir, name)
        try:
            # A pipe would have us wait for whoever writes to it.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                lines = file.read(_LARGEST).decode("utf-8", "replace").splitlines() if plain else []
        except FileNotFoundError:
            continue
        except OSError as error:
            yield f"{path} cannot be read as {known.pw_name}: {error.strerror}"
            continue
        if not plain:
            yield f"{path} is no plain file"
        others = [
            number
            for number, line in enumerate(map(str.strip, lines), 1)
            if line and not line.startswith("#") and not ours.fullmatch(line)
        ]
        if others:
            yield (
                f"line {', '.join(map(str, others[:_NAMED]))} of {path} lets somebody in for more than the one command "
                "(take it away, or make an account for transfers alone)"
            )


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
