"""The fence of one server: its port, its socket, and what a start of it keeps. Durable before it is loaded.

The port is shut by a table of its own, which a unit of its own loads before the server starts and again whenever
nftables is flushed by its unit. The socket's directory is root's and the server's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...system.io import process, storage
from ...system.io.process import Runner
from .. import settings

# What is written where; a test has another root.
ROOT = Path("/")


class Fence:
    """What keeps clients out, whether the server runs or not."""

    def __init__(
        self, component: str, options: Mapping[str, Any], runner: Runner = process.run, root: Path = ROOT
    ) -> None:
        """Name the files."""
        self.component, self.options, self.runner = settings.safe(component), options, runner
        self.service = f"{options['service']}.service"
        self.rules = root / f"etc/bascule/mysql-{component}.nft"
        self.drop_in = root / f"etc/mysql/mariadb.conf.d/zz-bascule-{component}.cnf"
        self.tmpfiles = root / f"etc/tmpfiles.d/zz-bascule-mysql-{component}.conf"
        self.unit = root / f"etc/systemd/system/bascule-mysql-{component}.service"
        self.directory = Path(options["socket"]).parent

    def prepare(self, check: bool = False) -> bool:
        """Install the unit that loads the rules, when there are any; return whether that was needed."""
        text = settings.unit(str(self.rules), self.service)
        if storage.read_text(self.unit) == text:
            return False
        if not check:
            storage.make_directory(self.rules.parent, 0o755)
            storage.write_durably(self.unit, text, 0o644)
            self.runner(["systemctl", "daemon-reload"])
            self.runner(["systemctl", "enable", "--quiet", self.unit.name])
        return True

    def shut(self, *, for_peer: bool) -> bool:
        """Shut the port, for all or for all but the other side's host, and the socket; return whether it was not so."""
        wanted = self._wanted(for_peer)
        changed = [path for path, text in wanted.items() if storage.read_text(path) != text]
        for path in changed:
            storage.write_durably(path, wanted[path], 0o644)
        loaded = self.loaded()
        if self.rules in changed or not loaded:
            self.runner(["nft", "-f", str(self.rules)])
        shut = not self.directory.is_dir() or self.directory.stat().st_mode & 0o077 == 0
        if not shut:
            self.directory.chmod(0o700)
        return bool(changed) or not loaded or not shut

    def open(self) -> bool:
        """Let clients in: the port last; return whether anything kept them out."""
        changed = [path for path in (self.drop_in, self.tmpfiles) if storage.remove(path)]
        if self.directory.is_dir() and self.directory.stat().st_mode & 0o077 == 0:
            self.directory.chmod(0o755)
            changed.append(self.directory)
        if storage.remove(self.rules):
            changed.append(self.rules)
        if self.loaded():
            self.runner(["nft", "delete", "table", "inet", settings.table(self.component)])
            changed.append(self.rules)
        return bool(changed)

    def loaded(self) -> bool:
        """Tell whether the kernel has the table."""
        return self.runner(["nft", "list", "table", "inet", settings.table(self.component)], check=False).rc == 0

    def faults(self, *, for_peer: bool) -> list[str]:
        """Return what is missing of the fence, a few words each."""
        found = [
            f"{path} is not as the fence has it"
            for path, text in self._wanted(for_peer).items()
            if storage.read_text(path) != text
        ]
        if not self.loaded():
            found.append(f"the nftables table {settings.table(self.component)} is not loaded")
        if self.directory.is_dir() and self.directory.stat().st_mode & 0o077:
            found.append(f"others may enter {self.directory}")
        return found

    def stands(self) -> bool:
        """Tell whether anything of the fence is there."""
        return self.loaded() or any(storage.is_file(path) for path in (self.rules, self.drop_in))

    def _wanted(self, for_peer: bool) -> dict[Path, str]:
        peer = str(self.options["peer"]) if for_peer else ""
        return {
            self.drop_in: settings.drop_in(),
            self.tmpfiles: settings.tmpfiles(str(self.directory)),
            self.rules: settings.rules(self.component, int(self.options["port"]), peer),
        }
