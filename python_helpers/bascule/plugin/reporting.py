"""Makes the report of a run, out of its journal and of what the inventory says of its plan."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import BasculeError, PlanError
from ..report import checklist, legs, references
from ..report.bidi import english, isolated
from ..report.figures import acknowledged_idents, pauses
from ..report.io import accounts, checklists, pdf
from ..report.judge import MEASURED_OUTSIDE
from ..report.legs import Moved
from ..report.page import checklist_html, report_html
from ..report.record import record
from ..report.rows import headline, reason_lines
from ..report.summary import build
from ..report.text import report_markdown
from ..report.words import LANGUAGES, colon, word
from ..run import chain, notices, runs
from ..run.chain import Reading
from ..run.io.journal import Journal, read_copies
from ..system.io import storage
from .action import Scope

SUMMARY = "summary.json"
# Where the controller's own copy of the journal lies.
HERE = "here"
# The variable that says in which language an operator reads it.
LANGUAGE = "report_language"
# What an account from outside stands behind is kept under this mark when a report without one is made.
_MEASURED = "measured"


def make(
    scope: Scope, run: str, copies: Mapping[str, Reading], given: str = "", silent: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the summary of a run, judged.

    Args:
        scope: the variables of the run's plan.
        run: its name.
        copies: its journal, by the place where each copy lies; each is looked at by itself.
        given: the directory of what somebody outside has written; without it the report says that nobody measured.
        silent: the sites whose copy could not be read, and why.
    """
    entries = entries_of(copies)
    if other := [name for name in runs.plans(runs.starts(entries)) if name != scope.plan]:
        raise PlanError(
            expected=f"run {run} to be one of plan {scope.plan}, as this inventory is",
            found=f"a run of plan {', '.join(other)}",
            state="no report was made",
            next_command="name the inventory of that plan (-i), or a run of this one (-e run=RUN)",
        )
    moved = legs.read(entries)
    outside = accounts.read(Path(given)) if given else None
    expected = scope.get("plan_expected_seconds") or {}
    figures: dict[str, dict[str, Any]] = {}
    carried: frozenset[str] = frozenset()
    for name, one in moved.items():
        figures[name] = {**legs.figures(one, expected, outside, carried), "journal": references.of_leg(one)}
        if outside:
            seen = legs.seen_leg(one, outside)
            figures[name]["outages"] = pauses(outside.client, seen)
            carried |= acknowledged_idents(outside.client, outside.probes, seen, outside.data)
    broken = chain.problems(copies)
    made = build(
        run=run,
        plan=scope.plan,
        legs=figures,
        active_site=_active_site(scope, legs.active(entries)),
        limits=scope.get("plan_limits") or {},
        expected_site=_expected_site(scope, moved),
        expected_legs=list(moved) or [legs.FORWARD_LEG],
        started=_words(min((one.leg.start for one in moved.values()), default=None)),
        ended=_words(max((one.leg.end for one in moved.values()), default=None)),
        unseen=[*_unread(copies, silent or {}), *chain.contradictions(entries)],
        failure=f"journal: the chain is broken: {'; '.join(broken[:3])}" if broken else None,
    )
    reported = {name for one in moved.values() for name in one.facts}
    made["journal"] = chain.heads(entries)
    made["not_told"] = notices.not_told(entries)
    made["not_moved"] = [name for name in scope.components if name not in reported]
    return {**made, "record": record(made, entries)}


def gathered(scope: Scope, journal: Journal) -> tuple[dict[str, Reading], dict[str, str]]:
    """Return the copies of the run's journal, and why that of a site could not be read.

    The sites are asked only where another controller's chain is not here.
    """
    local = journal.read()
    if not _heads_not_read(local.entries):
        return {HERE: local}, {}
    copies, silent = read_copies(journal.run, scope.journal_targets())
    return {HERE: local, **copies}, dict(silent)


def entries_of(copies: Mapping[str, Reading]) -> list[chain.Entry]:
    """Return the entries of all copies."""
    return chain.merge(*(one.entries for one in copies.values()))


def write(directory: Path, summary: Mapping[str, Any], lang: str, entries: Iterable[chain.Entry]) -> Path:
    """Write summary.json, and in each language a page of Markdown and one of HTML; return the Markdown in this one.

    `entries` are those of the journal, all copies.
    """
    storage.make_directory(directory, 0o700)
    try:
        before = storage.read_json(directory / SUMMARY)
    except (BasculeError, OSError, ValueError):
        # What nobody can read any more keeps no new one away.
        before = None
    if isinstance(before, Mapping) and _was_measured(before) and not _was_measured(summary):
        _write(directory, before, entries, f".{_MEASURED}")
    page = _write(directory, summary, entries)[lang]
    _write_checklist(directory, summary, entries)
    return page


def write_pdf(page: Path) -> list[Path]:
    """Print the pages of HTML beside a page as PDF, where WeasyPrint is installed; return what was made."""
    found = [one for one in _pages(page) if pdf.has_letters(_language_of(one))]
    for one in found:
        pdf.write(one.with_suffix(".pdf"), storage.read_text(one) or "")
    return [one.with_suffix(".pdf") for one in found]


