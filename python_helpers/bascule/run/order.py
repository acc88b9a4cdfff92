"""Who waits for whom between freeze and thaw, by the journal of one decision. Pure.

What closes goes backwards along `depends_on`, what opens goes along it. Two lines are crossed by all together: nothing
is switched before all is frozen and carried over, and nobody is let in before all has switched or has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import JournalError
from .components import upstream
from .progress import OK, failed_components, refuse

# In the order in which a component goes through them.
VERBS = FREEZE, SYNC, SWITCH, THAW = "freeze", "sync", "switch", "thaw"
# The phases whose components wait for one another inside a play.
WINDOWS = CUTOVER, ROLLBACK = "cutover", "rollback"
# A component and a verb.
Key = tuple[str, str]


def before(component: str, verb: str, moving: Iterable[str], depends_on: Mapping[str, Iterable[str]]) -> list[Key]:
    """Return what has to come through before the verb of a component, out of `moving`: what this playbook moves."""
    others = [name for name in moving if name != component]
    needed = upstream(component, depends_on)
    found: list[Key] = []
    if verb == FREEZE:
        found = [(name, FREEZE) for name in others if component in upstream(name, depends_on)]
    elif verb == SYNC:
        found = [(component, FREEZE)]
    elif verb == SWITCH:
        found = [(component, FREEZE), *((name, SYNC) for name in (component, *others))]
        found += [(name, SWITCH) for name in others if name in needed]
    elif verb == THAW:
        found = [(name, SWITCH) for name in (component, *others)]
        found += [(name, THAW) for name in others if name in needed]
    return found


def goes_on(phase: str, verb: str) -> bool:
    """Say whether the component of a verb begins with its next one as soon as this one has ended."""
    return phase in WINDOWS and verb in VERBS[:-1]


def awaited(
    component: str,
    verb: str,
    entries: Iterable[Mapping[str, Any]],
    moving: Iterable[str],
    depends_on: Mapping[str, Iterable[str]],
    phase: str,
    gone: Iterable[str] = (),
) -> list[Key]:
    """Return what the verb of a component still waits for.

    The entries are those of this decision in their order; `gone` are components that Ansible has taken out of the play.

    Raises:
        JournalError: what it waits for cannot come any more. Something has failed; a thaw is stopped only by what the
            component depends on: whoever can be served is served.
    """
    known = _of_this_run(entries, phase)
    needed = upstream(component, depends_on)
    out = {**dict.fromkeys(gone, "an earlier play"), **failed_components(known)}
    failed = {name: at for name, at in out.items() if name != component and (verb != THAW or name in needed)}
    if failed:
        refuse(component, verb, failed, f"all that {component} waits for")
    through = {
        (str(entry["component"]), str(entry["verb"]))
        for entry in known
        if entry["kind"] == "end" and entry["phase"] == phase and entry["data"].get("result") == OK
    }
    missing = [key for key in before(component, verb, moving, depends_on) if key not in through]
    if verb == THAW:
        # What has failed comes to no end any more; that it switches later takes nothing from those who are let in.
        missing = [key for key in missing if key[0] == component or key[0] not in out]
    # Nobody else does what is its own.
    own = [earlier for name, earlier in missing if name == component]
    if own:
        raise JournalError(
            expected=f"{own[0]} of {component} to have come through in this playbook before {verb}",
            found="it has not",
            state=f"{verb} of {component} was not started",
            next_command="run the whole playbook: it begins with what is done already, which changes nothing",
        )
    return missing


def just_through(component: str, entries: Iterable[Mapping[str, Any]], phase: str, since: str) -> str:
    """Return the verb of the window that has come through last for a component, in this playbook; or an empty text.

    An end from before `since` (a time as the journal has it) is none: what was read then may hold no more.
    """
    ends = [e for e in _of_this_run(entries, phase) if e["kind"] == "end" and e["component"] == component]
    last = ends[-1] if ends else None
    fresh = last is not None and last["phase"] == phase and last["verb"] in VERBS and str(last["time"]) >= since
    return str(last["verb"]) if last is not None and fresh and last["data"].get("result") == OK else ""


def _of_this_run(entries: Iterable[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    """Return what was written since the last GO of the phase: one process may run the same playbook twice."""
    known = list(entries)
    for at in range(len(known) - 1, -1, -1):
        go = known[at]["kind"] == "decision" and known[at]["data"].get("decision") == "GO"
        if go and known[at]["phase"] == phase:
            return known[at:]
    return known
