"""summary.json: the verdict on a run and everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .judge import Reason, leg_reasons, verdict

LEGS = ("forward", "back")


def build(
    run: str,
    plan: str,
    legs: Mapping[str, Mapping[str, Any]],
    active_site: str | None,
    limits: Mapping[str, float],
    *,
    expected_site: str | None = None,
    started: str = "",
    ended: str = "",
    failure: str | None = None,
) -> dict[str, Any]:
    """Judge the legs and lay the summary out.

    `failure` is what stopped the run, if something did: then the result is `failed` whatever the figures say.
    """
    reasons: list[Reason] = []
    for leg in LEGS:
        # A leg that was not reached is one reason, not one for each of its figures.
        reasons += leg_reasons(leg, legs[leg], limits) if leg in legs else [Reason(leg, "probes", "unreached", None)]
    texts = [reason.text() for reason in reasons]
    result = verdict(reasons)
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
        **{leg: dict(legs.get(leg, {})) for leg in LEGS},
    }
