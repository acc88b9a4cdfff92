"""What a summary says in lines beside its figures, by title. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .digests import digest_lines
from .dumps import FIGURE, dump_lines
from .overrides import FIGURE as OVERRIDES
from .overrides import override_lines
from .proof import NOT_COMPARED
from .scans import scan_lines
from .windows import slow_lines, window_lines
from .words import one_line


def note_lines(summary: Mapping[str, Any], lang: str = "en") -> dict[str, list[str]]:
    """Return the lines under each title, in the order they are shown; a title may have none."""
    found = {
        "slow": slow_lines(summary),
        "windows": window_lines(summary),
        "not_moved": [str(name) for name in summary.get("not_moved") or ()],
        OVERRIDES: override_lines(summary),
        FIGURE: dump_lines(summary, lang),
        "row_digests": digest_lines(summary),
        "full_scans": scan_lines(summary),
        NOT_COMPARED: [
            f"{leg}: {line}" for leg in ("forward", "back") for line in summary.get(leg, {}).get(NOT_COMPARED) or []
        ],
    }
    return {title: [one_line(line) for line in lines] for title, lines in found.items()}
