"""A summary as one page of HTML that needs nothing else: each figure leads to the lines of the journal below it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, pass_context
from jinja2.runtime import Context

from ..run import chain
from .bidi import RIGHT_TO_LEFT, bare, direction, english, html, isolated
from .checklist import STATES, TIMES
from .drawn import drawn
from .notes import note_lines
from .record_words import fields, label
from .references import Entry, name
from .rows import LEGS, figure_rows, headline, phase_rows, reason_lines
from .words import LANGUAGES, colon, colophon, one_line, said, word

# Of an entry so many characters are shown; all of it is in the journal.
_LONGEST = 2000
_BAD = ("NOT ", "NON ", "NO-GO", "KO")


def report_html(summary: Mapping[str, Any], entries: Iterable[Entry], lang: str = "en") -> str:
    """Return the report of a run as a page.

    Args:
        summary: the summary, judged.
        entries: the journal of the run, all copies.
        lang: the language.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"expected one of {', '.join(LANGUAGES)}, found {lang}")
    known = [entry for entry in chain.in_order(entries) if entry["kind"] != "step"]
    reasons = reason_lines(summary, lang)
    return template("report.html.j2").render(
        summary=summary,
        lang=lang,
        direction=direction(lang),
        title=said("title", lang, run=summary["run"]),
        colon=colon(lang),
        colophon=colophon(lang),
        headline=headline(summary, lang),
        reasons=reasons,
        record_title=label("title", lang),
        fields=[
            (title, [{**asdict(one), "bad": one.text.startswith(_BAD)} for one in said])
            for title, said in fields(summary, lang, reasons)
        ],
        rows=[{**asdict(row), "journal": _behind(summary, row.names)} for row in figure_rows(summary, lang)],
        phases=[
            {**asdict(row), "journal": _behind(summary, (f"phase:{row.phase}",))[row.of]}
            for row in phase_rows(summary, lang)
        ],
        # WeasyPrint draws the letters of SVG one by one, from the left: no Arabic can be read so.
        plots=drawn(summary, known, "en" if lang in RIGHT_TO_LEFT else lang),
        notes=note_lines(summary, lang),
        journal_title=word("journal", lang, "page"),
        columns=[word(one, lang, "page") for one in ("line", "time", "what", "content")],
        journal=[_shown(entry) for entry in known],
        shown={name(entry) for entry in known} | {""},
        short=_short,
        isolated=partial(isolated, lang=lang),
        word=partial(word, lang=lang),
    )


def checklist_html(title: str, run: str, items: Sequence[Mapping[str, Any]], lang: str) -> str:
    """Return a checklist as a sheet that can be printed and signed.

    Args:
        title: what it is of.
        run: the run.
        items: what `checklist.filled` has returned.
        lang: the language.
    """
    return template("checklist.html.j2").render(
        title=title,
        run=run,
        lang=lang,
        groups=[(word(time, lang, "checklist"), [item for item in items if item["when"] == time]) for time in TIMES],
        states={state: word(state, lang, "checklist") for state in STATES},
        columns=[word(one, lang, "checklist") for one in ("item", "state")],
        direction=direction(lang),
        colophon=colophon(lang),
        report="report.html" if lang == "en" else f"report.{lang}.html",
        short=_short,
        isolated=partial(isolated, lang=lang),
        english=partial(english, lang=lang),
    )


def template(file: str) -> Template:
    """Return a template of this package: what is put into it is text, never markup."""
    environment = Environment(
        loader=PackageLoader("bascule.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finished,
    )
    environment.filters["bare"] = bare
    return environment.get_template(file)


@pass_context
def _finished(context: Context, value: object) -> object:
    """Return what is put into a page, with the isolates of its language as HTML has them."""
    return html(value, context["lang"])


def _behind(summary: Mapping[str, Any], figures: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines of the journal behind figures, by leg."""
    legs = {leg: (summary.get(leg) or {}).get("journal") or {} for leg in LEGS}
    return {
        leg: list(dict.fromkeys(one for figure in figures for one in found.get(figure, ())))
        for leg, found in legs.items()
    }


def _short(line: str) -> str:
    decision, _, number = line.rpartition(".")
    return f"{decision[:6]}.{number}"


def _shown(entry: Entry) -> dict[str, str]:
    text = json.dumps(entry["data"], ensure_ascii=False)
    return {
        "name": name(entry),
        "short": _short(name(entry)),
        "time": str(entry["time"])[:19].replace("T", " "),
        "what": " ".join(str(entry[key]) for key in ("kind", "phase", "verb", "component") if entry[key]),
        "data": one_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"),
    }
