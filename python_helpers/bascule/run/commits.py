"""The decision that a move stays: what it asks for, and whether it was made for the switch that stands. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from . import chain
from .gates import Verdict, decide
from .load_test import GATES
from .progress import OK

COMMIT = "COMMIT"
# The verbs after whose begin users of the component wait.
CLOSING = frozenset({"freeze", "switch", "take_over"})
# Seconds that a verification may be old where plan_max_age_seconds does not say.
MAX_AGE = 86400.0
# Clocks of two controllers differ a little.
_AHEAD = 60.0
OBSERVATION, VERIFICATION, BACK, SERVES = "observation", "verification_age", "replication_back", "serves"


def last_end(entries: Iterable[Mapping[str, Any]], component: str, verb: str) -> float | None:
    """Return when the verb of a component has come through last, in seconds since the epoch; None when never.

    One from before the component was closed for its users, or began to be, counts no more.
    """
    known = chain.in_order(entries)
    tried = {_whose(entry) for entry in known if (entry["data"] or {}).get("check_mode")}
    last = ""
    for entry in known:
        if entry["component"] != component or _whose(entry) in tried:
            continue
        if entry["kind"] == "begin" and entry["verb"] in CLOSING:
            last = ""
        elif (entry["kind"], entry["verb"]) == ("end", verb) and entry["data"].get("result") == OK:
            last = str(entry["time"])
    return datetime.datetime.fromisoformat(last.replace("Z", "+00:00")).timestamp() if last else None


def gates(
    component: str,
    entries: Iterable[Mapping[str, Any]],
    apart: str | None,
    unseen: str | None,
    *,
    observation: Any,
    max_age: float,
    overrides: Any,
    now: float,
) -> list[Verdict]:
    """Return how the gates of a commit stand for one component.

    Args:
        entries: the journal of the run, all copies.
        apart: why what is written at the open side does not come to the other one; None where the kind carries
            nothing over between moves.
        unseen: why it was not seen to serve; None where the kind's verb `state` does not look.
        observation: for how many seconds users have to have been in; nothing where the plan does not say.
        max_age: how old the last verification may be, in seconds.
        overrides: reasons by gate.
        now: the time, in seconds since the epoch.
    """
    known = list(entries)
    verified, let_in = (_since(last_end(known, component, verb), now) for verb in ("verify", "thaw"))
    limits: dict[str, Any] = {
        VERIFICATION: {"max": max_age, "unit": "s"},
        BACK: {"equals": "yes"},
        SERVES: {"equals": "yes"},
    }
    samples: list[tuple[str, Any, str]] = [(VERIFICATION, verified, "s")]
    against = {BACK: apart or "", SERVES: unseen or ""}
    if observation is not None:
        limits[OBSERVATION] = {"min": observation, "unit": "s"}
        samples.append((OBSERVATION, let_in, "s"))
    if apart is not None:
        samples.append((BACK, "no" if apart else "yes", ""))
    if unseen is not None:
        samples.append((SERVES, "no" if unseen else "yes", ""))
    decided = [decide(name, value, unit, now, limits, overrides, now) for name, value, unit in samples]
    return [replace(one, reason=against.get(one.name) or one.reason) for one in decided]


def load_against(entries: Iterable[Mapping[str, Any]], overrides: Any) -> list[str]:
    """Return what the last load test of a verification says against staying; none since the last switch does as well.

    One that was cut short is none: each of its gates has to have its sample, and the first one begins it.

    Args:
        entries: the journal of the run, all copies.
        overrides: reasons by gate.
    """
    known = chain.in_order(entries)
    tried = {_whose(entry) for entry in known if (entry["data"] or {}).get("check_mode")}
    last: dict[str, Mapping[str, Any]] = {}
    for entry in known:
        if _whose(entry) in tried:
            continue
        if entry["kind"] == "begin" and entry["verb"] in CLOSING:
            last.clear()
        elif entry["kind"] == "sample" and entry["phase"] == "verify" and str(entry["data"].get("name")) in GATES:
            name = str(entry["data"]["name"])
            last = {**({} if name == GATES[0] else last), name: entry["data"]}
    if not last:
        return ["load test: none since the last switch"]
    passed = overrides if isinstance(overrides, Mapping) else {}
    cut_short = [f"load test: {name}: it was cut short before this was measured" for name in GATES if name not in last]
    return cut_short + [
        f"load test: {name}: {sample.get('reason')}"
        for name, sample in sorted(last.items())
        if not sample.get("passes") and not passed.get(name)
    ]


def missing(entries: Iterable[Mapping[str, Any]], opened: Mapping[str, str]) -> list[str]:
    """Return the components for which no commit was made since the switch that stands.

    Args:
        entries: the journal of the run, all copies.
        opened: under which epoch the side that stays is open, by component.
    """
    made: dict[str, str] = {}
    for entry in chain.in_order(entries):
        data = entry["data"]
        if entry["kind"] == "decision" and data.get("decision") == COMMIT and not data.get("check_mode"):
            made |= {str(name): str(epoch) for name, epoch in (data.get("opened") or {}).items()}
    return [name for name, epoch in opened.items() if made.get(name) != epoch]


def _whose(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry.get("controller")), str(entry.get("epoch"))


def _since(time: float | None, now: float) -> float | None:
    """Return how long ago that was; what is further ahead than clocks differ stays below zero, which no gate takes."""
    if time is None:
        return None
    return round(now - time if now - time < -_AHEAD else max(0.0, now - time), 1)
