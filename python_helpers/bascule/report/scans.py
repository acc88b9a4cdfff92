"""Which transfers looked at a whole tree instead of changed names alone, and why: from the journal of a run. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from .others import line
from .records import Leg
from .words import said, word


def full_scans(lines: Iterable[str], leg: Leg) -> list[dict[str, str]]:
    """Return the full scans of a leg in their order; a line that cannot be read was never written whole."""
    found = []
    for text in lines:
        # Most entries are about something else, and parsing all of them costs.
        if '"transfer"' not in text:
            continue
        try:
            entry = json.loads(text)
            data = entry["data"]
            scan = data["event"] == "transfer" and data["found"].get("scan_because")
            at = datetime.datetime.fromisoformat(entry["time"]).timestamp()
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if scan and leg.start <= at < leg.end:
            found.append(
                {"phase": str(entry.get("phase")), "component": str(entry.get("component")), "because": str(scan)}
            )
    return found


def scan_lines(summary: Mapping[str, Any], lang: str = "en") -> list[str]:
    """Return the full scans of both legs as a person reads them."""
    return [
        said(
            "scan",
            lang,
            "note",
            leg=word(leg, lang, "leg"),
            phase=word(one["phase"], lang),
            component=one["component"],
            because=line(one["because"], lang),
        )
        for leg in ("forward", "back")
        for one in summary.get(leg, {}).get("full_scans") or []
    ]
