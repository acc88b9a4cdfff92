"""The catalogues of words: nothing without a text, the same values everywhere, every plural form, marks and counts."""

from __future__ import annotations

import ast
import gettext
import io
import re
import string
from functools import cache
from pathlib import Path

import pytest
from babel.core import Locale
from babel.messages import Catalog, Message
from babel.messages.mofile import read_mo
from tools import words as tool

from bascule.report import checklist, words
from bascule.report.record import FIELDS
from bascule.report.rows import figure_rows
from bascule.report.words import LANGUAGES, colophon, counted, said, word
from bascule.run.verbs import VERBS

SOURCES = sorted(Path(words.__file__).parent.glob("*.py"))
TEMPLATES = sorted((Path(words.__file__).parent / "templates").glob("*.j2"))
OTHERS = [lang for lang in LANGUAGES if lang != "en"]
# Of a number that stands in the words themselves (one, two) no figure need be said.
COUNT = frozenset({"count"})


@cache
def catalogue(lang: str) -> Catalog:
    """Return a language's catalogue."""
    return tool.read(lang)


def phrases(of: str = "") -> set[str]:
    """Return the names of all phrases of one sort."""
    return {
        one.id if isinstance(one.id, str) else one.id[0]
        for one in tool.messages(catalogue("en"))
        if (one.context or "") == of
    }


def key(message: Message) -> tuple[str, str]:
    """Return what a phrase is looked up by."""
    return message.context or "", message.id if isinstance(message.id, str) else message.id[0]


def values(text: str) -> set[str]:
    """Return what is put into a text."""
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_language_has_its_catalogue() -> None:
    assert tool.languages() == sorted(LANGUAGES, key=lambda one: (one != "en", one))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_catalogue_has_every_phrase_and_what_is_compiled_is_what_it_says(lang: str) -> None:
    made = tool.brought_in_line(catalogue(lang), catalogue("en"), lang)
    assert tool.text_of(made) == tool.text_of(catalogue_like(lang)), "run: make words"
    path = tool.path_of(lang).with_suffix(".mo")
    kept, fresh = (read_mo(io.BytesIO(one)) for one in (path.read_bytes(), tool.compiled(made, lang)))
    assert [(key(one), one.string) for one in tool.messages(kept)] == [
        (key(one), one.string) for one in tool.messages(fresh)
    ], "run: make words"


def catalogue_like(lang: str) -> Catalog:
    """Return the catalogue with the head that the tool would write."""
    found = tool.brought_in_line(catalogue("en"), catalogue("en"), lang)
    for one in list(tool.messages(found)):
        found.delete(key(one)[1], one.context)
    for one in tool.messages(catalogue(lang)):
        found.add(one.id, one.string, auto_comments=one.auto_comments, context=one.context)
    return found


@pytest.mark.parametrize("lang", OTHERS)
def test_nothing_is_untranslated_and_the_same_values_stand_in_every_language(lang: str) -> None:
    for one in tool.messages(catalogue("en")):
        other = catalogue(lang).get(key(one)[1], one.context)
        assert other
        told = tool.texts(other)
        assert all(told), f"{key(one)} has no text in {lang}"
        for text in told:
            wanted = values(tool.texts(one)[-1])
            lacking = wanted - values(text)
            assert values(text) <= wanted, (key(one), text)
            assert lacking <= (COUNT if one.pluralizable else set()), (key(one), text)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_plural_form_of_the_language_is_there(lang: str) -> None:
    """French has three, as CLDR says: a million is said with `de`."""
    rule = Locale.parse(lang).plural_form
    forms = {"en": 2, "fr": 3, "ar": 6}[lang]
    assert len(rule.tags) + 1 == forms
    counts = (0, 1, 2, 3, 11, 100, 1_000_000, 5_000_003)
    for one in tool.messages(catalogue(lang)):
        if one.pluralizable:
            told = tool.texts(one)
            assert len(told) == forms
            by_rule = {rule(count): catalogue_form(lang, count) for count in counts}
            assert sorted(by_rule.values()) == list(range(forms)), "these counts have every form"


def catalogue_form(lang: str, count: int) -> int:
    """Return which form gettext takes."""
    found: int = gettext.c2py(catalogue(lang).plural_expr)(count)
    return found


def test_what_code_and_pages_ask_for_is_there() -> None:
    asked: set[tuple[str, str]] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                at = {"word": 2, "said": 2, "counted": 3}.get(node.func.id)
                given = [one.value if isinstance(one, ast.Constant) else None for one in node.args]
                if at and given[0] is not None:
                    asked.add((str((given[at:] or [""])[0]), str(given[0])))
    for template in TEMPLATES:
        text = template.read_text(encoding="utf-8")
        sort = "monitor" if template.name.startswith("monitor") else ""
        asked |= {(sort, name) for name in re.findall(r'word\("(\w+)"\)', text)}
    assert len(asked) > 40
    known = {key(one) for one in tool.messages(catalogue("en"))}
    assert asked - known == set()
    assert phrases("label") == {"title", *FIELDS}
    assert set(checklist.STATES) | set(checklist.TIMES) <= phrases("checklist")
    assert set(VERBS) - {"state"} <= phrases()
    rows = figure_rows({"forward": dict.fromkeys(["rows_compared", "disks_compared"], 1)}, "en")
    assert {name for row in rows for name in row.names if name.startswith(("rows", "disks"))} <= phrases()


def test_a_name_without_a_word_stands_for_itself() -> None:
    assert word("", "fr") == ""
    assert word("accounts_db", "fr") == "accounts_db"
    assert word("limit", "fr", "no such sort") == "limit"
    assert said("proved", "fr", "record", component="a{b}") == "PROUVÉ : a{b}", "what is put in is no sentence"


@pytest.mark.parametrize(
    ("lang", "count", "text"),
    [
        ("en", 1, "1 entry"),
        ("en", 0, "0 entries"),
        ("fr", 0, "0 entrée"),
        ("fr", 2, "2 entrées"),
        ("fr", 1_000_000, "1 000 000 d'entrées"),
        ("fr", 1_000_001, "1 000 001 entrées"),
    ],
)
def test_a_number_has_its_form(lang: str, count: int, text: str) -> None:
    assert counted("entries", lang, count, "record").replace("\N{NARROW NO-BREAK SPACE}", " ") == text


def test_the_colophon_says_how_much_nobody_has_reviewed() -> None:
    assert colophon("en") == []
    marked = sum(tool.UNREVIEWED in one.auto_comments for one in tool.messages(catalogue("fr")))
    assert f"Sur les {len(tool.messages(catalogue('en')))} libellés de cette langue, {marked} " in colophon("fr")[0]


def test_a_text_whose_english_has_changed_is_marked_again_and_a_new_phrase_has_none() -> None:
    source, old = Catalog(locale="en"), Catalog(locale="fr")
    source.add("limit", "Bound")
    source.add("new", ("{count} thing", "{count} things"), context="x")
    source.add("kept", "Kept")
    old.add("limit", "Limite", auto_comments=["English: Limit"])
    old.add("kept", "Gardé", auto_comments=["English: Kept"])
    old.add("gone", "Parti")
    made = tool.brought_in_line(old, source, "fr")
    found = {key(one): (one.string, one.auto_comments) for one in tool.messages(made)}
    assert found == {
        ("", "limit"): ("Limite", ["unreviewed", "English: Bound"]),
        ("", "kept"): ("Gardé", ["English: Kept"]),
    } | {("x", "new"): ("", ["unreviewed", "English: {count} thing | {count} things"])}
