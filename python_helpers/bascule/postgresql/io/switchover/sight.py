"""Knock while a side is open, and keep who was let in: a later refusal of the same knock proves a fence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.state import GuardState
from ....system.io import storage
from ....system.moments import now
from ... import knocks, pgbouncer
from ...knocks import Knock
from ...spec import Spec
from ...wire import Answer
from ..cluster import probe
from ..cluster.cluster import HOME
from ..pooler.console import Pooler

RECORD = "knocks.json"
# A state that is read must not wait for a side that does not answer.
LOOK_SECONDS = 1.0
# Told in the proof when the other side was never open, so that nobody can have been let in.
UNPROVED = "unproved"
UNOPENED = "nobody was seen to be let in there: it was not open any more, or not yet, when it closed"
BESIDE = "the same role is let in for replication only"


def since(guard: GuardState) -> str:
    """Return the epoch of this side's own last receipt: what was seen before it is about another time."""
    return str(guard.receipt.epoch) if guard.receipt else ""


def seen(spec: Spec, guard: GuardState) -> dict[Knock, str]:
    """Return who was let in, and when, since this side's last receipt."""
    return knocks.remembered(storage.read_json(HOME / spec.component / RECORD), since(guard))


def look(spec: Spec, guard: GuardState, *, keep: bool = True) -> dict[str, Any]:
    """Knock where a side may be open (the other one, seen from a closed side), and remember who is let in."""
    found = seen(spec, guard)
    refused: dict[str, str] = {}
    own = guard.status == rule.OPEN
    if guard.status not in (rule.OPEN, rule.CLOSED) or (own and guard.frozen):
        return _said(guard, found, refused)
    silent = False
    for one in [knocks.own(spec)] if own else knocks.outside(spec):
        if silent:
            break
        answer = _try(one, LOOK_SECONDS)
        silent = answer.kind == "none"
        if answer.kind == "admitted":
            found[one] = now()
        else:
            refused[f"{one.user}@{one.database}"] = f"{answer.kind}: {answer.code} {answer.text}".strip()
    through = _through(spec, spec.side if own else spec.peer_side)
    if found and spec.pooler == "install" and spec.pooler_clients and through not in found:
        answer = _through_pooler(spec, through)
        if answer.kind == "admitted":
            found[through] = now()
        else:
            refused[f"pooler of {spec.side}"] = f"{answer.kind}: {answer.code} {answer.text}".strip()
    if keep and found:
        record = knocks.to_record(since(guard), found)
        if storage.read_json(HOME / spec.component / RECORD) != record:
            storage.write_json(HOME / spec.component / RECORD, record)
    return _said(guard, found, refused)


def refusal(
    spec: Spec,
    known: Mapping[Knock, str],
    codes: tuple[str, ...],
    timeout: float,
    *,
    frozen: bool = False,
    unopened: bool = False,
) -> Answer:
    """Knock at the other side once, as everybody who was let in there; without anybody, as the prober (`unopened`)."""
    mine = [one for one in knocks.outside(spec, frozen=frozen) if one in known]
    if mine or not unopened:
        # One after the other: whoever is not answered ends the round, and no time is spent on the rest.
        return knocks.verdict(((one, _try(one, timeout)) for one in mine), known, codes)
    answer = _try(knocks.outside(spec)[0], timeout)
    if answer.is_refusal and answer.code in codes:
        return _beside(spec, answer, timeout)
    return Answer("unclear" if answer.is_refusal else answer.kind, answer.code, answer.text)


def knock(spec: Spec, one: Knock, known: Mapping[Knock, str], timeout: float) -> Answer:
    """Knock at the other side once; a refusal of somebody who never was let in there counts for nothing.

    When nobody ever was, because the other side was closed again before it had opened, the prober's counts beside what
    the same role is let in for.
    """
    answer = _try(one, timeout)
    if not answer.is_refusal or one in known:
        return answer
    if any(other in known for other in knocks.outside(spec)) or one != knocks.outside(spec)[0]:
        return Answer(UNPROVED, answer.code, f"{answer.text} (never let in)")
    return _beside(spec, answer, timeout)


def outside_must_be_seen(spec: Spec, guard: GuardState, *, unopened: bool = False) -> dict[Knock, str]:
    """Return who was let in at the other side while it was open; refuse when nobody was."""
    found = {one: at for one, at in seen(spec, guard).items() if one in knocks.outside(spec)}
    if not found and not unopened:
        raise _blind(spec, guard, f"a knock from {spec.side} that {spec.peer_side} has let in while it was open")
    return found


def own_must_be_seen(spec: Spec, guard: GuardState) -> None:
    """Refuse unless this side lets its own host in while it is open, or has."""
    if not guard.frozen:
        look(spec, guard)
    if knocks.own(spec) not in seen(spec, guard):
        raise _blind(spec, guard, f"a knock of {spec.side} at its own server that is let in while it is open")


def pooler_seen(spec: Spec, guard: GuardState, side: str) -> str:
    """Return when this host's pooler was let in by a side; empty when nobody has seen it."""
    return seen(spec, guard).get(_through(spec, side), "")


def pooler_must_be_seen(spec: Spec, guard: GuardState, side: str) -> str:
    """Return when this host's pooler was let in by a side; refuse when it never was."""
    at = pooler_seen(spec, guard, side)
    if not at:
        raise _blind(spec, guard, f"a session that the pooler of {spec.side} got from {side} while it was open")
    return at


def _beside(spec: Spec, answer: Answer, timeout: float) -> Answer:
    """Judge the refusal of a knock that was never let in: by the rules, for whom the server lets in otherwise."""
    if answer.code == "ECONNREFUSED":
        return Answer("refused", answer.code, f"{answer.text} ({UNOPENED})")
    heard = _try(knocks.replication(spec), timeout)
    if heard.kind != "admitted":
        return Answer(
            "unclear", answer.code, f"{answer.text}, and a standby is not let in either ({heard.code} {heard.text})"
        )
    return Answer("refused", answer.code, f"{answer.text} ({UNOPENED}; {BESIDE})")


def _try(knock: Knock, timeout: float) -> Answer:
    return probe.knock(knock.address, knock.port, knock.user, knock.database, timeout=timeout)


def _through(spec: Spec, side: str) -> Knock:
    address, port = pgbouncer.server(spec, side)
    return Knock(pgbouncer.ACCOUNT, pgbouncer.alias(side), address, port)


def _through_pooler(spec: Spec, through: Knock) -> Answer:
    try:
        with Pooler(spec) as pooler:
            return pooler.knock(through.address, through.port, timeout=LOOK_SECONDS)
    except BasculeError as error:
        return Answer("none", "", error.found or error.expected)


def _said(guard: GuardState, found: Mapping[Knock, str], refused: Mapping[str, str]) -> dict[str, Any]:
    return {**knocks.to_record(since(guard), found), "not_let_in": dict(refused)}


def _blind(spec: Spec, guard: GuardState, expected: str) -> BasculeError:
    known = [f"{one.user} at {one.database} of {one.address}:{one.port}" for one in seen(spec, guard)]
    return BasculeError(
        expected=expected,
        found=f"none since this side's last receipt ({since(guard) or 'it has given none'}); let in were: "
        f"{', '.join(known) or 'nobody'}",
        state="this step changed nothing; the refusal of somebody who never was let in proves no fence",
        next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {spec.component}, while it is open; then the "
        "same playbook again",
    )
