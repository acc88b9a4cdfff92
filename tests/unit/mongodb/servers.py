"""Real MongoDB servers on loopback, small and quick, each with the key of the set and TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.mongodb.io.client import Client
from bascule.mongodb.io.server import Server

MONGOD = Path(sysconfig.get_paths()["purelib"]) / "fiftyone/db/bin/mongod"
# 127.0.0.1 as a number: a set must not have members that are called local beside others, and a closed one has another.
NAME = "0x7f000001"
_SMALL = (
    "--wiredTigerCacheSizeGB=0.25", "--setParameter=diagnosticDataCollectionEnabled=false", "--oplogSize=64",
    # Commands that hold a member up, by which a test has it lag.
    "--setParameter=enableTestCommands=1",
)  # fmt: skip


@dataclass
class Running:
    """One server of a test."""

    name: str
    folder: Path
    port: int
    sockets: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Where it listens for its host alone."""
        return f"{self.sockets}/mongodb-{self.port}.sock"

    @property
    def member(self) -> str:
        """How the set calls it."""
        return f"{NAME}:{self.port}"

    @property
    def key(self) -> str:
        """The key of the set."""
        return str(self.folder.parent / "key")

    @property
    def ca(self) -> str:
        """The certificate of all, which is its own authority."""
        return str(self.folder.parent / "cert.pem")

    @property
    def server(self) -> Server:
        """The server as Bascule sees it."""
        return Server(Client(self.place, self.key, self.ca))

    def run(self, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        """Run a command, with all privileges."""
        return self.server.client.run(command, database)

    def start(self, *, of_a_set: bool = True, writable: bool = False) -> None:
        """Start it, and wait until it answers; one of no set takes no writes, unless it is said to."""
        (self.folder / "data").mkdir(exist_ok=True)
        alone = [] if writable else ["--setParameter=recoverFromOplogAsStandalone=true"]
        argv = [
            str(MONGOD), f"--dbpath={self.folder / 'data'}", f"--port={self.port}", "--bind_ip=127.0.0.1",
            f"--unixSocketPrefix={self.sockets}", f"--keyFile={self.key}", "--tlsMode=requireTLS",
            f"--tlsCertificateKeyFile={self.folder.parent / 'both.pem'}", f"--tlsCAFile={self.ca}",
            "--tlsAllowConnectionsWithoutCertificates", *_SMALL,
            *(["--replSet=rs0"] if of_a_set else alone),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            with contextlib.suppress(Exception):
                self.run({"ping": 1})
                return
            assert time.monotonic() < until, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def initiate(self) -> None:
        """Make it a set of its own, which serves."""
        members = [{"_id": 0, "host": self.member}]
        settings = {"heartbeatIntervalMillis": 200, "electionTimeoutMillis": 1000}
        self.run({"replSetInitiate": {"_id": "rs0", "members": members, "settings": settings}})
        until = time.monotonic() + 30
        while not self.run({"hello": 1})["isWritablePrimary"]:
            assert time.monotonic() < until
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as a crash would: what is asked of it afterwards must not rest on a tidy end."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """Stop it tidily: what it has is in its files."""
        assert self.process
        self.process.terminate()
        self.process.wait()

    def remove(self) -> None:
        """Stop it, and remove what lies outside of the test's folder."""
        self.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def pause(self, value: bool) -> None:
        """Stop it from doing anything, as a link that is cut would look like to the other one; or go on."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP if value else signal.SIGCONT)


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make(folder: Path, name: str) -> Running:
    """Make one server."""
    own = folder / name
    own.mkdir()
    # Over TLS a socket's path is taken for a host's name, of which no part has more than 63 characters.
    return Running(name, own, free_port(), tempfile.mkdtemp(prefix="mongodb-"))


def secrets(folder: Path) -> None:
    """Make the key of the set, and a certificate for all members."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    (folder / "key").write_text("a2V5LW9mLWEtdGVzdC1iZXR3ZWVuLXR3by1zZXJ2ZXJz\n")
    (folder / "key").chmod(0o600)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=mongodb",
         "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
