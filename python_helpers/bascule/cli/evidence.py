"""Evidence of a run: `bascule evidence RUN` packs it, and `bascule report --verify` reads the copies of its journal."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BasculeError
from ..guard.io.store import GUARD_DIRECTORY
from ..report import evidence as packing
from ..report.io import archive
from ..report.io import verify as verifying
from ..run import agreement, arguments, chain, seals
from ..run import runs as runs_of
from ..run.arguments import Given
from ..run.io import evidence, identity, plan_files, signing
from ..run.outcome import Status
from ..run.verbs import POINTING
from ..system.io import sftp, storage
from .start import configured, password

ARCHIVE = "evidence.tar.gz"
# Their guards travel with what they move, and stand in the journal where they were written down.
_ELSEWHERE = frozenset({*POINTING, "proxmox_guest"})
_REPORTS = ("report", "summary", "checklist")


def main(argv: Sequence[str]) -> int:
    """Pack the evidence of a run and verify it, verify an archive, or show this controller's key."""
    parser = argparse.ArgumentParser(
        prog="bascule evidence",
        usage="bascule evidence [RUN] [--to FILE] [--key SHA256:…] [options of ansible-playbook]\n"
        "       bascule evidence --verify FILE [--key SHA256:…]\n       bascule evidence --show-key",
        allow_abbrev=False,
        description="Pack the evidence of a run (without RUN the latest here): journal, guards, plan, report, signed. "
        "Exit status: 0 all proved, 1 something is wrong, 2 refused, 3 not all proved.",
    )
    parser.add_argument("--to", help=f"the archive (runs/RUN/{ARCHIVE})")
    parser.add_argument("--verify", metavar="FILE", help="verify an archive, or a folder of one, with this program")
    parser.add_argument("--key", action="append", default=[], help="a fingerprint that you know by another way")
    parser.add_argument(
        "--show-key", action="store_true", help="show this controller's key; it is made at its first use"
    )
    # The run comes first: elsewhere a word may be the value of an option of ansible-playbook.
    words = list(argv)
    run = words.pop(0) if words and not words[0].startswith("-") else ""
    options, others = parser.parse_known_args(words)
    try:
        if options.show_key:
            runs, here = identity.runs_directory(), identity.controller()
            print(f"{seals.fingerprint(signing.public(runs, here))}\n{signing.signers(runs, here)}", end="")
            return int(Status.DONE)
        path = options.verify or str(_pack(run, options.to, others))
    except (BasculeError, OSError) as error:
        print(f"bascule evidence: {error}", file=sys.stderr)
        return int(Status.REFUSED)
    return verifying.main([path, *(word for key in options.key for word in ("--key", key))])


def verify(argv: Sequence[str]) -> Status:
    """Read every copy of the journal over SFTP and compare them; done only where all agree.

    Raises:
        BasculeError: there is no such run, or no inventory.
    """
    given = arguments.read(argv)
    scope, named = _seen(given)
    run = _run(named)
    texts, unread = evidence.read(run, scope.journal_targets())
    copies = {site: {host: chain.parse(text) for host, text in hosts.items()} for site, hosts in texts.items()}
    here = chain.parse(storage.read_text(identity.runs_directory() / run / "journal.jsonl") or "")
    found = agreement.compare(run, here, copies, unread)
    print("\n".join(found.lines))
    return Status.DONE if found.agrees else Status.PERSON


