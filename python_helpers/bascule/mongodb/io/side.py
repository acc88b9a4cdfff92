"""Freeze, close, open and thaw one side's server, each with the proof that it did so."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BasculeError, GuardRefused
from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState, Receipt, Word
from ...system.io import process, storage
from ...system.io.process import Runner
from .. import decisions, members
from ..refusals import MongoError
from . import comparison
from . import fence as fences
from .client import SOCKET, Client, NotReached
from .server import NOT_WRITABLE, WRITTEN, Server

# What every module takes as `mongodb`: how the server is reached at this side, and where the other one is.
OPTIONS: dict[str, dict[str, Any]] = {
    "service": {"type": "str", "default": "mongod"},
    "socket": {"type": "path", "default": SOCKET},
    "port": {"type": "int", "default": 27017},
    "key_file": {"type": "path", "required": True, "no_log": False},
    "ca_file": {"type": "path", "required": True},
    "certificate_file": {"type": "path", "default": ""},
    "own": {"type": "str", "required": True},
    "peer": {"type": "str", "required": True},
    "peer_name": {"type": "str", "required": True},
}
REFUSED = "refused: nobody listens"

Ask = Callable[["Side"], str]


def ask(side: Side) -> str:
    """Try to write at the other side, as a client from outside; return WRITTEN, NOT_WRITABLE, REFUSED, or no proof."""
    try:
        return Server(side.other()).try_write(2)
    except NotReached as error:
        # The driver says the same of a refusal and of silence: the host's own kernel is asked.
        try:
            with socket.create_connection((str(side.options["peer"]), int(side.options["port"])), timeout=5):
                return f"no proof: {error.found}"
        except ConnectionRefusedError:
            return REFUSED
        except OSError:
            return f"no proof: {error.found}"
    except MongoError as error:
        return f"no proof: {error.found}"


@dataclass
class Side:
    """One side's server on this host."""

    component: str
    side: str
    options: Mapping[str, Any]
    check: bool = False
    ask: Ask = ask
    runner: Runner = process.run
    root: Path = fences.ROOT

    def __post_init__(self) -> None:
        """Find what serves here."""
        self.own, self.peer = str(self.options["own"]), str(self.options["peer_name"])
        self.server = Server(self._client(str(self.options["socket"])))
        self.fence = fences.Fence(self.component, self.options, self.runner, self.root)

    def other(self) -> Client:
        """Return the way into the other side's server."""
        return self._client(self.peer)

    def _client(self, place: str) -> Client:
        key, ca, certificate = (str(self.options[name]) for name in ("key_file", "ca_file", "certificate_file"))
        return Client(place, key, ca, certificate)

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def seen(self) -> dict[str, Any]:
        """Measure the server, and say in which mode it is."""
        measured = self.server.measure(str(self.options["key_file"]), str(self.options["socket"]))
        status = self.server.status()
        measured["mode"] = self.mode(measured["state"], measured["config"])
        measured["lag"] = decisions.lag(status, self.own, self.peer)
        return measured

    def mode(self, state: str = "", config: Mapping[str, Any] | None = None) -> str:
        """Return the mode alone; state and configuration of the member are asked where they are not given."""
        found = self.server.config() if config is None else config
        faults = self.fence.faults(for_peer=self.guard().status == rule.OPEN)
        electable = members.electable(found, self.own)
        return decisions.mode(state or self.server.state(), electable, self.fence.stands(), faults)

    def link(self) -> dict[str, Any]:
        """Say whether the server answers, and whether a closed side follows the other one; a server may be away."""
        guard, found = self.guard(), {"missed": "", "carried": "", "unseen": ""}
        try:
            status = self.server.status()
        except BasculeError as error:
            what = "missed" if guard.status == rule.CLOSED else "unseen"
            found[what] = f"MongoDB of {self.side} does not answer: {error.found}"
        else:
            if guard.status == rule.CLOSED:
                found["missed"], found["carried"] = decisions.link(status, self.side, self.own, self.peer)
        return {"guard": guard.to_dict(), **found}

    def prepare(self) -> bool:
        """Leave the fence's unit and what the boot fence needs; one that is open has the other side as a member."""
        kept = fence_settings.keep(
            self.component, self.side, "mongodb", str(self.options["socket"]), base=store.GUARD_DIRECTORY.parent,
            check=self.check, **{name: self.options[name] for name in OPTIONS},
        )  # fmt: skip
        changed = self.fence.prepare(self.check) or kept
        guard = self.guard()
        if self.check or guard.status not in (rule.OPEN, rule.CLOSED):
            return changed
        with self._locked():
            guard = self.guard()
            config = self.server.config()
            if guard.status == rule.CLOSED and not config:
                # Nobody but the other side's host: it has to tell this member that it is one.
                return self._for_the_first_time() or changed
            if guard.status == rule.OPEN and not guard.frozen and not members.member(config, self.peer):
                self.server.reconfigure(members.joined(config, self.peer), force=False)
                return True
        return changed

    def _for_the_first_time(self) -> bool:
        answer = self.ask(self)
        if answer != WRITTEN:
            raise MongoError(
                expected=f"the other side to take a write with the key of {self.side}",
                found=answer,
                state="nothing was changed",
                next_command="the same security.keyFile at both sides, and certificates that each side trusts; then "
                "run the same playbook again",
            )
        return self.fence.shut(for_peer=True)

    def fenced(self) -> dict[str, Any]:
        """Close what the guard calls closed."""
        with self._locked():
            guard = self.guard()
            changed = guard.status == rule.CLOSED and self._shut(for_peer=False)
        return {"changed": changed, "guard": guard.to_dict(), "mode": self.mode()}

    def follow(self, *, seed: bool, timeout: float) -> dict[str, Any]:
        """Follow the other side, which is open; a side that is not closed by its guard is refused."""
        if self.check:
            # Check mode goes through the verbs without doing them: this side may not be closed yet.
            return {"changed": self.server.state() != decisions.SECONDARY}
        with self._locked():
            guard = self.guard()
            if guard.status != rule.CLOSED:
                raise GuardRefused(
                    expected=f"{self.side} to be closed, so that it may follow",
                    found=guard.describe(),
                    state="nothing was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            filled = self.server.state() != decisions.SECONDARY
            if filled and seed:
                self.server.wait_until_filled(timeout)
            # The server follows by itself, over connections of its own: nobody has to be let in for it.
            changed = self._shut(for_peer=False)
        return {"changed": changed or (filled and seed), "position": self.server.optime()}

    def caught_up(self, want: str, timeout: float, *, exactly: bool) -> dict[str, Any]:
        """Wait until this side has a position; refuse operations that the other side never had.

        Args:
            want: the position to have.
            timeout: seconds to wait.
            exactly: whether the other side stands still there, so that nothing lies beyond.
        """
        fault = self.server.wait_for(want, timeout)
        found = self.server.optime()
        if not fault and exactly and found != want:
            fault = f"operations that the other side never had, up to {found}"
        if fault:
            raise MongoError(
                expected=f"{self.side} to have {want or 'what the other side has'}, and nothing else",
                found=fault,
                state="the other side is the active one, this one follows",
                next_command="rs.status() there; a member that is too stale has to be emptied, and prepared again",
            )
        return {"position": found}

    def freeze(self) -> dict[str, Any]:
        """Cut clients off the active side, have it give up its office, and prove that nothing is written."""
        guard = self.guard()
        if guard.status == rule.UNKNOWN:
            if self.check:
                return {"changed": True, "guard": guard.to_dict(), "active": self.mode() == decisions.OPEN}
            raise GuardRefused(
                expected=f"a guard state of {self.component} at {self.side}",
                found="none: this side has not been taken over",
                state="nothing was changed",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {self.component}",
            )
        if guard.status != rule.OPEN:
            # Nothing to freeze; whatever the guard calls not open must not serve either.
            with self._locked():
                guard = self.guard()
                changed = guard.status != rule.OPEN and self._shut(for_peer=False)
            return {"changed": changed, "guard": guard.to_dict(), "active": False}
        if self.check:
            return {"changed": self.mode() == decisions.OPEN, "guard": guard.to_dict(), "active": True}
        if not guard.frozen:
            self._write_seen_to_pass()
        guard, marked = store.frozen(self.component, self.side, True)
        with self._locked():
            now = self.guard()
            if now.status != rule.OPEN or not now.frozen:
                raise GuardRefused(
                    expected=f"{self.side} to be open and frozen",
                    found=now.describe(),
                    state="another run took over in between",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            changed = self._shut(for_peer=True) or marked
            self._write_refused()
        return {
            "changed": changed, "guard": guard.to_dict(), "active": True, "closed": True,
            "position": self.server.durable(),
        }  # fmt: skip

    def close(self, epoch: str, other: GuardState | None = None) -> dict[str, Any]:
        """Close for an epoch and give the receipt; one that is back after `other` has given it up closes for good."""
        if self.check:
            promised = rule.promise(self._as_prepared(rule.adopt_open), Epoch.parse(epoch))
            guard, receipt = rule.closed(
                promised, Epoch.parse(epoch), {"optime": "0:0:0", "version": "0"}, "check mode"
            )
            return {"changed": True, "guard": guard.to_dict(), "receipt": receipt.to_dict()}
        closing = (
            store.giving_way(self.component, self.side, other, epoch)
            if other is not None
            else store.closing(self.component, self.side, epoch)
        )
        with closing as held:
            changed = self._shut(for_peer=False) or not held.was_closed
            self._write_refused()
            position = self.server.durable()
            if not position:
                raise MongoError(
                    expected=f"a position of {self.side}",
                    found="none: its oplog is empty",
                    state="it is closed, no receipt was given",
                    next_command="ansible-playbook playbooks/rollback.yml",
                )
            version = int(self.server.config().get("version", 0))
            receipt = held.closed({"optime": position, "version": str(version)})
        return {"changed": changed, "guard": held.state.to_dict(), "receipt": receipt.to_dict()}

    def open(self, epoch: str, receipt: Mapping[str, Any], other: GuardState) -> dict[str, Any]:
        """Take the permit to be open; this side is elected, and clients are let in, by the thaw.

        Under the guard's lock the other side is tried from here: its refusal is the attempt from outside.
        """
        if self.check:
            guard = rule.may_open(
                self._as_prepared(rule.adopt_closed), Epoch.parse(epoch), Receipt.from_dict(receipt), True
            )
            return {"changed": True, "guard": guard.to_dict()}
        given = Receipt.from_dict(receipt)
        leads = rule.leader(self.guard(), other) == self.side
        with store.opening(
            self.component, self.side, epoch, receipt, reached=lambda: self._reached(given.position, leads)
        ) as held:
            changed = self._stand_alone(int(given.position.get("version", 0))) or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def take_over(self, word: Word) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost; one that still lets us write is not."""
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict()}
        answer = self.ask(self)
        if answer == WRITTEN:
            raise MongoError(
                expected="the other side, which is said to be lost and fenced, not to take a write",
                found="it has taken one from here",
                state="nothing was opened, the other side serves",
                next_command="fence it by other means, then run the same playbook again",
            )
        with store.opening_by_word(self.component, self.side, word) as held:
            # A member that was left out gives way as soon as it hears of it, and keeps what only it has.
            changed = self._stand_alone(0, without=self.peer) or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict(), "position": self.server.optime()}

    def thaw(self) -> dict[str, Any]:
        """Be the primary and let clients in, at the side that holds a live permit; else it is as frozen as before."""
        if self.check:
            guard = self.guard()
            return {"changed": guard.status != rule.OPEN or guard.frozen, "guard": guard.to_dict()}
        with store.thawing(self.component, self.side) as (guard, was_frozen):
            try:
                changed = self.server.take_office(self.own)
                changed = self.fence.open() or changed
            except BaseException:
                if was_frozen:
                    with contextlib.suppress(BasculeError):
                        self._shut(for_peer=True)
                raise
        return {"changed": changed or was_frozen, "guard": guard.to_dict()}

    def compare(self, wait: float) -> dict[str, Any]:
        """Compare this side, which is closed, with the other one."""
        return comparison.run(self.server, self.other(), wait)

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        guard = self.guard()
        return adopt(guard) if guard.status == rule.UNKNOWN else guard

    def _shut(self, *, for_peer: bool) -> bool:
        """Close the server to clients, now and after a start of it; return whether it was not."""
        if self.check:
            return self.mode() == decisions.OPEN
        changed = self.fence.shut(for_peer=for_peer)
        return self.server.leave_office(self.own) or changed

    def _stand_alone(self, version: int, *, without: str = "") -> bool:
        """Know of a configuration above the other side's, in which nobody is elected; let its host alone follow."""
        config = self.server.config()
        known = members.nobody_serves(config) and int(config["version"]) > version
        if not known or members.member(config, without):
            self.server.reconfigure(members.closed(config, without=without, version=version), force=True)
            self._shut(for_peer=True)
            return True
        return self._shut(for_peer=True)

    def _write_seen_to_pass(self) -> None:
        """See that a write passes: only then its refusal proves anything."""
        answer = self.server.try_write(0)
        if answer != WRITTEN:
            raise MongoError(
                expected=f"{self.side}, which is the active side, to take a write", found=answer,
                state="nothing was changed", next_command="ansible-playbook playbooks/status.yml",
            )  # fmt: skip

    def _write_refused(self) -> None:
        """Prove that the server refuses that same write, of the set's own key, which may do everything."""
        answer = self.server.try_write(0)
        if answer != NOT_WRITABLE:
            raise MongoError(
                expected=f"{self.side} to refuse a write", found=answer, state=self.guard().describe(),
                next_command="ansible-playbook playbooks/rollback.yml",
            )  # fmt: skip

    def _reached(self, position: Mapping[str, str], leads: bool) -> bool | str:
        answer = self.ask(self)
        if answer != REFUSED:
            return f"the other side, tried from {self.side}, is not seen closed: {answer}"
        state = self.server.state()
        if state != decisions.SECONDARY:
            return f"{self.side} is {state}: it has not all of the data"
        return decisions.not_reached(self.server.durable(), position, leads=leads) or True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the guard's lock while the server is set as the guard says; check mode needs none."""
        if self.check:
            yield
            return
        with storage.locked(store.GUARD_DIRECTORY / f"{self.component}.lock", store.LOCK_WAIT):
            yield


def fence(component: str) -> str:
    """Close a server whose guard does not say open, or says frozen, at boot; return what was found or done."""
    spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
    if spec is None:
        return f"{component}: no server was prepared here"
    guard = store.read(component, spec["side"])
    if guard.status == rule.OPEN and not guard.frozen:
        return f"{component}: left alone, {guard.describe()}"
    # Before the server starts. That nobody is elected stands in the server's own configuration.
    changed = fences.Fence(component, spec).shut(for_peer=guard.status == rule.OPEN)
    return f"{component}: {'closed' if changed else 'stays closed'}, {guard.describe()}"
