"""What a phase needs to be right before it begins, out of the declaration alone; every finding is named at once.

Nothing is connected to here: what only a machine knows is asked by the audit.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import posixpath
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import PlanError
from . import canary, commit_timer, gates, load_test, monitor, people
from .claims import Claim
from .entrances import entrance_findings
from .findings import Declared, Finding, shown
from .verbs import POINTING, VERBS

# The verbs that each playbook calls. The audit asks for all: a file that is missing is found in the first minute.
PHASES: Mapping[str, tuple[str, ...]] = {
    "audit": tuple(VERBS),
    "prepare": ("prepare",),
    "sync": ("sync",),
    "pretest": ("check",),
    "plan": ("audit", "state"),
    "cutover": ("state", "check", "capture", "freeze", "sync", "switch", "thaw"),
    "verify": ("verify",),
    "monitor": ("state", "watch"),
    "commit": ("state",),
    "rollback": ("state", "stand_by", "freeze", "sync", "switch", "thaw"),
    "site_lost": ("state", "take_over", "thaw"),
    "site_back": ("give_way",),
    "guard_lost": ("reopen",),
    "decommission": ("state", "retire"),
}
# The verb with which a phase begins that asks nobody for GO.
FIRST: Mapping[str, str] = {
    "audit": "audit",
    "prepare": "prepare",
    "sync": "sync",
    "pretest": "check",
    "plan": "audit",
    "verify": "verify",
    "monitor": "state",
    "site_back": "give_way",
}
# They let users in again, and what decides nothing there holds up none: gates, figures, what only points to a site; and
# what two components claim, as a host has refused that to the second one when it was prepared.
WAYS_BACK = frozenset({"rollback", "site_lost", "site_back", "guard_lost"})
# Variables that need an entry for each of the two machines, and what each entry needs.
_TABLES: Mapping[str, tuple[str, ...]] = {
    "proxmox_guest_sides": ("api_host", "node", "vmid", "storage"),
    "proxmox_guest_token_secrets": (),
    "web_entrance_addresses": (),
    "vpn_switchover_addresses": (),
    "firewall_addresses": (),
    "mysql_replication_addresses": (),
    "sqlite_store_addresses": (),
}
_PLAN = (
    "plan_name",
    "plan_source_site",
    "plan_target_site",
    "plan_sites",
    "plan_journal_hosts",
    "plan_link",
    "plan_gates",
    "plan_limits",
    "plan_expected_seconds",
    "plan_max_age_seconds",
    "plan_observation_seconds",
    "plan_observation_days",
    "plan_load_test",
    "plan_canary",
    "plan_commit_within",
    "plan_on_overrun",
    "plan_monitor",
    "plan_people",
)


def skips(phase: str, role: str) -> bool:
    """Whether a component of this role holds up nobody in this phase, whatever is wrong with it."""
    return phase in WAYS_BACK and role in POINTING


def findings(
    phase: str,
    plan: Mapping[str, Any],
    sites: Mapping[str, Any],
    components: Iterable[Declared],
    claimed: Iterable[Claim],
    sampled: Mapping[str, Collection[str]],
) -> list[Finding]:
    """Name all that is not right.

    Args:
        phase: which playbook begins.
        plan: the variables `plan_*`.
        sites: the variable `site` of every machine of the inventory (None where it has none).
        components: those that take part.
        claimed: what all components claim, those included that do not take part.
        sampled: the gates that the roles of the plan put samples to, with their units.
    """
    taking_part = [one for one in components if not skips(phase, one.role)]
    found = site_findings(plan) + journal_findings(plan, sites)
    if phase not in WAYS_BACK:
        found += figure_findings(plan, sites)
        found += gate_findings(plan.get("plan_gates"), sampled)
    for one in taking_part:
        found += side_findings(one, plan, sites)
        found += verb_findings(one, phase)
        found += order_findings(one)
        found += option_findings(one)
        found += table_findings(one)
        found += [] if phase in WAYS_BACK else entrance_findings(one)
    return found if phase in WAYS_BACK else found + duplicates(claimed, {one.name for one in taking_part})


def refuse(texts: Collection[str], phase: str, shown: str = "") -> None:
    """Refuse to begin when anything was found; `shown` is the component that names it, where it is another one."""
    if texts:
        count = f"{len(texts)} finding{'s' if len(texts) > 1 else ''}"
        raise PlanError(
            expected=f"a plan with which {phase} can begin",
            found=f"{count}, named at {shown}" if shown else "\n".join([count, *(f"- {text}" for text in texts)]),
            state="nothing was changed at either site",
            next_command="mend what is named, then run this phase again",
        )


def site_findings(plan: Mapping[str, Any]) -> list[Finding]:
    """Name what is wrong with the plan's name and its two sites."""
    found = []
    if not isinstance(plan.get("plan_name"), str) or not str(plan["plan_name"]).strip():
        found.append(_of_plan("plan_name", "a name of this plan", shown(plan.get("plan_name"))))
    declared = plan.get("plan_sites")
    names: dict[str, str] = {}
    for key in ("plan_source_site", "plan_target_site"):
        site = plan.get(key)
        entry = declared.get(site) if isinstance(declared, Mapping) else None
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and name.strip():
            names[key] = name.strip().casefold()
        else:
            found.append(_of_plan(key, "an entry of plan_sites that has a name", shown(site)))
    if len(names) == 2 and len(set(names.values())) == 1:
        found.append(_of_plan("plan_target_site", "another site than plan_source_site", "the same name for both"))
    return found


