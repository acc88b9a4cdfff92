"""What is started to run a script as root on a machine; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

# Says why a way in does not lead to root; nothing is written.
TRY = '[ "$(id -u)" = 0 ] || { echo "$(id -un) is not root" >&2; exit 1; }'


@dataclass(frozen=True)
class Target:
    """A machine and the way to root on it. `plugin/way_in.py` makes it, and `io/entering.py` goes it.

    argv: the command that has the text given as its last argument run by a shell of the user who logs in.
    sudo: the program that makes this user root, with its flags; nothing where the user is root.
    password: what sudo may ask for; it is never printed, written or given as an argument.
    note: the file that says whether sudo has taken the password in this playbook.
    obstacle: why there is no way; whoever tries to go it is told.
    slow: seconds that connecting may take beyond what a script is waited for anyway, where the inventory says so.
    spares: other machines that can stand in for it.
    """

    host: str
    argv: tuple[str, ...]
    spares: tuple[Target, ...] = ()
    sudo: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    note: str = ""
    obstacle: str = ""
    slow: float = 0.0


def remote_command(where: Target, script: str, token: str = "") -> list[str]:
    """Return the argv that runs `script` in a shell there, as root.

    Args:
        where: the machine.
        script: what the shell runs.
        token: what nobody can guess, where sudo may ask for the password: it asks with `prompt(token)` on standard
            error, and `begins(token)` comes there when the script begins.
    """
    if not where.sudo:
        return [*where.argv, script]
    program, *flags = where.sudo
    if not token:
        # Nobody is there to be asked.
        return [*where.argv, shlex.join([program, *flags, "-n", "sh", "-c", script])]
    # What sudo has cached (-k) is left alone: whether it asks depends on its rules only.
    asks = [program, *flags, "-S", "-k", "-p", prompt(token)]
    return [*where.argv, shlex.join([*asks, "sh", "-c", f"echo {begins(token)} >&2; {script}"])]


def prompt(token: str) -> str:
    """Return what sudo asks with."""
    return f"[bascule asks for the password {token}]"


def begins(token: str) -> str:
    """Return the line with which the script begins."""
    return f"bascule-begins-{token}"
