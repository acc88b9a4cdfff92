"""Freeze, close, open and thaw one side's server, each with the proof that it did so."""

from __future__ import annotations

import contextlib
import time
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
from .. import decisions, events, gtid, refusals, settings
from ..refusals import MysqlError
from . import digest, probe, safety_dump
from . import fence as fences
from .client import SOCKET, Client
from .server import Server

# What every module takes as `mysql`: how the server is reached at this side, and the address of the other one.
OPTIONS: dict[str, dict[str, Any]] = {
    "service": {"type": "str", "default": "mariadb"},
    "socket": {"type": "path", "default": SOCKET},
    "port": {"type": "int", "default": 3306},
    "peer": {"type": "str", "required": True},
}
# Seconds in which clients, and transactions that hold read_only up, have to be gone.
DRAIN = 20.0

Ask = Callable[[str], str]


@dataclass
class Side:
    """One side's server on this host."""

    component: str
    side: str
    options: Mapping[str, Any]
    check: bool = False
    ask: Ask = probe.write
    runner: Runner = process.run
    root: Path = fences.ROOT

    def __post_init__(self) -> None:
        """Find what serves here."""
        self.server = Server(Client(str(self.options["socket"])))
        self.fence = fences.Fence(self.component, self.options, self.runner, self.root)

    @property
    def home(self) -> Path:
        """Where Bascule keeps what it needs of this component."""
        return store.GUARD_DIRECTORY.parent / self.component

    @property
    def account(self) -> str:
        """The option file of Bascule's account at the other side."""
        return str(self.home / "client.cnf")

    @property
    def ca(self) -> str:
        """The other side's certificate; the server itself reads it."""
        return str(self.root / f"etc/mysql/bascule-{self.component}-peer.pem")

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def certificate(self) -> str:
        """Return what the other side has to pin: this server's authority, or its own certificate where it has none."""
        variables = self.server.variables()
        path = variables.get("ssl_ca") or variables.get("ssl_cert")
        text = storage.read_text(path) if path else None
        if not text or "BEGIN CERTIFICATE" not in text:
            raise MysqlError(
                expected=f"a certificate of the server of {self.side} (ssl_cert, and ssl_ca where an authority "
                "has signed it)",
                found=f"{path or 'none'}",
                state="nothing was changed",
                next_command="set ssl_cert and ssl_key, restart the server at a time of your choosing, run the same "
                "playbook again",
            )
        # What lies in such a file beside certificates, a key for one, stays here.
        kept, inside = [], False
        for line in text.splitlines():
            inside = inside or line.startswith("-----BEGIN CERTIFICATE")
            kept += [line] if inside else []
            inside = inside and not line.startswith("-----END CERTIFICATE")
        return "\n".join(kept) + "\n"

    def seen(self) -> dict[str, Any]:
        """Measure the server, and say in which mode it is; one that does not answer has a fault and no more."""
        measured = self.server.measure()
        frozen = self.guard().status == rule.OPEN
        faults = self.fence.faults(for_peer=frozen)
        measured["broken"] = digest.broken_definers(self.server.client)
        measured["mode"] = decisions.mode(measured["variables"]["read_only"] == "1", self.fence.stands(), faults)
        return measured

    def mode(self) -> str:
        """Return the mode alone."""
        shut = self.server.client.value("SELECT @@GLOBAL.read_only") == "1"
        return decisions.mode(shut, self.fence.stands(), self.fence.faults(for_peer=self.guard().status == rule.OPEN))

    def link(self) -> dict[str, Any]:
        """Say whether the server answers, and whether a closed side follows the other one; a server may be away."""
        guard, found = self.guard(), {"missed": "", "carried": "", "unseen": ""}
        try:
            connections = self.server.connections()
        except BasculeError as error:
            what = "missed" if guard.status == rule.CLOSED else "unseen"
            found[what] = f"MariaDB of {self.side} does not answer: {error.found}"
        else:
            if guard.status == rule.CLOSED:
                found["missed"], found["carried"] = decisions.link(connections, self.side)
        return {"guard": guard.to_dict(), "safety_dump": safety_dump.state(self.component, guard, self.runner), **found}

    def prepare(self, password: str, certificate: str) -> bool:
        """Leave option file, the other side's certificate, the fence's unit and what the boot fence needs."""
        texts = {
            self.account: (
                settings.option_file(
                    refusals.ACCOUNT, password, str(self.options["peer"]), int(self.options["port"]), self.ca
                ),
                0o600,
            ),
            self.ca: (certificate, 0o644),
        }
        changed = [path for path, (text, _) in texts.items() if storage.read_text(path) != text]
        kept = fence_settings.keep(
            self.component, self.side, "mysql", str(self.options["socket"]), base=store.GUARD_DIRECTORY.parent,
            check=self.check, **{name: self.options[name] for name in OPTIONS},
        )  # fmt: skip
        for path in [] if self.check else changed:
            storage.make_directory(Path(path).parent, 0o755)
            storage.write_durably(path, *texts[path])
        return self.fence.prepare(self.check) or bool(changed) or kept

    def fenced(self) -> dict[str, Any]:
        """Close what the guard calls closed."""
        with self._locked():
            guard = self.guard()
            changed = guard.status == rule.CLOSED and self._shut(for_peer=False)
        return {"changed": changed, "guard": guard.to_dict(), "mode": self.mode()}

    def follow(self, *, seed: bool, timeout: float) -> dict[str, Any]:
        """Follow the other side, which is open; a side that is not closed by its guard is refused."""
        peer, port = str(self.options["peer"]), int(self.options["port"])
        if self.check:
            # Check mode goes through the verbs without doing them: this side may not be closed yet.
            return {"changed": not self.server.follows(peer, port)}
        with self._locked():
            guard = self.guard()
            if guard.status != rule.CLOSED:
                raise GuardRefused(
                    expected=f"{self.side} to be closed, so that it may follow",
                    found=guard.describe(),
                    state="nothing was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            # What this side had when it closed is held first.
            warnings = safety_dump.before_following(self.component, guard, self.runner)
            changed = self._shut(for_peer=False)
            marker = self.home / "seeded.json"
            if seed and (storage.read_json(marker) or {}).get("done") is not True:
                if storage.read_json(marker):
                    # A seed that was killed: what it left is Bascule's own.
                    for name in self.server.schemas():
                        self.server.client.execute(f"DROP DATABASE {settings.name(name)}")
                elif not self.server.follows(peer, port) and (there := self.server.schemas()):
                    self._refuse_filled(there)
                storage.write_json(marker, {"done": False})
                try:
                    changed = self.server.seed(self.account, peer, port, self.ca, timeout) or changed
                except BasculeError:
                    # What it had begun is gone again; only one that was killed leaves something of its own.
                    storage.remove(marker)
                    raise
                storage.write_json(marker, {"done": True})
            changed = self.server.follow(self.account, peer, port, self.ca) or changed
            # What ran here before is the other side's to say from now on.
            storage.remove(self._kept)
        said = {"changed": changed, "position": self.server.position()}
        return {**said, "warnings": warnings} if warnings else said

    def _refuse_filled(self, there: list[str]) -> None:
        raise MysqlError(
            expected=f"an empty server at {self.side}, to be filled with what the other side has",
            found=f"databases {', '.join(there[:10])}",
            state="nothing was changed",
            next_command="see whose they are; drop them by hand if nobody needs them, then run the same playbook again",
        )

    def caught_up(self, want: str, primary: str, timeout: float) -> dict[str, Any]:
        """Wait until this side has applied a position; refuse transactions that the other side never had.

        Args:
            want: the position to apply.
            primary: every transaction's place that the other side, which stands still, knows of; empty while it serves.
            timeout: seconds to wait.
        """
        fault = self.server.wait_for(want, timeout)
        beyond = gtid.errant(self.server.known(), primary) if primary and not fault else []
        if fault or beyond:
            raise MysqlError(
                expected=f"{self.side} to have applied {want or 'what the other side has'}, and nothing else",
                found=fault or f"transactions that the other side never had: {', '.join(map(str, beyond))}",
                state="the other side is the active one, this one follows",
                next_command="SHOW ALL SLAVES STATUS there; an errant transaction needs a new seed of this side",
            )
        return {"position": self.server.position()}

    def freeze(self) -> dict[str, Any]:
        """Send clients away from the active side, keep what ran by itself, and prove that nothing is written."""
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
        if not guard.frozen and not storage.read_json(self._kept):
            self._write_seen_to_pass()
            storage.write_json(self._kept, self.server.schedule().to_position())
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
            "position": self.server.position(), "known": self.server.known(),
        }  # fmt: skip

    def close(
        self,
        epoch: str,
        other: GuardState | None = None,
        *,
        dump: bool = False,
        dump_timeout: float = safety_dump.TIMEOUT,
    ) -> dict[str, Any]:
        """Close for an epoch and give the receipt; one that is back after `other` has given it up closes for good.

        With `dump` its safety dump begins, which nobody waits for here and which has `dump_timeout` seconds.
        """
        if self.check:
            promised = rule.promise(self._as_prepared(rule.adopt_open), Epoch.parse(epoch))
            guard, receipt = rule.closed(promised, Epoch.parse(epoch), {"gtid": "0-0-0"}, "check mode")
            return {"changed": True, "guard": guard.to_dict(), "receipt": receipt.to_dict()}
        if self.guard().status == rule.OPEN and not storage.read_json(self._kept):
            storage.write_json(self._kept, self.server.schedule().to_position())
        closing = (
            store.giving_way(self.component, self.side, other, epoch)
            if other is not None
            else store.closing(self.component, self.side, epoch)
        )
        with closing as held:
            before = held.was_closed
            changed = self._shut(for_peer=False) or not before
            self._write_refused()
            position = self.server.position()
            if not position:
                raise MysqlError(
                    expected=f"a position of {self.side}",
                    found="none: its binary log is empty",
                    state="it is closed, no receipt was given",
                    next_command="ansible-playbook playbooks/rollback.yml",
                )
            ran = storage.read_json(self._kept) or {}
            receipt = held.closed({"gtid": position, "known": self.server.known(), **ran})
        begun = (self.component, self.side, epoch, self.runner, dump_timeout)
        warnings = safety_dump.begin(*begun) if dump else []
        said = {"changed": changed, "guard": held.state.to_dict(), "receipt": receipt.to_dict()}
        return {**said, "warnings": warnings} if warnings else said

    def open(self, epoch: str, receipt: Mapping[str, Any], other: GuardState) -> dict[str, Any]:
        """Take the permit to be open; clients are let in by the thaw.

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
            if given.position.get("events") is not None and not leads:
                storage.write_json(self._kept, {name: given.position[name] for name in ("scheduler", "events")})
            changed = self._stand_alone() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def take_over(self, word: Word) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost; one that still lets us write is not."""
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict()}
        answer = self.ask(self.account)
        if answer == probe.WRITTEN:
            raise MysqlError(
                expected="the other side, which is said to be lost and fenced, not to take a write",
                found="it has taken one from here",
                state="nothing was opened, the other side serves",
                next_command="fence it by other means, then run the same playbook again",
            )
        with store.opening_by_word(self.component, self.side, word) as held:
            if not storage.read_json(self._kept):
                storage.write_json(self._kept, events.unheard(self.server.events()).to_position())
            changed = self._stand_alone() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict(), "position": self.server.position()}

    def thaw(self) -> dict[str, Any]:
        """Let clients in at the side that holds a live permit; when that fails, it is as frozen as before."""
        if self.check:
            guard = self.guard()
            return {"changed": guard.status != rule.OPEN or guard.frozen, "guard": guard.to_dict()}
        with store.thawing(self.component, self.side) as (guard, was_frozen):
            try:
                changed = self._serve()
            except BaseException:
                if was_frozen:
                    with contextlib.suppress(BasculeError):
                        self._shut(for_peer=True)
                raise
        return {"changed": changed or was_frozen, "guard": guard.to_dict()}

    @property
    def _kept(self) -> Path:
        """Where it stands what ran by itself before the freeze."""
        return self.home / "schedule.json"

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        guard = self.guard()
        return adopt(guard) if guard.status == rule.UNKNOWN else guard

    def _shut(self, *, for_peer: bool) -> bool:
        """Close the server to clients, now and after a start of it; return whether it was not."""
        if self.check:
            return self.mode() == decisions.OPEN
        changed = self.fence.shut(for_peer=for_peer)
        client = self.server.client
        row = client.rows("SELECT @@GLOBAL.read_only r, @@GLOBAL.event_scheduler e")[0]
        if row["e"] == "ON":
            client.execute("SET GLOBAL event_scheduler = OFF")
        until, own = time.monotonic() + DRAIN, safety_dump.connections(self.component, self.runner)
        # Transactions that are open hold read_only up: who has them is sent away first.
        self.server.drain(own)
        if row["r"] != "1":
            client.execute("SET GLOBAL read_only = 1", timeout=DRAIN)
        while left := self.server.strangers(own):
            if time.monotonic() > until:
                raise MysqlError(
                    expected=f"no connection of a client at {self.side}",
                    found=", ".join(left[:5]),
                    state=f"the port is shut, read_only is on, {self.guard().describe()}",
                    next_command="end what still writes on that host, then run the same playbook again",
                )
            self.server.drain(own)
            time.sleep(0.02)
        return changed or row["r"] != "1" or row["e"] == "ON"

    def _stand_alone(self) -> bool:
        """Follow nobody any more, and let the other side's host follow: frozen, and nobody else comes in."""
        safety_dump.stop(self.component, self.runner)
        follows = bool(self.server.connections())
        if follows:
            self.server.client.execute("STOP ALL SLAVES", "RESET SLAVE ALL")
        return self._shut(for_peer=True) or follows

    def _serve(self) -> bool:
        """Let clients in, and let run by itself what ran before; return whether that was needed."""
        client = self.server.client
        if there := self.server.connections():
            raise MysqlError(
                expected=f"{self.side}, which is open, to follow nobody",
                found=f"it follows {there[0]['Master_Host']}",
                state=self.guard().describe(),
                next_command="run the same switch again",
            )
        ran = storage.read_json(self._kept)
        changed = client.value("SELECT @@GLOBAL.read_only") == "1"
        if ran:
            wanted, rows = events.from_position(ran), self.server.events()
            if missing := events.missing(wanted, rows):
                raise MysqlError(
                    expected=f"the events that ran before at {self.side}", found=f"not there: {', '.join(missing)}",
                    state=self.guard().describe(), next_command="ansible-playbook playbooks/rollback.yml",
                )  # fmt: skip
            client.execute(*events.statements(wanted, rows), "SET GLOBAL read_only = 0")
            if wanted.running:
                client.execute("SET GLOBAL event_scheduler = ON")
        else:
            client.execute("SET GLOBAL read_only = 0")
        changed = self.fence.open() or changed
        storage.remove(self._kept)
        return changed

    def _write_seen_to_pass(self) -> None:
        """See that a write of an account without privileges passes: only then its refusal proves anything."""
        self.server.client.execute("CALL bascule.try_write()")

    def _write_refused(self) -> None:
        """Prove that read_only refuses that same write."""
        try:
            self.server.client.execute("CALL bascule.try_write()")
        except BasculeError as error:
            if "read-only" in error.message():
                return
            raise
        raise MysqlError(
            expected=f"{self.side} to refuse a write", found="it was written", state=self.guard().describe(),
            next_command="ansible-playbook playbooks/rollback.yml",
        )  # fmt: skip

    def _reached(self, position: Mapping[str, str], leads: bool) -> bool | str:
        answer = self.ask(self.account)
        if answer != probe.REFUSED:
            return f"the other side, tried from {self.side}, is not seen closed: {answer}"
        own = {"position": self.server.position(), "known": self.server.known()}
        return decisions.not_reached(own, position, leads=leads) or True

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
    # Before the server starts: what is durable makes it come up closed.
    changed = fences.Fence(component, spec).shut(for_peer=guard.status == rule.OPEN)
    return f"{component}: {'closed' if changed else 'stays closed'}, {guard.describe()}"
