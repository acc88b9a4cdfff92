"""How the rows of each database were compared: the mode, and what the digests of its tables were taken of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .words import leg_head, number, said, word


def row_digests(facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mode and the number of tables per kind of digest, for every component that has compared rows."""
    return [
        {"component": component, "mode": str(found["mode"]), "tables": dict(found["digested"])}
        for component, found in sorted(facts.items())
        if found.get("digested")
    ]


def digest_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return them for both legs as a person reads them."""
    return [
        leg_head(leg, lang)
        + said(
            "digests", lang, "note", component=one["component"], mode=word(one["mode"], lang), kinds=_kinds(one, lang)
        )
        for leg in ("forward", "back")
        for one in summary.get(leg, {}).get("row_digests") or []
    ]


def _kinds(one: Mapping[str, Any], lang: str) -> str:
    return ", ".join(
        said("digest", lang, "note", kind=word(kind, lang), count=number(count, lang))
        for kind, count in sorted(one["tables"].items())
    )
