"""How the time to commit stands, out of what the roles' verb `state` has just registered and the journal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import NoGo
from ..guard import state as rule
from ..run import commit_timer, commits
from ..run.commit_timer import Timer
from ..run.controllers import Noted
from ..run.io import identity
from . import standing
from .action import Scope
from .standing import Component

# The variable, given with -e, that makes a rollback the return that the plan has made when the time is over.
ONLY_AFTER_OVERRUN = "only_after_overrun"
# Who answers for that one.
BY = "the plan (plan_on_overrun)"


def stands(
    scope: Scope,
    entries: Iterable[Mapping[str, Any]],
    silent: Iterable[str],
    noted: Iterable[Noted],
) -> Timer:
    """Return how the time to commit stands.

    Args:
        scope: the action's.
        entries: the journal of the run, all copies.
        silent: the sites whose journal could not be read.
        noted: the playbooks that have noted themselves in the run.
    """
    within = scope.get("plan_commit_within")
    if within is None:
        return Timer()
    known = list(entries)
    moved = [c for c in standing.read(scope)[0] if not c.points_only]
    opened = {c.name: str(guard.opened) for c in moved if (guard := _at_target(scope, c)) is not None}
    if not opened:
        return Timer()
    unseen, apart = (standing.told(scope, key, closed) for key, closed in (("unseen", ""), ("apart", "missed")))
    return commit_timer.decide(
        commit_timer.switched_at(known),
        within,
        scope.get("plan_on_overrun"),
        committed=not commits.missing(known, opened),
        failing=[
            *commit_timer.failing(known, scope.in_play),
            *(f"{name} was not seen to serve: {why}" for name, why in unseen.items() if why),
        ],
        against=[
            *(f"{c.name} is not open to users at the target alone" for c in moved if not _is_whole(scope, c)),
            *(f"{name} does not carry back: {why}" for name, why in apart.items() if why),
            *(f"{name} is left out by --limit" for name in scope.components if name not in scope.in_play),
            *(f"the journal at {site} is silent" for site in sorted(silent)),
            *(f"{name} leaves behind {'; '.join(lost)}" for name, lost in standing.left_behind(scope).items() if lost),
            *commit_timer.busy(noted, identity.current()),
        ],
        now=time.time(),
    )


def must_be_over(timer: Timer) -> None:
    """Refuse a return that nobody has asked for, unless the plan has it made now.

    Raises:
        NoGo: the time is not over, nothing has failed, or a person has to decide.
    """
    if timer.returns:
        return
    raise NoGo(
        expected="a time to commit that is over, a check that has failed, and a plan that has the return made then "
        "(plan_commit_within, plan_on_overrun: return)",
        found=timer.line or "no time that runs: nothing was switched, it was committed, or the plan sets none",
        state="nothing was changed",
        next_command="bascule status; bascule rollback returns by a person's word",
    )


def _at_target(scope: Scope, component: Component) -> rule.GuardState | None:
    """Return the guard of the target's side where that is open."""
    guards = (side.guard for side in (component.left, component.entered) if side.host == _target(scope, component))
    return next((one for one in guards if one is not None and one.status == rule.OPEN), None)


def _is_whole(scope: Scope, component: Component) -> bool:
    """Say whether a component is open to users at the target, and seen closed at the source."""
    there = _at_target(scope, component)
    sides = (component.left, component.entered)
    others = [side.guard for side in sides if side.host != _target(scope, component)]
    closed = all(one is not None and one.status == rule.CLOSED for one in others)
    return there is not None and not there.frozen and closed


def _target(scope: Scope, component: Component) -> str:
    return str(scope.hostvars[component.name]["target_host"])
