"""Where the journal lies: a local file per run, and a copy of each chain on one host of each site."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import JournalError
from ...system.io import remote, storage
from ...system.io.remote import Answer
from ...system.ssh import Target
from .. import chain, controllers, runs
from ..chain import Entry
from . import identity, presence

SITE_DIRECTORY = "/var/lib/bascule/journal"
_TIMEOUT = 20.0
_SILENT = 60.0
_FILE = "journal.jsonl"
_TAIL = 1 << 16
# What this process has read of a decision: its entries without its steps, and up to which byte of the file.
_FOLLOWED: dict[tuple[str, str, str], tuple[tuple[Entry, ...], int]] = {}
# Every machine that may hold a site's copy, in the declared order, and what it answered; by site.
_Asked = Mapping[str, Sequence[tuple[Target, Answer]]]


class Journal:
    """The journal of a run, as one decision of one controller writes it."""

    def __init__(self, runs: Path, run: str, controller: str, decision: str) -> None:
        self.run = run
        self.controller = controller
        self.decision = decision
        self.runs = runs
        self.directory = runs / run
        self.path = self.directory / _FILE

    @classmethod
    def current(cls) -> Journal:
        """Return this process's journal."""
        return cls(identity.runs_directory(), identity.current_run(), identity.controller(), identity.current())

    def append(
        self,
        kind: str,
        *,
        phase: str = "",
        verb: str = "",
        component: str = "",
        data: Mapping[str, Any] | None = None,
        durable: bool = True,
    ) -> Entry:
        """Write an entry, by default durably, and return it."""
        with self._locked():
            entry = chain.make(
                self._last(),
                {
                    "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
                    "run": self.run,
                    "controller": self.controller,
                    "epoch": self.decision,
                    "kind": kind,
                    "phase": phase,
                    "verb": verb,
                    "component": component,
                    "data": dict(data or {}),
                },
            )
            text = chain.line(entry)
            if storage.size(self.path) and not storage.ends_with_newline(self.path):
                # A controller died while it wrote; its fragment stays, as a line of its own.
                text = "\n" + text
            if durable:
                storage.append_durably(self.path, text)
            else:
                storage.append(self.path, text)
        return entry

    def own(self) -> list[Entry]:
        """Return this decision's entries in order."""
        mark = f'"epoch":"{self.decision}"'
        text = "\n".join(line for line in (storage.read_text(self.path) or "").splitlines() if mark in line)
        return chain.chains(chain.parse(text).entries).get((self.controller, self.decision), [])

    def follow(self) -> Iterator[list[Entry]]:
        """Yield this decision's entries without its steps, each time those that were written since; without an end.

        What this process has read before is read no second time: the file holds all decisions of the run.
        """
        key = (str(self.path), self.controller, self.decision)
        mark = f'"epoch":"{self.decision}"'.encode()
        # As `chain.line` writes one: most entries are steps, and nobody waits for one.
        step = mark + b',"kind":"step"'
        with self.path.open("rb") as stream:
            known, place = _FOLLOWED.get(key, ((), 0))
            if place > os.fstat(stream.fileno()).st_size:
                # Another file than was read: runs were restored.
                known, place = (), 0
            stream.seek(place)
            seen, new, rest = [*known], [*known], b""
            while True:
                if read := stream.read():
                    *lines, rest = (rest + read).split(b"\n")
                    text = b"\n".join(
                        line for line in lines if mark in line and step not in line.partition(b',"data":')[0]
                    )
                    found = chain.parse(text.decode("utf-8", "replace")).entries
                    fresh = [entry for entry in found if entry["controller"] == self.controller]
                    new += fresh
                    seen += fresh
                    _FOLLOWED[key] = (tuple(seen), stream.tell() - len(rest))
                yield new
                new = []

    def head(self) -> Entry | None:
        """Return this decision's last entry; nothing before its first."""
        return self._last() if storage.size(self.path) else None

    def _last(self) -> Entry | None:
        """Return this decision's last entry; the end of the file is nearly always enough to find it."""
        mark = f'"epoch":"{self.decision}"'
        tail = storage.read_tail(self.path, _TAIL)
        # The first line of the tail may be a part of one, so it is left out.
        for line in reversed(tail.splitlines()[1:]):
            if mark in line and (entries := chain.parse(line).entries):
                return entries[0] if entries[0]["controller"] == self.controller else None
        own = self.own()
        return own[-1] if own else None

    def _since(self, number: int) -> list[Entry]:
        """Return this decision's entries after that number; nearly always the end of the file has them."""
        mark = f'"epoch":"{self.decision}"'
        found: list[Entry] = []
        for line in reversed(storage.read_tail(self.path, _TAIL).splitlines()[1:]):
            if mark in line and (entries := chain.parse(line).entries) and entries[0]["controller"] == self.controller:
                if entries[0]["n"] <= number:
                    return found[::-1]
                found += entries
        return [entry for entry in self.own() if entry["n"] > number]

    def read(self) -> chain.Reading:
        """Return everything in the local file."""
        return chain.parse(storage.read_text(self.path) or "")

    def publish(self) -> None:
        """Let `latest` name this run."""
        link = self.runs / "latest"
        if link.is_symlink() and os.readlink(link) == self.run:
            return
        temporary = self.runs / f".latest.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(self.run)
        os.replace(temporary, link)

    def start(self, targets: Mapping[str, Target], note: Mapping[str, Any]) -> list[str]:
        """Begin this decision's chain with the heads seen at each site; return what has to be said about others.

        Does nothing when it has begun. A run of another plan is refused: its journal would tell of other machines.
        In a phase that writes nothing at any site (`chain.READING`) the chain stays here, and with it what a site
        lacks; the first of another phase in the same process brings both there, with the heads seen by then, and so
        does the next process. Such a chain of a process that is still at work is left to the phase after.
        """
        storage.make_directory(self.directory, 0o700)
        reads = note.get("phase") in chain.READING
        if self._has_begun(reads):
            # Before the lock: a copy to a slow site may hold it.
            return []
        # Who holds it asks both sites, and makes good what one of them lacks.
        with storage.locked(self.directory / "sites.lock", wait=4 * _TIMEOUT):
            if self._has_begun(reads):
                return []
            asked = _ask_copies(self.run, targets)
            readings, errors = _readings(asked)
            entries = chain.merge(self.read().entries, *(reading.entries for reading in readings.values()))
            self._refuse_other_plan(str(note.get("plan") or ""), runs.plans(runs.starts(entries)))
            if not self._last() or self._kept_here():
                # What was kept here has seen nothing of the sites since it began.
                self._append_start(note, readings, errors)
            if not note.get("check_mode"):
                chosen = {site: _first(places) for site, places in asked.items()}
                state = {"chosen": {site: where.host for site, where in chosen.items()}, "kept": reads}
                # Its own entries come to the sites as a copy of its chain, not among those of others.
                left = {self._key, *self._at_work(readings)}
                others = [entry for entry in entries if (entry["controller"], entry["epoch"]) not in left]
                if reads:
                    storage.write_json(self._state, state)
                else:
                    # As long as this was not done, it has still to be done.
                    self._make_good(others, asked, chosen)
                    storage.write_json(self._state, state)
                # What was only tried must not stand before the run that is real.
                self.publish()
            return runs.under_way(entries, self.controller)

    def _has_begun(self, reads: bool) -> bool:
        """Return whether this chain has begun, and keeps nothing back from the sites that has to go there now."""
        return self._last() is not None and (reads or not self._kept_here())

    def _kept_here(self) -> bool:
        return bool((storage.read_json(self._state) or {}).get("kept"))

    def _at_work(self, readings: Mapping[str, chain.Reading]) -> set[controllers.Whose]:
        """Return the chains kept here whose processes still write them: half of one would look like one that died."""
        kept = chain.kept_here(self.read().entries, chain.merge(*(one.entries for one in readings.values())))
        return controllers.still_writing(presence.read(self.directory), kept)

    def _append_start(
        self, note: Mapping[str, Any], readings: Mapping[str, chain.Reading], errors: Mapping[str, str]
    ) -> None:
        self.append(
            "state",
            data={
                **note,
                "event": "start",
                "heads": {site: chain.heads(reading.entries) for site, reading in readings.items()},
                "unreachable": dict(errors),
                "broken": {site: len(reading.broken) for site, reading in readings.items() if reading.broken},
                "local": chain.heads(self.read().entries),
            },
        )

    def _refuse_other_plan(self, plan: str, found: Sequence[str]) -> None:
        if plan and found and plan not in found:
            raise JournalError(
                expected=f"run {self.run} to be one of plan {plan}, as this inventory is",
                found=f"a run of plan {', '.join(found)}",
                state="nothing was changed",
                next_command="name a run of this plan with BASCULE_RUN, or none: then its latest goes on",
            )

    def copy_to(self, targets: Mapping[str, Target], *, insist: bool = True) -> dict[str, str]:
        """Bring each site's copy of this chain up to date; return the sites that failed, with the reason.

        A chain lies on one machine of a site, whole: on the first that answered when it began.
        One worker copies for all that wait: those find nothing left to send. A site that has just been silent is asked
        again only where its copy is insisted on: every verb of every component would wait for it otherwise.
        What is kept here (see `start`) is brought nowhere.
        """
        with storage.locked(self.directory / "sites.lock", wait=4 * _TIMEOUT):
            state = storage.read_json(self._state) or {}
            if state.get("kept"):
                return {}
            chosen = state.get("chosen", {})
            targets = _chosen(targets, chosen)
            sent = {site: int(count) for site, count in state.get("sent", {}).items()}
            own = self._since(min((sent.get(site, 0) for site in targets), default=0))
            waiting = {
                site: "".join(chain.line(entry) for entry in own if entry["n"] > sent.get(site, 0)) for site in targets
            }
            now = time.time()
            silent = _lately(state, now)
            spare = not insist and not set(targets) <= set(silent)
            skipped = {site: str(silent[site][1]) for site in targets if spare and site in silent}
            todo = {site: where for site, where in targets.items() if waiting[site] and site not in skipped}
            scripts = {site: self._append_script(self._name, begun=sent.get(site, 0) > 0) for site in todo}
            answers = remote.run_on(todo, scripts, waiting, _TIMEOUT)
            failed = {site: answer.error for site, answer in answers.items() if answer.error}
            for site in todo:
                silent.pop(site, None)
                if site not in failed:
                    sent[site] = int(own[-1]["n"])
            silent |= {site: [now, reason] for site, reason in failed.items()}
            storage.write_json(self._state, {"chosen": chosen, "sent": sent, "silent": silent})
        return {**failed, **skipped}

    def places(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        """Return the machine on which the copy of this chain lies, of each site that was not silent just now."""
        state = storage.read_json(self._state) or {}
        silent = _lately(state, time.time())
        chosen = _chosen(targets, state.get("chosen", {}))
        return {site: where for site, where in chosen.items() if site not in silent}

    def _make_good(self, known: Sequence[Entry], asked: _Asked, chosen: Mapping[str, Target]) -> None:
        """Give a site that was silent what others hold of the run; one that is silent again gets it with the next."""
        held = {
            site: chain.merge(*(chain.parse(answer.output).entries for _, answer in places))
            for site, places in asked.items()
            if not all(answer.error for _, answer in places)
        }
        missing = {site: chain.lacking(known, entries) for site, entries in held.items()}
        texts = {site: "".join(map(chain.line, entries)) for site, entries in missing.items() if entries}
        script = self._append_script(f"{self._name}.others", begun=False)
        remote.run_on({site: chosen[site] for site in texts}, dict.fromkeys(texts, script), texts, _TIMEOUT)

    def write_facts(self, component: str, verb: str, data: Mapping[str, Any], *, tried: bool = False) -> Path:
        """Keep what a verb found, for reports; what was tried with --check stands beside what was found for real."""
        path = self.directory / "facts" / ("check" if tried else "") / f"{component}.{verb}.json"
        storage.write_json(path, data)
        return path

    def _append_script(self, name: str, begun: bool) -> str:
        """Return what appends to a site's copy of a chain, durably; `begun`: the site has answered for it before."""
        directory = f"{SITE_DIRECTORY}/{self.run}"
        path = shlex.quote(f"{directory}/{name}.jsonl")
        place = shlex.quote(directory)
        # `mkdir -p` may have made every one of these, and none is there after a power cut unless its parent is synced.
        # That was done when the chain's first entries came to the site, and is not done again while users wait, unless
        # its copy is gone: a host may have been made anew.
        parent = Path(SITE_DIRECTORY).parent
        above = shlex.join([directory, SITE_DIRECTORY, str(parent), str(parent.parent)])
        # A copy cut short must not swallow the line after it; an entry that arrives twice is the same entry.
        return (
            f"set -e; umask 077; first={'' if begun else 'yes'}; [ -e {path} ] || first=yes; mkdir -p {place}; "
            f'[ ! -s {path} ] || [ -z "$(tail -c 1 {path})" ] || echo >> {path}; '
            f'cat >> {path}; sync {path}; [ -z "$first" ] || sync {above}'
        )

    @property
    def _state(self) -> Path:
        """Return the file that says how far the copies of this chain are."""
        return self.directory / "sites" / f"{self.decision}.json"

    @property
    def _key(self) -> tuple[str, str]:
        return self.controller, self.decision

    @property
    def _name(self) -> str:
        return f"{self.controller}-{self.decision}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        storage.make_directory(self.directory, 0o700)
        with storage.locked(self.directory / "journal.lock"):
            yield


def read_copies(run: str, targets: Mapping[str, Target]) -> tuple[dict[str, chain.Reading], dict[str, str]]:
    """Return what each place holds of the run, and why sites of which no machine answers could not be read.

    A place is the site, or, where a site has several machines for it, the site and the other machine.
    """
    return _readings(_ask_copies(run, targets))


def _ask_copies(run: str, targets: Mapping[str, Target]) -> _Asked:
    place = shlex.quote(f"{SITE_DIRECTORY}/{run}")
    return _ask_all(targets, f"[ ! -d {place} ] || find {place} -name '*.jsonl' -type f -exec cat {{}} +")


def _ask_all(targets: Mapping[str, Target], script: str) -> _Asked:
    """Ask every machine of every site side by side."""
    places = {
        f"{site} {number}": one
        for site, where in targets.items()
        for number, one in enumerate((replace(where, spares=()), *where.spares))
    }
    answers = remote.run_on(places, dict.fromkeys(places, script), {}, _TIMEOUT)
    return {site: [(places[key], answers[key]) for key in places if key.rpartition(" ")[0] == site] for site in targets}


def _readings(asked: _Asked) -> tuple[dict[str, chain.Reading], dict[str, str]]:
    readings: dict[str, chain.Reading] = {}
    silent: dict[str, str] = {}
    for site, places in asked.items():
        for number, (where, answer) in enumerate(places):
            if not answer.error:
                readings[f"{site} ({where.host})" if number else site] = chain.parse(answer.output)
        if all(answer.error for _, answer in places):
            silent[site] = places[0][1].error
    return readings, silent


def _first(places: Sequence[tuple[Target, Answer]]) -> Target:
    """Return the first machine that answered; the first one where none did."""
    return next((where for where, answer in places if not answer.error), places[0][0])


def _lately(state: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the sites that have been silent within a minute, each with when and why."""
    return {site: note for site, note in state.get("silent", {}).items() if 0 <= now - note[0] < _SILENT}


def _chosen(targets: Mapping[str, Target], hosts: Mapping[str, Any]) -> dict[str, Target]:
    return {site: _named(where, str(hosts.get(site, ""))) for site, where in targets.items()}


def _named(where: Target, host: str) -> Target:
    """Return the machine of that name out of one and its spares; the first where there is none."""
    return replace(next((one for one in (where, *where.spares) if one.host == host), where), spares=())


def read_starts(targets: Mapping[str, Target]) -> list[Entry]:
    """Return the entries with which the chains of all runs begin, wherever a site that answers holds them."""
    find = f"find {SITE_DIRECTORY} -mindepth 2 -maxdepth 2 -name '*.jsonl' -type f -exec head -qn 1 {{}} +"
    asked = _ask_all(targets, f"[ ! -d {SITE_DIRECTORY} ] || {find}")
    return chain.merge(*(chain.parse(answer.output).entries for places in asked.values() for _, answer in places))


def require_copies(failed: Mapping[str, str], wanted: Mapping[str, Target], both: bool, what: str) -> list[str]:
    """Return warnings for copies that are missing; refuse when too few are there."""
    if not wanted:
        raise JournalError(
            expected="plan_journal_hosts: one host per site",
            found="none declared",
            state=f"{what} was not started",
            next_command="declare plan_journal_hosts in the plan",
        )
    lost = "; ".join(f"{site} ({wanted[site].host}): {reason}" for site, reason in sorted(failed.items()))
    if failed and (both or len(failed) == len(wanted)):
        raise JournalError(
            expected=f"{'both sites' if both else 'at least one site'} to hold the journal",
            found=f"no copy at {lost}",
            state=f"{what} was not started",
            next_command="bring the journal host back, then run the same playbook again",
        )
    return [f"The journal has NO COPY at {lost}. Going on with the other site's."] if failed else []
