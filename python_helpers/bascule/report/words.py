"""The words of a report in the languages its readers speak. Figures keep their names; only labels are translated.

They stand in catalogues (`locale/LANGUAGE/LC_MESSAGES/bascule.po`) under the names that code and figures have; what
gettext reads is compiled from these by `make words`.
"""

from __future__ import annotations

import gettext
import re
from functools import cache
from pathlib import Path

from .bidi import english, isolated

LANGUAGES = ("en", "fr", "ar")
LOCALE = Path(__file__).parent / "locale"
DOMAIN = "bascule"
# What the tool that compiles a catalogue has counted in it.
COUNTS = "catalogue"


def word(name: str, lang: str, of: str = "") -> str:
    """The word in the language; a name without a translation stands for itself.

    Args:
        name: the name.
        lang: the language.
        of: what the name is one of, as the catalogue says it (`msgctxt`); nothing for most.
    """
    if not name:
        return ""
    found = _found(name, lang, of)
    return english(_found(name, "en", of), lang) if found == name else found


def said(name: str, lang: str, of: str = "", /, **values: object) -> str:
    """Return a sentence with its values put in, each kept apart from a text that runs the other way."""
    return word(name, lang, of).format(**{key: isolated(value, lang) for key, value in values.items()})


def counted(name: str, lang: str, count: int, of: str = "", /, **values: object) -> str:
    """Return a sentence about a number of things, in the form that the language has for this number.

    Args:
        name: the name of the sentence.
        lang: the language.
        count: how many; the sentence has it as `count`.
        of: what the name is one of.
        values: what else is put in.
    """
    found = _catalogue(lang).npgettext(of, name, name, count)
    if found == name:
        found = english(_catalogue("en").npgettext(of, name, name, count), lang)
    told = {key: isolated(value, lang) for key, value in values.items()}
    return found.format(count=number(count, lang), **told)


def colon(lang: str) -> str:
    """Return the colon of a language, with what stands before it."""
    return word("colon", lang, "sign")


def colophon(lang: str) -> list[str]:
    """Return what a reader has to know of the words of a page: who has reviewed them, and what is not translated."""
    unreviewed, phrases = (_found(name, lang, COUNTS) for name in ("unreviewed", "phrases"))
    lines = [counted("unreviewed", lang, int(unreviewed), "colophon", all=phrases)] if unreviewed.isdigit() else []
    return lines + ([word("in_english", lang, "colophon")] if english("x", lang) != "x" else [])


def _found(name: str, lang: str, of: str) -> str:
    told = _catalogue(lang)
    return told.pgettext(of, name) if of else told.gettext(name)


@cache
def _catalogue(lang: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, [lang])


def leg_head(leg: str, lang: str) -> str:
    """What stands before a line about one leg."""
    return f"{word(leg, lang, 'leg')}{colon(lang)} "


def number(value: object, lang: str, unit: str = "") -> str:
    """A figure as it is written in the language, thousands set apart.

    Arabic has the digits and signs that CLDR gives for `ar` with Latin digits (1,234.5): they differ by country.
    """
    if value is None:
        return word("none", lang)
    if unit == "s" and isinstance(value, float):
        # A tenth is enough to read, but a little is not nothing.
        text = f"{value:,.3f}" if 0 < value < 0.1 else f"{value:,.1f}"
    elif isinstance(value, float) and not value.is_integer():
        text = f"{value:,.2f}"
    elif isinstance(value, (int, float)):
        text = f"{int(value):,}"
    else:
        return str(value)
    if lang in _COMMA:
        text = text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace(".", ",")
    return isolated(f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text, lang)


_COMMA = frozenset({"fr", "zgh"})


def one_line(text: str) -> str:
    """Return a text of somebody else as one line, without what moves a terminal's cursor."""
    return re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def markdown(text: object) -> str:
    """Return a text as one line of a page, in which nothing of it is markup."""
    line = re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)|^[#+\-]", r"\\\g<0>", one_line(str(text)))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", line)
