"""What became of the dump that each database leaves of its old side: proved by restoring it, or why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bidi import english, isolated
from .words import colon, leg_head, word

FIGURE = "safety_dumps"
VERDICT, REASON = "safety_dump", "safety_dump_reason"


def safety_dumps(facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the verdict on the dump of every component whose verification has one, and the reason where it has."""
    return [
        {"component": name, "verdict": str(found[VERDICT]), "reason": str(found.get(REASON) or "")}
        for name, found in sorted(facts.items())
        if VERDICT in found
    ]


def dump_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return the verdicts of both legs as a person reads them."""
    return [
        f"{leg_head(leg, lang)}{isolated(one['component'], lang)}{colon(lang)} "
        + word(one["verdict"] if one["verdict"] in ("proved", "off") else "unproved", lang)
        + (f" ({english(one['reason'], lang)})" if one["reason"] else "")
        for leg in ("forward", "back")
        for one in summary.get(leg, {}).get(FIGURE) or []
    ]
