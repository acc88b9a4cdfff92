"""What a summary says in lines beside its figures, by title. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bidi import isolated
from .digests import digest_lines
from .dumps import FIGURE, dump_lines
from .others import line as others_line
from .overrides import FIGURE as OVERRIDES
from .overrides import override_lines
from .proof import NOT_COMPARED
from .scans import scan_lines
from .windows import slow_lines, window_lines
from .words import leg_head, one_line, said


def note_lines(summary: Mapping[str, Any], lang: str = "en") -> dict[str, list[str]]:
    """Return the lines under each title, in the order they are shown; a title may have none."""
    found = {
        "slow": slow_lines(summary, lang),
        "windows": window_lines(summary, lang),
        "not_moved": [isolated(name, lang) for name in summary.get("not_moved") or ()],
        "not_told": [others_line(str(one), lang) for one in summary.get("not_told") or ()],
        OVERRIDES: override_lines(summary, lang),
        FIGURE: dump_lines(summary, lang),
        "row_digests": digest_lines(summary, lang),
        "full_scans": scan_lines(summary, lang),
        NOT_COMPARED: [
            f"{leg_head(leg, lang)}{_left_out(line, lang)}"
            for leg in ("forward", "back")
            for line in summary.get(leg, {}).get(NOT_COMPARED) or []
        ],
    }
    return {title: [one_line(line) for line in lines] for title, lines in found.items()}


def _left_out(text: str, lang: str) -> str:
    """Return a line `COMPONENT: WHAT: WHY`; its reason in the language as far as it is known how to say that."""
    parts = text.split(": ", 2)
    if len(parts) < 3:
        return text if lang == "fr" else others_line(text, lang)
    component, what, why = parts
    return said("left_out", lang, "note", component=component, what=what, why=others_line(why, lang))
