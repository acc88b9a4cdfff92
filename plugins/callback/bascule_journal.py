"""Journal what the playbook does; give the process its identity."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_journal
type: aggregate
short_description: Journal what the playbook does
description:
  - Chooses the decision id of this ansible-playbook process before the first task, and the run at the first play.
  - Notes in the run's folder that this process is at work, and that it has ended. A process of its own brings the note
    to both sites every 15 s, and says there when this one is gone.
  - With C(--check), says first that nothing will be changed.
  - Journals the result of every task between C(bascule_begin) and C(bascule_end), never its output.
  - Seals the end of what it has written into the journal, by the signing key of this controller.
  - When a playbook has frozen components and let everybody in again, journals and prints where that window went. Says
    of each component how long it worked, waited for others, or was held up by orchestration, and the critical path.
  - Ends an audit with one screen. It says whether the plan fits, how long the outage is expected to be, what should be
    known, what was not looked at, and the next command.
  - When a playbook has moved something, or verified what was moved, makes the report of the run. Says where it is, and
    which command makes it again. With C(--check) there is none.
  - Tells people of the moments of a window, where the inventory has addresses (C(notice_urls)), by a process that holds
    up nothing. Who was not told is said and journalled. With C(--check) nobody is told.
  - Ends a verb as failed when its component failed or could not be reached. Such an end is written at once, so that
    what waits for it stops; only where a rescue of the role's own follows, it is written when that has failed as well.
requirements:
  - enabled in the configuration (C(callbacks_enabled = bascule_journal))
author:
  - The Bascule authors
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase

from bascule.errors import BasculeError
from bascule.plugin import outlook, reporting, typed
from bascule.plugin.action import Scope
from bascule.plugin.telling import Teller
from bascule.plugin.values import plain
from bascule.report import audited, legs
from bascule.run import chain, failures, window
from bascule.run.io import command, heartbeat, identity, signing
from bascule.run.io.journal import Journal, read_starts
from bascule.run.io.presence import Presence
from bascule.run.last import JUDGED, REFUSED
from bascule.run.order import VERBS, WINDOWS
from bascule.run.progress import FAILED
from bascule.system import work

_LONGEST = 2000
# After these a report is made: something has moved, or was proved.
REPORTED = frozenset({"cutover", "rollback", "verify", "site_lost", "guard_lost"})
CHECK = "CHECK: nothing will be changed at either site. What follows says what would be done."
# How often, and with how many seconds between, the end of what has failed is written before the playbook is given up.
_TRIES, _PAUSE = 5, 1.0


@dataclass
class _Verb:
    """A verb under way at a component."""

    phase: str
    verb: str
    failure: str = ""
    # Of a loop, why each item failed.
    items: list[dict[str, str]] = field(default_factory=list)


class CallbackModule(CallbackBase):
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bascule_journal"
    CALLBACK_NEEDS_ENABLED = True

    # Where `bascule` has started this playbook, it is told what becomes of it.
    _command: command.Command | None = None
    # What brings this process's note to the sites.
    _carrier: heartbeat.Carrier | None = None

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display, options)
        self._active: dict[str, _Verb] = {}
        self._started: dict[tuple[str, str], float] = {}
        self._written = False
        self._book, self._play = "playbook", ""
        # How many playbooks of this command have begun.
        self._books = 0
        self._presence: Presence | None = None
        # Whether its note is brought to the sites, or was tried to be.
        self._carried = False
        # The plan of the last play, and what reads the defaults of its roles.
        self._seen: tuple[Scope, Any] | None = None
        self._become_pass = ""
        self._command = command.current()
        self._failures: list[str] = []
        self._teller = Teller(self._display.warning)
        identity.begin()

    def set_play_context(self, play_context: Any) -> None:
        """Note what was typed for -K: it is in no variable."""
        self._become_pass = str(play_context.become_pass or "")

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Say that nothing will be changed, if so."""
        self._book = os.path.basename(str(playbook._file_name))
        self._books += 1
        if context.CLIARGS.get("check"):
            self._display.display(CHECK, color="bright blue")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Choose the run; end what failed in the play, or the layer, before."""
        self._end_failed()
        self._play = play.get_name().strip()
        self._tell(lambda note: note.play(self._play))
        scope = _scope(play, self._become_pass)
        if scope is None:
            return
        self._seen = scope, play.get_loader()
        self._teller.seen(*self._seen)
        try:
            _, said = identity.choose_run(scope.plan, lambda: self._starts(scope))
            if said:
                self._display.warning(said)
            self._report("run", {"run": identity.current_run(), "decision": identity.current()})
        except BasculeError as error:
            self._display.error(error.message())

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Note when the task began."""
        self._started[(host.get_name(), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Journal a task that came through."""
        host, action = result._host.get_name(), result._task.action
        verb = self._active.get(host)
        if action == "bascule_begin":
            facts = result._result.get("ansible_facts", {})
            if facts.get("bascule_verb") != "state":
                self._written = True
                self._note(str(facts.get("bascule_phase")))
                self._active[host] = _Verb(str(facts.get("bascule_phase")), str(facts.get("bascule_verb")))
        elif action == "bascule_end":
            self._active.pop(host, None)
        else:
            self._step(result, "changed" if result._result.get("changed") else "ok")
        self._teller.passed(action, host, result._result, result._task.args, verb.verb if verb else "")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Journal a task that failed."""
        verb = self._active.get(result._host.get_name())
        try:
            self._journal_failure(result, ignore_errors)
        finally:
            if not ignore_errors and not _is_rescued(result._task):
                self._report_failure(result)
                self._tell_failure(result, verb)

    def _journal_failure(self, result: Any, ignore_errors: bool) -> None:
        host = result._host.get_name()
        message = _message(result._result)
        if result._task.action == "bascule_begin":
            self._refused(host, result, message)
        elif not (self._active or ignore_errors or _is_rescued(result._task)):
            self._refused_whole(result, message)
            return
        elif ignore_errors:
            self._step(result, "failed, ignored", message)
        else:
            self._failed(result, "failed", message, ends=not _is_rescued(result._task))
            return
        if not ignore_errors:
            self._end_at_once(host)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Journal a task whose machine could not be reached."""
        message = _message(result._result)
        if result._task.ignore_unreachable:
            self._step(result, "unreachable", message)
            return
        verb = self._active.get(result._host.get_name())
        try:
            # No rescue is asked about a machine that does not answer.
            self._failed(result, "unreachable", message, ends=True)
        finally:
            self._report_failure(result)
            self._tell_failure(result, verb)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End what failed last, bring the sites' copies up to date, say where the journal lies."""
        # Of several playbooks the next begins only where nothing has failed.
        more = self._books < len(context.CLIARGS.get("args") or ()) and not (stats.failures or stats.dark)
        # Before the journal is sealed: it says who was told.
        self._teller.ended()
        try:
            self._finish(last=not more)
        finally:
            self._tell(lambda note: note.end())
            heartbeat.finish(self._carrier)
            if self._command is not None:
                self._report("end", {"status": 2 if stats.failures or stats.dark else 0})

    def _finish(self, *, last: bool) -> None:
        self._end_failed()
        journal = self._journal()
        if journal is None:
            return
        self._say_audit(journal)
        if self._written:
            self._say_window(journal)
        elif not any(entry["kind"] == "decision" for entry in journal.own()):
            # A decision that a move stays begins no verb.
            return
        self._bring(journal, last=last)
        if self._written:
            self._display.display(f"Journal: {journal.path}")
            self._say_report(journal)

    def _bring(self, journal: Journal, *, last: bool) -> None:
        """Seal the chain, with its end where it is the `last` playbook, and bring the sites' copies up to date."""
        if not context.CLIARGS.get("check") and (unsealed := signing.seal(journal, last=last)):
            self._display.warning(unsealed)
        try:
            # With --check nothing is written at any site.
            seen = None if context.CLIARGS.get("check") else self._seen
            for site, reason in (journal.copy_to(seen[0].journal_targets()) if seen else {}).items():
                self._display.warning(f"The journal's copy at {site} is behind: {reason}")
        except (AnsibleError, BasculeError, OSError) as error:
            self._display.warning(f"The journal's copies could not be brought up to date: {error}")

    def _note(self, phase: str) -> None:
        """Note in the run's folder that this process is at work, so that `status` can tell whether it lives.

        A phase that writes nothing on any machine has no note at the sites.
        """
        if context.CLIARGS.get("check") or (journal := self._journal()) is None:
            return
        try:
            if self._presence is None:
                self._presence = Presence(journal.directory, journal.decision, self._book, self._play)
            if self._seen is not None and not self._carried and phase not in chain.READING:
                self._carried = True
                targets = self._seen[0].journal_targets()
                self._carrier = heartbeat.start(journal, self._presence.path, targets)
        except (AnsibleError, BasculeError, OSError) as error:
            self._display.warning(f"Others cannot see whether this process is at work: {error}")

    def _tell(self, change: Callable[[Presence], None]) -> None:
        """Change the note, where there is one; a full disk must not keep the playbook from going on."""
        try:
            if self._presence is not None:
                change(self._presence)
        except (BasculeError, OSError) as error:
            self._display.warning(f"Others cannot see what this process is at: {error}")

    def _report(self, name: str, value: Mapping[str, Any]) -> None:
        """Tell `bascule`, where it has started this playbook; it follows from outside and decides nothing here."""
        try:
            if self._command is not None:
                self._command.tell(name, value)
        except (BasculeError, OSError) as error:
            self._display.warning(f"bascule could not be told: {error}")

    def _report_failure(self, result: Any) -> None:
        if self._command is not None:
            self._failures.append(str(plain(result._result.get("error")) or ""))
            self._report("failures", {"errors": self._failures})

    def _tell_failure(self, result: Any, verb: _Verb | None) -> None:
        """Tell people of a failure; of one that bascule_begin has found, by the verb that it did not let start."""
        args = result._task.args if result._task.action == "bascule_begin" else {}
        phase, name = (verb.phase, verb.verb) if verb else (str(args.get("phase") or ""), str(args.get("verb") or ""))
        self._teller.failed(result._host.get_name(), phase, name, result._result)

    def _say_audit(self, journal: Journal) -> None:
        """Say what an audit has come to, if this process had one."""
        try:
            seen = audited.audited(own := journal.own())
            # What came after the audit has a next command of its own.
            if not seen or any(entry["phase"] not in ("", audited.PHASE) for entry in own) or self._seen is None:
                return
            scope, loader = self._seen
            try:
                forecast = outlook.outlook(scope, loader, journal.read().entries, scope.components)
                limit = outlook.limit(scope)
            except Exception as error:
                forecast, limit = outlook.unknown(error, scope.components), None
            lines = audited.screen(scope.plan, seen, scope.components, forecast, limit, typed.inventories())
        except (AnsibleError, BasculeError, OSError, ValueError) as error:
            self._display.warning(f"The audit's screen could not be made: {error}")
            return
        for line in lines:
            self._display.display(line)

    def _say_window(self, journal: Journal) -> None:
        """Journal and say where the window went, if this process had one and everybody is in again."""
        try:
            found = window.read(journal.own())
            if found is None:
                return
            kept = {**found.to_dict(), "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count() or 1}
            journal.append("state", phase=found.phase, data={"event": window.EVENT, **kept}, durable=False)
        except (BasculeError, OSError, ValueError) as error:
            self._display.warning(f"It is not known where the window went: {error}")
            return
        for line in window.lines(kept):
            self._display.display(f"  {line}")

    def _say_report(self, journal: Journal) -> None:
        """Make the report of the run, if this process has moved or verified something for real, and say where it is."""
        try:
            own = journal.own()
            reported = {entry["phase"] for entry in own} & REPORTED
            if context.CLIARGS.get("check") or not reported or self._seen is None:
                return
            scope, _ = self._seen
            lang = reporting.language(scope)
            copies, silent = reporting.gathered(scope, journal)
            if not legs.read(reporting.entries_of(copies)):
                # Nothing has moved: there is nothing to report of.
                return
            made = reporting.make(scope, journal.run, copies, silent=silent)
            page = reporting.write(journal.directory, made, lang, reporting.entries_of(copies))
        except Exception as error:
            # A report changes nothing: whatever is wrong with it, the playbook has ended as it has.
            self._display.warning(f"The report could not be made: {outlook.why(error)}")
            lines = []
        else:
            lines = reporting.lines(made, page, lang)
        options = f"{typed.inventories()} ".lstrip()
        again = f"ansible-playbook {options}playbooks/report.yml -e run={journal.run}"
        for line in [*lines, f"Report again: {again}"]:
            self._display.display(line)

    def _starts(self, scope: Scope) -> Sequence[Mapping[str, Any]]:
        """Ask the sites which runs they know; when they cannot be asked, bascule_begin says why."""
        try:
            return read_starts(scope.journal_targets())
        except (AnsibleError, BasculeError) as error:
            self._display.warning(f"The sites could not be asked for their runs: {error}")
            return []

    def _refused(self, host: str, result: Any, message: str) -> None:
        """Journal a verb that bascule_begin did not let start."""
        arguments = result._task.args
        self._active[host] = _Verb(str(arguments.get("phase", "")), str(arguments.get("verb", "")), message)

    def _refused_whole(self, result: Any, message: str) -> None:
        """Journal what a playbook refuses after all its verbs have come through."""
        journal = self._journal() if self._written else None
        begun = [entry for entry in journal.own() if entry["kind"] == "begin"] if journal else []
        if journal is None or not begun or begun[-1]["phase"] not in JUDGED or context.CLIARGS.get("check"):
            return
        data = {"event": REFUSED, "message": f"{result._task.get_name()}: {message}"}
        journal.append("state", phase=str(begun[-1]["phase"]), data=data)

    def _step(self, result: Any, outcome: str, message: str = "") -> None:
        host, task = result._host.get_name(), result._task
        verb = self._active.get(host)
        journal = self._journal() if verb else None
        if verb is None or journal is None:
            return
        began = self._started.pop((host, task._uuid), None)
        delegated = result._result.get("_ansible_delegated_vars", {}).get("ansible_delegated_vars_host")
        data: dict[str, Any] = {"task": task.get_name(), "action": task.action, "result": outcome}
        if began is not None:
            data["seconds"] = round(time.monotonic() - began, 3)
        if worked := work.seconds(result._result):
            data[work.SECONDS] = worked
        if machine := plain(delegated or task.delegate_to):
            data["machine"] = machine
        if message:
            data["message"] = message
        journal.append("step", phase=verb.phase, verb=verb.verb, component=host, data=data, durable=outcome == "failed")

    def _failed(self, result: Any, outcome: str, message: str, *, ends: bool) -> None:
        """Journal a task that failed, and the end of its verb: others may wait for it, whatever became of the step."""
        host = result._host.get_name()
        if host in self._active:
            self._active[host].failure = f"{result._task.get_name()}: {message}"
            self._active[host].items = _items(result._result)
        try:
            self._step(result, outcome, message)
        finally:
            if ends:
                self._end_at_once(host)

    def _end_at_once(self, host: str) -> None:
        """Write the failed end of a verb; where that cannot be done, end the playbook: others would wait for ever."""
        for _ in range(_TRIES):
            try:
                self._end_failed(host)
                return
            except (BasculeError, OSError) as error:
                self._display.warning(f"The end of {host} could not be written down: {error}")
                time.sleep(_PAUSE)
        if self._active[host].phase in WINDOWS and self._active[host].verb in VERBS:
            self._display.warning(
                "Others wait for it and cannot be told: the playbook ends here. status says where it stands."
            )
            signal.raise_signal(signal.SIGINT)

    def _end_failed(self, only: str = "") -> None:
        """Write the failed end of every verb that did not reach bascule_end, or of the one of this component."""
        for host, verb in list(self._active.items()):
            if only not in ("", host):
                continue
            journal = self._journal()
            if journal is not None:
                journal.append(
                    "end",
                    phase=verb.phase,
                    verb=verb.verb,
                    component=host,
                    data={
                        "result": FAILED,
                        "message": verb.failure or "the verb did not come to its end",
                        **({"items": verb.items} if verb.items else {}),
                    },
                )
            del self._active[host]

    def _journal(self) -> Journal | None:
        try:
            return Journal.current()
        except BasculeError:
            return None


def _scope(play: Any, become_pass: str) -> Scope | None:
    """Return the variables as the play's first host sees them; variables of a group are nowhere else to be had."""
    manager = play.get_variable_manager()
    # A play on this controller alone, where no inventory names it, belongs to no run: nobody is asked for one.
    hosts = [host for host in manager._inventory.get_hosts(play.hosts) if not host.implicit]
    return Scope(manager.get_vars(play=play, host=hosts[0]), become_pass) if hosts else None


def _is_rescued(task: Any) -> bool:
    """Say whether a rescue follows when the task fails: it stands in a block, and not in the block's own rescue."""
    inner = task
    while (outer := inner._parent) is not None:
        if getattr(outer, "rescue", None) and any(inner._uuid == one._uuid for one in outer.block):
            return True
        inner = outer
    return False


def _message(result: Any) -> str:
    """Return why a task failed; Ansible has already censored what no_log hides."""
    of_items = [f"{one['item']}: {one['message']}" for one in _items(result)]
    return ("\n".join(of_items) or str(plain(failures.message(result))) or "no reason given")[:_LONGEST]


def _items(result: Any) -> list[dict[str, str]]:
    """Return why each item of a loop failed; nothing where there was none."""
    return [
        {"item": str(plain(label)), "message": str(plain(failures.message(one)) or "no reason given")[:_LONGEST]}
        for label, one in failures.items(result)
    ]
