"""Tells people of the moments of a window, while it runs: out of what Ansible says of its tasks.

Whatever is wrong with that is said and journalled, and holds up nothing; with --check nobody is told.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ansible import context

from ..report import notice_texts
from ..run import notices, outcome, people
from ..run.gates import number_of
from ..run.io import notifier
from ..run.io.journal import Journal
from ..run.io.notice_sender import Sender
from ..run.occasions import BEGUN, OVERRUN, STOPPED, Occasions
from ..run.verbs import BACK, POINTING
from ..system.io import storage
from . import outlook, planned, typed
from .action import Scope
from .values import plain

VARIABLES = ("notice_urls", "notice_languages", "notice_roles", "notice_templates")
_LONGEST = 300


def _holds_up_nothing(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method that says what went wrong, once, and ends the telling."""

    @functools.wraps(method)
    def guarded(self: Teller, *args: Any, **named: Any) -> None:
        try:
            method(self, *args, **named)
        except Exception as error:
            # An error may quote what is in a variable, such as an address.
            self.give_up(f"an error, {type(error).__name__}, in {method.__name__}")

    return guarded


class Teller:
    """Tells people, where the inventory has addresses (`notice_urls`)."""

    def __init__(self, warn: Callable[[str], Any]) -> None:
        """Take what says a warning."""
        self._warn = warn
        self._moments = Occasions()
        self._scope: Scope | None = None
        self._loader: Any = None
        self._declared: dict[str, Any] | None = None
        self._own: dict[str, str] = {}
        self._sender: Sender | None = None
        self._failed: list[str] = []
        self._alone: frozenset[str] = frozenset()
        # Of the phase that is under way: what every text can name.
        self._facts: dict[str, Any] = {}
        self._begun: float | None = None
        self._is_late = False
        # Whether the inventory has addresses, as far as that is known.
        self._is_wanted = False
        self._reason = ""

    def seen(self, scope: Scope, loader: Any) -> None:
        """A play begins; `scope` is as its first component sees it."""
        self._scope, self._loader = scope, loader

    @_holds_up_nothing
    def passed(self, action: str, host: str, result: Mapping[str, Any], args: Mapping[str, Any], verb: str) -> None:
        """A task has come through; `verb` is the one that is under way at its component."""
        self._watch()
        if action == "bascule_go" and not context.CLIARGS.get("check"):
            self._go(str(args.get("phase") or ""))
        elif action == "bascule_alone":
            self._alone = frozenset((result.get("ansible_facts") or {}).get("bascule_alone") or ())
        elif action == "bascule_begin" and host not in self._alone:
            began = str((result.get("ansible_facts") or {}).get("bascule_verb") or "")
            self._tell(self._moments.began(host, began), component=host, verb=began)
        elif action == "bascule_end":
            self._tell(self._moments.came_through(host, verb), component=host, verb=verb)
        elif action == "bascule_plan" and result.get("plan") and self._is_on():
            self._tell(self._moments.planned(), **self._of_plan())

    def _watch(self) -> None:
        """Say once that users wait for longer than the plan allows, whether or not anybody else is told of it."""
        limit = self._facts.get("limit_seconds")
        if self._begun is None or not limit or not self._moments.waits or self._is_late:
            return
        if (waited := time.monotonic() - self._begun) > limit:
            self._is_late = True
            options = f" {typed.inventories()}".rstrip()
            self._warn(
                f"Users wait for {waited:.0f} s by now; the plan allows {limit:g} s (plan_limits): a criterion for "
                f"rollback, if a person decides so. Where it stands: bascule status{options}"
            )

    @_holds_up_nothing
    def failed(self, host: str, phase: str, verb: str, result: Mapping[str, Any]) -> None:
        """A task has failed, or its machine did not answer, and nothing has caught that."""
        told = self._moments.failed(phase)
        if not told or not self._is_on():
            return
        known = {key: " ".join(str(plain(result[key])).split()) for key in ("expected", "found") if result.get(key)}
        why = "; ".join(f"{key}: {text}" for key, text in known.items())
        # What others than Bascule say of an error may hold anything, and goes out of the house here.
        self._reason = why[:_LONGEST] if why else "the reason is in the run's journal"
        if not self._facts:
            self._facts = {**self._of_plan(), "phase": phase}
        self._tell(
            told, component=host, verb=verb or phase or self._moments.phase, reason=self._reason, waiting=_waiting()
        )

    @_holds_up_nothing
    def ended(self) -> None:
        """The playbook has ended: say so where it stopped, and wait a while for what is not sent yet."""
        stopped = self._moments.over()
        try:
            if stopped and self._is_on():
                self._tell(stopped, waiting=_waiting(), reason=self._reason)
        finally:
            self._finish()

    def give_up(self, why: str) -> None:
        """Tell nobody anything more, and wait for nothing; where nobody was to be told, nobody has to know."""
        if self._is_wanted:
            self._failed.append(f"nobody was told: {why}")
            self._warn(f"Notices: {self._failed[-1]}")
        self._declared = {}

    def _is_on(self) -> bool:
        """Return whether there is anybody to tell; read once, when there is something to tell."""
        if context.CLIARGS.get("check") or self._scope is None:
            return False
        if self._declared is None:
            self._declared = {}
            self._is_wanted = True
            try:
                found = {name: self._scope.get(name) for name in VARIABLES}
            except Exception as error:
                # Such as a vault that is not open.
                self.give_up(f"the variables notice_… cannot be read: {type(error).__name__}")
                return False
            if found["notice_urls"] is None:
                self._is_wanted = False
                return False
            wrong = [f"notice_urls: {text}" for text in notices.problems(found["notice_urls"])]
            wrong += [f"{name}: {text}" for name, text in notices.further_problems(found)]
            if wrong:
                self.give_up("; ".join(wrong))
                return False
            self._declared = found
            self._own = own_texts(self._scope, found["notice_templates"])
        return bool(self._declared)

    def _go(self, phase: str) -> None:
        self._is_on()
        scope, journal = self._scope, Journal.current()
        goes = [one for one in journal.own() if one["data"].get("decision") == "GO" and one["phase"] == phase]
        if scope is None or not goes:
            return
        data = goes[-1]["data"]
        part = [str(name) for name in data.get("takes_part") or ()]
        # Nobody waits for what only points to a site.
        moving = [name for name in part if str(scope.hostvars[name]["component_role"]) not in POINTING]
        self._facts = self._of_plan(
            components=part,
            phase=phase,
            by=str(data.get("by") or ""),
            forecast_seconds=number_of((data.get("forecast") or {}).get("seconds")),
            back=data.get("direction") == BACK,
        )
        self._begun, self._is_late, self._reason, self._alone = None, False, "", frozenset()
        self._tell(self._moments.decided(phase, moving or part))
        if self._moments.phase and self._is_on():
            self._leave([])

    def _leave(self, waiting: Collection[str]) -> None:
        """Leave a last word, for when this process is killed."""
        gone = "the process that ran it has ended without a word"
        self._each(STOPPED, {"waiting": sorted(waiting), "reason": gone, "at": notifier.NOW}, leaves=True)

    def _of_plan(self, back: bool = False, **more: Any) -> dict[str, Any]:
        """Return what every text can name."""
        scope, journal = self._scope, Journal.current()
        if scope is None:
            return {}
        sites = scope.get("plan_sites") or {}
        ends = [scope.get(name) for name in ("plan_source_site", "plan_target_site")]
        names = [str((sites.get(one) or {}).get("title") or (sites.get(one) or {}).get("name") or one) for one in ends]
        left, entered = reversed(names) if back else names
        options = f" {typed.inventories()}".rstrip()
        forecast: Any = None
        if "forecast_seconds" not in more:
            forecast = number_of(outlook.kept(scope, self._loader, journal, scope.in_play).get("seconds"))
        facts = {
            **dict.fromkeys(notice_texts.SAMPLE, ""),
            "plan": scope.plan,
            "run": journal.run,
            "phase": "cutover",
            "by": planned.whose(),
            "from_site": left,
            "to_site": entered,
            "components": scope.in_play or scope.components,
            "waiting": [],
            "people": people.names(scope.get("plan_people")),
            "forecast_seconds": forecast,
            "limit_seconds": number_of(outlook.limit(scope)),
            "status": f"bascule status{options}",
            "rollback": "" if back else f"bascule rollback{options}",
        }
        return {**facts, **more}

    def _tell(self, moments: list[str], **facts: Any) -> None:
        for moment in moments:
            if moment == BEGUN:
                self._begun = time.monotonic()
            if self._begun is not None:
                facts["seconds"] = time.monotonic() - self._begun
            if not self._is_on():
                continue
            self._each(moment, facts)
            limit = self._facts.get("limit_seconds")
            if moment == BEGUN:
                self._leave(self._moments.taking_part)
                if limit:
                    self._each(OVERRUN, {}, after=float(limit))
            if not self._moments.phase and self._sender is not None:
                self._sender.call_off(OVERRUN)
                self._sender.withdraw()

    def _each(self, moment: str, facts: Mapping[str, Any], after: float = 0.0, leaves: bool = False) -> None:
        """Hand the notices of a moment to the process that sends them, which is started by the first."""
        declared = self._declared or {}
        at = f"{datetime.datetime.now().astimezone():%H:%M:%S %Z}"
        known = {**self._facts, "at": at, **facts}
        languages = declared["notice_languages"] or notices.LANGUAGES
        title, body, wrong = notice_texts.render(moment, known, languages, self._own)
        self._failed += [
            f"notice_templates: {text}" for text in wrong if f"notice_templates: {text}" not in self._failed
        ]
        wanted = [notices.Notice(role, title, body) for role in notices.told(moment, declared["notice_roles"])]
        given, silent = notices.addressed(wanted, declared["notice_urls"])
        if not leaves and not after:
            self._failed += [f"{moment} {role}: not told: no address" for role in silent]
        if self._sender is None:
            self._sender = Sender()
        for one in notices.each_once(given):
            name = f"{moment} {one['role']}"
            if leaves:
                self._sender.leave(name, one)
            elif after:
                self._sender.send_after(after, moment, name, one)
            else:
                self._sender.send(name, one)

    def _finish(self) -> None:
        sender, self._sender = self._sender, None
        sent: list[str] = []
        if sender is not None:
            sent, untold = sender.finish()
            self._failed += untold
            for why in untold:
                self._warn(f"Notices: {why}")
        failed, self._failed = self._failed, []
        if sent or failed:
            data = {"event": notices.EVENT, "sent": sent, "failed": failed}
            Journal.current().append("state", phase=str(self._facts.get("phase") or ""), data=data)


def own_texts(scope: Scope, folder: Any) -> dict[str, str]:
    """Return the site's own texts by file name, of a folder named in the inventory; relative to that."""
    if not folder:
        return {}
    place = Path(scope.inventory) / str(folder)
    found = {}
    for path in sorted(storage.children(place)) if storage.is_directory(place) else []:
        if path.name.endswith(notices.SUFFIX):
            found[path.name] = storage.read_text(path) or ""
    return found


def _waiting() -> list[str]:
    """Return whose users wait, by the journal here."""
    return outcome.waiting(Journal.current().read().entries)
