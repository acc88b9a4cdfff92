"""Close, open, thaw and forward one side's entrance, each with the proof that it did so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import GuardRefused
from ...guard import lost
from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState, Receipt, Word
from ...system import polling
from ...system.io import storage
from .. import mode as modes
from .. import requests as entrance_requests
from ..mode import EntranceError
from ..requests import Answer, Request
from . import https
from .haproxy import Haproxy
from .https import Target
from .manual import LOOKS, Manual
from .nginx import Nginx, mode_in, write_mode

# What every entrance module takes as `entrance`: how it is driven at this side, and how users reach it.
OPTIONS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "choices": ["haproxy", "nginx", "manual"], "default": "haproxy"},
    "map_file": {"type": "path"},
    "socket": {"type": "path"},
    "key": {"type": "str", "default": "mode"},
    "backend": {"type": "str", "default": ""},
    "folder": {"type": "path"},
    "status": {"type": "str"},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "name": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "scheme": {"type": "str", "choices": list(https.SCHEMES), "default": https.HTTPS},
    "forwarded_header": {"type": "str", "required": True},
    "other_address": {"type": "str"},
    "forward": {"type": "bool", "default": False},
    "manual_wait": {"type": "float", "default": 900},
}

Ask = Callable[..., Answer]

_NEEDED = {
    "haproxy": ("map_file", "socket", "backend"),
    "nginx": ("folder", "status"),
    "manual": ("other_address",),
}


@dataclass
class Side:
    """One side's entrance on this host."""

    component: str
    side: str
    options: Mapping[str, Any]
    check: bool = False
    ask: Ask = https.request

    def __post_init__(self) -> None:
        """Find what serves here, and its address."""
        self.driver = driver(self.options, self.side, self.ask)
        self.by_hand = self.driver if isinstance(self.driver, Manual) else None
        self.target = target(self.options)

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def prepare(self) -> bool:
        """Write down the mode in effect and leave what the boot fence needs; never change what users get."""
        nginx = self.options.get("kind") == "nginx"
        controls = self.by_hand.here if self.by_hand else self.options["folder" if nginx else "map_file"]
        more = {"driver": self.options["kind"]} if nginx or self.by_hand else {"key": self.options["key"]}
        changed = fence_settings.keep(
            self.component,
            self.side,
            "entrance",
            controls,
            base=store.GUARD_DIRECTORY.parent,
            check=self.check,
            **more,
        )
        # Where a person drives, there is nothing to write a mode to.
        return (not self.by_hand and self.driver.set_mode(self.driver.mode(), check=self.check)) or changed

    def freeze(self, seconds: float, cut: bool) -> dict[str, Any]:
        """Show the maintenance page at the active side, let the requests in flight end, prove it."""
        state = self.guard()
        if state.status == rule.UNKNOWN and not self.check:
            raise GuardRefused(
                expected=f"a guard state of {self.component} at {self.side}",
                found="none: this side has not been taken over",
                state=f"nothing was changed, the mode here is {self.driver.mode()}",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {self.component}",
            )
        if state.status == rule.UNKNOWN:
            state = rule.adopt_open(state) if self.driver.mode() == modes.OPEN else rule.adopt_closed(state)
            return {"changed": state.status == rule.OPEN, "guard": state.to_dict(), "active": state.status == rule.OPEN}
        if state.status != rule.OPEN:
            # Not the active side: nothing to freeze, but whatever the guard calls not open must not serve either.
            with self._locked():
                state = self.guard()
                serves = state.status != rule.OPEN and self.driver.mode() == modes.OPEN
                changed = serves and self.driver.set_mode(modes.MAINTENANCE, self.check)
            return self._asked(
                {"changed": changed, "guard": state.to_dict(), "active": False, "mode": self.driver.mode()}
            )
        state, marked = store.frozen(self.component, self.side, True, check=self.check)
        with self._locked():
            now = self.guard()
            if not self.check and (now.status != rule.OPEN or not now.frozen):
                raise self._taken_over(now)
            changed = self.driver.set_mode(modes.MAINTENANCE, self.check) or marked
        result: dict[str, Any] = {"changed": changed, "guard": state.to_dict(), "active": True}
        if not self.check:
            first, waited = self.driver.drain(seconds, cut)
            self._prove_closed()
            result["drained"] = {"requests": first, "seconds": waited}
        return self._asked({**result, "mode": modes.MAINTENANCE})

    def close(self, epoch: str, seconds: float, cut: bool, other: GuardState | None = None) -> dict[str, Any]:
        """Close for an epoch: durable maintenance page, nothing in flight, refusal seen from here; give the receipt.

        A side that is back after `other` has given it up closes for good.
        """
        if self.check:
            promised = rule.promise(self._as_prepared(rule.adopt_open), Epoch.parse(epoch))
            state, receipt = rule.closed(promised, Epoch.parse(epoch), {}, "check mode")
            result = {"changed": True, "guard": state.to_dict(), "receipt": receipt.to_dict()}
            # One that serves and was not given up is frozen before it closes: a person was asked by then.
            if self.by_hand and (other is not None or self.guard().status == rule.CLOSED):
                self.by_hand.set_mode(modes.MAINTENANCE, check=True)
            return self._asked(result)
        if self.by_hand and other is not None:
            # Giving way takes an epoch once, and a person is waited for by asking again: so the page comes first.
            lost.give_way(self.guard(), other, Epoch.parse(epoch))
            self.by_hand.ready(modes.MAINTENANCE)
        closing = (
            store.giving_way(self.component, self.side, other, epoch)
            if other is not None
            else store.closing(self.component, self.side, epoch)
        )
        with closing as guard:
            before = guard.was_closed
            changed = self.driver.set_mode(modes.MAINTENANCE) or not before
            self.driver.drain(seconds, cut)
            self._prove_closed()
            receipt = guard.closed({})
        return {"changed": changed, "guard": guard.state.to_dict(), "receipt": receipt.to_dict()}

    def open(
        self,
        epoch: str,
        receipt: Mapping[str, Any],
        smoke: Sequence[Request],
        token: tuple[str, str],
        wait: float,
        others: Sequence[Target],
    ) -> dict[str, Any]:
        """Take the permit to be open; users go on seeing the maintenance page until the thaw.

        First the smoke requests pass, through this very entrance. Then, under the guard's lock, the other side is
        asked from here, as a user would, at each of its addresses: only its maintenance page is the attempt from
        outside that was refused.
        """
        if self.check:
            closed = self._as_prepared(rule.adopt_closed)
            state = rule.may_open(closed, Epoch.parse(epoch), Receipt.from_dict(receipt), True)
            return {"changed": True, "guard": state.to_dict(), "smoke": []}
        passed = self.smoke(smoke, token, wait)
        self.driver.ready(modes.MAINTENANCE)
        with store.opening(
            self.component, self.side, epoch, receipt, reached=lambda: self._others_refuse(others)
        ) as guard:
            changed = self.driver.set_mode(modes.MAINTENANCE) or not guard.was_open
            state = guard.opened(frozen=True)
        return {"changed": changed, "guard": state.to_dict(), "smoke": passed}

    def take_over(
        self, word: Word, smoke: Sequence[Request], token: tuple[str, str], wait: float, others: Sequence[Target]
    ) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost; users are let in by the thaw.

        An answer of the other entrance, other than its maintenance page, says that it is not lost. Silence is no proof:
        that is what the person answers for.
        """
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict(), "smoke": []}
        passed = self.smoke(smoke, token, wait)
        serving = [
            (other.address, fault)
            for other in others
            for answer in (self.ask(other) for _ in range(self._looks()))
            if answer.status and (fault := entrance_requests.refusal_fault(answer))
        ]
        if serving:
            raise EntranceError(
                expected=f"the entrance at {serving[0][0]} to be lost, as {word.by} has said",
                found=f"asked from {self.side}, it answers: {serving[0][1]}",
                state=f"{self.guard().describe()}; nothing was opened",
                next_command="fence it, or use cutover and rollback; then run the same playbook again",
            )
        self.driver.ready(modes.MAINTENANCE)
        with store.opening_by_word(self.component, self.side, word) as guard:
            changed = self.driver.set_mode(modes.MAINTENANCE) or not guard.was_open
            state = guard.opened(frozen=True)
        return {"changed": changed, "guard": state.to_dict(), "smoke": passed}

    def thaw(self) -> dict[str, Any]:
        """Let users in at the side that holds a live permit; when that fails, it is as frozen as before."""
        if self.check:
            # Check mode goes through the verbs without doing them: the switch that comes first was not done.
            state = self.guard()
            served = state.status == rule.OPEN and not state.frozen and self.driver.mode() == modes.OPEN
            if self.by_hand:
                self.by_hand.set_mode(modes.OPEN, check=True)
            return self._asked({"changed": not served, "guard": state.to_dict(), "mode": modes.OPEN})
        # Nobody is asked to let users in where there is no permit.
        rule.thaw(self.guard())
        # One that does not answer lets nobody in: it fails here, where nothing was changed yet.
        self.driver.ready(modes.OPEN)
        with store.thawing(self.component, self.side) as (state, was_frozen):
            try:
                changed = self.driver.set_mode(modes.OPEN)
            except BaseException:
                if was_frozen:
                    self.driver.keep_out()
                raise
        return {"changed": changed or was_frozen, "guard": state.to_dict(), "mode": modes.OPEN}

    def forward(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """Hand the users who still come here to the other side, which is open.

        A side that never served has no such users and stays as it is.
        """
        active = GuardState.from_dict(other)
        # A balancer that is not made to forward goes on showing its page, and is seen to.
        mode = modes.MAINTENANCE if self.by_hand and not self.by_hand.forwards else modes.FORWARD
        if self.check:
            state = self.guard()
            changed = state.opened is not None and mode == modes.FORWARD and self.driver.mode() != mode
            if self.by_hand and changed:
                self.by_hand.set_mode(mode, check=True)
            return self._asked({"changed": changed, "guard": state.to_dict(), "mode": mode})
        with self._locked():
            state = self.guard()
            may_forward(state, active)
            if state.opened is None:
                return {"changed": False, "guard": state.to_dict(), "mode": self.driver.mode()}
            changed = self.driver.set_mode(mode)
        return {"changed": changed, "guard": state.to_dict(), "mode": mode}

    def stop_forwarding(self) -> dict[str, Any]:
        """Show the maintenance page at a passive side."""
        with self._locked():
            state = self.guard()
            if state.status != rule.CLOSED:
                raise GuardRefused(
                    expected="a closed side",
                    found=state.describe(),
                    state="nothing was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            changed = self.driver.set_mode(modes.MAINTENANCE, self.check)
        return self._asked({"changed": changed, "guard": state.to_dict(), "mode": modes.MAINTENANCE})

    def smoke(self, requests: Sequence[Request], token: tuple[str, str], wait: float) -> list[dict[str, Any]]:
        """Make the smoke requests until all pass; what stood behind the entrance may have started a moment ago."""
        began = time.monotonic()
        header, secret = token
        while True:
            results = make(requests, self.target, {header: secret}, self.ask)
            faults = [result["fault"] for result in results if result["fault"]]
            if not faults:
                return results
            waited = time.monotonic() - began
            if waited >= wait:
                raise EntranceError(
                    expected=f"every smoke request to pass at {self.side} within {wait:g} s",
                    found="; ".join(faults),
                    state=f"{self.guard().describe()}; nothing was opened, the mode here is {self.driver.mode()}",
                    next_command="look at what stands behind the entrance, then run the same playbook again",
                )
            time.sleep(polling.pause(waited, 0.2))

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        """Return the guard; in check mode a side that prepare has not taken over yet counts as taken over."""
        state = self.guard()
        return adopt(state) if state.status == rule.UNKNOWN else state

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the guard's lock while the mode is set as the guard says; check mode needs none."""
        if self.check:
            yield
            return
        with storage.locked(store.GUARD_DIRECTORY / f"{self.component}.lock", store.LOCK_WAIT):
            yield

    def _taken_over(self, state: GuardState) -> GuardRefused:
        return GuardRefused(
            expected=f"{self.side} to be open and frozen",
            found=state.describe(),
            state=f"the mode here is {self.driver.mode()}; another run took over in between",
            next_command="ansible-playbook playbooks/status.yml",
        )

    def _asked(self, result: dict[str, Any]) -> dict[str, Any]:
        """Add to a result what a person would have been asked to do in check mode."""
        asked = self.by_hand.would_ask if self.by_hand else []
        return {**result, "would_ask": asked} if asked else result

    def _looks(self) -> int:
        return LOOKS if self.by_hand else 1

    def _refusal(self, where: Target, *, forwarded: bool = False) -> str | None:
        """Return why an entrance is not seen closed from here; None when it is.

        To a request that was forwarded once a closed one shows its page also while it forwards others.
        """
        more = {"headers": {str(self.options["forwarded_header"]): "1"}} if forwarded else {}
        faults = (entrance_requests.refusal_fault(self.ask(where, **more)) for _ in range(self._looks()))
        return next((fault for fault in faults if fault), None)

    def _prove_closed(self) -> None:
        fault = self._refusal(self.target)
        kind = self.options.get("kind") or "haproxy"
        if fault:
            raise EntranceError(
                expected=f"the maintenance page (503 with Retry-After) at {self.side}",
                found=fault,
                state=f"mode file: {self.driver.durable()}, running: {self.driver.mode()}; no receipt was given",
                next_command="run the same playbook again; if it fails again: "
                + (f"look at {self.by_hand.here}" if self.by_hand else f"systemctl status {kind}"),
            )

    def _others_refuse(self, others: Sequence[Target]) -> bool | str:
        for number, other in enumerate(others):
            # Of a pair, the machine that has a further address may have been moved before, and forward.
            if fault := self._refusal(other, forwarded=number > 0):
                return f"the entrance at {other.address}, asked from {self.side}: {fault}"
        return True if others else "no address of the other entrance is known"


