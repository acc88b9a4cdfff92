"""A summary as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from .bidi import isolated, markdown_page
from .french_lines import typography
from .judge import MEASURED_OUTSIDE
from .notes import note_lines
from .others import moments
from .record_words import fields, label
from .rows import LEGS, figure_rows, headline, phase_rows, reason_lines
from .words import LANGUAGES, colon, colophon, markdown, said, word


def report_markdown(summary: Mapping[str, Any], lang: str = "en") -> str:
    """The report of a run."""
    if lang not in LANGUAGES:
        raise ValueError(f"expected one of {', '.join(LANGUAGES)}, found {lang}")
    environment = Environment(
        loader=PackageLoader("bascule.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown
    environment.filters["isolated"] = partial(isolated, lang=lang)
    reasons = reason_lines(summary, lang)
    page = environment.get_template("report.md.j2").render(
        summary=summary,
        title=said("title", lang, run=summary["run"]),
        times=said(
            "times",
            lang,
            "page",
            begin=moments(str(summary.get("started")), lang),
            end=moments(str(summary.get("ended")), lang),
        ),
        colon=colon(lang),
        colophon=colophon(lang),
        headline=headline(summary, lang),
        reasons=reasons,
        record_title=label("title", lang),
        fields=fields(summary, lang, reasons),
        # A run of which no leg was reached has no figures.
        rows=figure_rows(summary, lang) if any(summary.get(leg) for leg in LEGS) else [],
        phases=phase_rows(summary, lang),
        notes=note_lines(summary, lang),
        outside=any(summary.get(leg, {}).get(MEASURED_OUTSIDE) is not False for leg in summary.get("legs", LEGS)),
        word=partial(word, lang=lang),
    )
    return typography(page) if lang == "fr" else markdown_page(page, lang)
