"""A machine, or what leads to it, that does not answer holds up nobody for ever, and is named with its reason."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from bascule.system.io import sftp
from bascule.system.ssh import Target
from bascule.system.ssh_config import Endpoint

WAY = Target("there", ("ssh", "there"))


def leads(monkeypatch: pytest.MonkeyPatch, *proxy: str) -> None:
    """Let this command lead to the machine."""
    there = Endpoint("there", 22, "x", "there", (), (), agent=False, proxy=proxy)
    monkeypatch.setattr(sftp, "endpoint", lambda where: there)


def test_a_bastion_that_refuses_is_named_at_once_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    leads(monkeypatch, "sh", "-c", "echo Permission denied by the bastion >&2; exit 255")
    began = time.monotonic()
    with pytest.raises(sftp.NotRead, match="Permission denied by the bastion"):
        sftp.read_files(WAY, "/x", ".jsonl")
    assert time.monotonic() - began < sftp.PATIENCE / 2


def test_what_leads_there_and_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp, "PATIENCE", 2.0)
    leads(monkeypatch, "sleep", "600")
    with pytest.raises(sftp.NotRead):
        sftp.read_files(WAY, "/x", ".jsonl")


def stalling(asked: threading.Event, ended: threading.Event) -> Any:
    """Return what lets everybody in, and never answers what is to be run."""

    def runs(channel: paramiko.Channel, command: bytes) -> bool:
        asked.set()
        ended.wait(300)
        return False

    server: Any = paramiko.ServerInterface()
    server.get_allowed_auths = lambda username: "publickey"
    server.check_auth_publickey = lambda username, key: paramiko.AUTH_SUCCESSFUL
    server.check_channel_request = lambda kind, number: paramiko.OPEN_SUCCEEDED
    server.check_channel_exec_request = runs
    return server


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[tuple[Endpoint, threading.Event]]:
    """A machine that stalls when a program is to be run.

    It has a key of a type that is not known, and no longer one of the type that is known first.
    """
    key, old, unknown = (paramiko.ECDSAKey.generate(bits=bits) for bits in (521, 384, 256))
    asked, ended = threading.Event(), threading.Event()
    key.write_private_key_file(str(tmp_path / "key"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        known = [f"[127.0.0.1]:{port} {one.get_name()} {one.get_base64()}\n" for one in (old, key)]
        (tmp_path / "known").write_text("".join(known))

        def serve() -> None:
            transport = paramiko.Transport(listener.accept()[0])
            transport.add_server_key(unknown)
            transport.add_server_key(key)
            transport.start_server(server=stalling(asked, ended))
            ended.wait(300)
            transport.close()

        threading.Thread(target=serve, daemon=True).start()
        name, keys = f"[127.0.0.1]:{port}", (str(tmp_path / "key"),)
        yield Endpoint("127.0.0.1", port, "x", name, keys, (str(tmp_path / "known"),), agent=False), asked
        ended.set()


def test_a_machine_that_stalls_when_a_program_is_to_be_run_is_left(
    stalled: tuple[Endpoint, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "PATIENCE", 10.0)
    monkeypatch.setattr(sftp, "endpoint", lambda where: stalled[0])
    with pytest.raises(sftp.NotRead):
        sftp.read_files(WAY, "/x", ".jsonl")
    assert stalled[1].is_set(), "it was entered by the key that is known"
