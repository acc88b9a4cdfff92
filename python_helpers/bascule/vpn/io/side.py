"""Freeze, close, open and thaw one side's VPN server, each with the proof that it did so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import GuardRefused
from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState, Receipt, Word
from ...system.io import process, storage
from ...system.io.process import Runner
from .. import state
from ..state import VpnError
from . import probe
from .wireguard import WireGuard

# What every module takes as `vpn`: how the server is driven at this side.
OPTIONS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "choices": ["wireguard"], "default": "wireguard"},
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
}

Ask = Callable[[str, int], str]


@dataclass
class Side:
    """One side's VPN server on this host."""

    component: str
    side: str
    options: Mapping[str, Any]
    check: bool = False
    ask: Ask = probe.ask_closed
    runner: Runner = process.run

    def __post_init__(self) -> None:
        """Find what serves here."""
        self.server = server(self.options, self.runner)

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def prepare(self) -> bool:
        """Leave what the boot fence needs; never change whether the server runs.

        A tunnel that is up without its unit is one that somebody uses: it would be taken over as closed, and cut.
        """
        now = self.server.seen()
        if self.guard().status == rule.UNKNOWN and now.mode != state.OPEN and (now.interface or now.bound):
            raise VpnError(
                expected=f"{self.side} to run {self.server.unit}, or to have neither an interface {self.server.name} "
                f"nor a socket at UDP port {self.server.port}",
                found=f"mode {now.mode}, interface: {now.interface}, socket: {now.bound}",
                state="nothing was taken over or changed",
                next_command=f"ss -lunp 'sport = {self.server.port}'; wg show {self.server.name}; run it by its unit, "
                "or take it down; then run the same playbook again",
            )
        return fence_settings.keep(
            self.component,
            self.side,
            "vpn",
            str(self.server.file),
            base=store.GUARD_DIRECTORY.parent,
            check=self.check,
            driver=self.options["kind"],
            name=self.server.name,
            port=self.server.port,
        )

    def fence(self) -> dict[str, Any]:
        """Close what the guard calls closed: prepare makes a passive side one that no start brings up."""
        with self._locked():
            guard = self.guard()
            changed = guard.status == rule.CLOSED and self._shut()
        return {"changed": changed, "guard": guard.to_dict(), "mode": self.server.seen().mode}

    def freeze(self) -> dict[str, Any]:
        """Send the peers away from the active side, and prove it."""
        guard = self.guard()
        if guard.status == rule.UNKNOWN and not self.check:
            raise GuardRefused(
                expected=f"a guard state of {self.component} at {self.side}",
                found="none: this side has not been taken over",
                state=f"nothing was changed, the mode here is {self.server.seen().mode}",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {self.component}",
            )
        if guard.status == rule.UNKNOWN:
            serves = self.server.seen().mode == state.OPEN
            return {"changed": serves, "guard": guard.to_dict(), "active": serves}
        if guard.status != rule.OPEN:
            # Not the active side: nothing to freeze, but whatever the guard calls not open must not serve either.
            with self._locked():
                guard = self.guard()
                changed = guard.status != rule.OPEN and self._shut()
            return {"changed": changed, "guard": guard.to_dict(), "active": False}
        guard, marked = store.frozen(self.component, self.side, True, check=self.check)
        with self._locked():
            now = self.guard()
            if not self.check and (now.status != rule.OPEN or not now.frozen):
                raise GuardRefused(
                    expected=f"{self.side} to be open and frozen",
                    found=now.describe(),
                    state=f"the mode here is {self.server.seen().mode}; another run took over in between",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            changed = self._shut() or marked
        # Check mode has not closed it, so that nobody has to see it refuse.
        return {
            "changed": changed,
            "guard": guard.to_dict(),
            "active": True,
            **({} if self.check else {"closed": True}),
        }

    def close(self, epoch: str, other: GuardState | None = None) -> dict[str, Any]:
        """Close for an epoch and give the receipt; one that is back after `other` has given it up closes for good."""
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
            changed = self.server.shut() or not before
            receipt = held.closed({})
        return {"changed": changed, "guard": held.state.to_dict(), "receipt": receipt.to_dict()}

    def open(self, epoch: str, receipt: Mapping[str, Any], other: tuple[str, int]) -> dict[str, Any]:
        """Take the permit to be open; peers are let in by the thaw.

        Under the guard's lock the other side is asked from here: only its refusal is the attempt from outside that
        proves the fence.
        """
        if self.check:
            closed = self._as_prepared(rule.adopt_closed)
            guard = rule.may_open(closed, Epoch.parse(epoch), Receipt.from_dict(receipt), True)
            return {"changed": True, "guard": guard.to_dict()}
        self.server.ready()
        with store.opening(
            self.component, self.side, epoch, receipt, reached=lambda: self._other_refuses(*other)
        ) as held:
            changed = self.server.shut() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def take_over(self, word: Word) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost.

        A VPN server is silent to whom it does not know, and so is a lost one: the person answers for the difference,
        and a trainer's machine, where there is one, was asked before.
        """
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict()}
        self.server.ready()
        with store.opening_by_word(self.component, self.side, word) as held:
            changed = self.server.shut() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def thaw(self) -> dict[str, Any]:
        """Let peers in at the side that holds a live permit; when that fails, it is as frozen as before."""
        if self.check:
            # Check mode goes through the verbs without doing them: the switch that comes first was not done.
            guard = self.guard()
            served = guard.status == rule.OPEN and not guard.frozen and self.server.seen().mode == state.OPEN
            return {"changed": not served, "guard": guard.to_dict()}
        with store.thawing(self.component, self.side) as (guard, was_frozen):
            try:
                changed = self.server.serve()
            except BaseException:
                if was_frozen:
                    self.server.shut()
                raise
        return {"changed": changed or was_frozen, "guard": guard.to_dict()}

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        """Return the guard; in check mode a side that prepare has not taken over yet counts as taken over."""
        guard = self.guard()
        return adopt(guard) if guard.status == rule.UNKNOWN else guard

    def _shut(self) -> bool:
        return self.server.seen().mode != state.CLOSED if self.check else self.server.shut()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the guard's lock while the server is set as the guard says; check mode needs none."""
        if self.check:
            yield
            return
        with storage.locked(store.GUARD_DIRECTORY / f"{self.component}.lock", store.LOCK_WAIT):
            yield

    def _other_refuses(self, address: str, port: int) -> bool | str:
        fault = state.probe_fault(state.CLOSED, self.ask(address, port), state.endpoint(address, port))
        return f"the VPN server of the other side, asked from {self.side}: {fault}" if fault else True


def server(options: Mapping[str, Any], runner: Runner = process.run) -> WireGuard:
    """Return what serves here."""
    return WireGuard(options["name"], options["port"], runner)


def fence(component: str) -> str:
    """Close a VPN server whose guard does not say open, or says frozen, at boot; return what was found or done."""
    spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
    if spec is None:
        return f"{component}: no VPN server was prepared here"
    guard = store.read(component, spec["side"])
    if guard.status == rule.OPEN and not guard.frozen:
        return f"{component}: left alone, {guard.describe()}"
    changed = server(spec).shut()
    return f"{component}: {'closed' if changed else 'stays closed'}, {guard.describe()}"
