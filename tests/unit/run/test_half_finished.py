"""Five half-finished runs: what a stranger reads who types `bascule status`, whole, and finds the one command in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState
from bascule.run import controllers, position, resume, status, users
from bascule.run.controllers import Noted
from bascule.run.last import last_verb
from bascule.run.position import Side, Sides
from bascule.run.resume import COMMAND, PERSON, Choice

DECISION = "d1f0"
NOW = "2026-12-01T22:31:00.000+00:00"
DEAD = Noted(
    DECISION, 4711, "nadia", "60_cutover.yml", "2026-12-01T22:00:03.000+00:00", "(6/7) CUTOVER", "", False, "ops-1"
)  # fmt: skip
NAMES = ("montpellier", "toulouse")
# Each component, and the hosts of its two sides.
HOSTS = {
    "accounts_db": ("db-mtp", "db-tls"), "courses_guest": ("pve-mtp", "pve-tls"), "entrance": ("web-mtp", "web-tls")
}  # fmt: skip
ALL = tuple(HOSTS)
OPTIONS = "-i inventories/techcorp"
# What stands on one line is broken here by a backslash.
BEFORE_THE_FREEZE = """\
Run 20261201-220003-techcorp
Last verb: cutover/capture of accounts_db, begun 2026-12-01T22:08:00Z by ops-1: NOT ENDED: its controller is dead
Controller: DEAD: 60_cutover.yml, process 4711 of nadia on ops-1, begun 2026-12-01T22:00:03Z, is gone and has not \
ended by itself, in play "(6/7) CUTOVER"; it left capture of accounts_db, and what it started on the machines goes on
Users: served at Montpellier since before this run
Journal: here 0 entries, mtp 8 entries, tls 8 entries; chains hold
  accounts_db    active at Montpellier (db-mtp open 0, db-tls closed)
  courses_guest  active at Montpellier (pve-mtp open 0, pve-tls closed)
  entrance       active at Montpellier (web-mtp open 0, web-tls closed)
Or, leave things as they are
Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse -i inventories/techcorp (again from the start)"""
FROZEN = """\
Run 20261201-220003-techcorp
Last verb: cutover/sync of accounts_db, begun 2026-12-01T22:08:00Z by ops-1: NOT ENDED: its controller is dead
Controller: DEAD: 60_cutover.yml, process 4711 of nadia on ops-1, begun 2026-12-01T22:00:03Z, is gone and has not \
ended by itself, in play "(6/7) CUTOVER"; it left sync of accounts_db, and what it started on the machines goes on
Users: WAIT since 2026-12-01T22:02:00Z for accounts_db, courses_guest, entrance
Journal: here 0 entries, mtp 8 entries, tls 8 entries; chains hold
  accounts_db    frozen at Montpellier (db-mtp open 0, db-tls closed)
  courses_guest  frozen at Montpellier (pve-mtp open 0, pve-tls closed)
  entrance       frozen at Montpellier (web-mtp open 0, web-tls closed)
Or, to return: ansible-playbook playbooks/rollback.yml -e confirm=montpellier -i inventories/techcorp
Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse -i inventories/techcorp to go on"""
SWITCHED_HALF = """\
Run 20261201-220003-techcorp
Last verb: cutover/switch of courses_guest, begun 2026-12-01T22:16:00Z by ops-1: NOT ENDED: its controller is dead
Controller: DEAD: 60_cutover.yml, process 4711 of nadia on ops-1, begun 2026-12-01T22:00:03Z, is gone and has not \
ended by itself, in play "(6/7) CUTOVER"; it left switch of courses_guest, and what it started on the machines goes on
Users: WAIT since 2026-12-01T22:02:00Z for accounts_db, courses_guest, entrance
Journal: here 0 entries, mtp 16 entries, tls 16 entries; chains hold
  accounts_db    active at Toulouse (db-mtp closed 1, db-tls open 1)
  courses_guest  frozen at Montpellier (pve-mtp open 0, pve-tls closed)
  entrance       frozen at Montpellier (web-mtp open 0, web-tls closed)
