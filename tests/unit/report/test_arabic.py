"""A page in Arabic runs from right to left, and what runs the other way stands apart in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import Markup

from bascule.plugin import reporting
from bascule.report import bidi, monitored
from bascule.report.io import pdf
from bascule.report.notes import note_lines
from bascule.report.page import checklist_html, report_html
from bascule.report.rows import headline
from bascule.report.text import report_markdown
from bascule.report.words import colophon, counted, number, said, word

from .test_french import WINDOW
from .test_legs import Book
from .test_monitored import DAY
from .test_page import NAMES, book, made
from .test_summary import summary

__all__ = ["book"]
# What Arabic writes in Latin letters, outside any name: units, products, and the words of a decision.
LATIN = {"UTC", "GO", "NO", "KO", "OK", "VPN", "MariaDB", "SHA", "Proxmox"}


def outside(page: str) -> str:
    """Return what of a page's text stands in no `bdi`; plots have a direction of their own."""
    page = re.sub(r"<(style|svg|head)\b.*?</\1>", "", page, flags=re.S)
    while (inner := re.sub(r"<bdi[^>]*>[^<]*</bdi>", "", page)) != page:
        page = inner
    return re.sub(r"<[^>]*>", " ", page)


def test_the_page_says_its_direction_and_keeps_what_runs_the_other_way_apart(book: Book) -> None:
    found, entries = made(book, "other_db")
    found["forward"] |= {**WINDOW, "overrides": ["gate lag of db: WHY (9 s is above 8)"], "guests_moved": {"delta": 3}}
    found["forward"]["full_scans"] = [{"phase": "sync", "component": "tree", "because": "it does not answer"}]
    page = report_html(found, entries, "ar")
    assert '<html lang="ar" dir="rtl">' in page
    assert page.count("<bdi") == page.count("</bdi>")
    assert "بطاقة الترحيل" in outside(page)
    assert set(re.findall(r"[A-Za-z]+", outside(page))) <= LATIN
    assert f'<bdi dir="ltr">{NAMES[0]}</bdi>' in page
    assert '<bdi dir="ltr" lang="en">it does not answer</bdi>' in page, "a line that has no translation"
    assert not re.search("[\u2066-\u2069]", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    assert "text-align: left" not in page
    assert page.count('direction="ltr"') == page.count("<svg") > 0, "time runs from left to right"
    assert colophon("ar")[0].startswith("من عبارات هذه اللغة")
    assert "غير مترجَم: الرسوم" in page.rpartition("<footer>")[2]


def test_a_text_that_turns_what_is_around_it_turns_nothing(book: Book) -> None:
    book.add("decision", "commit", "", "", decision="GO", by="eve \u202eevil\u2069\u2069", direction="forward")
    found, entries = made(book)
    page = report_html(found, entries, "ar")
    assert page.count("<bdi") == page.count("</bdi>")
    assert '<bdi dir="ltr">eve evil</bdi>' in page
    assert bidi.isolated("a\u2069b\u2066c", "ar") == "\u2068abc\u2069"
    assert bidi.isolated("a\u2069b", "en") == "a\u2069b"
    assert bidi.html("<b>\u2068x\u2069", "ar") == Markup('&lt;b&gt;<bdi dir="ltr">x</bdi>')
    assert bidi.html("\u20681 2\u2069", "ar") == Markup('<bdi dir="ltr">\u200e1 2</bdi>')
    nested = bidi.html("\u2068(مُثبَت \u20689 s\u2069)\u2069", "ar")
    assert nested == Markup('<bdi dir="rtl">(مُثبَت <bdi dir="ltr">9 s</bdi>)</bdi>')


def test_the_page_of_markdown_as_well(book: Book) -> None:
    found, _ = made(book)
    page = report_markdown(found, "ar")
    assert page.startswith('<div dir="rtl" lang="ar">\n\n# ')
    assert page.endswith("</div>\n")
    left = re.sub("\u2066[^\u2066-\u2069]*\u2069", "", page)
    while (inner := re.sub("[\u2066\u2068][^\u2066-\u2069]*\u2069", "", left)) != left:
        left = inner
    assert set(re.findall(r"[A-Za-z]+", left)) <= LATIN | {"div", "dir", "rtl", "lang", "ar"}
    for lines in note_lines(summary({**WINDOW, "lost_writes": 1}), "ar").values():
        assert all(line.count("\u2069") == len(re.findall("[\u2066\u2068]", line)) for line in lines)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 قيد"),
        (1, "قيد واحد"),
        (2, "قيدان"),
        (7, "7 قيود"),
        (11, "11 قيدًا"),
        (99, "99 قيدًا"),
        (100, "100 قيد"),
        (103, "103 قيود"),
        (1_234, "1,234 قيدًا"),
    ],
)
def test_six_plural_forms(count: int, text: str) -> None:
    assert bidi.bare(counted("entries", "ar", count, "record")) == text


def test_figures_and_names_stand_apart_each_by_itself() -> None:
    assert number(1234.5, "ar", "s") == "\u20681,234.5\N{NO-BREAK SPACE}s\u2069"
    assert number(None, "ar") == word("none", "ar") == "لا قياس"
    assert said("proved", "ar", "record", component="db") == "مُثبَت: \u2068db\u2069"
    assert word("accounts_db", "ar") == "\u2066accounts_db\u2069"
    left = headline({"result": "ok", "not_moved": ["db", "web"]}, "ar")
    assert left == "سليم؛ لم يُنقَل: \u2068db\u2069, \u2068web\u2069"


def test_the_page_of_a_day_of_monitoring() -> None:
    page = monitored.page_html(DAY, "ar")
    assert '<html lang="ar" dir="rtl">' in page
    assert set(re.findall(r"[A-Za-z]+", outside(page))) <= LATIN
    assert '<bdi dir="ltr" lang="en">' in page, "why a series is no good, as it was measured"
    assert "\n# المراقبة" in monitored.page_markdown(DAY, "ar")


def test_an_item_of_a_checklist_stands_in_english() -> None:
    item = {"id": "x", "when": "before", "en": "Told <b>", "fr": "Dit", "state": "open", "said": {}, "journal": []}
    page = checklist_html("T", "r", [item], "ar")
    assert '<bdi dir="ltr" lang="en">Told &lt;b&gt;</bdi>' in page
    assert "report.ar.html" not in page, "nothing is linked"


def test_a_page_is_not_printed_where_no_font_has_its_letters(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, entries = made(book)
    page = reporting.write(tmp_path, found, "en", entries)
    monkeypatch.setattr(pdf, "_LETTERS", {"ar": "10fffd"})
    pdf.has_letters.cache_clear()
    assert [one.name for one in reporting.not_printed(page)] == ["report.ar.html"]
    monkeypatch.setattr(pdf, "write", lambda path, text: path.write_text(text))
    assert [one.name for one in reporting.write_pdf(page)] == ["report.fr.pdf", "report.pdf"]
    pdf.has_letters.cache_clear()
