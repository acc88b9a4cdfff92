"""A summary as one page of HTML that needs nothing else: each figure leads to the lines of the journal below it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..run import chain
from .checklist import TIMES
from .drawn import drawn
from .notes import note_lines
from .record_words import fields, label
from .references import Entry, name
from .rows import LEGS, figure_rows, headline, phase_rows, reason_lines
from .words import LANGUAGES, one_line, word

_JOURNAL = {
    "en": "Lines of the journal (the steps of roles stand in journal.jsonl alone)",
    "fr": "Lignes du journal (les étapes des rôles ne figurent que dans journal.jsonl)",
}
_COLUMNS = {"en": ("Line", "Time (UTC)", "What", "Content"), "fr": ("Ligne", "Heure (UTC)", "Objet", "Contenu")}
# Of an entry so many characters are shown; all of it is in the journal.
_LONGEST = 2000
_WHEN = {
    "before": {"en": "Before", "fr": "Avant"},
    "during": {"en": "During", "fr": "Pendant"},
    "after": {"en": "After", "fr": "Après"},
}
_STATES = {
    "yes": {"en": "measured: yes", "fr": "mesuré : oui"},
    "no": {"en": "measured: NO", "fr": "mesuré : NON"},
    "unmeasured": {"en": "not measured", "fr": "non mesuré"},
    "confirmed": {"en": "confirmed by", "fr": "confirmé par"},
    "open": {"en": "open, name:", "fr": "à confirmer, nom :"},
    "not_applicable": {"en": "not applicable:", "fr": "sans objet :"},
}
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
        colon="\N{NO-BREAK SPACE}:" if lang == "fr" else ":",
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
        plots=drawn(summary, known, lang),
        notes=note_lines(summary, lang),
        journal_title=_JOURNAL[lang],
        columns=_COLUMNS[lang],
        journal=[_shown(entry) for entry in known],
        shown={name(entry) for entry in known} | {""},
        short=_short,
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
        groups=[(_WHEN[time][lang], [item for item in items if item["when"] == time]) for time in TIMES],
        states={state: words[lang] for state, words in _STATES.items()},
        columns={"en": ("Item", "State"), "fr": ("Point de contrôle", "État")}[lang],
        report="report.html" if lang == "en" else f"report.{lang}.html",
        short=_short,
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
    )
    return environment.get_template(file)


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
