"""How to start a shell on a machine with what its inventory variables say; pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import JournalError

_SSH = ("ssh", "ansible.builtin.ssh", "smart", "paramiko")
_LOCAL = ("local", "ansible.builtin.local")


@dataclass(frozen=True)
class Target:
    """A machine, and the command that runs the script given as its last argument there.

    spares: other machines that can stand in for it.
    """

    host: str
    argv: tuple[str, ...]
    spares: tuple[Target, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types; a machine that was chosen has no spares any more."""
        return {"host": self.host, "argv": list(self.argv)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Target:
        """Read what `to_dict` wrote."""
        return cls(str(data["host"]), tuple(str(word) for word in data["argv"]))


# Says why a way in does not lead to root; nothing is written.
TRY = '[ "$(id -u)" = 0 ] || { echo "$(id -un) is not root" >&2; exit 1; }'


def target(host: str, variables: Mapping[str, Any], ssh_args: str, control_directory: str, user: str = "") -> Target:
    """Return how to reach the machine.

    Args:
        host: its inventory name.
        variables: its inventory variables, templated.
        ssh_args: the arguments Ansible is configured with (`ssh_connection.ssh_args`).
        control_directory: where the control sockets lie.
        user: whom Ansible logs in as where the variables do not say (`-u`, `remote_user` of its configuration).
    """
    connection = str(variables.get("ansible_connection") or "ssh")
    address = str(variables.get("ansible_host") or host)
    user = str(variables.get("ansible_ssh_user") or variables.get("ansible_user") or user)
    if connection in _LOCAL:
        return Target(host, ("sh", "-c"))
    if connection not in _SSH:
        raise JournalError(
            expected=f"journal host {host} to be reached by ssh or local", found=f"connection {connection}"
        )
    argv = ["ssh", *_words(ssh_args)]
    # BatchMode: a question for a password would wait for ever where nobody sees it.
    argv += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", f"ControlPath={control_directory}/j-%C"]
    if key := variables.get("ansible_ssh_private_key_file") or variables.get("ansible_private_key_file"):
        argv += ["-i", str(key)]
    if port := variables.get("ansible_port"):
        argv += ["-p", str(port)]
    for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
        argv += _words(variables.get(name))
    argv += ["-l", user] if user else []
    argv += ["--", address]
    return Target(host, tuple(argv if user in ("", "root") else [*argv, "sudo", "-n", "sh", "-c"]))


def remote_command(where: Target, script: str) -> list[str]:
    """Return the argv that runs `script` in a shell there."""
    through_ssh = bool(where.argv) and where.argv[0] == "ssh"
    # ssh hands one text to the login shell of the other side; when sudo stands before, that shell splits it again.
    quoted = shlex.quote(script) if through_ssh and where.argv[-1] == "-c" else script
    return [*where.argv, quoted]


def _words(arguments: Any) -> Sequence[str]:
    return shlex.split(str(arguments)) if arguments else []
