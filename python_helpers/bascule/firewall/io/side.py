"""One side's firewall rules on this host: measure them, load them, and let its guard say which side is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ...errors import BasculeError
from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState, Receipt, Word
from ...system.io import process, storage, units
from ...system.io.process import Runner
from .. import rules, ruleset
from .table import NFT, Table

_MANAGERS = ("firewalld.service", "ufw.service", "netfilter-persistent.service", "nftables.service")
# Rules that nft does not show.
_LEGACY = ("proc/net/ip_tables_names", "proc/net/ip6_tables_names")


@dataclass
class Side:
    """One side's rules on this host; `entries` is firewall_rules."""

    component: str
    side: str
    entries: Sequence[Mapping[str, Any]] = ()
    check: bool = False
    runner: Runner = process.run

    def __post_init__(self) -> None:
        """Find its table."""
        self.table = Table(self.component, self.runner)

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def role(self) -> str:
        """Return whether this is the active side, by its guard; one that is frozen still is."""
        return rules.ACTIVE if self.guard().status == rule.OPEN else rules.PASSIVE

    def wanted(self) -> str:
        """Return the table that this side has to have now."""
        return rules.render(self.table.name, rules.parse(self.entries, self.side, self.role()))

    def prepare(self) -> bool:
        """Leave what the boot fence needs; no two components have the same table."""
        base = store.GUARD_DIRECTORY.parent
        return fence_settings.keep(
            self.component, self.side, "firewall", f"/{self.table.name}", base=base, check=self.check
        )

    def apply(self, seconds: float) -> dict[str, Any]:
        """Load the rules that this side has to have now; `token` is what has to be confirmed, empty for no change."""
        text = self.wanted()
        before = self.table.listing()
        if self.table.in_force(text):
            return {"changed": False, "token": "", "role": self.role(), "guard": self.guard().to_dict()}
        self.table.try_out(text)
        token = "" if self.check else self.table.apply(text, seconds)
        return {
            "changed": True,
            "token": token,
            "role": self.role(),
            "guard": self.guard().to_dict(),
            "diff": {"before": before, "after": text, "before_header": self.table.name},
        }

    def measure(self) -> dict[str, Any]:
        """Return what is here, what keeps the rules from being loaded (faults), and who else decides (notes)."""
        text, faults = self.wanted(), []
        base = {"role": self.role(), "guard": self.guard().to_dict(), "tables": {}, "notes": []}
        try:
            everything = self.table.ruleset()
            self.table.try_out(text)
        except BasculeError as error:
            return {**base, "faults": [f"{NFT} does not take the rules: {error.found or error.expected}"]}
        if self.guard().status != rule.UNKNOWN and not self.table.in_force(text):
            waits = storage.is_file(self.table.pending)
            why = "a change waits to be confirmed or undone" if waits else "it was not loaded, or somebody changed it"
            faults.append(f"table {self.table.name} is not as firewall_rules says: {why}")
        notes = ruleset.others(everything, self.table.name) + self._managers()
        captured = storage.read_text(self.table.captured)
        if captured:
            notes += ruleset.changed(captured, everything, self.table.name)
        return {**base, "tables": ruleset.tables(everything), "faults": faults, "notes": notes}

    def close(self, epoch: str, other: Optional[GuardState] = None) -> dict[str, Any]:
        """Give the receipt for an epoch; nothing is written through a firewall, so no rule changes by it."""
        if self.check:
            promised = rule.promise(self._as_prepared(rule.adopt_open), Epoch.parse(epoch))
            guard, receipt = rule.closed(promised, Epoch.parse(epoch), {}, "check mode")
            return {"changed": True, "guard": guard.to_dict(), "receipt": receipt.to_dict()}
        closing = (
            store.giving_way(self.component, self.side, other, epoch)
            if other is not None
            else store.closing(self.component, self.side, epoch)
        )
        with closing as held:
            before = held.was_closed
            receipt = held.closed({})
        return {"changed": not before, "guard": held.state.to_dict(), "receipt": receipt.to_dict()}

    def open(self, epoch: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """Take the permit to be the active side; its rules are loaded by the thaw."""
        if self.check:
            closed = self._as_prepared(rule.adopt_closed)
            guard = rule.may_open(closed, Epoch.parse(epoch), Receipt.from_dict(receipt), True)
            return {"changed": True, "guard": guard.to_dict()}
        with store.opening(self.component, self.side, epoch, receipt, reached=lambda: True) as held:
            changed = not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def take_over(self, word: Word) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost."""
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict()}
        with store.opening_by_word(self.component, self.side, word) as held:
            changed = not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        """Return the guard; in check mode a side that prepare has not taken over yet counts as taken over."""
        guard = self.guard()
        return adopt(guard) if guard.status == rule.UNKNOWN else guard

    def _managers(self) -> list[str]:
        running = [name for name in _MANAGERS if units.shown(name, "ActiveState", runner=self.runner).get("ActiveState")
                   == "active"]  # fmt: skip
        found = [f"{name} runs: its rules stay, and the table of Bascule is beside them" for name in running]
        for path in _LEGACY:
            names = (storage.read_text(self.table.root / path) or "").split()
            if names:
                found.append(f"iptables-legacy has tables ({', '.join(names)}), which nft does not show")
        return found
