"""From the files of a run to its figures: reads accounts, look-ups and facts, leaves the counting to bascule.report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bascule.report.figures import LegInput, acknowledged_idents, leg_figures, pauses
from bascule.report.io import accounts
from bascule.report.legs import read as read_legs
from bascule.report.record import record
from bascule.report.records import Leg, Lookup
from bascule.report.references import of_leg
from bascule.report.scans import full_scans
from bascule.report.windows import leg_window
from bascule.run import chain

from .setting import LAB, ROOT, Setting, SiteAddresses

LOOKUP_SECONDS = 300


@dataclass
class LegEvidence:
    """What is known about one leg. Its bounds are wall time; an end of None means that it was not reached."""

    name: str
    start: float
    end: float | None = None
    lookup: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, dict[str, float | None]] = field(default_factory=dict)


def look_up(site: SiteAddresses, clients: Path, out: Path) -> str:
    """Look every acknowledged write up at one site; the outcome is in the file, the returned line is for the reader."""
    command = [sys.executable, str(Path(__file__).parent / "lookup.py"), "--site", site.key, "--out", str(out)]
    command += ["--client", str(clients / "user.jsonl"), "--probes", str(clients / "prober.jsonl")]
    if (clients / "data.jsonl").exists():
        command += ["--data", str(clients / "data.jsonl")]
    command += ["--db", site.db, "--files", site.files, "--guest", site.guest]
    command += ["--ca", str(LAB / "ca" / "ca.crt"), "--db-password-file", str(LAB / "secrets" / "app_password")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LOOKUP_SECONDS, check=False)
    if not out.exists():
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        return f"the look-up at {site.name} did not work: {last}"
    return done.stdout.strip()


def keep_facts(run_directory: Path, leg: str) -> dict[str, Any]:
    """Take the verify facts of the leg aside: the next verify writes over them."""
    facts: dict[str, Any] = {}
    kept = run_directory / "facts" / leg
    for path in sorted((run_directory / "facts").glob("*.verify.json")):
        kept.mkdir(exist_ok=True)
        shutil.copy2(path, kept / path.name)
        content = json.loads(path.read_text(encoding="utf-8"))
        facts[path.name.removesuffix(".verify.json")] = content.get("data", content)
    return facts


def figures(clients: Path, legs: list[LegEvidence], now: float) -> dict[str, dict[str, Any]]:
    """The figures of every leg that began."""
    # A report that is made of them later, by playbooks/report.yml -e client=…, is of the same legs.
    bounds = {one.name: [one.start, one.end if one.end is not None else now] for one in legs}
    (clients / accounts.LEGS).write_text(json.dumps(bounds), encoding="utf-8")
    kept = accounts.read(clients)
    client, probes, data = kept.client, kept.probes, kept.data
    journal = clients.parent / "journal.jsonl"
    entries = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.exists() else []
    found: dict[str, dict[str, Any]] = {}
    carried: frozenset[str] = frozenset()
    for evidence in legs:
        leg = Leg(evidence.name, evidence.start, evidence.end if evidence.end is not None else now)
        found[evidence.name] = leg_figures(
            LegInput(
                leg=leg,
                client=client,
                probes=probes,
                lookup=_lookup(evidence.lookup),
                facts=evidence.facts,
                phases=evidence.phases,
                carried=carried,
                data=data,
                scans=full_scans(entries, leg),
                window=leg_window(entries, leg),
            )
        )
        found[evidence.name]["outages"] = pauses(client, leg)
        carried |= acknowledged_idents(client, probes, leg, data)
    return found


def journalled(run: Path) -> list[chain.Entry]:
    """The entries of a run's journal; none before it has one."""
    journal = run / "journal.jsonl"
    return chain.parse(journal.read_text(encoding="utf-8", errors="replace")).entries if journal.exists() else []


def behind(summary: Mapping[str, Any], entries: list[chain.Entry]) -> dict[str, Any]:
    """The summary with what it rests on in the journal, and the record of the migration."""
    made = {**summary, "journal": chain.heads(entries)}
    for name, moved in read_legs(entries).items():
        made[name] = {**made[name], "journal": of_leg(moved)}
    return {**made, "record": record(made, entries)}


def phase_times(setting: Setting, measured: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """Expected and measured seconds of every phase that ended."""
    return {
        name: {"expected": setting.expected.get(name), "measured": round(seconds, 1)}
        for name, seconds in measured.items()
    }


def point_latest(runs: Path, run: str) -> None:
    """Let runs/latest name this run, in one step."""
    fresh = runs / f".latest.{run}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(run)
    fresh.replace(runs / "latest")


def _lookup(path: Path | None) -> Lookup | None:
    if path is None or not path.exists():
        return None
    return Lookup.from_dict(json.loads(path.read_text(encoding="utf-8")))