Or, to return: ansible-playbook playbooks/rollback.yml -e confirm=montpellier -i inventories/techcorp
Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse -i inventories/techcorp to go on"""
ROLLED_BACK_HALF = """\
Run 20261201-220003-techcorp
Last verb: rollback/switch of courses_guest, begun 2026-12-01T22:16:00Z by ops-1: NOT ENDED: its controller is dead
Controller: DEAD: rollback.yml, process 4711 of nadia on ops-1, begun 2026-12-01T22:00:03Z, is gone and has not \
ended by itself, in play "(3/4) ROLLBACK"; it left switch of courses_guest, and what it started on the machines goes \
on
Users: WAIT since 2026-12-01T22:02:00Z for accounts_db, courses_guest, entrance
Journal: here 0 entries, mtp 16 entries, tls 16 entries; chains hold
  accounts_db    active at Montpellier (db-mtp open 2, db-tls closed 2)
  courses_guest  frozen at Toulouse (pve-mtp closed 1, pve-tls open 1)
  entrance       frozen at Toulouse (web-mtp closed 1, web-tls open 1)
Next: ansible-playbook playbooks/rollback.yml -e confirm=montpellier -i inventories/techcorp to go on"""
ONE_SITE_DEAD = """\
Run 20261201-220003-techcorp
Last verb: cutover/sync of accounts_db, begun 2026-12-01T22:08:00Z by ops-1: FAILED
Users: WAIT since 2026-12-01T22:02:00Z for accounts_db, courses_guest, entrance
Journal: here 0 entries, mtp 9 entries, tls NOT READ (no route to host); chains hold
  accounts_db    frozen at Montpellier (db-mtp open 0; db-tls NOT READ: no route to host)
  courses_guest  frozen at Montpellier (pve-mtp open 0; pve-tls NOT READ: no route to host)
  entrance       frozen at Montpellier (web-mtp open 0; web-tls NOT READ: no route to host)
