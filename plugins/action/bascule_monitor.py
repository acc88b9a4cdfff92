"""Take the samples of monitoring, judge each series, keep them and the day's page."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_monitor
short_description: Watch what was moved
description:
  - Stands after the roles' verbs C(state) and C(watch). Takes what they have registered, asks both machines of every
    component of the play for room, load and errors in the journal of systemd, and judges each series by the limits of
    C(plan_monitor). A series of which nothing came is an alarm, as is one that is stale or cannot be read.
  - Appends the samples to C(runs/RUN/monitor/DAY.jsonl), writes C(monitor-DAY.md) and C(monitor-DAY.html) beside it (in
    French C(monitor-DAY.fr.…), in Arabic C(….ar.…)), and journals the verdicts at both
    sites, which C(bascule_commit) asks for.
  - Fails when a series is not within its limit, after all that is kept. So it does while users wait, without samples.
  - Sends a notice to who is called, where the variable C(notice_urls) has addresses by role, in a process of its own
    that is given up after 30 s. Who was not told is named and journalled; an address never is.
  - With C(--check) it asks and judges, and keeps nothing.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Watch what was moved
  bascule_monitor:
  run_once: true
"""

RETURN = r"""
msg:
  description: What was seen, and where the page is.
  returned: always
  type: list
  elements: str
series:
  description: Each series with its verdict.
  returned: when samples were taken
  type: list
  elements: dict
"""

import time
from typing import Any

from bascule.errors import GateError
from bascule.plugin import reporting, standing, watching
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.plugin.preflight import must_be_right
from bascule.report import monitored
from bascule.report.words import LANGUAGES
from bascule.run import monitor, notices, outcome, people
from bascule.run.io import monitor as machines
from bascule.run.io import notifier
from bascule.run.io.journal import Journal
from bascule.system import moments
from bascule.system.io import storage

PHASE = "monitor"


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Ask, judge, keep; fail where a series is not within its limit."""
        must_be_right(scope, self._templar, self._loader, PHASE)
        want = monitor.wanted(scope.get("plan_monitor"))
        journal = Journal.current()
        targets = {} if self.check_mode else scope.journal_targets()
        warnings = journal.start(targets, scope.about_run(PHASE, self.check_mode))
        entries, silent = standing.journalled(scope)
        if waiting := outcome.waiting(entries):
            raise GateError(
                expected="users to be let in everywhere, so that they can be looked after",
                found=f"no samples: users wait ({', '.join(waiting)})",
                state="nothing was changed or kept",
                next_command="ansible-playbook playbooks/status.yml; monitor again once all are in",
            )
        warnings += [f"the journal at {site} is silent: {why}" for site, why in sorted(silent.items())]
        earlier = monitor.rounds(entries)
        components = watching.watched(scope, want)
        units = watching.units(components)
        answers = machines.ask({name: scope.target(name) for name in units}, units, monitor.counted_until(earlier))
        now = time.time()
        found = watching.samples(scope, components, answers, now)
        judged = watching.judged(components, found, want, now, monitor.machines(earlier))
        data = {
            "event": monitor.EVENT,
            "at": now,
            "check_mode": self.check_mode,
            "machines": {name: one.machine for name, one in answers.items() if one.machine},
            "clocks": {name: one.at for name, one in answers.items() if one.at},
            "series": [one.to_dict() for one in judged],
        }
        journal_entry(journal, "state", scope.announced, data)
        on_duty = people.names(scope.get("plan_people"))
        told = [f"{len(judged)} series: {monitored.headline(judged, 'en')}"]
        if not self.check_mode:
            page = _keep(scope, journal, now, want, list(found.values()), judged, on_duty)
            told.append(f"page: {page}")
            failed = journal.copy_to(scope.journal_targets(), insist=False)
            warnings += [f"these samples have NO COPY at {site}: {why}" for site, why in failed.items()]
        wrong = [one for one in judged if one.verdict != monitor.WITHIN]
        if wrong and not self.check_mode:
            warnings += self._call(scope, journal, judged, on_duty, told[-1])
        if wrong or not judged:
            calls = dict.fromkeys(monitored.called(one, on_duty) for one in wrong)
            raise GateError(
                expected="every series of monitoring to be heard of, and within its limit",
                found="; ".join(f"{one.series.key}: {one.verdict}: {one.reason}" for one in wrong) or "no series",
                state="nothing was changed" + (f"; {told[-1]}" if not self.check_mode else ""),
                next_command=f"call {', '.join(calls) or 'whoever leads'}; then ansible-playbook "
                "playbooks/75_monitor.yml again" + (f"; {'; '.join(warnings)}" if warnings else ""),
            )
        return {"msg": told, "series": data["series"], **({"warnings": warnings} if warnings else {})}

    def _call(self, scope: Scope, journal: Journal, judged: list[Any], on_duty: dict[str, str], page: str) -> list[str]:
        """Send notices to who is called; return and journal who was not told. All that matters is kept by now."""
        urls = scope.get("notice_urls")
        if urls is None:
            return []
        if wrong := notices.problems(urls):
            return [f"nobody was told: notice_urls: {'; '.join(wrong)}"]
        wanted = notices.of_alarms(scope.plan, journal.run, judged, on_duty, page.partition(": ")[2])
        given, silent = notices.addressed(wanted, urls)
        failed = [*(f"{role}: not told: no address" for role in silent), *notifier.send(given)]
        data = {"event": notices.EVENT, "roles": [one.role for one in wanted], "failed": failed}
        journal_entry(journal, "state", scope.announced, data)
        # What the sites could not be given was said with the samples.
        journal.copy_to(scope.journal_targets(), insist=False)
        return failed


def _keep(
    scope: Scope,
    journal: Journal,
    now: float,
    want: monitor.Wanted,
    found: list[monitor.Sample],
    judged: list[monitor.Judged],
    on_duty: dict[str, str],
) -> str:
    """Append the samples and write the day's pages; return the one in the operator's language."""
    directory, lang = journal.directory, reporting.language(scope)
    today, before, week = (monitor.day_of(now - days * want.day_seconds, want.day_seconds) for days in (0, 1, 7))
    machines.keep(directory, today, found)
    days = [machines.read(directory, one) for one in (today, before, week)]
    day = monitored.Day(today, journal.run, moments.now_in_seconds(), judged, days[0], days[1], days[2], on_duty)
    for language in LANGUAGES:
        page = directory / machines.FOLDER / f"monitor-{today}{reporting.mark(language)}.md"
        storage.write_durably(page, monitored.page_markdown(day, language))
        storage.write_durably(page.with_suffix(".html"), monitored.page_html(day, language))
    return str(directory / machines.FOLDER / f"monitor-{today}{reporting.mark(lang)}.md")
