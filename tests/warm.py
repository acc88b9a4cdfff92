"""Playbooks from a process that has Ansible imported: it forks for each, so that none pays for the imports again.

The child does what `ansible-playbook` does, in an environment, a directory and with outputs of its own, and nothing of
it comes back into the process it was forked from. What Ansible has read of the environment while it was imported cannot
change afterwards: where any of that differs, the real program runs.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).parent / "ansible-playbook"
# Ansible reads these when they are needed, or the child reads them again: what they set, by their names.
READ_AGAIN = {"ANSIBLE_ROLES_PATH": "DEFAULT_ROLES_PATH", "ANSIBLE_STDOUT_CALLBACK": "DEFAULT_STDOUT_CALLBACK"}
# Nothing in Ansible's own configuration comes from these.
FREE = ("BASCULE_", "PYTEST_")
# What nearly each of the playbooks loads, by the loader's name.
PLUGINS = {
    "become": ("sudo",),
    "cache": ("memory",),
    "callback": ("default", "bascule_journal", "bascule_progress"),
    "connection": ("local", "ssh"),
    "inventory": ("bascule_components", "yaml"),
    "lookup": ("env", "file", "pipe"),
    "shell": ("sh",),
    "strategy": ("bascule_window", "host_pinned", "linear"),
}


class Server:
    """A process that has Ansible imported, and forks for each playbook."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=self.environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        # It ends when nobody holds the other end; waited for, so that nothing of it stays behind.
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self.process.wait()

    def can(self, environment: Mapping[str, str]) -> bool:
        """Say whether a playbook in this environment does what the real program would do."""
        names = {
            name for name in {*environment, *self.environment} if environment.get(name) != self.environment.get(name)
        }
        return all(name in READ_AGAIN or name == "PATH" or name.startswith(FREE) for name in names)

    def start(self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], *outputs: int) -> Playbook:
        """Start a playbook, in a session of its own, whose output and errors go to these two descriptors."""
        asked = json.dumps({"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}).encode()
        ended, theirs = os.pipe()
        given = array.array("i", [*outputs, theirs])
        try:
            self._socket.sendall(len(asked).to_bytes(8, "big"))
            self._socket.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, given)])
            self._socket.sendall(asked)
        finally:
            os.close(theirs)
        return Playbook(int.from_bytes(_exactly(self._socket, 8), "big"), ended)

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], patience: float
    ) -> tuple[int, str]:
        """Run a playbook; return its exit status, and its output with its errors behind it, once nobody holds either.

        Raises TimeoutError after `patience` seconds; the playbook is killed then.
        """
        pipes = [os.pipe() for _ in range(2)]
        ours = [pipe[0] for pipe in pipes]
        try:
            playbook = self.start(arguments, cwd, environment, *(pipe[1] for pipe in pipes))
        finally:
            for _, theirs in pipes:
                os.close(theirs)
        try:
            read = _read(ours, time.monotonic() + patience)
        except TimeoutError:
            os.killpg(playbook.pid, signal.SIGKILL)
            raise
        finally:
            for descriptor in ours:
                os.close(descriptor)
            status = playbook.wait()
        return status, "".join(text.decode() for text in read)


class Playbook:
    """A playbook that was started: `pid` is that of the process which waits for it, and leads its session."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("ansible-playbook", timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            said = os.read(self._ended, 8)
            os.close(self._ended)
            # Whoever waited for it was killed with it.
            self.returncode = int.from_bytes(said, "big", signed=True) if said else -signal.SIGKILL
        return self.returncode


@cache
def server() -> Server:
    """Return the process of this session, for playbooks in the project's own configuration and without colours."""
    root = Path(__file__).resolve().parents[1]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", *FREE))}
    return Server(plain | {"ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"})


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise EOFError("the other end is gone")
        found += more
    return found


def _read(descriptors: Iterable[int], deadline: float) -> list[bytes]:
    found = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in found:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("the playbook, or what it has started, did not end")
            for key, _ in ready:
                text = os.read(key.fd, 1 << 16)
                found[key.fd] += text
                if not text:
                    selector.unregister(key.fd)
    return list(found.values())


def _warm() -> None:
    """Import what playbooks need, and load the plugins that nearly each of them loads."""
    # First of all, as the real program does: it sets how everything that is imported after it behaves.
    importlib.import_module("ansible.cli.playbook")
    loader = importlib.import_module("ansible.plugins.loader")
    loader.init_plugin_loader([])
    for kind, names in PLUGINS.items():
        for name in names:
            if getattr(loader, f"{kind}_loader").get(name, class_only=True) is None:
                raise LookupError(f"there is no plugin {name} for {kind}")
    for kind in ("filter", "test"):
        list(getattr(loader, f"{kind}_loader").all())
    for path in sorted((Path(__file__).resolve().parents[1] / "plugins/action").glob("bascule_*.py")):
        # A role of a test has others of these names, and what is loaded already would go before them.
        if not path.stem.startswith("bascule_entrance_"):
            loader.action_loader.get(path.stem, class_only=True)
    for name in ("assert", "debug", "fail", "include_role", "normal", "pause", "raw", "set_fact"):
        loader.action_loader.get(name, class_only=True)
    # What is there by now is common to all children, and not looked at again.
    gc.collect()
    gc.freeze()


def _play(asked: dict[str, Any], before: dict[str, str]) -> None:
    """Be `ansible-playbook`, in the child."""
    cli = importlib.import_module("ansible.cli")
    constants = importlib.import_module("ansible.constants")
    manager = importlib.import_module("ansible.config.manager")
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    again = [what for name, what in READ_AGAIN.items() if os.environ.get(name) != before.get(name)]
    # The directory for temporary files is the parent's, who removes it: the child makes one.
    atexit.unregister(manager.cleanup_tmp_file)
    for what in ("DEFAULT_LOCAL_TMP", *again):
        constants.set_constant(what, constants.config.get_config_value(what, variables=vars(constants)))
    # Collections were looked for by the parent.
    vars(cli)["init_plugin_loader"] = lambda _paths: None
    sys.argv = [str(PROGRAM), *asked["arguments"]]
    importlib.import_module("ansible.cli.playbook").main()


def _serve(connection: socket.socket) -> None:
    sys.argv = [str(PROGRAM)]
    sys.path[0] = str(PROGRAM.parent)
    _warm()
    before = dict(os.environ)
    # Nobody waits here: each playbook has a process of its own that does.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        try:
            size = int.from_bytes(_exactly(connection, 8), "big")
        except EOFError:
            return
        _, given, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
        descriptors = array.array("i", given[0][2])
        asked = json.loads(_exactly(connection, size))
        keeper = os.fork()
        if not keeper:
            connection.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            if _is_playbook(*descriptors):
                _play(asked, before)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(keeper.to_bytes(8, "big"))


def _is_playbook(output: int, errors: int, ended: int) -> bool:
    """Fork once more; wait for the child and say how it ended, and be that child."""
    child = os.fork()
    if not child:
        os.dup2(output, 1)
        os.dup2(errors, 2)
    for descriptor in (output, errors):
        os.close(descriptor)
    if not child:
        os.close(ended)
        return True
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(ended, os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