Next: ansible-playbook playbooks/rollback.yml -e confirm=montpellier -i inventories/techcorp, which lets users in \
again without the side that is silent"""


def guards(name: str) -> tuple[GuardState, GuardState]:
    source, target = HOSTS[name]
    return rule.adopt_open(GuardState(name, source)), rule.adopt_closed(GuardState(name, target))


def at_source(name: str, frozen: bool = False) -> Sides:
    source, target = guards(name)
    return both(name, rule.freeze(source) if frozen else source, target)


def at_target(name: str, *, frozen: bool = False, back: bool = False) -> Sides:
    """Return sides of which the target is open; with `back` a later decision has brought it to the source again."""
    source, target = guards(name)
    epoch = Epoch(1, DECISION)
    source, receipt = rule.closed(rule.promise(source, epoch), epoch, {}, "now")
    target = rule.opened(rule.may_open(target, epoch, receipt, True), epoch)
    if back:
        epoch = Epoch(2, DECISION)
        target, receipt = rule.closed(rule.promise(target, epoch), epoch, {}, "now")
        source = rule.opened(rule.may_open(source, epoch, receipt, True), epoch)
    return both(name, source, rule.freeze(target) if frozen else target)


def both(name: str, source: GuardState, target: GuardState) -> Sides:
    return Sides(
        name, Side(source.side, "Montpellier", source, ""), Side(target.side, "Toulouse", target, "")
    )  # fmt: skip


def silent(sides: Sides) -> Sides:
    """Return what is seen while the target does not answer."""
    return replace(sides, target=replace(sides.target, guard=None, error="no route to host"))


def went(*verbs: str, phase: str = "cutover", minute: int = 1) -> list[dict[str, Any]]:
    """Return the journal of a decision: its GO, and verbs such as `freeze`, or `switch accounts_db` of one of them.

    A mark behind a verb says how it ended: `!` failed, `…` not at all.
    """
    common = {"controller": "ops-1", "epoch": DECISION, "phase": phase}
    at = iter(range(minute, 60))

    def entry(kind: str, verb: str, name: str, **data: Any) -> dict[str, Any]:
        return {
            **common, "kind": kind, "verb": verb, "component": name, "data": data,
            "time": f"2026-12-01T22:{next(at):02}:00.000+00:00",
        }  # fmt: skip

    found = [entry("decision", "", "", decision="GO", takes_part=list(ALL))]
    for words in verbs:
        verb, _, name = words.rstrip("!…").partition(" ")
        for one in [name] if name else ALL:
            found.append(entry("begin", verb, one))
            if not words.endswith("…"):
                found.append(entry("end", verb, one, result="failed" if words.endswith("!") else "ok"))
    return found


def seen(
    sides: Sequence[Sides], entries: Sequence[dict[str, Any]], noted: Sequence[Noted] = (), unread: str = ""
) -> tuple[Choice, str]:
    """Return what `status` chooses and prints, of machines and a journal as they are given."""
    work, users_seen, last = (
        controllers.at_work(noted, entries, "ops-2", NOW),
        users.read(sides, entries),
        last_verb(entries),
    )
    standings = [position.standing(one) for one in sides]
    choice = resume.choose(
        standings, last, NAMES, silent=bool(unread), waiting=users_seen.waiting, work=work, options=OPTIONS
    )
    held = f"{len(entries)} entries"
    copies = {"here": "0 entries", "mtp": held, "tls": unread or held}
    lines = status.report("20261201-220003-techcorp", sides, last, copies, [], choice, (), work, users_seen.line)
    return choice, "\n".join(lines)


def test_before_the_freeze() -> None:
    """The controller died while it looked at the gates; everybody is served."""
    choice, text = seen([at_source(name) for name in ALL], went("check", "capture accounts_db…"), [DEAD])
    assert (choice.kind, choice.phase) == (COMMAND, "cutover")
    assert text == BEFORE_THE_FREEZE


def test_frozen_and_the_controller_is_dead() -> None:
    choice, text = seen([at_source(name, frozen=True) for name in ALL], went("freeze", "sync accounts_db…"), [DEAD])
    assert (choice.kind, choice.phase) == (COMMAND, "cutover")
    assert text == FROZEN


def test_switched_half() -> None:
    """The database has moved, the guests have not, and the controller is dead."""
    sides = [at_target("accounts_db"), at_source("courses_guest", frozen=True), at_source("entrance", frozen=True)]
    choice, text = seen(sides, went("freeze", "sync", "switch accounts_db", "switch courses_guest…"), [DEAD])
    assert (choice.kind, choice.phase) == (COMMAND, "cutover")
    assert text == SWITCHED_HALF


def test_rolled_back_half() -> None:
    """A person has chosen the way back, and that has died as well."""
    stay = [at_target(name, frozen=True) for name in ("courses_guest", "entrance")]
    sides = [at_target("accounts_db", back=True), *stay]
    entries = went("freeze", "sync", "switch accounts_db", "switch courses_guest…", phase="rollback")
    choice, text = seen(sides, entries, [replace(DEAD, playbook="rollback.yml", play="(3/4) ROLLBACK")])
    assert (choice.kind, choice.phase) == (COMMAND, "rollback")
    assert text == ROLLED_BACK_HALF


def test_one_site_is_dead() -> None:
    """In the window, before anything was closed: what is frozen is let in again where it is."""
    sides = [silent(at_source(name, frozen=True)) for name in ALL]
    unread = "NOT READ (no route to host)"
    choice, text = seen(sides, went("freeze", "sync accounts_db!"), unread=unread)
    assert (choice.kind, choice.phase) == (COMMAND, "rollback")
    assert text == ONE_SITE_DEAD
    # Outside a window nobody waits, and only a person can give a site up.
    choice, text = seen([silent(at_source(name)) for name in ALL], went("sync", phase="sync"), unread=unread)
    assert choice.kind == PERSON
    assert text.splitlines()[-1] == (
        "Next: make the machine that was not read reachable, then ask again: ansible-playbook playbooks/status.yml "
        "-i inventories/techcorp; if it is lost for good: docs/runbooks/site_lost.md"
    )
