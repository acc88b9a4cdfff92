"""How a machine is entered as root: as Ansible would. The one place that decides it, for all connections of our own.

SSH's arguments are those of Ansible's own plugin, with every variable, setting and option of the command line that it
knows; so are the user, sudo and its password.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from ansible import constants
from ansible.errors import AnsibleError, AnsibleValueOmittedError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import become_loader, connection_loader

from ..errors import BasculeError
from ..system.ssh import Target
from .control_sockets import control_directory
from .values import plain

_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")
_LOCAL = "local"
ROOT = "root"
BECOME = "ansible_become"
# Seconds that ssh may take to read its configuration, in which a command may be asked (Match exec).
_CONFIGURATION_SECONDS = 5
# Of ours alone, before Ansible's, as ssh takes what comes first. A question would wait for ever where nobody sees it,
# and a site that is silent must not hold up the other one.
_CONNECT_SECONDS = 5
OWN = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}")
_SSH_ARGUMENTS = ("ssh_args", "ssh_common_args", "ssh_extra_args")
# What would have Ansible start a further program to answer questions, or to keep a key.
_ASKED = ("password", "private_key", "pkcs11_provider")
# The variables of the first: not read, as a template that fails there would close a way that needs none.
_UNUSED = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")


class WayInError(BasculeError):
    """A variable, or setting, with which no connection of our own can enter a machine as root."""

    def __init__(self, host: str, variable: str, expected: str, found: str) -> None:
        super().__init__(
            expected=f"{variable} of {host} to be {expected}",
            found=found,
            state="nothing was connected",
            next_command=f"ansible-inventory --host {host}",
        )
        self.variable, self.wanted = variable, expected


def declared(host: str, variables: Mapping[str, Any], become_pass: Optional[str], *, root: bool = True) -> Target:
    """Return the way to root on a machine of the inventory.

    Args:
        host: its inventory name.
        variables: its variables, templated.
        become_pass: what was typed for -K, which a variable of the machine overrides, as in Ansible.
        root: without it, the way to whoever logs in there.

    Raises:
        WayInError: there is none.
    """
    kind = str(_value(host, variables, "ansible_connection") or "ssh").rpartition(".")[2]
    if kind == _LOCAL:
        user = _this_user()
        if not root:
            return Target(host, ("sh", "-c"))
        return _target(host, ("sh", "-c"), user, user != ROOT and _become(host, variables, become_pass))
    if kind not in _SSH:
        raise WayInError(host, "ansible_connection", "ssh or local", kind)
    connection = connection_loader.get("ssh", PlayContext())
    settings = {**_task_keys(), "timeout": connection._play_context.timeout}
    connection.set_options(
        task_keys=settings,
        var_options=_options(host, "connection", "ssh", variables),
        direct=dict.fromkeys(_ASKED, ""),
    )
    # What is journalled, and a password, go to no machine that nobody knows, whatever Ansible's own tasks do.
    connection.set_option("host_key_checking", True)
    user, argv = by_ssh(connection)
    said = " ".join(str(plain(connection.get_option(name)) or "") for name in _SSH_ARGUMENTS).lower()
    own = (*(OWN[:2] if "connecttimeout" in said else OWN), "-o", f"ControlPath={control_directory()}/j-%C")
    # Ansible's words stand in this order, and ssh takes the first.
    declared_seconds = re.search(r"connecttimeout[\s=]+(\d+)", said)
    slow = max(0.0, float(declared_seconds[1]) - _CONNECT_SECONDS) if declared_seconds else 0.0
    # Where nothing is asked of sudo, nothing that is declared of it can be wrong.
    become = root and user != ROOT and _become(host, variables, become_pass)
    where = _target(host, argv, user, become) if root else Target(host, argv)
    return replace(where, argv=(argv[0], *own, *argv[1:]), slow=slow)


def is_without_root(host: str, variables: Mapping[str, Any], become_pass: Optional[str]) -> bool:
    """Return whether it is declared that a machine lets nobody become root: `ansible_become: false`, and a user."""
    try:
        declared(host, variables, become_pass)
    except WayInError as error:
        return error.variable == BECOME
    return False


def declared_or_closed(host: str, variables: Mapping[str, Any], become_pass: Optional[str]) -> Target:
    """Return the way to root on a machine; one that tells its obstacle where there is none.

    What is wrong with one machine, as where its secrets lie at a silent site, is said where that machine is needed.
    """
    try:
        return declared(host, variables, become_pass)
    except WayInError as error:
        return Target(host, (), obstacle=f"{error.variable} has to be {error.wanted}, and is {error.found}")


def of(connection: Any) -> Target:
    """Return the way to root of a task's connection over SSH, as Ansible has made it.

    Raises:
        WayInError: there is none.
    """
    user, argv = by_ssh(connection)
    return _target(str(connection.host), argv, user, connection.become)


def by_ssh(connection: Any) -> tuple[str, tuple[str, ...]]:
    """Return whom ssh logs in as, and Ansible's own command for it, which a text for the user's shell completes."""
    connection.host = str(connection.get_option("host"))
    binary = connection.get_option("ssh_executable")
    command = connection._build_command(binary, "ssh", "--", connection.host)
    # With a connection that is kept, what ssh says of itself would have no end, and who reads it would wait for that.
    command[1:2] = [] if re.fullmatch(b"-v+", command[1]) else command[1:2]
    user = plain(connection.get_option("remote_user")) or _configured(tuple(command)) or _this_user()
    return user, tuple(part.decode("utf-8", "surrogateescape") for part in command)


@functools.cache
def _configured(command: tuple[bytes, ...]) -> str:
    """Return whom ssh would log in as where only its own configuration says so; it connects to nothing for that."""
    try:
        asked = [command[0], b"-G", *command[1:]]
        done = subprocess.run(
            asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CONFIGURATION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines() if done.returncode == 0 else []
    return next((line.removeprefix("user ") for line in lines if line.startswith("user ")), "")


def _target(host: str, argv: tuple[str, ...], user: str, become: Any) -> Target:
    """Return a machine with the way from this user to root."""
    if user == ROOT:
        return Target(host, argv)
    if not become:
        raise WayInError(host, BECOME, f"true, or its user to be {ROOT}", f"false, and {user}")
    method, other = become.name.rpartition(".")[2], plain(become.get_option("become_user")) or ROOT
    if method != "sudo":
        raise WayInError(host, "ansible_become_method", f"sudo, or its user to be {ROOT}", method)
    if other != ROOT:
        raise WayInError(host, "ansible_become_user", ROOT, other)
    program = _words(plain(become.get_option("become_exe")) or "sudo")
    sudo = (*program, *_flags(plain(become.get_option("become_flags")) or ""))
    password = plain(become.get_option("become_pass"))
    if password in (None, ""):
        return Target(host, argv, sudo=sudo)
    password = str(password)
    if set(password) & set("\0\n\r"):
        raise WayInError(host, "ansible_become_password", "one line", "several, or a zero byte (not shown)")
    # One note for all that goes this way, as it is one account that would be locked.
    name = hashlib.sha256("\0".join((*argv, *sudo)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    note = Path(constants.DEFAULT_LOCAL_TMP) / f"bascule-sudo-{name}"
    return Target(host, argv, sudo=sudo, password=password, note=str(note))


def _words(given: str) -> list[str]:
    """Split as a shell does; where that cannot be done, at spaces: the machine says what is wrong with it."""
    try:
        return shlex.split(given)
    except ValueError:
        return given.split()


def _flags(given: str) -> list[str]:
    """Return sudo's flags without those that say how it asks, also out of a bundle such as `-HSn`."""
    kept = []
    for flag in _words(given):
        bundle = re.fullmatch("-[ABEHPSbikns]+", flag)
        short = re.sub("[nS]", "", flag) if bundle else flag
        kept += [] if short in ("-", "--non-interactive", "--stdin") else [short]
    return kept