def _pack(named: str, to: str, others: Sequence[str]) -> Path:
    scope, also = _seen(arguments.read(others))
    run, runs, here = _run(named or also), identity.runs_directory(), identity.controller()
    folder = runs / run
    texts, unread = evidence.read(run, scope.journal_targets())
    copies = {"here": storage.read_text(folder / "journal.jsonl") or ""}
    copies |= {f"{site}.{host}": text for site, hosts in texts.items() for host, text in hosts.items()}
    not_read = [f"journal at {host}: not read: {why}" for host, why in sorted(unread.items())]
    if not any(copies.values()):
        raise BasculeError(
            expected=f"a run {run}, here or at a site",
            found="; ".join(["no entry of it", *not_read]),
            state="nothing was packed",
            next_command="bascule status names the runs that the sites hold",
        )
    entries = chain.merge(*(chain.parse(text).entries for text in copies.values()))
    if other := [name for name in runs_of.plans(runs_of.starts(entries)) if name != scope.plan]:
        raise BasculeError(
            expected=f"run {run} to be one of plan {scope.plan}, as this inventory is",
            found=f"a run of plan {', '.join(other)}",
            state="nothing was packed",
            next_command="name the inventory of that plan (-i), or a run of this one",
        )
    guards, silent = _guards(scope)
    plans = []
    for place in storage.children(folder / "plans"):
        try:
            plans.append(plan_files.read(str(place)))
        except BasculeError as error:
            silent.append(f"plan {place.name}: {error.found}")
    files = packing.contents(
        {"run": run, "plan": scope.plan, "controller": here},
        copies,
        {**guards, **_kept(folder)},
        plans,
        [*not_read, *silent],
        storage.read_text(verifying.__file__) or "",
    )
    packing.must_be_free_of(_secrets(scope), files)
    sums = packing.digests(files | (allowed := {verifying.SIGNERS: signing.signers(runs, here).encode()}))
    signature = signing.sign(runs, here, sums, signing.EVIDENCE)
    signed = {verifying.SUMS: sums.encode(), verifying.SIGNATURE: signature.encode(), **allowed}
    path = Path(to) if to else folder / ARCHIVE
    archive.write(path, f"bascule-evidence-{run}", files | signed)
    print(f"{path}: {storage.sha256(path)}")
    return path


def _seen(given: Given) -> tuple[Any, str]:
    """Return the variables as the first component sees them, and the run that was named with -e run=, if any."""
    # Ansible reads its settings when it is imported.
    os.environ.update(configured())
    from_outside = importlib.import_module("..plugin.from_outside", __package__)
    scope, run = from_outside.read(given.others, password(given))
    return scope, str(run)


def _guards(scope: Any) -> tuple[dict[str, bytes], list[str]]:
    """Return what the guards of all components say, and which could not be read, in words."""
    wanted: dict[str, list[str]] = {}
    for name in scope.components:
        if str(scope.hostvars[name].get("component_role")) not in _ELSEWHERE:
            for side in ("source_host", "target_host"):
                wanted.setdefault(str(scope.hostvars[name].get(side)), []).append(name)
    found: dict[str, bytes] = {}
    silent = []
    for host, names in sorted(wanted.items()):
        try:
            texts = sftp.read_files(scope.target(host), str(GUARD_DIRECTORY), ".json")
        except sftp.NotRead as error:
            silent.append(f"guards at {host}: not read: {error.found}")
            continue
        for name in names:
            if text := texts.get(f"{name}.json"):
                found[f"guards/{host}/{name}.json"] = text.encode("utf-8", "surrogateescape")
            else:
                silent.append(f"guard of {name} at {host}: there is none")
    return found, silent


def _kept(folder: Path) -> dict[str, bytes]:
    """Return the reports and sheets that lie in the run's folder."""
    sheets = {f"sheets/{path.name}": path for path in storage.children(folder / "sheets")}
    reports = {f"report/{path.name}": path for path in storage.children(folder) if path.name.startswith(_REPORTS)}
    return {name: storage.read_bytes(path) for name, path in (sheets | reports).items() if storage.is_file(path)}


def _secrets(scope: Any) -> dict[str, str]:
    """Return the secrets in the vault's variables that are set."""
    names = [str(name) for name in scope.variables if str(name).startswith("vault_")]
    return packing.secrets({name: scope.get(name) for name in names})


def _run(named: str) -> str:
    """Return the run: the one that was named, or the latest here."""
    latest = identity.runs_directory() / "latest"
    run = named or os.environ.get(identity.RUN, "") or ("latest" if latest.is_symlink() else "")
    if not run:
        raise BasculeError(
            expected=f"a run, or {latest}",
            found="none",
            state="nothing was read",
            next_command="bascule evidence RUN, or bascule report --verify -e run=RUN",
        )
    return os.path.basename(os.path.realpath(identity.runs_directory() / identity.checked_name(run)))