def figure_findings(plan: Mapping[str, Any], sites: Mapping[str, Any]) -> list[Finding]:
    """Name what is wrong with the plan's link and figures, and variables that are spelt almost like one of the plan."""
    found = [
        _of_plan(name, f"one of {', '.join(_PLAN)}", f"{name}; is {near[0]} meant?")
        for name in plan
        if name not in _PLAN and (near := difflib.get_close_matches(name, _PLAN, 1, 0.85))
    ]
    found += _link_findings(plan.get("plan_link"), sites)
    found += [
        _of_plan(name, f"a number of {name.rpartition('_')[2]} above zero", shown(plan[name]))
        for name in ("plan_max_age_seconds", "plan_observation_seconds", "plan_observation_days")
        if plan.get(name) is not None and (not _is_amount(plan[name]) or float(plan[name]) == 0)
    ]
    found += [
        _of_plan("plan_load_test", "a load test that can be carried out", text)
        for text in load_test.problems(plan.get("plan_load_test"))
    ]
    found += [
        _of_plan("plan_canary", "limits of the canary", text) for text in canary.problems(plan.get("plan_canary"))
    ]
    found += [
        _of_plan(name, "a time to commit, and what happens at its end", text)
        for name, text in commit_timer.problems(plan.get("plan_commit_within"), plan.get("plan_on_overrun"))
    ]
    found += [
        _of_plan("plan_monitor", "limits that a series can keep", text)
        for text in monitor.problems(plan.get("plan_monitor"))
    ]
    found += [_of_plan("plan_people", "a name by role", text) for text in people.problems(plan.get("plan_people"))]
    for key in ("plan_limits", "plan_expected_seconds"):
        values = plan.get(key) or {}
        if not isinstance(values, Mapping):
            found.append(_of_plan(key, "figures by name", shown(values)))
            continue
        found += [
            _of_plan(f"{key}.{name}", "a number that is not below zero", shown(value))
            for name, value in values.items()
            if not _is_amount(value)
        ]
    return found


def journal_findings(plan: Mapping[str, Any], sites: Mapping[str, Any]) -> list[Finding]:
    """Name what is wrong with the machines that keep the journal."""
    declared = plan.get("plan_journal_hosts")
    if not isinstance(declared, Mapping):
        return [_of_plan("plan_journal_hosts", "a machine, or several, for each site", shown(declared))]
    found = []
    for site in sorted({str(plan.get(key)) for key in ("plan_source_site", "plan_target_site")} - {"None"}):
        key = f"plan_journal_hosts.{site}"
        hosts = declared.get(site) or []
        hosts = hosts if isinstance(hosts, list) else [hosts]
        if not hosts:
            found.append(_of_plan(key, "a machine of that site", "none"))
        for host in map(str, hosts):
            if host not in sites:
                found.append(_of_plan(key, "machines of the inventory", host))
            elif sites[host] not in (None, site):
                found.append(_of_plan(key, f"machines of the site {site}", f"{host}, which is of {sites[host]}"))
    return found


def _link_findings(link: Any, sites: Mapping[str, Any]) -> list[Finding]:
    if link is None:
        return []
    if not isinstance(link, Mapping):
        return [_of_plan("plan_link", "rate_mbit, from_host and to_host", shown(link))]
    found = []
    rate = link.get("rate_mbit")
    if rate is not None and (not _is_amount(rate) or float(rate) == 0):
        found.append(_of_plan("plan_link.rate_mbit", "a number of Mbit/s above zero", shown(rate)))
    for key in ("from_host", "to_host"):
        if link.get(key) is not None and str(link[key]) not in sites:
            found.append(_of_plan(f"plan_link.{key}", "a machine of the inventory", shown(link[key])))
    return found


def gate_findings(declared: Any, sampled: Mapping[str, Collection[str]]) -> list[Finding]:
    """Name the gates that no role of the plan samples, and limits that cannot be right."""
    found = []
    for text in gates.problems(declared, sampled):
        name, colon, why = text.partition(": ")
        key, why = (f"plan_gates.{name}", why) if colon and isinstance(declared, Mapping) else ("plan_gates", text)
        found.append(_of_plan(key, "a gate that a role samples, with a limit that a sample can keep", why))
    return found


def side_findings(one: Declared, plan: Mapping[str, Any], sites: Mapping[str, Any]) -> list[Finding]:
    """Name a side that is a machine of another site than the plan says."""
    found = []
    for key, host, variable in zip(
        ("source_host", "target_host"), one.sides, ("plan_source_site", "plan_target_site"), strict=True
    ):
        site = sites.get(host)
        if site is not None and plan.get(variable) is not None and str(site) != str(plan[variable]):
            found.append(
                Finding(one.name, key, f"a machine of the site {plan[variable]}", f"{host}, which is of {site}")
            )
    return found


