"""The one table of a component on this host: loaded at once, kept over a start, and undone when nobody confirms it.

Nothing here touches another table: whatever is undone, fences and other managers' rules stay as they are.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ...guard.io import store
from ...system.io import process, storage, units
from ...system.io.process import Runner
from .. import rules, ruleset
from ..rules import FirewallError

NFT = "/usr/sbin/nft"
# Seconds after which an undo that has failed is tried again.
_RETRY = 2
_UNIT = """[Unit]
Description=Firewall rules of Bascule's component {component}
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
# What loads the rules of the host flushes all tables first, when it starts and when it reloads.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {file}
ExecReload={nft} -f {file}

[Install]
WantedBy=sysinit.target nftables.service
"""


@dataclass
class Table:
    """The table of a component here. root: the root of the file system, for tests."""

    component: str
    runner: Runner = process.run
    root: Path = Path("/")

    def __post_init__(self) -> None:
        """Name what belongs to it."""
        self.name = rules.table(self.component)
        folder = store.GUARD_DIRECTORY.parent / self.component
        # What is confirmed, what waits for that, and all rules of the host before the first change.
        self.kept = folder / "firewall.json"
        self.pending = folder / "firewall-pending.json"
        self.captured = folder / "ruleset.json"
        self.lock = folder / "firewall.lock"
        self.file = self.root / "etc/bascule" / f"{self.name}.nft"
        self.unit = f"{self.name}.service"
        self.unit_file = self.root / "etc/systemd/system" / self.unit
        self.timer = f"{self.name}_undo"

    def listing(self) -> str:
        """Return the table as it is now; nothing when there is none."""
        done = self.runner([NFT, "list", "table", "inet", self.name], check=False)
        return done.stdout if done.rc == 0 else ""

    def ruleset(self) -> str:
        """Return all rules of the host, as JSON."""
        return self.runner([NFT, "--json", "list", "ruleset"]).stdout

    def try_out(self, text: str) -> None:
        """Raise CommandFailed unless the kernel would take the table; nothing is changed."""
        self.runner([NFT, "--check", "-f", "-"], stdin=rules.replacing(self.name, text))

    def in_force(self, text: str) -> bool:
        """Tell whether the table is what was confirmed last, that is this text, and a start of the host loads it."""
        kept = storage.read_json(self.kept) or {}
        if storage.is_file(self.pending) or kept.get("text", "") != text:
            return False
        there = storage.read_text(self.file) is not None
        return bool(self._digest() == kept.get("digest", "") and there == bool(text))

    def capture(self) -> bool:
        """Keep all rules of the host as they are before the first change; return whether that was still to do."""
        if storage.is_file(self.captured):
            return False
        storage.make_directory(self.captured.parent)
        storage.write_durably(self.captured, self.ruleset())
        return True

    def apply(self, text: str, seconds: float) -> str:
        """Load the table, and have it undone after some seconds; return the token with which `confirm` prevents that.

        What an earlier change has left unconfirmed is undone first. A start of the host undoes as well: what it loads
        is written by `confirm`.
        """
        storage.make_directory(self.lock.parent)
        with storage.locked(self.lock):
            self._undo()
            before = self.listing()
            self._refuse_foreign(before)
            self.try_out(text)
            self.capture()
            token = secrets.token_hex(8)
            kept = {"file": storage.read_text(self.file), "kept": storage.read_json(self.kept)}
            waits = {"token": token, "before": before, "text": text, "digest": "", **kept}
            storage.write_json(self.pending, waits)
            try:
                self._arm(token, seconds)
                self._load(text)
                storage.write_json(self.pending, {**waits, "digest": self._digest()})
            except BaseException:
                # It was loaded at once or not at all; the undo restores what was there either way.
                self._undo()
                raise
        return token

    def confirm(self, token: str) -> None:
        """Keep what was applied, over a start of the host too.

        Raises:
            FirewallError: it was undone before.
        """
        with storage.locked(self.lock):
            waits = self._waits()
            # A start of the host, or a reload of its own rules, has undone it as well.
            if waits is None or waits["token"] != token or waits["digest"] != self._digest():
                raise FirewallError(
                    expected=f"a change of table {self.name} that waits for this confirmation",
                    found="none: it was undone, as nobody had confirmed it in time, or another run has changed it",
                    state="the rules are those of before",
                    next_command="run the same playbook again; where the way is slow, raise firewall_undo_seconds",
                )
            self._keep(waits["text"])
            storage.write_json(self.kept, {"text": waits["text"], "digest": waits["digest"]})
            storage.remove(self.pending)
            self._disarm()

    def undo(self, token: str) -> bool:
        """Restore the table of before unless the change was confirmed; return whether anything was undone."""
        with storage.locked(self.lock):
            waits = self._waits()
            return waits is not None and waits["token"] == token and self._undo(by_timer=True)

    def load_kept(self) -> bool:
        """Load what was confirmed last; return whether there is anything."""
        if storage.read_text(self.file) is None:
            return False
        self.runner([NFT, "-f", str(self.file)])
        return True

    def _digest(self) -> str:
        return ruleset.tables(self.ruleset()).get(f"inet {self.name}", "")

    def _waits(self) -> Optional[dict[str, Any]]:
        found = storage.read_json(self.pending)
        return found if isinstance(found, dict) else None

    def _undo(self, *, by_timer: bool = False) -> bool:
        waits = self._waits()
        if waits is None:
            return False
        self._load(waits["before"])
        # A confirmation that has come to no end has left more than the table.
        if waits["file"] is None:
            self._keep("")
        elif storage.read_text(self.file) != waits["file"]:
            storage.write_durably(self.file, waits["file"])
        if waits["kept"] is None:
            storage.remove(self.kept)
        elif waits["kept"] != storage.read_json(self.kept):
            storage.write_json(self.kept, waits["kept"])
        storage.remove(self.pending)
        # Stopped by itself, the unit that undoes would end before it has said so.
        if not by_timer:
            self._disarm()
        return True

    def _load(self, text: str) -> None:
        self.runner([NFT, "-f", "-"], stdin=rules.replacing(self.name, text))

    def _keep(self, text: str) -> None:
        """Have a start of the host load the table, or not."""
        if not text:
            if storage.read_text(self.unit_file) is not None:
                self.runner(["systemctl", "disable", "--now", self.unit], timeout=60)
                storage.remove(self.unit_file)
                self.runner(["systemctl", "daemon-reload"], timeout=60)
            storage.remove(self.file)
            return
        storage.make_directory(self.file.parent, 0o755)
        storage.write_durably(self.file, rules.replacing(self.name, text))
        unit = _UNIT.format(component=self.component, nft=NFT, file=f"/{self.file.relative_to(self.root)}")
        if storage.read_text(self.unit_file) != unit:
            storage.make_directory(self.unit_file.parent, 0o755)
            storage.write_durably(self.unit_file, unit, 0o644)
            self.runner(["systemctl", "daemon-reload"], timeout=60)
        self.runner(["systemctl", "enable", "--now", self.unit], timeout=60)

    def _refuse_foreign(self, before: str) -> None:
        if before and storage.read_json(self.kept) is None and storage.read_text(self.file) is None:
            raise FirewallError(
                expected=f"no table inet {self.name} that Bascule has not made",
                found="one",
                state="nothing was changed",
                next_command=f"nft list table inet {self.name}; nft delete table inet {self.name} if nobody needs it; "
                "then run the same playbook again",
            )

    def _arm(self, token: str, seconds: float) -> None:
        # What a timer of before has left would keep this one from being made.
        self._disarm()
        self.runner(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={self.timer}",
                f"--on-active={seconds:.0f}s",
                "--timer-property=AccuracySec=100ms",
                "--property=Restart=on-failure",
                f"--property=RestartSec={_RETRY}s",
                "--property=StartLimitIntervalSec=0",
                "--",
                *units.AGENT,
                "firewall_undo",
                self.component,
                token,
            ],
            timeout=20,
        )

    def _disarm(self) -> None:
        self.runner(["systemctl", "stop", f"{self.timer}.timer", f"{self.timer}.service"], timeout=60, check=False)


def confirm(component: str, token: str) -> str:
    """Confirm a change, as who has come by a new connection."""
    Table(component).confirm(token)
    return f"{component}: the rules stay"


def undo(component: str, token: str) -> str:
    """Undo a change that nobody has confirmed, as the timer does."""
    undone = Table(component).undo(token)
    return f"{component}: {'the rules of before are back' if undone else 'nothing waits to be undone'}"


def fence(component: str) -> str:
    """Load the kept rules at boot; there are no writers to be kept out."""
    return f"{component}: {'rules loaded' if Table(component).load_kept() else 'no rules are kept'}"
