"""Go on knocking at the closed side as a client would, for as long as the other side is the open one."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....guard.state import GuardState
from ....system.io import storage, units
from ... import knocks
from ...spec import Spec
from ..cluster.cluster import HOME, SPEC_FILE, load_spec
from . import sight

UNIT = "fence-probe"
RECORD = "fence-probe.json"
LOG = "fence-probe.log"
EVERY = 0.5
SAVE_EVERY = 5.0
# A switch that was taken back never opens; one whose controller died may be finished much later.
WAIT_SECONDS = 3600.0


def start(spec: Spec, epoch: str) -> list[str]:
    """Start the unit in place of an earlier switch's; return a warning when it does not start."""
    try:
        units.stop(spec.unit_name(UNIT))
        storage.remove(HOME / spec.component / RECORD)
        units.start(
            spec.unit_name(UNIT), [*units.AGENT, "pg_fence_probe", "--component", spec.component, "--epoch", epoch]
        )
    except BasculeError as error:
        return [f"the probe of the fence at {spec.side} did not start: {error}"]
    return []


def belongs(state: GuardState) -> bool:
    """Whether a side in this state has another one to probe: a switch has opened it."""
    return state.status == rule.OPEN and state.opened is not None and state.opened > rule.ADOPTED


def is_running(spec: Spec) -> bool:
    """Whether the unit runs."""
    return units.is_running(spec.unit_name(UNIT))


def record(spec: Spec) -> dict[str, Any] | None:
    """Return what the probe has seen, and whether it still runs; None when there was none."""
    found = storage.read_json(HOME / spec.component / RECORD)
    if not isinstance(found, dict):
        return None
    return {**found, "running": is_running(spec)}


class Probe:
    """What has been seen so far."""

    def __init__(self, spec: Spec, epoch: str) -> None:
        self.spec = spec
        self.epoch = epoch
        self.last_kind: dict[knocks.Knock, str] = {}
        self.last_time = 0.0
        self.saved = 0.0
        self.known = sight.seen(spec, store.read(spec.component, spec.side))
        self.knocks = knocks.outside(spec)
        self.seen: dict[str, Any] = {
            "epoch": epoch,
            "at": spec.side,
            "against": spec.peer_side,
            "state": "waiting",
            "attempts": 0,
            "refused": 0,
            # Refusals of somebody who never was let in: they prove nothing.
            "unproved": 0,
            "unclear": 0,
            "accepted": 0,
            "accepted_at": [],
            "largest_gap_seconds": 0.0,
            "first_at": None,
            "last_at": None,
            **knocks.to_record("", {knock: at for knock, at in self.known.items() if knock in self.knocks}),
        }

    def attempt(self) -> None:
        """Knock once, as one account after the other; keep what changed at once, all else every few seconds."""
        knock = self.knocks[self.seen["attempts"] % len(self.knocks)]
        answer = sight.knock(self.spec, knock, self.known, 2)
        now = time.time()
        seen = self.seen
        seen["attempts"] += 1
        seen["first_at"] = seen["first_at"] or _text(now)
        seen["last_at"] = _text(now)
        if self.last_time:
            seen["largest_gap_seconds"] = round(max(seen["largest_gap_seconds"], now - self.last_time), 3)
        self.last_time = now
        if answer.kind == "admitted":
            seen["accepted"] += 1
            seen["accepted_at"] = [*seen["accepted_at"], _text(now)][-20:]
        elif answer.is_refusal:
            seen["refused"] += 1
        elif answer.kind == sight.UNPROVED:
            seen["unproved"] += 1
        else:
            seen["unclear"] += 1
        kind = f"{answer.kind} {answer.code}"
        changed = kind != self.last_kind.get(knock)
        if changed:
            line = {"at": _text(now), "kind": answer.kind, "code": answer.code, "text": answer.text, "user": knock.user}
            storage.append_durably(HOME / self.spec.component / LOG, json.dumps(line) + "\n")
        if changed or time.monotonic() - self.saved > SAVE_EVERY:
            self.last_kind[knock] = kind
            self.save()

    def save(self, **values: Any) -> None:
        """Make the summary durable."""
        self.seen.update(values)
        storage.write_json(HOME / self.spec.component / RECORD, self.seen)
        self.saved = time.monotonic()


def watch(component: str, epoch: str) -> int:
    """Probe from this side's opening under `epoch` until it holds that no longer, or the component is retired."""
    spec = load_spec(component)
    probe = Probe(spec, epoch)
    probe.save()
    begun = time.monotonic()
    while True:
        if not storage.is_file(HOME / component / SPEC_FILE):
            return 0
        state = store.read(component, spec.side)
        ours = str(state.promised) == epoch
        if ours and state.status in (rule.OPENING, rule.OPEN):
            probe.seen["state"] = "probing"
            probe.attempt()
            time.sleep(EVERY)
            continue
        if probe.seen["state"] == "probing" or time.monotonic() - begun > WAIT_SECONDS:
            probe.save(state="ended", why=state.describe())
            return 0
        time.sleep(0.05)


def _text(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="milliseconds")
