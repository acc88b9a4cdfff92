"""What is to be typed next: the one command by which a run goes on, or why there is none. Pure.

`status` prints it, and `resume` carries it out. It is chosen from what the machines say: guards, the journal of both
sites, and the notes of controllers; a folder of the run at this controller is not needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .controllers import NOBODY, AtWork
from .last import NOT_ENDED, Last
from .order import WINDOWS
from .phases import PHASES
from .position import Standing
from .progress import OK

# One command; nothing to be done; a controller lives; a person has to decide, or to do something else first.
KINDS = COMMAND, NOTHING, ALIVE, PERSON = "command", "nothing", "alive", "person"
_NEXT_PHASE = {"audit": "prepare", "prepare": "sync", "sync": "pretest", "pretest": "cutover", "plan": "cutover"}
# These are run again where they did not come through; after all others what waits is brought up to date.
_ELSE = "sync"
_AGAIN = frozenset({"audit", "prepare", "sync", "pretest", "plan", "verify", "site_back"})
# A side that is open, and nobody answers for the other.
_ALONE = frozenset({"source-alone", "source-frozen-alone", "target-alone", "target-frozen-alone"})
# Both sides answer, and one of them, or neither, is open.
_ANSWERS = frozenset({"source", "source-frozen", "target", "target-frozen", "held"})
_AT_REST = frozenset({"source", "target"})
_DECIDE = "a person must decide: "


@dataclass(frozen=True)
class Choice:
    """What is to be typed next.

    kind: one of `KINDS`. line: that as `status` prints it. phase, limit: of a command, what `bascule run` is given;
    nothing where the components are not limited. instead: what may be typed in its place, and what for.
    """

    kind: str
    line: str
    phase: str = ""
    limit: tuple[str, ...] = ()
    instead: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a playbook tells it to the command that has started it."""
        return {**vars(self), "limit": list(self.limit)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Choice:
        """Return what `to_dict` has kept."""
        return cls(**{**data, "limit": tuple(data["limit"])})

    def lines(self) -> list[str]:
        """Return the end of what `status` prints; the last line is what is to be done."""
        return [*([f"Or, {self.instead}"] if self.instead else []), f"Next: {self.line}"]


@dataclass(frozen=True)
class _Commands:
    """Commands as a person types them: the names that confirm, and the options that each of them needs."""

    confirm: Mapping[str, str]
    options: str

    def text(self, phase: str, limit: Collection[str] = ()) -> str:
        words = [f"ansible-playbook {PHASES[phase].playbook}"]
        words += [f"-e confirm={self.confirm[phase]}"] if phase in self.confirm else []
        words += [f"--limit {','.join(limit)}"] if limit else []
        return " ".join([*words, *([self.options] if self.options else [])])

    def choice(self, phase: str, why: str = "", instead: str = "", limit: Collection[str] = ()) -> Choice:
        return Choice(COMMAND, self.text(phase, limit) + why, phase, tuple(limit), instead)


def choose(
    standings: Sequence[Standing],
    last: Last,
    names: tuple[str, str],
    gone: Collection[str] = (),
    silent: bool = False,
    waiting: Collection[str] = (),
    work: AtWork = NOBODY,
    elsewhere: str = "",
    options: str = "",
) -> Choice:
    """Return what is to be typed next.

    Args:
        standings: where each component stands.
        last: the last verb that was begun.
        names: what a person types to confirm the source and the target site.
        gone: components whose way back a decommission has begun to remove.
        silent: whether a site's journal could not be read; then nothing moves, and what is open is let in again there.
        waiting: components whose users wait; a guard may say open before they are let in.
        work: who is at work in the run, or has died in it.
        elsewhere: why another run may be the one to go on with.
        options: what each command needs beside its playbook, such as the inventory.
    """
    typed = _Commands({"rollback": names[0], "cutover": names[1]}, options)
    found = _by_machines(standings, last, typed, gone, silent, waiting)
    if {standing.where for standing in standings} & {"both", "back"}:
        return found
    status = typed.text("status")
    if work.first:
        return Choice(ALIVE, f"{work.first}: {status}")
    fine = found.kind == NOTHING and found.line.startswith("none is needed")
    wrong = {
        "find out why it was not seen to serve": found.kind == NOTHING and any(one.unseen for one in standings),
        "mend what is not carried over": fine and any(one.apart for one in standings),
    }
    if any(wrong.values()):
        # This is not all fine; a phase that is next sees to it, or refuses, by itself.
        first = ", ".join(what for what, is_so in wrong.items() if is_so)
        found = replace(found, kind=PERSON, line=f"{first}, and ask again: {status}; then: {found.line}")
    if elsewhere:
        line = f"{_DECIDE}{elsewhere}; in this run: {found.line}"
        return replace(found, kind=PERSON, line=line, phase="", limit=(), instead="")
    return replace(found, line=f"{found.line}; {work.beside}") if work.beside else found


def _by_machines(
    standings: Sequence[Standing],
    last: Last,
    typed: _Commands,
    gone: Collection[str],
    silent: bool,
    waiting: Collection[str],
) -> Choice:
    """Choose as if nobody were at work."""
    where = {standing.where for standing in standings}
    back = typed.text("rollback")
    if "both" in where:
        return Choice(PERSON, "none: stop the clients, close one side by hand, prove it, and find out who opened it")
    if "back" in where:
        found = typed.choice("site_back", limit=_late(standings))
        return replace(found, line=f"keep users away from the side that is back; {found.line}")
    if (silent and not where & {"unprepared", "guard-lost"}) or where & {"unread", *_ALONE}:
        return _beside_silence(standings, last, typed, silent or bool(gone), waiting)
    if gone:
        left = sorted({standing.component for standing in standings} - set(gone))
        rest = f"; not retired yet: {', '.join(left)}" if left else ""
        return Choice(PERSON if left else NOTHING, f"none: there is no way back after a decommission{rest}")
    if "guard-lost" in where:
        return Choice(
            PERSON, "docs/runbooks/guard_lost.md says how to find out which side is the latest, and what to type"
        )
    if "unprepared" in where:
        done = last.phase == "audit" and last.outcome == OK
        return typed.choice("prepare" if done or last.phase == "prepare" else "audit")
    if where in ({"source"}, {"target"}):
        (site,) = where
        if waiting:
            return _lets_in(site, last, typed, _limit(standings, last, waiting))
        if last.outcome == OK and any(standing.late for standing in standings):
            return typed.choice("site_back", limit=_late(standings))
        if last.phase == "site_back":
            return typed.choice("prepare" if last.outcome == OK else "site_back")
        limit = _limit(standings, last, waiting)
        return _all_at_source(last, typed, limit) if site == "source" else _all_at_target(standings, last, typed, limit)
    at_rest = where <= _AT_REST and not waiting
    go, limit = typed.text("cutover"), _limit(standings, last, waiting)
    if last.phase == "rollback":
        if last.outcome == OK and at_rest:
            return Choice(PERSON, f"{_DECIDE}{back} for what has not come back, or leave things as they are")
        return typed.choice("rollback", " to go on", limit=limit)
    if last.phase != "cutover" or (last.outcome == OK and at_rest):
        return Choice(PERSON, f"{_DECIDE}{go} to move what has not moved, or to return: {back}")
    if last.outcome in (OK, NOT_ENDED):
        return typed.choice("cutover", " to go on", f"to return: {back}", limit)
    return Choice(PERSON, f"{_DECIDE}{go} to go on, once what has failed is mended, or to return: {back}")


def _lets_in(site: str, last: Last, typed: _Commands, limit: Collection[str]) -> Choice:
    """Choose where all is open at one site and users wait to be let in there."""
    go, back = typed.text("cutover"), typed.text("rollback")
    if site == "source":
        return typed.choice("rollback", " to go on, which lets users in", f"to move: {go}", limit)
    if last.phase == "rollback":
        return typed.choice("rollback", " to go on", f"to stay: {go}", limit)
    return typed.choice("cutover", " to go on, which lets users in", f"to return: {back}", limit)


def _beside_silence(
    standings: Sequence[Standing], last: Last, typed: _Commands, stays: bool, waiting: Collection[str]
) -> Choice:
    """Choose where a machine, or the journal of a site, does not answer; nothing moves where it `stays`."""
    where = {standing.where for standing in standings}
    status = typed.text("status")
    moving = WINDOWS if last.outcome == OK else (*WINDOWS, "site_lost")
    waits = bool(waiting) or any("frozen" in word for word in where) or last.phase in moving
    # What stands elsewhere and answers at both sides moves there with the copies of both sites.
    moves = frozenset() if stays else _ANSWERS
    for site, phase in (("source", "rollback"), ("target", "cutover")):
        if waits and all(word.startswith(site) or word in moves for word in where):
            return typed.choice(phase, ", which lets users in again without the side that is silent")
    unseen = [standing for standing in standings if standing.where in {"unread", *_ALONE}]
    if any(standing.given_up for standing in standings) and all(standing.given_up for standing in unseen):
        return Choice(
            NOTHING,
            f"none while what was given up is silent; once it is back, keep users away from it and ask again: {status}",
        )
    return Choice(
        PERSON,
        f"make the machine that was not read reachable, then ask again: {status}; "
        "if it is lost for good: docs/runbooks/site_lost.md",
    )


def _all_at_source(last: Last, typed: _Commands, limit: Collection[str]) -> Choice:
    """Choose where the source serves with all of it."""
    if last.phase == "rollback":
        if last.outcome != OK:
            return typed.choice("rollback", " to go on, which lets users in", limit=limit)
        proof, sync = typed.text("verify"), typed.text("sync")
        return Choice(NOTHING, f"none is needed: all is back; to prove it: {proof}; to move again: {sync}")
    if last.phase == "verify" and last.outcome == OK:
        # Before a cutover or after a rollback: nothing is left to do for this one.
        return Choice(NOTHING, f"none is needed; to go on: {typed.text('sync')}")
    if last.phase == "cutover":
        if last.outcome not in (OK, NOT_ENDED):
            again = f"{typed.text('cutover', limit)} (again from the start), once what has failed is mended"
            return Choice(PERSON, f"{_DECIDE}{again}, or leave things as they are")
        return typed.choice("cutover", " (again from the start)", "leave things as they are", limit)
    if last.outcome == OK and last.phase in _NEXT_PHASE:
        return typed.choice(_NEXT_PHASE[last.phase])
    return typed.choice(last.phase if last.phase in _AGAIN else _ELSE)


def _all_at_target(standings: Sequence[Standing], last: Last, typed: _Commands, limit: Collection[str]) -> Choice:
    """Choose where the target serves with all of it."""
    go, back, verify = (typed.text(phase) for phase in ("cutover", "rollback", "verify"))
    if last.phase == "verify" and last.outcome == OK:
        return Choice(NOTHING, f"none is needed; to return: {back}")
    if last.phase == "cutover" and last.outcome != OK:
        return typed.choice("cutover", " to go on, which lets users in", f"to return: {back}", limit)
    if last.phase == "rollback" and last.outcome != OK:
        return typed.choice("rollback", " to go on", f"to stay: {go}", limit)
    if last.outcome == OK and any(standing.by_word for standing in standings):
        return Choice(
            NOTHING,
            f"none is needed: what was opened by a word has nothing to be compared with; to return: {back}",
        )
    if last.phase != "verify":
        return typed.choice("verify", instead=f"to return: {back}")
    other = f"if users are not let in: {go}; to return: {back}"
    if last.outcome == NOT_ENDED:
        return typed.choice("verify", instead=other)
    return Choice(PERSON, f"{_DECIDE}{verify}, once what it names is mended; {other}")


def _limit(standings: Sequence[Standing], last: Last, waiting: Collection[str]) -> tuple[str, ...]:
    """Return what a window that was limited goes on with: that, and whoever else waits or stands nowhere for good.

    Nothing where it was not limited, or where that is everybody: what is at rest is not taken along.
    """
    part = last.takes_part if waiting or last.outcome != OK else ()
    others = [standing for standing in standings if standing.component not in part]
    more = [one.component for one in others if one.component in waiting or one.where not in _AT_REST]
    return (*part, *more) if part and len(more) < len(others) else ()


def _late(standings: Sequence[Standing]) -> tuple[str, ...]:
    """Return what a phase is limited to that sees to sides that are back, and to names that are late."""
    back = tuple(standing.component for standing in standings if standing.where == "back" or standing.late)
    return () if len(back) == len(standings) else back
