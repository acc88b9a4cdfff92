"""The SSH link between the two sides of a file tree: one key per component, one permission, pinned host keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import BasculeError
from ....system.io import authorized_keys, storage
from ....system.io.authorized_keys import AUTHORIZED_KEYS
from ....system.io.process import Runner, run
from ..fence.side import BASE, Side
from . import account

_HOST_KEYS = Path("/etc/ssh")
_TYPES = ("ed25519", "ecdsa", "rsa")


@dataclass(frozen=True)
class Peer:
    """What one side must know of the other."""

    key: str
    host_keys: Sequence[str]
    address: str


def own_key(
    component: str, side: str, *, check: bool = False, base: Path = BASE, runner: Runner = run
) -> tuple[str, bool]:
    """Return this side's public key, made if there is none, and whether it was made."""
    directory = base / component / "ssh"
    private = directory / "id_ed25519"
    changed = not private.exists()
    if changed and check:
        return "", True
    if changed:
        storage.make_directory(directory)
        os.chmod(base / component, 0o700)
        # Two controllers may prepare at once: the second finds the key of the first.
        with storage.locked(base / component / "setup.lock"):
            changed = not private.exists()
            if changed:
                comment = _label(component, side)
                runner(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)])
                storage.sync_directory(directory)
    words = (storage.read_text(private.with_suffix(".pub")) or "").split()
    if len(words) < 2:
        raise BasculeError(
            expected=f"a public key in {private}.pub",
            found="none",
            next_command=f"rm {private} {private}.pub on {side}, then run the same playbook again: a new key is made",
        )
    return f"{words[0]} {words[1]}", changed


def host_keys(directory: Path = _HOST_KEYS) -> list[str]:
    """Return this host's own public host keys."""
    found = []
    for kind in _TYPES:
        words = (storage.read_text(directory / f"ssh_host_{kind}_key.pub") or "").split()
        if len(words) >= 2:
            found.append(f"{words[0]} {words[1]}")
    if not found:
        raise BasculeError(
            expected=f"SSH host keys in {directory}", found="none", next_command="install and start an SSH server there"
        )
    return found


def admit(side: Side, peer: Peer, *, check: bool = False, target: Path = AUTHORIZED_KEYS) -> bool:
    """Let the other side's key do what a transfer needs, from its address, by the side's account, and nothing else."""
    label = _label(side.component, "peer")
    forced = account.forced(side.component, side.account)
    line = f'from="{peer.address}",restrict,command="{forced}" {peer.key} {label}'
    if side.account != account.ROOT:
        return account.let_in(side.component, side.account, label, line, side.path, check=check)
    return authorized_keys.set_line(label, line, check=check, target=target)


def expel(component: str, *, name: str = account.ROOT, check: bool = False, target: Path = AUTHORIZED_KEYS) -> bool:
    """Take the permission away again from the account that has it."""
    if name != account.ROOT:
        return account.let_in(component, name, _label(component, "peer"), None, check=check)
    return authorized_keys.set_line(_label(component, "peer"), None, check=check, target=target)


def pin(side: Side, peer: Peer, *, check: bool = False) -> bool:
    """Pin the other side's host keys under the component's name, whatever its address."""
    wanted = "".join(f"{side.component} {key}\n" for key in peer.host_keys)
    if storage.read_text(side.known_hosts) == wanted:
        return False
    if not check:
        storage.write_durably(side.known_hosts, wanted)
    return True


def _label(component: str, side: str) -> str:
    return f"bascule-{component}-{side}"