def verb_findings(one: Declared, phase: str) -> list[Finding]:
    """Name the verbs of this phase for which the role has no file."""
    lacking = ", ".join(verb for verb in PHASES[phase] if verb in one.lacking)
    expected, found = "a role with a task file for each verb", f"{one.role} with none for {lacking}"
    return [Finding(one.name, "component_role", expected, found)] if lacking else []


def order_findings(one: Declared) -> list[Finding]:
    """Name what only points to a site and waits for nobody: it would move though nothing was switched."""
    if one.role not in POINTING or not one.beside:
        return []
    expected = f"what has to be open before it moves, out of {', '.join(sorted(one.beside))}"
    return [Finding(one.name, "depends_on", expected, "nothing: it would move though nothing was switched")]


def option_findings(one: Declared) -> list[Finding]:
    """Name the role's variables that have no value, or none that the role can use. Secrets are never shown."""
    found = []
    for name, option in one.options.items():
        kind = "a secret" if option.get("no_log") else f"a value of type {option.get('type', 'str')}"
        if name in one.faults:
            found.append(Finding(one.name, name, kind, one.faults[name]))
        elif faults := _entry_faults(one.values.get(name), option.get("options") or {}):
            found.append(Finding(one.name, name, "entries with what each needs", "; ".join(faults)))
        elif option.get("required") and one.values.get(name) in (None, "", [], {}):
            found.append(Finding(one.name, name, kind, "nothing"))
    return found


def _entry_faults(entries: Any, options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name what entries of a list lack, or have as an address that is none."""
    found = []
    for number, entry in enumerate(entries if options and isinstance(entries, list) else [], 1):
        values = entry if isinstance(entry, Mapping) else {}
        found += [
            f"entry {number} has no {key}"
            for key, option in options.items()
            if option.get("required") and values.get(key) in (None, "")
        ]
        address = values.get("address")
        if "address" in options and address not in (None, "") and not _is_address(str(address)):
            found.append(f"the address of entry {number} is {shown(address)}, no IP address")
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def table_findings(one: Declared) -> list[Finding]:
    """Name what a variable that is keyed by machines lacks for one of the two."""
    found = []
    for name, needed in _TABLES.items():
        table = one.values.get(name)
        if name in one.faults or not isinstance(table, Mapping) or not table:
            continue
        for host in one.sides:
            entry = table.get(host)
            if entry in (None, "", {}) or (needed and not isinstance(entry, Mapping)):
                found.append(Finding(one.name, f"{name}.{host}", "an entry for each of the two machines", "none"))
                continue
            found += [
                Finding(one.name, f"{name}.{host}.{key}", "a value", "nothing")
                for key in needed
                if entry.get(key) in (None, "")
            ]
            vmid = entry.get("vmid") if "vmid" in needed else None
            if vmid not in (None, "") and not str(vmid).isdecimal():
                found.append(Finding(one.name, f"{name}.{host}.vmid", "a number", shown(vmid)))
    return found


def duplicates(claimed: Iterable[Claim], taking_part: Collection[str]) -> list[Finding]:
    """Name what two components claim at one place, where one of them takes part.

    The same path or number at the two sites is two places.
    """
    claims, part = list(claimed), frozenset(taking_part)
    places: dict[tuple[str, str, tuple[str, ...]], list[Claim]] = {}
    by_thing: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in claims:
        by_thing.setdefault((claim.thing, claim.place, claim.value), []).append(claim)
    for (thing, _, value), sharing in by_thing.items():
        names = tuple(sorted({claim.component for claim in sharing}))
        if len(names) > 1 and not part.isdisjoint(names):
            places.setdefault((thing, value, names), []).append(sharing[0])
    found = [
        Finding(
            " and ".join(names),
            sharing[0].key,
            f"{thing} {value} of one component alone",
            f"both have it at {' and at '.join(sorted({claim.place for claim in sharing}))}",
        )
        for (thing, value, names), sharing in places.items()
    ]
    return found + _nested([claim for claim in claims if claim.thing == "path"], part)


def _nested(paths: list[Claim], taking_part: frozenset[str]) -> list[Finding]:
    """Name trees that lie inside another one: a fence of the outer one would close the inner one as well."""
    held: dict[tuple[str, str], list[Claim]] = {}
    for claim in paths:
        held.setdefault((claim.place, claim.value), []).append(claim)
    found = {}
    for inner in paths:
        folder = inner.value
        while folder != posixpath.dirname(folder):
            folder = posixpath.dirname(folder)
            for outer in held.get((inner.place, folder), ()):
                pair = (inner.component, outer.component)
                if len({*pair}) == 2 and not taking_part.isdisjoint(pair):
                    why = f"{inner.value}, inside {outer.value} of {outer.component}"
                    found[pair] = Finding(inner.component, inner.key, "a path outside of every other tree", why)
    return list(found.values())


def _of_plan(key: str, expected: str, found: str) -> Finding:
    return Finding("plan", key, expected, found)


def _is_amount(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        return math.isfinite(float(value)) and float(value) >= 0
    except ValueError:
        return False
