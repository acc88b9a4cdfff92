"""Read files of a machine as root, over SFTP, by a host key that is known: with paramiko, where nothing is sent there.

Who enters, by which key and through which bastion is what ssh itself would do for the way in (`ssh -G`). On the machine
OpenSSH's own server of SFTP is started as root, read-only (`sftp-server -R`): what lies there in a folder of root's can
be read, and nothing can be changed. No key of a machine is ever taken over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko

from ...errors import CommandFailed
from .. import ssh_config
from ..ssh import Target, begins, prompt, remote_command
from ..ssh_config import Endpoint
from . import storage

# Seconds for each answer, by which a machine that is silent holds nobody up for long.
PATIENCE = 30.0
# Seconds for all of one machine.
LONGEST = 600.0
# What is read of one machine at most, in bytes and in files.
LARGEST, MOST = 256 << 20, 2000
# The types of a machine's key, as RFC 8709, RFC 5656 and RFC 8332 name them, that paramiko can check.
_KEY_TYPES = (
    "ssh-ed25519",
    *(f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521)),
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-rsa",
)
_SERVERS = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec")
_SERVE = (
    f"for place in {' '.join(_SERVERS)}; do [ ! -x $place/sftp-server ] || exec $place/sftp-server -R; done; "
    "echo no sftp-server of OpenSSH >&2; exit 127"
)
# What it logs goes to standard error of whoever has not asked for it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class NotRead(CommandFailed):
    """A machine's files could not be read."""


def read_files(where: Target, folder: str, ending: str) -> dict[str, str]:
    """Return the text of each plain file of a folder, by its name; nothing where there is no such folder.

    Args:
        where: the machine and the way to root on it.
        folder: an absolute path there.
        ending: how the names end.

    Raises:
        NotRead: the machine, or a file, could not be read, or there is too much.
    """
    if where.obstacle:
        raise _not_read(where, where.obstacle)
    if os.path.basename(where.argv[0]) != "ssh":
        raise _not_read(where, "it is not entered by ssh")
    try:
        with _as_root(where) as files:
            return dict(_texts(where, files, folder, ending))
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        # What its client cannot take, such as a key of a sort that it does not know, is a value to it.
        raise _not_read(where, f"{type(error).__name__}: {error}".rstrip(": ")) from error