def driver(options: Mapping[str, Any], side: str = "", ask: Ask = https.request) -> Haproxy | Nginx | Manual:
    """Return what serves at this entrance."""
    kind = options.get("kind") or "haproxy"
    needed = _NEEDED[kind]
    missing = [name for name in needed if not options.get(name)]
    if missing:
        raise EntranceError(expected=f"{', '.join(missing)} of an entrance of kind {kind}", found="nothing")
    if kind == "manual":
        return Manual(options, side, ask)
    if kind == "nginx":
        return Nginx(options)
    return Haproxy(options["map_file"], options["socket"], options["key"], backend=options["backend"])


def target(options: Mapping[str, Any]) -> Target:
    """Return where the entrance is reached from outside."""
    scheme = options.get("scheme") or https.HTTPS
    return Target(options["address"], options["name"], options["ca_file"], options["port"], scheme)


def may_forward(own: GuardState, other: GuardState) -> None:
    """Only a closed side forwards, and only to an open one: two sides can never forward to each other."""
    if own.side == other.side or own.component != other.component:
        raise GuardRefused(expected="the guard of the other side", found=other.describe(), state="nothing was changed")
    if own.status != rule.CLOSED or other.status != rule.OPEN:
        raise GuardRefused(
            expected="a closed side that forwards to an open one",
            found=f"{own.describe()}; {other.describe()}",
            state="the mode was not changed",
            next_command="ansible-playbook playbooks/status.yml",
        )


