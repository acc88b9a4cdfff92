"""Two hosts, each with a real server and a guard of its own; nftables and systemd are stand-ins with a memory."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bascule.guard.io import store
from bascule.guard.state import Epoch, GuardState
from bascule.mongodb.io.server import WRITTEN
from bascule.mongodb.io.side import REFUSED, Side
from bascule.system.io import process
from bascule.system.io.process import Result

from .servers import Running

FUNCTIONS = (
    "closing", "opening", "opening_by_word", "reopening", "read", "adopt", "frozen", "settled", "thawing", "giving_way",
)  # fmt: skip


@dataclass
class Host:
    """One host: what nftables was told, and what the other side answers to whom asks from here."""

    name: str
    running: Running
    other: Running
    root: Path
    answer: str = REFUSED
    loaded: bool = False
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        """Run a program; nft and systemctl are played."""
        if argv[0] not in ("nft", "systemctl"):
            return process.run(argv, **options)
        self.commands.append(tuple(argv))
        if argv[:2] == ["nft", "list"]:
            return Result(tuple(argv), 0 if self.loaded else 1, "", "")
        if argv[0] == "nft":
            self.loaded = argv[1] == "-f"
        return Result(tuple(argv), 0, "", "")

    def side(self, check: bool = False) -> Side:
        """Return this host's side, and have guards be read here."""
        root = self.root / "var/guard"
        store.GUARD_DIRECTORY = root
        for name in FUNCTIONS:
            inspect.unwrap(getattr(store, name)).__kwdefaults__["root"] = root
        options = {
            "service": "mongod",
            "socket": self.running.place,
            "port": self.other.port,
            "key_file": self.running.key,
            "ca_file": self.running.ca,
            "certificate_file": "",
            "own": self.running.member,
            "peer": "127.0.0.1",
            "peer_name": self.other.member,
        }
        return Side("catalogue", self.name, options, check, ask=lambda _: self.answer, runner=self.run, root=self.root)

    def guard(self) -> GuardState:
        """Read this host's guard."""
        return self.side().guard()


@dataclass
class World:
    """Both hosts, and the moves between them."""

    mtp: Host
    tls: Host
    epoch: int = 1

    def prepare(self) -> None:
        """Take both over, as the role does."""
        self.mtp.side()
        store.adopt("catalogue", "mtp", "open")
        self.tls.side()
        store.adopt("catalogue", "tls", "closed")
        # The stand-in of the fence lets the other side's host in as much as everybody.
        self.tls.answer = WRITTEN
        assert self.tls.side().prepare()
        self.tls.answer = REFUSED
        assert self.mtp.side().prepare()
        assert self.tls.side().follow(seed=True, timeout=60)["changed"]

    def next(self) -> str:
        """Choose the epoch of a decision."""
        self.epoch += 1
        return str(Epoch(self.epoch, f"test{self.epoch}"))

    def close(self, host: Host, epoch: str) -> dict[str, Any]:
        """Close a side; return its receipt."""
        receipt: dict[str, Any] = host.side().close(epoch)["receipt"]
        return receipt

    def move(self, here: Host, there: Host) -> dict[str, Any]:
        """Go through a whole move; return the receipt."""
        frozen = here.side().freeze()
        there.side().caught_up(frozen["position"], 20, exactly=True)
        epoch = self.next()
        before = here.guard()
        receipt = self.close(here, epoch)
        there.side().open(epoch, receipt, before)
        here.side().follow(seed=False, timeout=20)
        there.side().thaw()
        return receipt