def not_printed(page: Path) -> list[Path]:
    """Return the pages of HTML beside a page that `write_pdf` leaves, as no font here has their letters."""
    return [one for one in _pages(page) if not pdf.has_letters(_language_of(one))]


def mark(lang: str) -> str:
    """Return what stands in a file's name for a language; English has nothing."""
    return "" if lang == LANGUAGES[0] else f".{lang}"


def language(scope: Scope) -> str:
    """Return the language in which the operator reads a report.

    Raises:
        PlanError: there is no report in that language.
    """
    lang = str(scope.get(LANGUAGE) or LANGUAGES[0])
    if lang not in LANGUAGES:
        raise PlanError(
            expected=f"{LANGUAGE}: one of {', '.join(LANGUAGES)}",
            found=lang,
            state="no report was made",
            next_command=f"the same command with -e {LANGUAGE}={LANGUAGES[0]}",
        )
    return lang


def lines(summary: Mapping[str, Any], page: Path, lang: str) -> list[str]:
    """Return what an operator is told: the verdict, why not, and where all of it is."""
    sign, where = colon(lang), isolated(os.path.relpath(page), lang)
    said = [f"{word('report', lang)}{sign} {where}{sign} {headline(summary, lang)}"]
    return said + [f"  {line}" for line in reason_lines(summary, lang)]


def _heads_not_read(entries: Iterable[chain.Entry]) -> dict[str, str]:
    """Return the heads that a start entry has seen at a site and that are not among these, by chain."""
    known = list(entries)
    here = {str(entry["hash"]) for entry in known}
    return {
        str(name): str(head)
        for entry in runs.starts(known)
        for heads in (entry["data"].get("heads") or {}).values()
        for name, head in heads.items()
        if str(head) not in here
    }


def _unread(copies: Mapping[str, Reading], silent: Mapping[str, str]) -> list[str]:
    """Return what of the journal nobody has read for this report, in words."""
    lost = _heads_not_read(entry for one in copies.values() for entry in one.entries)
    return [
        *(f"journal: chain {name} was seen up to {head[:12]}, and was not read" for name, head in sorted(lost.items())),
        *(f"journal: the copy at {site} was not read: {why}" for site, why in sorted(silent.items())),
        *(
            f"journal: {len(one.broken)} line{'' if len(one.broken) == 1 else 's'} of the copy {place} "
            f"{'is' if len(one.broken) == 1 else 'are'} no entry"
            for place, one in copies.items()
            if one.broken
        ),
    ]


def _write(
    directory: Path, summary: Mapping[str, Any], entries: Iterable[chain.Entry], kept: str = ""
) -> dict[str, Path]:
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    storage.write_durably(directory / SUMMARY.replace(".", f"{kept}.", 1), text)
    pages = {lang: directory / f"report{kept}{mark(lang)}.md" for lang in LANGUAGES}
    for lang, page in pages.items():
        storage.write_durably(page, report_markdown(summary, lang))
        storage.write_durably(page.with_suffix(".html"), report_html(summary, entries, lang))
    return pages


def _write_checklist(directory: Path, summary: Mapping[str, Any], entries: Iterable[chain.Entry]) -> None:
    """Write the checklist of the run in each language, where it has one."""
    if (asked := checklists.read(directory)) is None:
        return
    declared, answers = asked
    items = checklist.filled(declared["items"], answers, summary, entries)
    for lang in LANGUAGES:
        titles = declared.get("title") or {}
        title = str(titles.get(lang) or english(str(titles.get("en") or ""), lang) or word("report", lang))
        sheet = checklist_html(title, str(summary["run"]), items, lang)
        storage.write_durably(directory / f"checklist{mark(lang)}.html", sheet)


def _pages(page: Path) -> list[Path]:
    return [one for one in storage.children(page.parent) if one.suffix == ".html" and pdf.can_be_made()]


def _language_of(page: Path) -> str:
    return next((lang for lang in LANGUAGES if page.name.endswith(f".{lang}.html")), LANGUAGES[0])


def _was_measured(summary: Mapping[str, Any]) -> bool:
    found = [summary.get(name) or {} for name in (legs.FORWARD_LEG, legs.BACK_LEG)]
    return any(one.get(MEASURED_OUTSIDE) is True for one in found)


def _active_site(scope: Scope, hosts: Mapping[str, str]) -> str | None:
    """Return the name of the site where users were let in to all that was moved; None where it is not one."""
    keys = {str(scope.hostvars[host].get("site", "")) if host in scope.hostvars else "" for host in hosts.values()}
    return _name(scope, keys.pop()) if len(keys) == 1 else None


def _expected_site(scope: Scope, moved: Mapping[str, Moved]) -> str | None:
    """Return the name of the site where the last leg leads; None where nothing has moved."""
    if not moved:
        return None
    variable = "plan_source_site" if legs.BACK_LEG in moved else "plan_target_site"
    return _name(scope, str(scope.get(variable)))


def _name(scope: Scope, site: str) -> str | None:
    about = (scope.get("plan_sites") or {}).get(site) or {}
    return str(about.get("name") or site) or None


def _words(at: float | None) -> str:
    if at is None:
        return ""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
