"""The closed set of verbs, and what the journal and the guards of the chain must know about each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import PlanError

FORWARD = "forward"
BACK = "back"
DIRECTIONS = (FORWARD, BACK)
# From the site that was given up as lost to the other one.
AWAY = "away"


@dataclass(frozen=True)
class Verb:
    """What a verb may do.

    mutates: it changes something, so that its intent goes to the sites before it starts.
    both_copies: it must not start unless both sites hold that intent.
    stopped_by_any: a failure of any component stops it, not only a failure of what its component depends on.
    """

    name: str
    mutates: bool = False
    both_copies: bool = False
    stopped_by_any: bool = False


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("state"),
        Verb("audit"),
        Verb("prepare", mutates=True),
        Verb("sync", mutates=True),
        Verb("check"),
        Verb("capture", mutates=True),
        # While users are served: what the window would have to wait for.
        Verb("stand_by", mutates=True),
        Verb("freeze", mutates=True, stopped_by_any=True),
        Verb("switch", mutates=True, both_copies=True, stopped_by_any=True),
        Verb("thaw", mutates=True, both_copies=True),
        Verb("verify"),
        # What a role alone can see of how it serves, again and again.
        Verb("watch"),
        # One site is lost for good: one copy of the journal is all there can be, and a person's word opens.
        Verb("take_over", mutates=True),
        # A side that was given up is back: it closes.
        Verb("give_way", mutates=True),
        # A side has lost its guard, and a person says that it is the latest: it is taken over as open again.
        Verb("reopen", mutates=True, both_copies=True, stopped_by_any=True),
        Verb("retire", mutates=True, both_copies=True, stopped_by_any=True),
    )
}


# Roles that move what only points to a site. They act in `thaw` alone, after everybody else, and hold up nobody: what
# still points to the other site reaches an entrance that forwards, or one that its own guard keeps closed.
POINTING = frozenset({"dns_switchover"})
# The inventory's group of components of these roles.
POINTING_GROUP = "pointing"
# Roles whose passive side can be brought further while the other one serves: only they have the verb `stand_by`.
STANDING_BY = frozenset({"proxmox_guest"})
STANDING_BY_GROUP = "standing_by"
# Roles that look at what they have moved as its users do: only they have the verb `watch`.
WATCHED = frozenset({"web_entrance"})
WATCHED_GROUP = "watched"
_SOME: Mapping[str, frozenset[str]] = {"stand_by": STANDING_BY, "watch": WATCHED}
# Roles whose check tries, before a cutover, whether what is written at the target could come back.
TRIES_BACK = frozenset({"postgresql_replication", "rsync_delta_sync"})


def verb(name: str) -> Verb:
    """Return the verb of that name."""
    try:
        return VERBS[name]
    except KeyError:
        raise PlanError(expected=f"a verb out of {', '.join(VERBS)}", found=repr(name)) from None


def has(role: str, name: str) -> bool:
    """Say whether components of a role have a verb."""
    return name not in _SOME or role in _SOME[name]


def sides(direction: str, source_host: str, target_host: str) -> tuple[str, str]:
    """Return (from, to): the way back is the way forward with the sides swapped."""
    if direction == FORWARD:
        return source_host, target_host
    if direction == BACK:
        return target_host, source_host
    raise PlanError(expected=f"a direction out of {', '.join(DIRECTIONS)}", found=repr(direction))


_RESERVED = frozenset(
    {"source_host", "target_host", "depends_on", "direction", "from", "to", "ansible_host", "ansible_connection"}
)
# All of the plan: a limit moved here would be no override, with no reason and no trace in the journal.
_RESERVED_PREFIXES = ("bascule_", "component_", "plan_")


def refuse_reserved(extra_vars: Iterable[str]) -> None:
    """Refuse extra variables that would beat what the plan declares or what the run decided."""
    names = sorted(name for name in map(str, extra_vars) if name in _RESERVED or name.startswith(_RESERVED_PREFIXES))
    if names:
        raise PlanError(
            expected="extra variables that leave the plan and the direction of the run alone",
            found=f"-e {', -e '.join(names)}",
            state="nothing was changed",
            next_command="run the same command without them: the playbook chooses the direction, the inventory has the "
            "plan, and a gate is overridden with a reason (gate_overrides)",
        )
