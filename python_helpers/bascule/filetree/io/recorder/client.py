"""The recorder of a tree, seen from root: its account and unit, where it stands, and which names have changed."""

from __future__ import annotations

import contextlib
import json
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ....errors import BasculeError, CommandFailed
from ....system.io import storage, units
from ....system.io.process import Runner, run
from ... import changes
from ...changes import Changes, Mark
from ..fence.side import Side

ACCOUNT = "bascule-recorder"
UNITS = Path("/etc/systemd/system")
RUNTIME = Path("/run")
STATE = Path("/var/lib")
_ANSWER = 120.0
_PIECE = 1 << 20

_UNIT = """[Unit]
Description=Bascule: which names change in {path}
After=local-fs.target bascule-boot.service
RequiresMountsFor={quoted}

[Service]
Type=notify
ExecStart={agent} files_recorder {argument}
Restart=always
RestartSec=1
User={account}
UMask=0077
StateDirectory={account}/{component}
StateDirectoryMode=0700
RuntimeDirectory={account}-{component}
RuntimeDirectoryMode=0700
# To watch a whole file system, and to find its directories by their handles; it reads no file.
AmbientCapabilities=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service fanotify_init fanotify_mark open_by_handle_at
SystemCallErrorNumber=EPERM
# No mount namespace of its own, on purpose: the fence would have to follow it there.
# With all events that wait in the kernel. No MemoryHigh: it would slow the recorder down just when it has to catch up.
MemoryMax=300M
TasksMax=8

[Install]
WantedBy=multi-user.target
"""


def unit_name(component: str) -> str:
    """Return the name of a component's recorder, without its ending."""
    return f"bascule-{component}-recorder"


def unit_text(side: Side) -> str:
    """Return the unit of a side's recorder."""
    path = side.path.replace("%", "%%")
    quoted = '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _UNIT.format(
        path=path,
        quoted=quoted,
        # In a command, and only there, a dollar sign begins a variable.
        argument=quoted.replace("$", "$$"),
        agent=" ".join(units.AGENT),
        account=ACCOUNT,
        component=side.component,
    )


def install(side: Side, *, recording: bool, check: bool = False, runner: Runner = run) -> list[str]:
    """Put account and unit in place, and have the recorder run on the side that is active, on no other."""
    if not side.recorder:
        return remove(side.component, check=check, runner=runner)
    done = []
    unit = UNITS / f"{unit_name(side.component)}.service"
    with _account(check):
        if not _account_exists():
            done.append(f"make the account {ACCOUNT}")
            if not check:
                runner(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                        "--shell", "/usr/sbin/nologin", ACCOUNT])  # fmt: skip
        if storage.read_text(unit) != unit_text(side):
            done.append(f"write {unit}")
            if not check:
                storage.write_durably(unit, unit_text(side), 0o644)
                runner(["systemctl", "daemon-reload"])
                runner(["systemctl", "try-restart", unit.name], timeout=120)
    if recording:
        done += start(side, check=check, runner=runner)
    else:
        done += stop(side.component, check=check, runner=runner)
    return done