def make(
    requests: Sequence[Request], where: Target, headers: Mapping[str, str] | None = None, ask: Ask = https.request
) -> list[dict[str, Any]]:
    """Make the requests in turn and judge each answer."""
    results = []
    for request in requests:
        given = {**({"Content-Type": request.content_type} if request.body else {}), **(headers or {})}
        answer = ask(where, request.path, request.method, given, request.body)
        results.append(
            {
                "name": request.name,
                "status": answer.status,
                "seconds": answer.seconds,
                "tls": answer.tls,
                "fault": entrance_requests.judge(request, answer) or "",
            }
        )
    return results


def fence(component: str) -> str:
    """Close an entrance whose guard does not say open, at boot, before what serves there reads its mode.

    Only the file is looked at, as nothing runs yet. A closed side may forward, which serves nobody by itself; whatever
    else is not the maintenance page is taken back to it.

    Returns:
        what was found or done.
    """
    spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
    if spec is None:
        return f"{component}: no entrance was prepared here"
    guard = store.read(component, spec["side"])
    if spec.get("driver") == "manual":
        return f"{component}: the balancer of {spec['controls']} is not fenced at boot, {guard.describe()}"
    nginx = spec.get("driver") == "nginx"
    place = str(spec["controls"])
    said = mode_in(place) if nginx else modes.parse_map(storage.read_text(place), spec["key"])
    mode = said or modes.MAINTENANCE
    allowed = {
        rule.OPEN: (modes.MAINTENANCE,) if guard.frozen else modes.MODES[:2],
        rule.CLOSED: (modes.MAINTENANCE, modes.FORWARD),
    }.get(guard.status, (modes.MAINTENANCE,))
    if mode in allowed:
        return f"{component}: mode {mode} stays, {guard.describe()}"
    if nginx:
        write_mode(place, modes.MAINTENANCE)
    else:
        storage.write_durably(place, modes.render_map(spec["key"], modes.MAINTENANCE), 0o644)
    return f"{component}: mode {mode} became {modes.MAINTENANCE}, {guard.describe()}"
