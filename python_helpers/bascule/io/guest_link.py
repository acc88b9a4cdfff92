"""The key by which one node reads disks and archives of the other, and nothing else."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..proxmox.pull import directory, permitted
from . import files
from .guest_pull import AGENT
from .process import Runner, run

_HOST_KEYS = Path("/etc/ssh")


def own(component: str, check: bool = False, runner: Runner = run) -> dict[str, Any]:
    """Return this node's public key for the component (made when there is none) and its SSH host keys."""
    base = Path(directory(component)) / "ssh"
    key = base / "id_ed25519"
    public = files.read_text(f"{key}.pub")
    changed = public is None or files.read_text(key) is None
    if changed and not check:
        files.make_directory(base)
        for leftover in (key, f"{key}.pub"):
            files.remove(leftover)
        runner(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"bascule {component}", "-f", str(key)])
        public = files.read_text(f"{key}.pub")
    host_keys = [
        " ".join((files.read_text(path) or "").split()[:2]) for path in sorted(_HOST_KEYS.glob("ssh_host_*_key.pub"))
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
    authorized: Path = Path("/root/.ssh/authorized_keys"),
) -> bool:
    """Pin the other node's host keys, and let its key read the given folders here; return whether anything changed."""
    name = address if port == 22 else f"[{address}]:{port}"
    pinned = "".join(f"{name} {key}\n" for key in host_keys)
    known = Path(directory(component)) / "ssh" / "known_hosts"
    changed = files.read_text(known) != pinned
    if changed and not check:
        files.write_durably(known, pinned)
    command = shlex.join(["python3", AGENT, "guest_serve", *readable])
    mark = f"bascule {component}"
    line = f'restrict,command="{command}" {" ".join(public_key.split()[:2])} {mark}'
    # On a Proxmox node this is a link into the cluster's file system: the file itself is written, the link stays.
    path = Path(os.path.realpath(authorized))
    lines = (files.read_text(path) or "").splitlines()
    wanted = [found for found in lines if not found.endswith(f" {mark}")] + [line]
    if sorted(lines) != sorted(wanted):
        changed = True
        if not check:
            files.write_durably(path, "\n".join(wanted) + "\n")
    return changed


def forget(component: str, check: bool = False, authorized: Path = Path("/root/.ssh/authorized_keys")) -> bool:
    """Take the other node's permission away and remove this node's key; return whether there was anything."""
    path = Path(os.path.realpath(authorized))
    lines = (files.read_text(path) or "").splitlines()
    left = [line for line in lines if not line.endswith(f" bascule {component}")]
    base = Path(directory(component)) / "ssh"
    found = [entry for entry in (base / "id_ed25519", base / "id_ed25519.pub", base / "known_hosts") if entry.exists()]
    if not check:
        if left != lines:
            files.write_durably(path, "".join(f"{line}\n" for line in left))
        for entry in found:
            files.remove(entry)
    return left != lines or bool(found)


def serve(readable: Sequence[str]) -> int:
    """Run the rsync that the other node asked for on this process's own input and output, when it only reads."""
    folders = [os.path.realpath(folder) for folder in readable]
    words = permitted(os.environ.get("SSH_ORIGINAL_COMMAND", ""), folders)
    real = os.path.realpath(words[-1])
    if real != words[-1]:
        raise BasculeError(expected="a file that is no link", found=f"{words[-1]} leads to {real}", state="refused")
    return subprocess.call(words)
