"""Real MariaDB servers on loopback, small and quick."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bascule.mysql import settings
from bascule.mysql.io.client import Client
from bascule.mysql.io.server import Server

PASSWORD = "between-two-servers-of-a-test"
_SMALL = (
    "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--performance-schema=OFF", "--key-buffer-size=64K",
    "--aria-pagecache-buffer-size=1M", "--max-connections=40", "--bind-address=127.0.0.1", "--skip-innodb-doublewrite",
)  # fmt: skip
# As the audit demands them.
_DEMANDED = (
    "--log-bin=binlog", "--log-slave-updates=1", "--binlog-format=ROW", "--gtid-strict-mode=1", "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
)  # fmt: skip


@dataclass
class Running:
    """One server of a test."""

    name: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        """As root, through the socket."""
        return Client(str(self.folder / "run" / "socket"))

    @property
    def server(self) -> Server:
        """The server as Bascule sees it."""
        return Server(self.client)

    @property
    def ca(self) -> str:
        """The certificate that the other side pins."""
        return str(self.folder / "cert.pem")

    def options(self, account: str = "bascule", password: str = PASSWORD) -> str:
        """Write an option file by which another host comes in."""
        path = self.folder / f"{account}.cnf"
        path.write_text(settings.option_file(account, password, "127.0.0.1", self.port, self.ca))
        path.chmod(0o600)
        return str(path)

    def start(self, *more: str) -> None:
        """Start it, and wait until it answers."""
        (self.folder / "run").mkdir(exist_ok=True)
        argv = [
            "mariadbd", "--no-defaults", f"--datadir={self.folder / 'data'}", f"--socket={self.client.socket}",
            f"--port={self.port}", f"--server-id={self.port}", f"--pid-file={self.folder / 'pid'}", "--user=root",
            f"--ssl-cert={self.ca}", f"--ssl-key={self.folder / 'key.pem'}", *_SMALL, *_DEMANDED, *more,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            with contextlib.suppress(Exception):
                self.client.value("SELECT 1")
                return
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as a crash would: what is asked of it afterwards must not rest on a tidy end."""
        if self.process:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make(folder: Path, name: str, template: Path) -> Running:
    """Make one server from an installed data directory."""
    own = folder / name
    own.mkdir()
    shutil.copytree(template, own / "data")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "30", "-subj", f"/CN={name}", "-keyout", str(own / "key.pem"), "-out", str(own / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return Running(name, own, free_port())
