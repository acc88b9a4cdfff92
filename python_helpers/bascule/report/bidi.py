"""Keeps names, figures and foreign lines apart from the text around them where that runs from right to left. Pure.

Sources: Unicode Standard Annex 9 (isolates: U+2066, U+2068, U+2069), HTML's `bdi`.
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup

RIGHT_TO_LEFT = frozenset({"ar"})
# The languages into which the lines of others are put (`french_lines`), and that in which they are written.
_READ = frozenset({"en", "fr"})
_LTR, _FIRST, _END = "\N{LEFT-TO-RIGHT ISOLATE}", "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
# Marks by which a text of somebody else could turn what stands around it.
_TURNS = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e]")
_ISOLATES = re.compile(r"([\u2066-\u2069])")
_TAGS = {
    _LTR: Markup('<bdi dir="ltr" lang="en">'),
    "L": Markup('<bdi dir="ltr">'),
    "R": Markup('<bdi dir="rtl">'),
    _END: Markup("</bdi>"),
}


def isolated(value: object, lang: str) -> str:
    """Return a value as it stands in a line of a language: its own first letter says where it runs."""
    return f"{_FIRST}{_harmless(str(value))}{_END}" if lang in RIGHT_TO_LEFT else str(value)


def english(text: str, lang: str) -> str:
    """Return a line that has no translation: English, kept apart in a language that has not all of them."""
    return text if not text or lang in _READ else f"{_LTR}{_harmless(text)}{_END}"


def direction(lang: str) -> str:
    """Return where a page of a language begins its lines, as HTML says it."""
    return "rtl" if lang in RIGHT_TO_LEFT else "ltr"


def markdown_page(text: str, lang: str) -> str:
    """Return a page of Markdown that says where its lines begin, where that is not the left."""
    return f'<div dir="rtl" lang="{lang}">\n\n{text}\n</div>\n' if lang in RIGHT_TO_LEFT else text


def bare(text: str) -> str:
    """Return a text without isolates, for a place where only text may stand."""
    return _ISOLATES.sub("", text)


def html(value: object, lang: str) -> object:
    """Return a text with `bdi` instead of isolates, escaped; what is no text, or already HTML, stays."""
    if not isinstance(value, str) or isinstance(value, Markup) or lang in _READ or not _ISOLATES.search(value):
        return value
    parts = _ISOLATES.split(_harmless(value))
    for place, part in enumerate(parts):
        if part == _FIRST:
            # A printer that knows no `bdi` by itself goes by its direction, and by letters: a moment has none.
            parts[place] = _first_strong("".join(parts[place + 1 :]))
            parts[place + 1] = _led(parts[place + 1])
    return Markup("").join(_TAGS[part] if place % 2 else part for place, part in enumerate(parts))


def _led(text: str) -> str:
    """Return a text with a mark before it, where it has several parts and no letter that says where they run."""
    return f"\N{LEFT-TO-RIGHT MARK}{text}" if " " in text and not any(map(str.isalpha, text)) else text


def _first_strong(text: str) -> str:
    """Return `R` where the first letter that has a direction runs from right to left, else `L`."""
    found = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return "L" if found == "L" else "R"


def _harmless(text: str) -> str:
    """Return a text without marks that reach beyond its end."""
    text, depth = _TURNS.sub("", text), 0
    for mark in _ISOLATES.findall(text):
        depth += -1 if mark == _END else 1
        if depth < 0 or mark not in (_LTR, _FIRST, _END):
            return bare(text)
    return bare(text) if depth else text
