"""What a verb of the window does in one go where nothing has to be done in between: each step more costs users time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..guard import lost as guard_lost
from ..guard import state as guard
from ..system import moments
from . import backup_jobs, decisions, recover, transitions
from .guest import Guest
from .lost import Copies
from .observed import View

Result = dict[str, Any]


def freeze(
    source: Guest, target: Guest, way: str, force: bool, copies: Copies, check: bool, waits: bool, looks: bool = True
) -> Result:
    """Freeze the guest at `source`; with `looks` only where nothing has to be done before.

    Otherwise return as `before` at which machines: where a copy was interrupted (`noted`), or backups run by a schedule
    (`nodes`). The guest is left as it is then; only a protection that an earlier run has lifted is given back.
    """
    changed = False
    if looks:
        found = recover.unfinished(source, target, way, check)
        jobs = backup_jobs.of_nodes(None, source, target)
        before = [*([found["noted"]] if found["noted"] else []), *backup_jobs.scheduled(jobs)]
        if before:
            return {**found, "before": before, "nodes": jobs["nodes"]}
        changed = found["changed"]
    done = transitions.freeze(source, force, check, target, copies, waits=waits)
    return {**done, "changed": done["changed"] or changed, "before": []}


def close_stateless(
    source: Guest,
    left: View,
    entered: View,
    todo: decisions.GuestTodo,
    run: str,
    force: bool,
    keep: Callable[[Result], Any],
) -> Result:
    """Close a stateless guest that is to be switched, and return its receipt; for any other return nothing.

    No disk is read for it. `run` names the decision that the epoch belongs to; `keep` is told of each change of the
    guard as it happens, so that a copy knows of a permit that was ended although no receipt came of it.
    """
    if todo.action != "switch" or not todo.stateless or todo.digests:
        return {}
    guard_lost.must_be_known(left.guard, entered.guard)
    epoch = guard.next_epoch(left.guard, entered.guard, run)
    keep(transitions.close_begin(source, epoch, force))
    return transitions.close_finish(source, epoch, decisions.DROPPED, moments.now_in_seconds())
