"""Lines that others have written in English, in a reader's language: French, or as they were written. Pure."""

from __future__ import annotations

from . import french, french_lines
from .bidi import english


def line(text: str, lang: str) -> str:
    """Return a line of a report."""
    return french_lines.line(text) if lang == "fr" else english(text, lang)


def doubt(text: str, lang: str) -> str:
    """Return a doubt about a proof (`COMPONENT.FIGURE: WHY`), in English with the name of its figure."""
    return french.french(text) if lang == "fr" else english(text, lang)


def labelled(text: str, lang: str) -> str:
    """Return a doubt about a proof with the label of its figure."""
    return french.french(text) if lang == "fr" else english(french.labelled(text), lang)


def broken(text: str, lang: str) -> str:
    """Return what is said of a verb that did not come through."""
    return french.broken(text) if lang == "fr" else english(text, lang)


def moments(text: str, lang: str) -> str:
    """Return a text with its dates and times as the language writes them."""
    return french_lines.moments(text) if lang == "fr" else text
