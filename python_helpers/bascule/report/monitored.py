"""The page of a day of monitoring: what stands where, beside the day and the week before, and who is called. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from ..run import monitor
from ..run.monitor import WITHIN, Judged, Sample
from .bidi import direction, english, isolated, markdown_page
from .page import template
from .words import colon, colophon, counted, markdown, number, said, word


@dataclass(frozen=True)
class Row:
    """A line of the table: a series with its figures, as they are written in one language."""

    component: str
    series: str
    verdict: str
    good: bool
    now: str
    limit: str
    worst: str
    day_before: str
    week_before: str
    reason: str
    call: str


@dataclass(frozen=True)
class Day:
    """What a day's page is made of.

    name: the day's. run: the run's. at: when the last samples were taken, in words. judged: each series now. today,
    day_before, week_before: the samples of those days. people: a name by role.
    """

    name: str
    run: str
    at: str
    judged: Sequence[Judged]
    today: Sequence[Sample]
    day_before: Sequence[Sample]
    week_before: Sequence[Sample]
    people: Mapping[str, str]


def headline(judged: Sequence[Judged], lang: str) -> str:
    """Return the page's first sentence."""
    wrong = sum(one.verdict != WITHIN for one in judged)
    kind = "wrong" if wrong else "fine" if judged else "none"
    if kind == "none":
        return _word(kind, lang)
    return counted(kind, lang, wrong or len(judged), "monitor", all=number(len(judged), lang))


def rows(day: Day, lang: str) -> list[Row]:
    """Return the lines of the table, those that are no good first."""
    found = [_row(one, day, lang) for one in sorted(day.judged, key=lambda one: one.verdict == WITHIN)]
    return [one for one in found if not one.good] + [one for one in found if one.good]


def called(one: Judged, people: Mapping[str, str], lang: str = "en") -> str:
    """Return who is called for a series, or that nobody is named."""
    role = _word(f"role {one.call}", lang).removeprefix("role ")
    name = people.get(one.call)
    return f"{isolated(name, lang)} ({role})" if name else said("nobody", lang, "monitor", role=role)


def page_markdown(day: Day, lang: str) -> str:
    """Return the page as Markdown."""
    told, own, sign = rows(day, lang), partial(_word, lang=lang), colon(lang)
    lines = [f"# {said('title', lang, 'monitor', day=day.name)}", "", f"**{markdown(headline(day.judged, lang))}**", ""]
    lines += [f"{own('run')}{sign} {markdown(isolated(day.run, lang))}  "]
    lines += [f"{own('taken')}{sign} {isolated(day.at, lang)}", ""]
    if wrong := [one for one in told if not one.good]:
        lines += [f"## {own('alarms')}", ""]
        lines += [
            f"- **{one.verdict}** {markdown(one.component)}, {markdown(one.series)}. {own('why')} "
            f"{markdown(english(one.reason, lang))}. {own('call').capitalize()}{sign} {markdown(one.call)}"
            for one in wrong
        ]
        lines += [""]
    heads = [own(name) for name in _COLUMNS]
    lines += [f"## {own('all')}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(markdown(getattr(one, name)) for name in _COLUMNS)} |" for one in told]
    lines += ["", own("median"), *(f"\n{one}" for one in colophon(lang)), ""]
    return markdown_page("\n".join(lines), lang)


def page_html(day: Day, lang: str) -> str:
    """Return the page as HTML that needs nothing else."""
    return template("monitor.html.j2").render(
        day=day,
        lang=lang,
        word=partial(_word, lang=lang),
        headline=headline(day.judged, lang),
        direction=direction(lang),
        title=said("title", lang, "monitor", day=day.name),
        colon=colon(lang),
        colophon=colophon(lang),
        rows=rows(day, lang),
        columns=_COLUMNS,
        isolated=partial(isolated, lang=lang),
        english=partial(english, lang=lang),
    )


_COLUMNS = ("component", "series", "verdict", "now", "limit", "worst", "day_before", "week_before")


def _row(one: Judged, day: Day, lang: str) -> Row:
    series, figure = one.series, partial(_figure, unit=one.unit, lang=lang)
    today = monitor.middle(day.today, series)
    earlier = [_earlier(day_, one, today, lang) for day_ in (day.day_before, day.week_before)]
    where = f" ({isolated(series.where, lang)})" if series.where else ""
    limit = ", ".join(
        f"{word(key, lang, 'bound') if key != 'equals' else ''} {figure(one.limit[key])}".strip()
        for key in ("max", "min", "equals")
        if key in one.limit
    )
    return Row(
        isolated(series.component, lang),
        _word(series.name, lang) + where,
        _word(one.verdict, lang),
        one.verdict == WITHIN,
        figure(one.value),
        limit,
        figure(monitor.worst(day.today, series, one.limit)),
        earlier[0],
        earlier[1],
        one.reason,
        called(one, day.people, lang),
    )


def _earlier(samples: Iterable[Sample], one: Judged, today: Optional[float], lang: str) -> str:
    """Return the figure of an earlier day, and by how much it has changed since."""
    known = list(samples)
    if "equals" in one.limit:
        return _figure(monitor.worst(known, one.series, one.limit), one.unit, lang)
    before = monitor.middle(known, one.series)
    grown = monitor.change(today, before)
    percent = (
        "" if grown is None else f" ({isolated(('+' if grown >= 0 else '-') + number(abs(grown), lang, '%'), lang)})"
    )
    return _figure(before, one.unit, lang) + percent


def _figure(value: Any, unit: str, lang: str) -> str:
    if value is None or value == "":
        return _word("unknown", lang)
    read = value if isinstance(value, (int, float)) and not isinstance(value, bool) else _word(str(value), lang)
    return number(read, lang, _word(unit, lang))


def _word(name: str, lang: str) -> str:
    """Return a word of this page; what has none stands for itself."""
    return word(name, lang, "monitor")
