"""Run our modules through a server on the machine, where there can be one; otherwise as Ansible runs every module.

Ansible packs a module, sends it, and starts an interpreter for each execution; the interpreter compiles some hundred
files before the first line of the module runs. The server imports them once. What a module is given, and what becomes
of its result, is the same both ways.
"""

from __future__ import annotations

import ast
import fcntl
import functools
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils import basic
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_loader
from ansible.release import __version__
from ansible.utils.display import Display
from ansible.vars.clean import remove_internal_keys

from ..system.io.entering import SSH_FAILED
from ..system.io.sources import PACKAGE, shipped
from ..system.ssh import Target
from . import way_in
from .module_talker import HEAD

OURS = "bascule_"
# A host on which this is false is served as Ansible does it.
VARIABLE = "bascule_module_server"
PLACE = Path("~/.ansible/bascule").expanduser()
# Root's own, on the machine; a reboot removes it.
THERE = "/run/bascule-modules"
# Seconds until a connection must stand and the modules be there.
PATIENCE = 60
_KEPT_SECONDS = 7 * 86400
_PROFILE = "legacy"
_BASE = "ansible/module_utils"
_ALIAS = "ansible.module_utils.bascule"
_LEFT_OUT = ("facts", "powershell", "csharp")
_TALK = "import sys; sys.path.insert(0, sys.argv[1]); from bascule.plugin import module_talker; module_talker.run()"
# What starts at the other end. It keeps the modules, compiled, for the next playbook.
_BOOT = """
import hashlib, io, os, shutil, sys, tempfile, time, zipfile
place, digest, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
umask = os.umask(0o022)
os.makedirs(place, 0o700, exist_ok=True)
package = os.path.join(place, digest)
if os.path.isdir(package):
    os.write(1, b"BASCULE WANTS nothing\\n")
else:
    os.write(1, b"BASCULE WANTS payload\\n")
    payload = b""
    while len(payload) < size:
        found = os.read(0, size - len(payload))
        if not found:
            sys.exit("the modules did not come whole")
        payload += found
    if hashlib.sha256(payload).hexdigest() != digest:
        sys.exit("the modules came damaged")
    partial = tempfile.mkdtemp(dir=place)
    zipfile.ZipFile(io.BytesIO(payload)).extractall(partial)
    try:
        os.rename(partial, package)
    except OSError:
        shutil.rmtree(partial)
    for other in (os.path.join(place, name) for name in os.listdir(place)):
        try:
            if time.time() - os.stat(other).st_mtime > 7 * 86400:
                shutil.rmtree(other)
        except OSError:
            pass
os.utime(package)
os.umask(umask)
sys.path.insert(0, package)
from ansible.module_utils.bascule.plugin import module_server
module_server.main()
"""


class ModuleAction(ActionBase):
    """An action that runs modules: ours through the machine's server."""

    def _execute_module(
        self, module_name: Optional[str] = None, module_args: Any = None, task_vars: Any = None, **options: Any
    ) -> dict[str, Any]:
        name = str(module_name or self._task.action).rpartition(".")[2]
        variables = task_vars or {}
        server = None if options.get("wrap_async") else self._server(name, variables)
        if server is None:
            return dict(
                super()._execute_module(
                    module_name=module_name, module_args=module_args, task_vars=task_vars, **options
                )
            )
        arguments = self._task.args if module_args is None else module_args
        self._update_module_args(name, arguments, variables)
        encoder = get_module_encoder(_PROFILE, Direction.CONTROLLER_TO_MODULE)
        params = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder)
        Display().vvv(f"{name} runs through the module server", host=str(self._connection.get_option("host")))
        answer = server.ask({"module": name, "params": params, "profile": _PROFILE})
        self._used_interpreter = None
        data = self._parse_returned_data(
            {"rc": answer["rc"], "stdout": answer["out"], "stderr": answer["err"]}, _PROFILE
        )
        data.pop("_ansible_suppress_tmpdir_delete", None)
        remove_internal_keys(data)
        return dict(data)

    def _server(self, name: str, variables: Mapping[str, Any]) -> Optional[Server]:
        if not name.startswith(OURS) or self._task.async_val or any(self._task.environment or []):
            return None
        about = variables
        if self._task.delegate_to:
            about = (variables.get("ansible_delegated_vars") or {}).get(self._task.delegate_to) or variables
        # An inventory in INI has texts only.
        if str(about.get(VARIABLE, variables.get(VARIABLE, True))).lower() in ("false", "no", "off", "0"):
            return None
        where = way(self._connection)
        return None if where is None else find(where, interpreter(about))


def way(connection: Any) -> Optional[Target]:
    """Return the way to root at the other end of a task's connection.

    None where there is none of ours: another connection than SSH with a key, another way than sudo, another user.
    """
    if connection.transport != "ssh" or any(map(connection.get_option, ("password", "private_key", "pkcs11_provider"))):
        return None
    try:
        return way_in.of(connection)
    except way_in.WayInError:
        return None


def interpreter(variables: Mapping[str, Any]) -> str:
    """Return the path of Python on a machine: the declared one, the one that was found, or the system's."""
    declared = str(variables.get("ansible_python_interpreter") or "auto")
    if declared.startswith("/"):
        return declared
    found = (variables.get("ansible_facts") or {}).get("discovered_interpreter_python")
    return str(found or "/usr/bin/python3")