def endpoint(where: Target) -> Endpoint:
    """Return where ssh would connect to."""
    try:
        done = subprocess.run(
            [where.argv[0], "-G", *where.argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _not_read(where, "ssh -G has not ended") from error
    if done.returncode:
        raise _not_read(where, f"ssh -G: {done.stderr.strip()}")
    return ssh_config.read(done.stdout, where.argv, os.path.expanduser)


def _texts(where: Target, files: paramiko.SFTPClient, folder: str, ending: str) -> Iterator[tuple[str, str]]:
    try:
        found = files.listdir_attr(folder)
    except FileNotFoundError:
        return
    # A link is no file of the folder's own.
    wanted = sorted(one.filename for one in found if one.filename.endswith(ending) and stat.S_ISREG(one.st_mode or 0))
    if len(wanted) > MOST:
        raise _not_read(where, f"{len(wanted)} files in {folder}, more than {MOST}")
    left = LARGEST
    for name in wanted:
        with files.open(f"{folder}/{name}", "rb") as file:
            size = file.stat().st_size or 0
            if size > left:
                raise _not_read(where, f"more than {LARGEST} bytes in {folder}")
            file.prefetch(size)
            content = file.read(size)
        left -= size
        yield name, content.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _as_root(where: Target) -> Iterator[paramiko.SFTPClient]:
    """Yield what reads files as root there."""
    with contextlib.ExitStack() as closing:
        client = _connected(where, endpoint(where), closing)
        transport: Any = client.get_transport()
        closing.enter_context(_closed_after(LONGEST, transport))
        channel = transport.open_session(timeout=PATIENCE)
        closing.callback(channel.close)
        channel.settimeout(PATIENCE)
        token = secrets.token_hex(16) if where.password else ""
        # This one waits for an answer without a limit of its own.
        with _closed_after(PATIENCE, transport):
            channel.exec_command(remote_command(where, _SERVE, token)[-1])
        if token:
            _answer(where, channel, token)
        try:
            files = paramiko.SFTPClient(channel)
        except (paramiko.SSHException, EOFError, OSError) as error:
            said = _said(where, channel)
            raise _not_read(where, f"no SFTP as root: {said or error}") from error
        yield files


def _connected(where: Target, there: Endpoint, closing: contextlib.ExitStack) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    known = "\n".join(storage.read_text(path) or "" for path in there.known_hosts if storage.is_file(path))
    _learn(client.get_host_keys(), known)
    said: Callable[[], bytes] = bytes
    if there.proxy:
        stream, said = _through(there.proxy, closing)
    else:
        stream = socket.create_connection((there.host, there.port), timeout=PATIENCE)
        closing.callback(stream.close)
    closing.callback(client.close)
    try:
        client.connect(
            # Under this name, with this port, its keys are looked up; the stream is there already.
            there.key_name,
            port=paramiko.config.SSH_PORT,
            username=there.user,
            key_filename=[path for path in there.keys if storage.is_file(path)],
            allow_agent=there.agent,
            look_for_keys=False,
            sock=stream,
            disabled_algorithms={"keys": _not_known(client.get_host_keys(), there.key_name)},
            timeout=PATIENCE,
            banner_timeout=PATIENCE,
            auth_timeout=PATIENCE,
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        if not (reason := _shown(where, said())):
            raise
        raise _not_read(where, f"{error}; what leads there has said: {reason}") from error
    transport: Any = client.get_transport()
    if transport.get_remote_server_key().get_base64() in ssh_config.revoked(known):
        raise _not_read(where, "its key is revoked")
    return client


def _not_known(keys: paramiko.HostKeys, name: str) -> list[str]:
    """Return the types of which no key of a machine is known, so that it shows one that is; none where none is."""
    known = set(keys.lookup(name) or ())
    if "ssh-rsa" in known:
        known.update(one for one in _KEY_TYPES if one.startswith("rsa-"))
    return [one for one in _KEY_TYPES if one not in known] if known else []


def _through(command: Sequence[str], closing: contextlib.ExitStack) -> tuple[socket.socket, Callable[[], bytes]]:
    """Start what leads there; return the stream, and what reads what it has said beside it.

    It is a pair of sockets, as paramiko's own client of a command knows neither its end nor a limit.
    """
    stream, other = socket.socketpair()
    closing.callback(stream.close)
    kept = Path(closing.enter_context(tempfile.TemporaryDirectory()), "said")
    with other, kept.open("wb") as errors:
        pair = other.fileno()
        running = subprocess.Popen(command, stdin=pair, stdout=pair, stderr=errors, start_new_session=True)
    closing.callback(running.wait)
    closing.callback(running.kill)

    def said() -> bytes:
        # When it has ended, it has said all; when it has not, this says what it has said.
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(1)
        return storage.read_bytes(kept)

    return stream, said


@contextlib.contextmanager
def _closed_after(seconds: float, transport: paramiko.Transport) -> Iterator[None]:
    """Close the connection where what is done meanwhile takes longer, so that it fails."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _learn(keys: paramiko.HostKeys, known: str) -> None:
    """Take the keys of `known_hosts`; lines with a mark, and those that are none, vouch for nobody."""
    for line in known.splitlines():
        if not line.strip() or line.startswith(("#", "@")):
            continue
        with contextlib.suppress(paramiko.hostkeys.InvalidHostKey):
            entry = paramiko.hostkeys.HostKeyEntry.from_line(line.strip())
            for name in entry.hostnames if entry is not None and entry.key is not None else ():
                keys.add(name, entry.key.get_name(), entry.key)


def _answer(where: Target, channel: paramiko.Channel, token: str) -> None:
    """Answer sudo once, and only after it has asked; return when the server of SFTP begins."""
    asks, first_line = prompt(token).encode(), f"{begins(token)}\n".encode()
    seen, answered, deadline = b"", False, time.monotonic() + 2 * PATIENCE
    while not seen.endswith(first_line):
        byte = channel.recv_stderr(1)
        if not byte or time.monotonic() > deadline:
            raise _not_read(where, f"sudo did not let in: {_shown(where, seen)}")
        seen = seen[-4000:] + byte
        if seen.endswith(asks):
            if answered:
                raise _not_read(where, "sudo asked again: the password is wrong, or sudo wants more than one")
            answered, seen = True, b""
            channel.sendall(where.password.encode("utf-8", "surrogateescape") + b"\n")


def _said(where: Target, channel: paramiko.Channel) -> str:
    """Return what the machine has said about why there is no SFTP."""
    seen = b""
    with contextlib.suppress(socket.timeout, OSError):
        channel.settimeout(PATIENCE)
        while len(seen) < 4000 and (more := channel.recv_stderr(4000)):
            seen += more
    return _shown(where, seen)


def _shown(where: Target, seen: bytes) -> str:
    """Return what was said, in one line, without the password: a machine may repeat what it reads."""
    text = seen.decode("utf-8", "replace")
    return " ".join((text.replace(where.password, "********") if where.password else text).split())[-500:]


def _not_read(where: Target, found: str) -> NotRead:
    return NotRead(f"to read {where.host} over SFTP", found, "nothing was changed there")
