"""A cutover that is bound to a plan: what the plan rests on, out of Ansible's variables; whether it still fits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible import constants, context
from ansible.utils.vars import load_extra_vars

from ..errors import NoGo, PlanError
from ..run import plans
from ..run.gates import number_of
from ..run.io import identity, plan_files, presence
from ..run.io.journal import Journal, require_copies
from ..run.plans import Basis
from . import standing
from .action import Scope
from .standing import Component
from .values import plain

# The variable, given with -e, that names the file of a plan.
WITH = "with_plan"
# What each component is declared as.
_DECLARED = ("component_role", "source_host", "target_host", "depends_on")


def whose() -> str:
    """Return who runs this, and on which machine."""
    return f"{presence.user()} on {identity.controller()}"


def given(loader: Any) -> str:
    """Return the file of the plan that was given with -e; nothing where none was.

    Raises:
        PlanError: one was given, and it is empty: who gives one must not go on without it unnoticed.
    """
    extra = plain(load_extra_vars(loader))
    path = str(extra.get(WITH) or "").strip()
    if WITH in extra and not path:
        raise PlanError(
            expected=f"-e {WITH}=FILE, with the file that bascule plan has written",
            found="no file",
            state="nothing was closed or changed",
            next_command=f"name the file; without {WITH} the cutover says itself what it needs",
        )
    return path


def basis(scope: Scope, loader: Any, salt: str, components: Iterable[Component] = ()) -> Basis:
    """Return what a plan of this command rests on.

    Args:
        loader: the action's, which reads what was given with -e.
        salt: the plan's own.
        components: as they were just read; nothing where nobody has looked.
    """
    values = {str(name): plain(scope.get(str(name))) for name in scope.variables if str(name).startswith("plan_")}
    declared = {name: {key: plain(scope.hostvars[name].get(key)) for key in _DECLARED} for name in scope.components}
    extra = plain(load_extra_vars(loader))
    named = {
        **values,
        **{f"component {name}": value for name, value in declared.items()},
        **{f"-e {name}": value for name, value in extra.items() if name not in plans.ANSWERS},
    }
    sources = context.CLIARGS.get("inventory") or constants.DEFAULT_HOST_LIST
    return Basis(
        tuple(scope.in_play),
        plan_files.inventory([str(one) for one in sources], salt),
        {name: plans.digest(salt, value) for name, value in named.items()},
        observed(components),
    )


def observed(components: Iterable[Component]) -> dict[str, str]:
    """Return in words how each side of each component stands."""
    return {
        f"{one.name} at {side.host}": plans.stands(side.guard) for one in components for side in (one.left, one.entered)
    }


def must_fit(
    scope: Scope, loader: Any, path: str, components: Iterable[Component] = ()
) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """Return the plan of a file, and the journal's entries, or refuse it.

    Args:
        loader: the action's.
        path: the file.
        components: as they were just read; nothing where nobody has looked.

    Raises:
        PlanError: the file is no plan, is stale, was used, or a site's journal, which says so, is silent.
    """
    plan = plan_files.read(path)
    journal = Journal.current()
    max_age = number_of(scope.get("plan_max_age_seconds"))
    plans.must_fit(
        plan,
        basis(scope, loader, str(plan["salt"]), components),
        run=journal.run,
        name=scope.plan,
        now=time.time(),
        max_age=plans.MAX_AGE if max_age is None else max_age,
    )
    return plan, unused(scope, plan)


def unused(scope: Scope, plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the journal's entries of both sites, or refuse a plan that they know as used, or do not know."""
    entries, silent = standing.journalled(scope)
    if silent:
        told = "; ".join(f"the journal at {site}: {reason}" for site, reason in sorted(silent.items()))
        raise NoGo(
            expected="the journal of both sites to say that the plan was not used",
            found=told,
            state="nothing was closed or changed",
            next_command="make it answer; without --plan the cutover says itself what it needs",
        )
    plans.must_be_unused(plan, entries, identity.current())
    return list(entries)


def use(scope: Scope, plan: Mapping[str, Any], phase: str) -> None:
    """Use the plan up: write that at both sites, and see that nobody else has done so meanwhile.

    Raises:
        JournalError: not both sites have it.
        PlanError: another decision has used it; where two have at the same moment, neither goes on.
    """
    journal = Journal.current()
    data = {"decision": plans.USED, "id": plan["id"], "checksum": plan["checksum"], "by": whose()}
    journal.append("decision", phase=phase, data=data)
    to_both(scope, journal, f"the plan {str(plan['id'])[:8]}")
    unused(scope, plan)


def to_both(scope: Scope, journal: Journal, subject: str) -> None:
    """Bring the journal's copies of both sites up to date, or refuse."""
    targets = scope.journal_targets()
    require_copies(journal.copy_to(targets), targets, True, subject)
