"""GO by typing the name of the site that shall be active afterwards: nobody types that by accident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import NoGo, PlanError

FORWARD = "forward"
BACK = "back"


def destination(plan: Mapping[str, Any], direction: str) -> str:
    """Return the name of the site that `direction` leads to, as people say it (plan_sites.<key>.name)."""
    if direction not in (FORWARD, BACK):
        raise PlanError(expected=f"a direction: {FORWARD} or {BACK}", found=repr(direction))
    variable = "plan_target_site" if direction == FORWARD else "plan_source_site"
    key = plan.get(variable)
    sites = plan.get("plan_sites")
    site = sites.get(key) if isinstance(sites, Mapping) else None
    name = site.get("name") if isinstance(site, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise PlanError(
            expected=f"{variable} to name an entry of plan_sites that has a name",
            found=f"{variable} = {key!r}",
            state="nothing was changed",
            next_command="mend group_vars/all/plan.yml of the inventory",
        )
    return name.strip()


def give_up(plan: Mapping[str, Any], site: str, by: str, fenced: str) -> dict[str, str]:
    """Return what a person answers for who gives a site up: which, who, how it was fenced, where that leads."""
    wanted = site.strip().casefold()
    # What is left is the site that the direction leads to; the lost one is where the other direction leads.
    lost = {FORWARD: destination(plan, BACK), BACK: destination(plan, FORWARD)}
    direction = next((way for way, name in lost.items() if name.casefold() == wanted), "")
    name = lost.get(direction, "")
    if not direction:
        raise PlanError(
            expected=f"-e site= with the name of the site that is lost ({', '.join(lost.values())})",
            found=repr(site) if wanted else "nothing",
            state="nothing was changed",
            next_command="ansible-playbook playbooks/site_lost.yml -e site=SITE -e by=NAME -e fenced='how'",
        )
    if not by.strip() or not fenced.strip():
        raise PlanError(
            expected="-e by= with the name of who decides, and -e fenced= with how it was made sure that nothing at "
            f"{name} accepts writes (power cut at the PDU, line pulled, …)",
            found=f"by {by!r}, fenced {fenced!r}",
            state="nothing was changed",
            next_command="fence it first: a site that does not answer may still serve its users",
        )
    return {"site": name, "by": by.strip(), "fenced": fenced.strip(), "direction": direction}


def confirm(plan: Mapping[str, Any], direction: str, phase: str, typed: str) -> str:
    """Return the name of the site when exactly that was typed, as it stands in the plan, or refuse."""
    name = destination(plan, direction)
    if typed != name:
        raise NoGo(
            expected=f"the name of the site that shall be active after {phase}, exactly: {name}",
            found=repr(typed) if typed.strip() else "nothing",
            state="NO-GO: nothing was changed",
            next_command=f"run the same playbook again and type {name}, or add -e confirm={name}",
        )
    return name


def preview(
    phase: str, site: str, taking_part: Sequence[str], left_out: Sequence[str], notes: Iterable[str], check_mode: bool
) -> list[str]:
    """Return what a GO decides, as lines for who is about to give it.

    Args:
        site: the name of the site that is active afterwards.
        taking_part: the components of this run of the playbook.
        left_out: those that `--limit` leaves out.
        notes: what the components say that a GO gives up.
        check_mode: whether nothing is asked and nothing is done.
    """
    would = "would " if check_mode else ""
    said = [f"{phase}: the active site afterwards {'would be' if check_mode else 'is'} {site}"]
    said.append(f"{would}take part: {', '.join(taking_part)}" if taking_part else f"{would}take part: none")
    if left_out:
        said.append(f"left out by --limit: {', '.join(left_out)}")
    return said + [f"GO {would}include{'' if check_mode else 's'}: {note}" for note in notes]


def given_up(components: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the decision gives up, as the components of the plan state it."""
    notes = {name: str(variables.get("component_go_note") or "").strip() for name, variables in components.items()}
    return [f"{name}: {note}" for name, note in notes.items() if note]
