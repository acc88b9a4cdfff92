"""What a person has let pass with a reason, as the journal has kept it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .others import doubt, line
from .proof import VERIFY
from .words import leg_head, said

FIGURE = "overrides"
# What stands in the journal between a doubt and the reason why a person let it pass.
ALLOWED = "; let pass: "


def gates_passed(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the gates that were let pass, in words."""
    found = [
        f"gate {entry['data'].get('name')} of {entry['component']}: {entry['data']['override']} "
        f"({entry['data'].get('reason')})"
        for entry in entries
        if entry["kind"] == "sample" and entry["data"].get("override")
    ]
    return list(dict.fromkeys(found))


def proofs_passed(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the doubts that were let pass, each with the reason; a later verification asks for the word again."""
    passed: list[str] = []
    for entry in entries:
        data = entry["data"]
        if entry["kind"] == "decision" and isinstance(data.get("passed"), list):
            passed += [str(line) for line in data["passed"]]
        elif entry["kind"] == "state" and data.get("event") == VERIFY:
            passed = [line for line in passed if not line.startswith(f"{entry['component']}.")]
    return list(dict.fromkeys(passed))


def words_given(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what a person has answered for where a site, or a guard, was lost."""
    found = []
    for entry in entries:
        given = entry["data"].get("lost") or entry["data"].get("word")
        if entry["kind"] == "decision" and isinstance(given, Mapping):
            found.append(
                f"{entry['phase']}: the word of {given.get('by')} about {given.get('site')}: {given.get('fenced')}"
            )
    return list(dict.fromkeys(found))


def override_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return them for both legs as a person reads them."""
    return [
        f"{leg_head(leg, lang)}{_passed(text, lang)}"
        for leg in ("forward", "back")
        for text in summary.get(leg, {}).get(FIGURE) or []
    ]


def _passed(text: str, lang: str) -> str:
    said_of, passed, reason = text.partition(ALLOWED)
    return said("passed", lang, "note", doubt=doubt(said_of, lang), reason=reason) if passed else line(text, lang)
