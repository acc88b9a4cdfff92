"""summary.json: the verdict on a run and everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .judge import Reason, leg_reasons, unreached, verdict

LEGS = ("forward", "back")


def build(
    run: str,
    plan: str,
    legs: Mapping[str, Mapping[str, Any]],
    active_site: str | None,
    limits: Mapping[str, float],
    *,
    expected_site: str | None = None,
    expected_legs: Sequence[str] = LEGS,
    started: str = "",
    ended: str = "",
    unseen: Sequence[str] = (),
    failure: str | None = None,
) -> dict[str, Any]:
    """Judge the legs and lay the summary out.

    `expected_legs` are those that the run should have: one that nobody began is no reason otherwise.
    `unseen` says what the report should rest on and could not: then it proves too little, at the best.
    `failure` is what stopped the run, if something did: then the result is `failed` whatever the figures say.
    """
    reasons: list[Reason] = []
    for leg in expected_legs:
        # A leg that was not reached is one reason, not one for each of its figures.
        reasons += leg_reasons(leg, legs[leg], limits) if leg in legs else [unreached(leg)]
    texts = [reason.text() for reason in reasons]
    result = verdict(reasons)
    texts += unseen
    if unseen and result in ("ok", "inside"):
        result = "invalid"
    if expected_site is not None and active_site != expected_site:
        texts.insert(0, f"active_site: {active_site or 'not known'}, expected {expected_site}")
        result = "failed"
    if failure is not None:
        texts.insert(0, failure)
        result = "failed"
    return {
        "result": result,
        "active_site": active_site,
        "run": run,
        "plan": plan,
        "started": started,
        "ended": ended,
        "reasons": texts,
        "limits": dict(limits),
        "legs": list(expected_legs),
        **{leg: dict(legs.get(leg, {})) for leg in LEGS},
    }
