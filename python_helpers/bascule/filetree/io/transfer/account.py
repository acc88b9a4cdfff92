"""The account by which the other side comes in where that is not root: it may do one command as root, and no other.

The key lies in the account's own authorized_keys, with a forced command that calls sudo; a file of Bascule's own in
/etc/sudoers.d lets the account do exactly that command. What the other side may ask is judged by the same agent, as
root, as where it comes in as root itself, and only where this host's SSH server has started the request (see .receive).
Nothing the account owns is written by root: it could be a link to anything.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Optional

from ....system.io import authorized_keys, storage
from ....system.io.process import Runner, run
from ....system.io.units import AGENT
from ...mounts import TreeError
from . import alone

ROOT = "root"
SUDOERS = Path("/etc/sudoers.d")
_NAME = re.compile(r"[a-z_][a-z0-9_-]*")
_NO_SHELLS = ("nologin", "false")
_RULE = """# Bascule: what the other side of {component} may ask of this one, as root, by the account {account}.
Cmnd_Alias {alias} = {command}
Defaults!{alias} env_reset, env_keep += "SSH_ORIGINAL_COMMAND", !requiretty, !use_pty, !log_input, !log_output
{account} ALL = (root) NOPASSWD: {alias}
"""


def faults(name: str, path: str) -> list[str]:
    """Return why nobody could or should come in by an account on this host, to the tree at `path`; nothing for root."""
    if name == ROOT:
        return []
    if not _NAME.fullmatch(name):
        return [f"{name!r} is no plain name of an account"]
    try:
        known = pwd.getpwnam(name)
    except KeyError:
        return [f"there is no account {name} (useradd --system --create-home --shell /bin/sh {name})"]
    found = []
    if known.pw_uid == 0:
        found.append(f"{name} is root by another name")
    if os.path.basename(known.pw_shell) in _NO_SHELLS:
        found.append(f"the shell of {name} is {known.pw_shell}, which runs no command (usermod --shell /bin/sh {name})")
    if not os.path.isdir(known.pw_dir) or os.stat(known.pw_dir).st_uid != known.pw_uid:
        found.append(f"the home of {name}, {known.pw_dir}, is no directory of its own")
    for program in ("sudo", "visudo"):
        if not shutil.which(program):
            found.append(f"{program} is not installed, by which {name} does one command as root")
    return found + (alone.faults(known, path, _command("")) if known.pw_uid != 0 else [])


def forced(component: str, name: str) -> str:
    """Return the forced command of the other side's key."""
    return _command(component) if name != ROOT else f"{' '.join(AGENT)} files_receive {component}"


def let_in(component: str, name: str, label: str, line: Optional[str], path: str = "", *, check: bool = False) -> bool:
    """Give the account the line and the right to its command, or take both away (None); return whether that changes.

    `path` is that of the tree, of which the account owns nothing.
    Raises TreeError when the account is not fit for it.
    """
    if line is None:
        return _forget(component, name, label, check=check)
    found = faults(name, path)
    if found:
        raise TreeError(
            expected=f"an account {name} by which the other side can come in (rsync_delta_sync_account)",
            found="; ".join(found),
            state="nobody was let in",
            next_command="put that right on this host, then run the same playbook again",
        )
    changed = _allow(component, name, check=check)
    return _as(name, label, line, check=check) or changed


def _forget(component: str, name: str, label: str, *, check: bool) -> bool:
    file = SUDOERS / _file(component)
    there = file.exists()
    if there and not check:
        storage.remove(file)
    try:
        pwd.getpwnam(name)
    except KeyError:
        return there
    return _as(name, label, None, check=check) or there


def _allow(component: str, name: str, *, check: bool, runner: Runner = run) -> bool:
    # Names of components may differ in what an alias cannot hold.
    alias = f"BASCULE_{hashlib.sha256(component.encode()).hexdigest()[:16].upper()}"
    command = _command(component).removeprefix("sudo -n -- ")
    text = _RULE.format(component=component, account=name, alias=alias, command=command)
    file = SUDOERS / _file(component)
    if storage.read_text(file) == text:
        return False
    if not check:
        # A file that sudo cannot read would take sudo away from everybody.
        runner(["visudo", "-cqf", "-"], stdin=text)
        storage.write_durably(file, text, 0o440)
    return True


def _command(component: str) -> str:
    # Apart from what the account could put into the environment, or the directory it is in.
    python, agent = AGENT
    return f"sudo -n -- {python} -I {agent} files_receive {component}"


def _file(component: str) -> str:
    # sudo passes over names with a dot; without it, two components may not share one.
    more = f"-{hashlib.sha256(component.encode()).hexdigest()[:8]}" if "." in component else ""
    return f"bascule-{component.replace('.', '_')}{more}"


def _as(name: str, label: str, line: Optional[str], *, check: bool) -> bool:
    """Change the account's authorized_keys with no more rights than it has itself."""
    known = pwd.getpwnam(name)
    target = Path(known.pw_dir) / ".ssh" / "authorized_keys"
    done, said = alone.with_rights(
        known, lambda: "changed" if authorized_keys.set_line(label, line, check=check, target=target) else ""
    )
    if not done:
        raise TreeError(
            expected=f"to write the key of the other side into {target}, as {name}",
            found=said,
            state="nobody was let in",
            next_command=f"let {name} write there, then run the same playbook again",
        )
    return bool(said)
