"""The phases that a person starts by name, and the playbook of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import PlanError

PLAYBOOKS = {
    "audit": "playbooks/10_audit.yml",
    "prepare": "playbooks/20_prepare.yml",
    "sync": "playbooks/30_sync.yml",
    "pretest": "playbooks/40_pretest.yml",
    "plan": "playbooks/50_plan.yml",
    "cutover": "playbooks/60_cutover.yml",
    "verify": "playbooks/70_verify.yml",
    "monitor": "playbooks/75_monitor.yml",
    "commit": "playbooks/80_commit.yml",
    "rollback": "playbooks/rollback.yml",
    "decommission": "playbooks/90_decommission.yml",
    "site_back": "playbooks/site_back.yml",
}
# What each is for, in the order of an evening; those that only ask come last.
_WHAT: Mapping[str, str] = {
    "audit": "measure both sides; changes nothing",
    "prepare": "build the passive side",
    "sync": "bring the passive side up to date",
    "pretest": "put fresh samples to the gates",
    "plan": "measure, forecast and write the plan of a cutover; changes nothing at the components",
    "cutover": "move the active side to the target site",
    "verify": "prove content and service at the active side",
    "monitor": "sample what was moved and judge each series; changes nothing",
    "commit": "decide that the move stays; changes nothing at the components",
    "rollback": "bring everything back to the source site",
    "site_lost": "open the side that is left, by a person's word",
    "site_back": "close the side that was given up and is back",
    "guard_lost": "take over a side whose guard is gone, by a person's word",
    "decommission": "remove what is left at the old side; no way back after it",
    "status": "say where the run stands; changes nothing",
    "report": "make the report of the run again; changes nothing",
}
_OTHERS = {name: f"playbooks/{name}.yml" for name in ("site_lost", "guard_lost", "status", "report")}


@dataclass(frozen=True)
class Phase:
    """A phase: its name, its playbook below the project's folder, and what it is for."""

    name: str
    playbook: str
    what: str


PHASES: Mapping[str, Phase] = {name: Phase(name, (PLAYBOOKS | _OTHERS)[name], what) for name, what in _WHAT.items()}


def phase(name: str) -> Phase:
    """Return the phase of that name; a hyphen in it stands for an underscore."""
    found = PHASES.get(name.replace("-", "_"))
    if found is None:
        raise PlanError(
            expected=f"a phase out of {', '.join(PHASES)}",
            found=repr(name),
            state="nothing was begun",
            next_command="bascule phases",
        )
    return found
