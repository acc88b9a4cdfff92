"""What a plan of 10,000 components costs on the controller: checked, layered and forecast, against ten plans of 1,000.

The work is what is pure of it: the declaration as the inventory reads it, the preflight with what everybody claims,
the forecast from two sides out of a journal, layers and steps as they are shown. What Ansible does beside it (reading
YAML, templates) is not in it.
"""

from __future__ import annotations

import time
from typing import Any

from bascule.report import expectation, forecast, planning
from bascule.report.expectation import Outlook
from bascule.report.forecast import Known
from bascule.run import preflight
from bascule.run.claims import Claimant
from bascule.run.components import Component, resolve
from bascule.run.findings import Declared, Finding
from bascule.run.verbs import POINTING
from benchmarks.harness import LOWER, Benchmark, Measurement, Settings, alternate

FEW, MANY = 1_000, 10_000
# As many guests of one application depend on one another in a row at most.
ROW = 10
# What the issue asks for; the ratio is what a change is judged by.
WANTED_SECONDS = 5.0
MACHINES = {"mtp": ["a-mtp", "b-mtp"], "tls": ["a-tls", "b-tls"]}
SITES = {machine: site for site, machines in MACHINES.items() for machine in machines}
PLAN = {
    "plan_name": "large",
    "plan_source_site": "mtp",
    "plan_target_site": "tls",
    "plan_sites": {"mtp": {"name": "montpellier"}, "tls": {"name": "toulouse"}},
    "plan_journal_hosts": {"mtp": "a-mtp", "tls": "a-tls"},
}


def declared(count: int) -> dict[str, dict[str, Any]]:
    """Return a declaration: of ten components a database, a tree, six guests in a row, an entrance, and a name.

    Every application depends on the database of the one before, so that there are as many layers as applications.
    """
    found: dict[str, dict[str, Any]] = {}
    for number in range(count // ROW):
        one = f"app{number}"
        sides = {"source_host": MACHINES["mtp"][number % 2], "target_host": MACHINES["tls"][number % 2]}

        def add(name: str, role: str, *needs: str, places: dict[str, str] = sides, **values: Any) -> None:
            found[name] = {"component_role": role, **places, "depends_on": list(needs), **values}

        before = [f"app{number - 1}_db"] if number else []
        cluster: dict[str, Any] = {"version": 15, "cluster": one, "port": 10_000 + number, "switch_budget": 20}
        values = {f"postgresql_replication_{key}": value for key, value in cluster.items()}
        add(f"{one}_db", "postgresql_replication", *before, **values)
        add(f"{one}_files", "rsync_delta_sync", rsync_delta_sync_path=f"/srv/{number % 50}/{one}")
        for guest in range(6):
            needs = (f"{one}_guest{guest - 1}",) if guest else (f"{one}_db", f"{one}_files")
            vmid = str(100 + number * 6 + guest)
            places = {
                host: {"api_host": f"api-{host}", "node": host, "vmid": vmid, "storage": "local"}
                for host in sides.values()
            }
            add(f"{one}_guest{guest}", "proxmox_guest", *needs, proxmox_guest_sides=places)
        add(
            f"{one}_entrance",
            "web_entrance",
            f"{one}_guest5",
            web_entrance_name=f"{one}.example",
            web_entrance_port=443,
        )
        add(f"{one}_names", "dns_switchover", f"{one}_entrance")
    return found


def journal(components: list[Component]) -> list[dict[str, Any]]:
    """Return what two audits and two pretests have left of each component."""
    entries: list[dict[str, Any]] = []
    for turn in range(2):
        for one in components:
            ways = {"delta": {"seconds": 20.0 + turn, "bytes": 5e8}}
            found = {"forecast": {"chosen": "delta", "ways": ways}, "link": {"mbit": 200}}
            common = {"component": one.name, "time": f"2026-01-01T00:00:{turn:02}"}
            entries.append({**common, "kind": "state", "data": {"event": forecast.AUDIT, "found": found}})
            entries.append({**common, "kind": "sample", "data": {"name": "file_delta", "value": 1e8 + turn}})
    return entries


def checked(given: dict[str, dict[str, Any]]) -> tuple[list[Component], list[Finding], Outlook, list[str]]:
    """Check a plan, layer it and forecast it; return all that, and the lines that are shown."""
    components = resolve(given, SITES, lambda role: True)
    asked = [Declared(one.name, one.role, (one.source_host, one.target_host), one.variables) for one in components]
    claimed = [
        claim for one in asked for claim in Claimant(one.name, one.role, one.sides, SITES, {}, one.values).claims()
    ]
    findings = preflight.findings("plan", PLAN, SITES, asked, claimed, {})
    entries = journal(components)
    audits, samples = forecast.last_found(entries), forecast.last_samples(entries)
    known = {
        one.name: Known(one.role, one.depends_on, audits.get(one.name), samples.get(one.name, {}), one.variables)
        for one in components
    }
    outlook = expectation.outlook(known, entries)
    depends_on = {one.name: one.depends_on for one in components}
    pointing = [one.name for one in components if one.role in POINTING]
    shown = [
        *planning.graph({one.name: one.role for one in components}, depends_on),
        *planning.steps([one.name for one in components], depends_on, pointing),
        *expectation.lines(outlook, 7200),
    ]
    return components, findings, outlook, shown


def measure(settings: Settings) -> Measurement:
    """Compare one large plan with ten small ones; both sides are the same work if nothing grows with the square."""
    few, many = declared(FEW), declared(MANY)

    def large() -> float:
        began = time.monotonic()
        checked(many)
        return time.monotonic() - began

    def small() -> float:
        began = time.monotonic()
        for _ in range(MANY // FEW):
            checked(few)
        return time.monotonic() - began

    found = alternate(large, small, settings.rounds)
    components, findings, outlook, _ = checked(many)
    checks = {
        "all_are_layered": len(components) == MANY and components[-1].layer >= MANY // ROW,
        "nothing_is_found": findings == [],
        "all_are_forecast": len(outlook.expected.parts) == MANY and not outlook.unknown,
        "within_five_seconds": found.our_median <= WANTED_SECONDS,
    }
    return Measurement(found.ratio, {**found.figures("one_of_10000", "ten_of_1000"), "components": MANY}, checks)


BENCHMARK = Benchmark(
    "plan", "a plan of 10,000 components: checked, layered, forecast", "ten plans of 1,000", 2.0, LOWER, measure
)
