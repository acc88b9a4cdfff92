"""The page of a day of monitoring: what stands where, beside the day and the week before, and who is called. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from ..run import monitor
from ..run.monitor import WITHIN, Judged, Sample
from .page import template
from .words import markdown, number

_WORDS: Mapping[str, Mapping[str, str]] = {
    "title": {"en": "Monitoring, {day}", "fr": "Surveillance, {day}"},
    "fine": {
        "en": "OK: all {count} series are within their limits",
        "fr": "OK, les {count} séries sont dans leurs limites",
    },
    "wrong": {
        "en": "ALARM: {wrong} of {count} series are not within their limits",
        "fr": "ALERTE, {wrong} séries sur {count} ne sont pas dans leurs limites",
    },
    "none": {"en": "ALARM: no series was looked at", "fr": "ALERTE, aucune série n'a été relevée"},
    "alarms": {"en": "Alarms", "fr": "Alertes"},
    "all": {"en": "All series", "fr": "Toutes les séries"},
    "component": {"en": "Component", "fr": "Composant"},
    "series": {"en": "Series", "fr": "Série"},
    "verdict": {"en": "Verdict", "fr": "Verdict"},
    "now": {"en": "Now", "fr": "Actuel"},
    "limit": {"en": "Limit", "fr": "Limite"},
    "worst": {"en": "Worst of the day", "fr": "Pire du jour"},
    "day_before": {"en": "Day before", "fr": "Veille"},
    "week_before": {"en": "Week before", "fr": "Semaine précédente"},
    "call": {"en": "call", "fr": "appeler"},
    "nobody": {"en": "nobody is named for {role}", "fr": "personne n'est nommé pour {role}"},
    "unknown": {"en": "not known", "fr": "inconnu"},
    "run": {"en": "Run", "fr": "Exécution"},
    "taken": {"en": "Last samples", "fr": "Derniers relevés"},
    "median": {
        "en": "Day before and week before are medians of their day; the change is that of today's median.",
        "fr": "Veille et semaine précédente : médianes de la journée ; l'évolution est celle de la médiane du jour.",
    },
    "why": {"en": "As measured:", "fr": "Mesure (texte d'origine) :"},
    WITHIN: {"en": "within", "fr": "dans la limite"},
    monitor.OVER: {"en": "OVER", "fr": "HORS LIMITE"},
    monitor.ABSENT: {"en": "ABSENT", "fr": "ABSENTE"},
    monitor.STALE: {"en": "STALE", "fr": "PÉRIMÉE"},
    monitor.UNREADABLE: {"en": "UNREADABLE", "fr": "ILLISIBLE"},
    "serves": {"en": "it serves", "fr": "le service répond"},
    "replication": {"en": "what is written comes to the other side", "fr": "les écritures arrivent sur l'autre site"},
    "replication_lag": {"en": "replication lag", "fr": "retard de réplication"},
    "requests_failed": {"en": "users' requests that failed", "fr": "requêtes d'utilisateur en échec"},
    "latency": {"en": "slowest of users' requests", "fr": "requête d'utilisateur la plus lente"},
    "certificate_days": {"en": "certificate is good for", "fr": "validité du certificat"},
    "disk_used": {"en": "fullest file system in use", "fr": "système de fichiers le plus rempli"},
    "load": {"en": "load for each processor", "fr": "charge par processeur"},
    "journal_errors": {"en": "errors in the system's journal", "fr": "erreurs dans le journal système"},
    "yes": {"en": "yes", "fr": "oui"},
    "no": {"en": "NO", "fr": "NON"},
    "role lead": {"en": "lead", "fr": "responsable"},
    "role system": {"en": "system", "fr": "système"},
    "role dba": {"en": "DBA", "fr": "DBA"},
    "role network": {"en": "network", "fr": "réseau"},
    "role tester": {"en": "tester", "fr": "testeur"},
    "d": {"en": "d", "fr": "j"},
}
_BOUNDS: Mapping[str, Mapping[str, str]] = {
    "max": {"en": "at most", "fr": "au plus"},
    "min": {"en": "at least", "fr": "au moins"},
    "equals": {"en": "", "fr": ""},
}


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
    return _word(kind, lang).format(wrong=wrong, count=len(judged))


def rows(day: Day, lang: str) -> list[Row]:
    """Return the lines of the table, those that are no good first."""
    found = [_row(one, day, lang) for one in sorted(day.judged, key=lambda one: one.verdict == WITHIN)]
    return [one for one in found if not one.good] + [one for one in found if one.good]


def called(one: Judged, people: Mapping[str, str], lang: str = "en") -> str:
    """Return who is called for a series, or that nobody is named."""
    role = _word(f"role {one.call}", lang).removeprefix("role ")
    name = people.get(one.call)
    return f"{name} ({role})" if name else _word("nobody", lang).format(role=role)


def page_markdown(day: Day, lang: str) -> str:
    """Return the page as Markdown."""
    told, word = rows(day, lang), partial(_word, lang=lang)
    colon = "\N{NO-BREAK SPACE}:" if lang == "fr" else ":"
    lines = [f"# {word('title').format(day=day.name)}", "", f"**{markdown(headline(day.judged, lang))}**", ""]
    lines += [f"{word('run')}{colon} {markdown(day.run)}  ", f"{word('taken')}{colon} {day.at}", ""]
    if wrong := [one for one in told if not one.good]:
        lines += [f"## {word('alarms')}", ""]
        lines += [
            f"- **{one.verdict}** {markdown(one.component)}, {markdown(one.series)}. {word('why')} "
            f"{markdown(one.reason)}. {word('call').capitalize()}{colon} {markdown(one.call)}"
            for one in wrong
        ]
        lines += [""]
    heads = [word(name) for name in _COLUMNS]
    lines += [f"## {word('all')}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(markdown(getattr(one, name)) for name in _COLUMNS)} |" for one in told]
    return "\n".join([*lines, "", word("median"), ""])


def page_html(day: Day, lang: str) -> str:
    """Return the page as HTML that needs nothing else."""
    return template("monitor.html.j2").render(
        day=day,
        lang=lang,
        word=partial(_word, lang=lang),
        headline=headline(day.judged, lang),
        colon="\N{NO-BREAK SPACE}:" if lang == "fr" else ":",
        rows=rows(day, lang),
        columns=_COLUMNS,
    )


_COLUMNS = ("component", "series", "verdict", "now", "limit", "worst", "day_before", "week_before")


def _row(one: Judged, day: Day, lang: str) -> Row:
    series, figure = one.series, partial(_figure, unit=one.unit, lang=lang)
    today = monitor.middle(day.today, series)
    earlier = [_earlier(day_, one, today, lang) for day_ in (day.day_before, day.week_before)]
    where = f" ({series.where})" if series.where else ""
    limit = ", ".join(
        f"{words[lang]} {figure(one.limit[key])}".strip() for key, words in _BOUNDS.items() if key in one.limit
    )
    return Row(
        series.component,
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
    percent = "" if grown is None else f" ({'+' if grown >= 0 else '-'}{number(abs(grown), lang)} %)"
    return _figure(before, one.unit, lang) + percent.replace(" %", "\N{NO-BREAK SPACE}%")


def _figure(value: Any, unit: str, lang: str) -> str:
    if value is None or value == "":
        return _word("unknown", lang)
    read = value if isinstance(value, (int, float)) and not isinstance(value, bool) else _word(str(value), lang)
    return number(read, lang, _word(unit, lang))


def _word(name: str, lang: str) -> str:
    """Return a word of this page; what has none stands for itself."""
    return _WORDS.get(name, {}).get(lang, name)
