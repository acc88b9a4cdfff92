"""The key by which one node reads disks and archives of the other, and nothing else."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...system.io import authorized_keys, storage
from ...system.io.authorized_keys import AUTHORIZED_KEYS
from ...system.io.process import Runner, run
from ...system.rsync import directory, permitted, ssh_command
from .. import blocks
from . import disk_blocks
from .pull import AGENT

_HOST_KEYS = Path("/etc/ssh")
# What is asked to see that the way stands, and the answer.
_HELLO = "hello"
_ANSWER = "bascule guest_serve"
# The same of a node that also sends blocks of disks which are lent.
_HELLO_DISKS = "hello disks"
_ANSWER_DISKS = "bascule guest_serve disks"
# Seconds: ssh itself gives up a connection after 15.
_REACH_TIMEOUT = 60


def own(component: str, check: bool = False, runner: Runner = run) -> dict[str, Any]:
    """Return this node's public key for the component (made when there is none) and its SSH host keys."""
    base = Path(directory(component)) / "ssh"
    key = base / "id_ed25519"
    public = storage.read_text(f"{key}.pub")
    changed = public is None or storage.read_text(key) is None
    if changed and not check:
        storage.make_directory(base)
        for leftover in (key, f"{key}.pub"):
            storage.remove(leftover)
        runner(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"bascule {component}", "-f", str(key)])
        public = storage.read_text(f"{key}.pub")
    host_keys = [
        " ".join((storage.read_text(path) or "").split()[:2]) for path in sorted(_HOST_KEYS.glob("ssh_host_*_key.pub"))
    ]
    if not host_keys:
        raise BasculeError(expected=f"SSH host keys in {_HOST_KEYS}", found="none", state="nothing was changed")
    return {"changed": changed, "public_key": (public or "").strip(), "host_keys": host_keys}


def trust(
    component: str,
    address: str,
    port: int,
    host_keys: Sequence[str],
    public_key: str,
    readable: Sequence[str],
    check: bool = False,
    authorized: Path = AUTHORIZED_KEYS,
) -> bool:
    """Pin the other node's host keys, and let its key read the given folders here; return whether anything changed."""
    name = address if port == 22 else f"[{address}]:{port}"
    pinned = "".join(f"{name} {key}\n" for key in host_keys)
    known = Path(directory(component)) / "ssh" / "known_hosts"
    changed = storage.read_text(known) != pinned
    if changed and not check:
        storage.write_durably(known, pinned)
    command = shlex.join(["python3", AGENT, "guest_serve", f"--component={component}", *readable])
    label = _label(component)
    line = f'restrict,command="{command}" {" ".join(public_key.split()[:2])} {label}'
    return authorized_keys.set_line(label, line, check=check, target=authorized) or changed


def reach(
    component: str, address: str, port: int, user: str = "root", disks: bool = False, runner: Runner = run
) -> None:
    """Ask the other node over the link whether this node's key may read there; raise BasculeError when it may not.

    With `disks` it is asked whether that node sends blocks of disks too; an older version did not prepare it for that.
    """
    asked, wanted = (_HELLO_DISKS, _ANSWER_DISKS) if disks else (_HELLO, _ANSWER)
    command = [*ssh_command(component, port), f"{user}@{address}", asked]
    done = runner(command, timeout=_REACH_TIMEOUT, check=False)
    if done.rc != 0 or done.stdout.strip() != wanted:
        raise BasculeError(
            expected=f"the node at {address} to let the key of {component} read{' disks' if disks else ''}",
            found=(done.stderr or done.stdout).strip()[-500:] or f"ssh ended with {done.rc}",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}, which lets both nodes read "
            "at each other",
        )


def forget(component: str, check: bool = False, authorized: Path = AUTHORIZED_KEYS) -> bool:
    """Take the other node's permission away and remove this node's key; return whether there was anything."""
    changed = authorized_keys.set_line(_label(component), None, check=check, target=authorized)
    base = Path(directory(component)) / "ssh"
    files = (base / "id_ed25519", base / "id_ed25519.pub", base / "known_hosts", disk_blocks.lent_path(component))
    found = [entry for entry in files if entry.exists()]
    if not check:
        for entry in found:
            storage.remove(entry)
    return changed or bool(found)


def _label(component: str) -> str:
    return f"bascule {component}"


def serve(readable: Sequence[str], component: str = "") -> int:
    """Do what the other node asked for on this process's own input and output: rsync that only reads, or a lent disk.

    A line of an older version names no component: by that no disk is read.
    """
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    answers = {_HELLO: _ANSWER, **({_HELLO_DISKS: _ANSWER_DISKS} if component else {})}
    if asked in answers:
        print(answers[asked])
        return 0
    if asked.split()[:1] == [blocks.COMMAND]:
        try:
            return disk_blocks.serve(component, asked.split())
        except OSError as error:
            raise BasculeError(
                expected="to read the disk and to send what has changed", found=str(error), state="it was only read"
            ) from error
    folders = [os.path.realpath(folder) for folder in readable]
    words = permitted(asked, folders)
    real = os.path.realpath(words[-1])
    if real != words[-1]:
        raise BasculeError(expected="a file that is no link", found=f"{words[-1]} leads to {real}", state="refused")
    return subprocess.call(words)
