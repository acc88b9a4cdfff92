"""A server for a moment: nobody reaches it but root on this host, and it leaves nothing."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ...errors import BasculeError
from ...system import polling
from ...system.io.process import environment_in_english, run
from ..refusals import MysqlError
from .client import Client

# What decides how data lies, is compared and is shown: as at the server whose dump is restored.
LIKE = (
    "innodb_page_size", "lower_case_table_names", "character_set_server", "collation_server", "sql_mode",
    "explicit_defaults_for_timestamp", "innodb_default_row_format", "innodb_strict_mode", "max_allowed_packet",
    "default_storage_engine", "system_versioning_alter_history",
)  # fmt: skip
_ALWAYS = (
    "--skip-networking", "--skip-slave-start", "--skip-log-bin", "--event-scheduler=OFF",
    # It is thrown away: it need not survive anything.
    "--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite",
)  # fmt: skip
_PAGE = "innodb_page_size"
# Seconds until it answers.
_START = 120.0


class Scratch:
    """Made by entering, stopped and removed by leaving; `like` are settings of the server that it stands in for."""

    def __init__(self, data: Path, like: Sequence[tuple[str, str]]) -> None:
        """Name its place, beside the data of the server."""
        self.home = data.with_name(data.name + ".bascule-scratch")
        self._owner = pwd.getpwuid(data.stat().st_uid).pw_name
        self._like = [f"--{name.replace('_', '-')}={value}" for name, value in like]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        """The way in."""
        return Client(str(self.home / "socket"))

    def __enter__(self) -> Scratch:
        """Make it and start it."""
        self.remove()
        self.home.mkdir(mode=0o700)
        shutil.chown(self.home, self._owner)
        data, page = self.home / "data", [word for word in self._like if word.startswith("--innodb-page-size")]
        try:
            run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={self._owner}", *page,
                 "--auth-root-authentication-method=socket", "--skip-test-db"],
                timeout=300,
            )  # fmt: skip
            self._start(data)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and remove it."""
        self.remove()

    def _start(self, data: Path) -> None:
        log = self.home / "log"
        argv = [
            "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.home / 'socket'}",
            f"--pid-file={self.home / 'pid'}", f"--user={self._owner}", *_ALWAYS, *self._like,
        ]  # fmt: skip
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment_in_english()
            )
        began = time.monotonic()
        while True:
            with contextlib.suppress(BasculeError):
                self.client.value("SELECT 1")
                return
            waited = time.monotonic() - began
            if self._process.poll() is not None or waited > _START:
                raise MysqlError(
                    expected="a server for the restored dump to start", found=log.read_text(errors="replace")[-500:]
                )
            time.sleep(polling.pause(waited, 0.1))

    def remove(self) -> None:
        """Leave nothing of it, nor of one that was killed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self.home.exists():
            shutil.rmtree(self.home)