def _become(host: str, variables: Mapping[str, Any], become_pass: Optional[str]) -> Any:
    """Return Ansible's plugin by which a task with `become` is root, with its options; None where it is not."""
    wanted = _value(host, variables, "ansible_become")
    if wanted is not None and not boolean(wanted, strict=False):
        return None
    name = _value(host, variables, "ansible_become_method") or _task_keys().get("become_method")
    become = become_loader.get(str(name or constants.DEFAULT_BECOME_METHOD))
    if become is None:
        raise WayInError(host, "ansible_become_method", "sudo", f"{name}, which Ansible does not know")
    keys = {**_task_keys(), **({"become_pass": become_pass} if become_pass else {})}
    become.set_options(task_keys=keys, var_options=_options(host, "become", become._load_name, variables))
    return become


def _options(host: str, kind: str, name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that a plugin of Ansible's reads."""
    names = [one for one in constants.config.get_plugin_vars(kind, name) if one in variables and one not in _UNUSED]
    values = {one: _value(host, variables, one) for one in names}
    return {one: value for one, value in values.items() if value is not None}


def _value(host: str, variables: Mapping[str, Any], name: str) -> Any:
    try:
        return plain(variables[name]) if name in variables else None
    except AnsibleValueOmittedError:
        return None
    except AnsibleError as error:
        # What it says may quote a secret.
        found = f"a template that fails ({type(error).__name__})"
        raise WayInError(host, name, "a value", found) from None


def _this_user() -> str:
    """Return whose process this is, as ssh sees it: who has become another user may still have the first one's name."""
    return pwd.getpwuid(os.getuid()).pw_name


@functools.cache
def _task_keys() -> dict[str, Any]:
    """Return what a task has that says nothing of its own: the options of the command line, and settings."""
    keys = Task().dump_attrs()
    # Another thing than the plugin's options of these names.
    return {key: value for key, value in keys.items() if key not in ("timeout", "retries", "vars")}
