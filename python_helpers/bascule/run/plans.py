"""The plan of a cutover, as a file: what it was made from, whether that still holds, and whether it was used. Pure.

A plan is a table (JSON) with the fields of FIELDS. Its checksum covers all other fields; the journal at the sites keeps
it with the plan's id, so that a file which somebody has edited is not the plan that was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import PlanError
from ..guard.state import OPEN, GuardState

# Seconds for which a plan may be used where plan_max_age_seconds does not say.
MAX_AGE = 86400.0
# Clocks of two controllers differ a little; a plan from further ahead was made by a wrong clock.
_AHEAD = 60.0
MADE, USED = "plan made", "plan used"
FIELDS = ("id", "salt", "run", "plan", "made", "by", "components", "inventory", "variables", "observed", "checksum")
# What a person answers with at the moment of the command: it is no part of what was planned.
ANSWERS = frozenset({"confirm", "gate_overrides", "proof_overrides", "with_plan"})
_MOST = 8


@dataclass(frozen=True)
class Basis:
    """What a plan rests on.

    inventory: the digest of each file of the inventory, by its name. variables: the digest of each variable of the
    plan, of what each component is declared as, and of what was given with -e. observed: in words, how each side of
    each component stands; empty where nobody has looked.
    """

    components: tuple[str, ...]
    inventory: Mapping[str, str]
    variables: Mapping[str, str]
    observed: Mapping[str, str]


def digest(salt: str, value: Any) -> str:
    """Return the digest of a value in plain types; the salt is the plan's own, so that none can be looked up."""
    text = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")
    return hashlib.sha256(salt.encode() + b"\0" + text).hexdigest()


def stands(guard: GuardState | None) -> str:
    """Return in words how one side stands, as a plan keeps it."""
    if guard is None:
        return "not read"
    epoch = guard.opened if guard.status == OPEN else guard.promised
    return f"{guard.status}{f' {epoch}' if epoch else ''}{', frozen' if guard.frozen else ''}"


def make(basis: Basis, *, plan_id: str, salt: str, run: str, plan: str, made: float, by: str) -> dict[str, Any]:
    """Return the plan.

    Args:
        basis: what it rests on; its digests are salted with `salt`.
        plan_id: what names it in the journal.
        salt: a number that nobody can guess, as text; it stands in no journal.
        run: the run it belongs to.
        plan: the plan's name.
        made: when, in seconds since the epoch.
        by: who has made it, and on which machine.
    """
    content = {"id": plan_id, "salt": salt, "run": run, "plan": plan, "made": made, "by": by, **asdict(basis)}
    content["components"] = list(basis.components)
    return {**content, "checksum": checksum(content)}


def checksum(plan: Mapping[str, Any]) -> str:
    """Return the checksum over all fields but the checksum itself."""
    covered = {key: value for key, value in plan.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read(text: str | None, path: str) -> dict[str, Any]:
    """Return the plan that a file holds.

    Raises:
        PlanError: there is no such file, it is no plan, or it was changed.
    """
    if text is None:
        raise _refused("a file with a plan", f"no {path}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    tables, texts = ("inventory", "variables", "observed"), ("id", "salt", "run", "plan", "by")
    if (
        not isinstance(found, dict)
        or set(found) != set(FIELDS)
        or not all(isinstance(found[name], dict) for name in tables)
        or not all(isinstance(found[name], str) for name in texts)
        or not isinstance(found["components"], list)
        or isinstance(found["made"], bool)
        or not isinstance(found["made"], (int, float))
    ):
        raise _refused("a plan, as bascule plan writes it", f"{path}, which is none")
    if found["checksum"] != checksum(found):
        raise _refused(f"{path} as it was made", "a file that was changed: its checksum is another one")
    return found


def must_fit(plan: Mapping[str, Any], basis: Basis, *, run: str, name: str, now: float, max_age: float) -> None:
    """Refuse a plan that is stale.

    Args:
        plan: what `read` has returned.
        basis: what is now; where nobody has looked at the sides (`observed` is empty) they are not compared.
        run: the run that is gone on with.
        name: the plan's name in the inventory.
        now: the time, in seconds since the epoch.
        max_age: how old it may be, in seconds.

    Raises:
        PlanError: it is too old, of another plan or run, or what it was made from has changed; all is named.
    """
    found = [*_age(plan, now, max_age), *_whose(plan, run, name), *differences(plan, basis)]
    if found:
        more = len(found) - _MOST
        told = [*found[:_MOST], *([f"and {more} more"] if more > 0 else [])]
        raise _refused(f"plan {plan['id'][:8]} to fit what is now", "it is STALE: " + "; ".join(told))


def differences(plan: Mapping[str, Any], basis: Basis) -> list[str]:
    """Return what differs between what the plan was made from and what is now, in words."""
    found = []
    then, now = [str(name) for name in plan["components"]], list(basis.components)
    if set(then) != set(now):
        found.append(f"it was made for {', '.join(then)}, and {', '.join(now)} take part (--limit)")
    found += [f"of the inventory, {line}" for line in _changed(plan["inventory"], basis.inventory)]
    found += _changed(plan["variables"], basis.variables)
    if basis.observed:
        known = plan["observed"]
        found += [
            f"{name} was {known.get(name, 'not known')} and is {basis.observed.get(name, 'not known')}"
            for name in sorted({*known, *basis.observed})
            if known.get(name) != basis.observed.get(name)
        ]
    return found


def must_be_unused(plan: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], decision: str) -> None:
    """Refuse a plan that the journal does not know, or knows as used by another decision than this one.

    Args:
        plan: what `read` has returned.
        entries: those of all copies of the journal.
        decision: the decision that asks.

    Raises:
        PlanError: it is not known, or was used.
    """
    known = [entry for entry in entries if entry["kind"] == "decision" and entry["data"].get("id") == plan["id"]]
    made = {entry["data"].get("checksum") for entry in known if entry["data"].get("decision") == MADE}
    if plan["checksum"] not in made:
        found = "another checksum of it" if made else "no plan of that id"
        raise _refused("a plan that the journal at the sites knows", found)
    for entry in known:
        if entry["data"].get("decision") == USED and entry["epoch"] != decision:
            raise _refused(
                "a plan that was not used",
                f"plan {plan['id'][:8]} was USED {str(entry['time'])[:19]}Z by {entry['data'].get('by')}, "
                f"decision {entry['epoch']}",
                "to go on with what it has begun: bascule run cutover, without --plan; else bascule plan",
            )


def _age(plan: Mapping[str, Any], now: float, max_age: float) -> list[str]:
    age = now - plan["made"]
    if age > max_age:
        return [f"it was made {age:.0f} s ago, {max_age:.0f} s are allowed (plan_max_age_seconds)"]
    return [f"it was made {-age:.0f} s in the future: a clock is wrong"] if age < -_AHEAD else []


def _whose(plan: Mapping[str, Any], run: str, name: str) -> list[str]:
    if plan["plan"] != name:
        return [f"it is one of plan {plan['plan']}, and this inventory is plan {name}"]
    return [f"it is one of run {plan['run']}, and run {run} is gone on with"] if plan["run"] != run else []


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            found.append(f"{name} {'is new' if name not in then else 'is gone' if name not in now else 'has changed'}")
    return found


def _refused(
    expected: str, found: str, next_command: str = "bascule plan, and use the file that it writes"
) -> PlanError:
    return PlanError(expected=expected, found=found, state="nothing was closed or changed", next_command=next_command)