def start(side: Side, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Start the recorder, now and at every boot; when this returns, it records."""
    name = f"{unit_name(side.component)}.service"
    if not side.recorder or (units.is_running(unit_name(side.component), runner) and _enabled(name, runner)):
        return []
    if not check:
        try:
            runner(["systemctl", "enable", "--now", "--quiet", name], timeout=120)
        except CommandFailed as error:
            raise BasculeError(
                expected=f"the recorder of {side.path} to start",
                found=units.last_messages(unit_name(side.component), runner) or error.found,
                state="without it every transfer compares the whole tree; nothing else was changed",
                next_command=f"journalctl --unit {name}; or go on without it: -e rsync_delta_sync_recorder=false",
            ) from error
    return [f"start {name}"]


def stop(component: str, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Stop the recorder, now and at every boot."""
    name = f"{unit_name(component)}.service"
    if not (UNITS / name).exists():
        return []
    if not units.is_running(unit_name(component), runner) and not _enabled(name, runner):
        return []
    if not check:
        runner(["systemctl", "disable", "--now", "--quiet", name], timeout=120)
    return [f"stop {name}"]


def remove(component: str, *, check: bool = False, runner: Runner = run) -> list[str]:
    """Take the recorder away with what it wrote; its account goes with the last one."""
    done = stop(component, check=check, runner=runner)
    unit = UNITS / f"{unit_name(component)}.service"
    if not unit.exists():
        return done
    done.append(f"remove {unit}")
    with _account(check):
        if not check:
            storage.remove(unit)
            runner(["systemctl", "daemon-reload"])
            shutil.rmtree(STATE / ACCOUNT / component, ignore_errors=True)
            if not list(UNITS.glob("bascule-*-recorder.service")) and _account_exists():
                runner(["userdel", ACCOUNT])
                done.append(f"remove the account {ACCOUNT}")
    return done


@contextlib.contextmanager
def _account(check: bool) -> Iterator[None]:
    """Hold the account, which is of all trees of this host: they are prepared and retired side by side."""
    if check:
        yield
        return
    storage.make_directory(STATE / "bascule", 0o755)
    with storage.locked(STATE / "bascule" / "recorder.lock", wait=120):
        yield


def drain(component: str, forget: Optional[Mark] = None) -> dict[str, Any]:
    """Have the recorder read its queue to the end, and return where it then stands; empty when it does not answer."""
    request = {"forget": forget.sequence, "generation": forget.generation} if forget else {}
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER)
            connection.connect(str(RUNTIME / f"{ACCOUNT}-{component}" / "socket"))
            connection.sendall(json.dumps(request).encode())
            while piece := connection.recv(_PIECE):
                answer += piece
        found = json.loads(answer)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def mark(component: str) -> Optional[Mark]:
    """Return where the recorder stands with all that happened until now written down; None when it does not record."""
    status = drain(component)
    return Mark.from_any(status) if status.get("recording") else None


def since(component: str, reference: Optional[Mark]) -> tuple[Changes, Optional[Mark]]:
    """Return what has changed since a mark until now, and the mark of now; doubt says why it cannot be told."""
    for _ in range(3):
        status = drain(component)
        if not status:
            return changes.doubt("the recorder does not answer"), None
        now = Mark.from_any(status) if status.get("recording") else None
        if now is None or (reference and reference.generation != now.generation):
            ended = status.get("ended") or {}
            asked = reference.generation if reference else str(status.get("generation"))
            return changes.doubt(str(ended.get(asked, "the recorder has been restarted"))), now
        journal = STATE / ACCOUNT / component / str(status["journal"])
        # The file may be replaced by a compact one between the answer and the reading.
        with contextlib.suppress(FileNotFoundError):
            pieces = _pieces(journal, int(status["size"]))
            return changes.read(pieces, now.generation, reference, now.sequence, int(status["forgotten"])), now
    return changes.doubt("the recorder's journal could not be read"), None


def remember(side: Side, reader: str, point: Mark) -> None:
    """Note how far a reader of the journal has come; what all of them have behind them is forgotten."""
    with storage.locked(side.home / "marks.lock"):
        path = side.home / "marks.json"
        known = storage.read_json(path) or {}
        known[reader] = vars(point)
        storage.write_json(path, known)
    found = [Mark.from_any(value) for value in known.values()]
    same = [one for one in found if one is not None and one.generation == point.generation]
    drain(side.component, forget=Mark(point.generation, min(one.sequence for one in same)))


def remembered(side: Side, reader: str) -> Optional[Mark]:
    """Return how far a reader had come."""
    return Mark.from_any((storage.read_json(side.home / "marks.json") or {}).get(reader))


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while size > 0 and (piece := stream.read(min(size, _PIECE))):
            size -= len(piece)
            yield piece


def _account_exists() -> bool:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def _enabled(name: str, runner: Runner) -> bool:
    return runner(["systemctl", "is-enabled", name], check=False).stdout.strip() == "enabled"