class Server:
    """A machine's module server, as one task reaches it."""

    def __init__(self, talker: socket.socket) -> None:
        self._talker = talker

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have a module run, and return exit status (`rc`), output (`out`) and errors (`err`).

        Raises:
            AnsibleConnectionFailure: the connection ended before there was an answer.
        """
        content = json.dumps(request).encode()
        try:
            with self._talker:
                self._talker.sendall(HEAD.pack(len(content), 0) + content)
                head = _exactly(self._talker, HEAD.size)
                return dict(json.loads(_exactly(self._talker, HEAD.unpack(head)[0])))
        except OSError as error:
            raise AnsibleConnectionFailure(f"the connection ended while {request['module']} ran: {error}") from error


def _exactly(talker: socket.socket, size: int) -> bytearray:
    found = bytearray(size)
    at = 0
    while at < size:
        part = talker.recv_into(memoryview(found)[at:])
        if not part:
            raise ConnectionResetError("there is no answer")
        at += part
    return found


def find(where: Target, python: str) -> Optional[Server]:
    """Return the server on a machine, started where none runs for this playbook; None where there can be none.

    Raises:
        AnsibleConnectionFailure: SSH could not connect.
        AnsibleActionFail: sudo did not take the password; Ansible would only try it again.
    """
    name = "\0".join((*where.argv, *where.sudo))
    key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path, refused, lock = (PLACE / f"{_playbook()}-{key}.{what}" for what in ("socket", "refused", "lock"))
    running = _connected(path)
    if running is not None:
        return running
    PLACE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        running = _connected(path)
        if running is not None or refused.exists():
            return running
        path.unlink(missing_ok=True)
        said = _start(where, python, path)
        if said["state"] == "failed" and said["rc"] != SSH_FAILED:
            refused.touch()
            Display().vvv(f"no module server: {said['why']}: {said['errors']}")
    if said["state"] == "refused":
        raise AnsibleActionFail(said["why"], result=said["fields"])
    if said["state"] != "ready" and said["rc"] == SSH_FAILED:
        raise AnsibleConnectionFailure(f"Failed to connect to the host via ssh: {said['errors'].strip()}")
    return _connected(path)


def serves_all() -> bool:
    """Whether this playbook has reached every machine so far through a server."""
    return not any(PLACE.glob(f"{_playbook()}-*.refused")) and any(PLACE.glob(f"{_playbook()}-*.socket"))


def _playbook() -> str:
    """Return what names the playbook's process: no later one has its number and its start."""
    number = os.getppid()
    # The 22nd field (proc_pid_stat(5)); the name before it may have spaces.
    return f"{number}-{Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[19]}"


def _connected(path: Path) -> Optional[Server]:
    talker = socket.socket(socket.AF_UNIX)
    try:
        talker.connect(str(path))
    except OSError:
        # None yet, or one that was ended from outside and could not clear up.
        talker.close()
        return None
    return Server(talker)


def _start(where: Target, python: str, path: Path) -> dict[str, Any]:
    _forget_old()
    package, digest = payload()
    size = str(package.stat().st_size)
    configuration = {
        "target": {**vars(where), "spares": []},
        "script": f"exec {shlex.join([python, '-I', '-c', _BOOT, THERE, digest, size])}",
        "socket": str(path),
        "payload": str(package),
        "watch": os.getppid(),
        "patience": PATIENCE,
    }
    talker = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TALK, str(PACKAGE.parent), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    line = ""
    if talker.stdin and talker.stdout:
        # What is given as an argument can be seen by all users of a machine.
        with suppress(BrokenPipeError), talker.stdin:
            talker.stdin.write(json.dumps(configuration))
        line = talker.stdout.readline()
    return dict(json.loads(line)) if line else {"state": "failed", "rc": None, "errors": "", "why": "it ended"}


@functools.cache
def payload() -> tuple[Path, str]:
    """Return a zip file of our modules with what they import, and its SHA-256; built only when a source has changed."""
    PLACE.mkdir(mode=0o700, parents=True, exist_ok=True)
    modules = sorted(Path(path) for path in _module_paths())
    state = hashlib.sha256(__version__.encode())
    for path in [*modules, *sorted(PACKAGE.rglob("*.py"))]:
        state.update(f"{path}\0".encode() + path.read_bytes())
    named = PLACE / f"{state.hexdigest()[:32]}.zip"
    if not named.is_file():
        partial = named.with_suffix(f".{os.getpid()}")
        _build(partial, modules)
        partial.rename(named)
    return named, hashlib.sha256(named.read_bytes()).hexdigest()


def _module_paths() -> list[str]:
    return [str(path) for directory in module_loader._get_paths() for path in Path(directory).glob(f"{OURS}*.py")]


def _build(target: Path, modules: list[Path]) -> None:
    needed = {"plugin/module_server.py"}
    for path in modules:
        needed |= set(_imports(path))
    content = {f"{_BASE}/bascule/{name}": PACKAGE / name for name in shipped(PACKAGE, needed)}
    content |= {f"ansible/modules/{path.name}": path for path in modules}
    theirs = Path(str(basic.__file__)).parent
    for path in sorted(theirs.rglob("*.py")):
        relative = path.relative_to(theirs)
        if relative.parts[0] not in _LEFT_OUT:
            content[f"{_BASE}/{relative}"] = path
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for empty in ("ansible/__init__.py", "ansible/modules/__init__.py"):
            archive.writestr(empty, "")
        for name, path in content.items():
            archive.write(path, name)


def _imports(module: Path) -> list[str]:
    """Return the files of the package, relative to it, that a module imports under the name it has there."""
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_ALIAS}."):
            name = str(node.module).removeprefix(f"{_ALIAS}.").replace(".", "/")
            found += [f"{name}.py", *(f"{name}/{alias.name}.py" for alias in node.names)]
    return found


def _forget_old() -> None:
    for path in PLACE.iterdir():
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _KEPT_SECONDS:
                path.unlink()
