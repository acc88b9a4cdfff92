"""The fence of one server: its port, shut by a table of its own that a unit of its own loads; durable before that.

That nobody is elected is kept by the server itself, in the configuration of its set (`members.closed`); its socket is
the server's account's and root's alone, as the server makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...system import port_fence
from ...system.io import process, storage
from ...system.io.process import Runner
from ..refusals import MongoError

# What is written where; a test has another root.
ROOT = Path("/")
_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Fence:
    """What keeps clients out, whether the server runs or not."""

    def __init__(
        self, component: str, options: Mapping[str, Any], runner: Runner = process.run, root: Path = ROOT
    ) -> None:
        """Name the files."""
        if not component or set(component) - _SAFE or component.startswith("."):
            raise MongoError(expected="a component name of letters, digits, '_', '.', '-'", found=repr(component))
        self.options, self.runner = options, runner
        self.table = port_fence.table("mongodb", component)
        self.service = f"{options['service']}.service"
        self.rules = root / f"etc/bascule/mongodb-{component}.nft"
        self.unit = root / f"etc/systemd/system/bascule-mongodb-{component}.service"

    def prepare(self, check: bool = False) -> bool:
        """Install the unit that loads the rules, when there are any; return whether that was needed."""
        text = port_fence.unit(str(self.rules), self.service)
        if storage.read_text(self.unit) == text:
            return False
        if not check:
            storage.make_directory(self.rules.parent, 0o755)
            storage.write_durably(self.unit, text, 0o644)
            self.runner(["systemctl", "daemon-reload"])
            self.runner(["systemctl", "enable", "--quiet", self.unit.name])
        return True

    def shut(self, *, for_peer: bool) -> bool:
        """Shut the port, for all or for all but the other side's host; return whether it was not so."""
        wanted = self._wanted(for_peer)
        changed = storage.read_text(self.rules) != wanted
        if changed:
            storage.write_durably(self.rules, wanted, 0o644)
        loaded = self.loaded()
        if changed or not loaded:
            self.runner(["nft", "-f", str(self.rules)])
        return changed or not loaded

    def open(self) -> bool:
        """Let clients in; return whether anything kept them out."""
        changed = storage.remove(self.rules)
        if self.loaded():
            self.runner(["nft", "delete", "table", "inet", self.table])
            changed = True
        return changed

    def loaded(self) -> bool:
        """Tell whether the kernel has the table."""
        return self.runner(["nft", "list", "table", "inet", self.table], check=False).rc == 0

    def faults(self, *, for_peer: bool) -> list[str]:
        """Return what is missing of the fence, a few words each."""
        found = []
        if storage.read_text(self.rules) != self._wanted(for_peer):
            found.append(f"{self.rules} is not as the fence has it")
        if not self.loaded():
            found.append(f"the nftables table {self.table} is not loaded")
        return found

    def stands(self) -> bool:
        """Tell whether anything of the fence is there."""
        return self.loaded() or storage.is_file(self.rules)

    def _wanted(self, for_peer: bool) -> str:
        return port_fence.rules(self.table, int(self.options["port"]), str(self.options["peer"]) if for_peer else "")
