"""Carry a playbook's note to both sites while its process lives, so that other machines can tell; read what is there.

A process of its own does it: it goes on where the playbook is killed, says so, and ends. It decides nothing, and
nothing waits for it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from ...errors import StoreError
from ...system.io import entering, remote, storage
from ...system.io.sources import PACKAGE
from ...system.ssh import Target
from .. import heartbeat
from ..controllers import Noted
from ..heartbeat import AT_WORK, GONE, Heard
from . import presence
from .journal import Journal

SITE_DIRECTORY = "/var/lib/bascule/controllers"
# Seconds for one site to answer, between two looks at the note, and until a silent site is tried again.
_TIMEOUT, _LOOK, _QUIET = 15.0, 0.5, 60.0
# Seconds that the end of a playbook waits until the sites know of it.
_LAST_WORD = 5.0
_START = "import sys; sys.path.insert(0, sys.argv[1]); from bascule.run.io import heartbeat; heartbeat.main()"

# What brings a note to the sites.
Carrier = subprocess.Popen[bytes]


def start(journal: Journal, note: Path, targets: Mapping[str, Target]) -> Optional[Carrier]:
    """Start to carry a note to the sites; None where there is none to carry it to."""
    if not targets:
        return None
    given = {
        "note": str(note),
        "parent": os.getpid(),
        "journal": [str(journal.runs), journal.run, journal.controller, journal.decision],
        "targets": {site: _plain(where) for site, where in targets.items()},
    }
    nothing = subprocess.DEVNULL
    carrier = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _START, str(PACKAGE.parent)],
        stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True,
    )  # fmt: skip
    if carrier.stdin is not None:
        # What is given as an argument can be seen by all users of a machine.
        with suppress(BrokenPipeError), carrier.stdin:
            carrier.stdin.write(json.dumps(given).encode("ascii"))
    return carrier


def finish(carrier: Optional[Carrier]) -> None:
    """Wait a moment until the sites know that the playbook has ended; it goes on by itself where they are slow."""
    if carrier is not None:
        with suppress(subprocess.TimeoutExpired):
            carrier.wait(_LAST_WORD)


def main() -> None:
    """Do what standard input says, until the playbook has ended or is gone."""
    given = json.loads(sys.stdin.read())
    runs, run, controller, decision = given["journal"]
    journal = Journal(Path(runs), run, controller, decision)
    targets = {site: _target(one) for site, one in given["targets"].items()}
    carry(journal, Path(given["note"]), targets, int(given["parent"]))


def carry(
    journal: Journal, path: Path, targets: Mapping[str, Target], parent: int, beat: float = heartbeat.BEAT
) -> None:
    """Bring the note to the sites, at once when it changes and else every `beat` seconds; return after its last word.

    A site that was silent is left alone for a minute. Whose process it is may not be known from its note, where the
    kernel does not tell or the machine was given another name: when `parent` has ended, the playbook has as well.
    """
    said, at = "", -beat
    silent: dict[str, float] = {}
    entered: set[str] = set()
    while (note := _read(path)) is not None:
        gone = not note.get("ended") and (os.getppid() != parent or presence.lives(note)[0] is False)
        text = heartbeat.line({**note, "decision": journal.decision}, GONE if gone else AT_WORK)
        now = time.monotonic()
        if text != said or now - at >= beat:
            places = journal.places(targets)
            due = {site: where for site, where in places.items() if gone or now - silent.get(site, -_QUIET) >= _QUIET}
            if note.get("ended"):
                # One of them has to know: else the playbook is in doubt elsewhere for good.
                due = due or places or dict(targets)
            answers = _send(due, entered, _keep(journal), text)
            entered |= {site for site, answer in answers.items() if not answer.error}
            silent = {site: when for site, when in silent.items() if site not in answers}
            silent |= {site: now for site, answer in answers.items() if answer.error}
            said, at = text, now
        if gone or note.get("ended"):
            return
        time.sleep(_LOOK)


def _send(due: Mapping[str, Target], entered: Collection[str], script: str, text: str) -> dict[str, remote.Answer]:
    """Bring a text to the sites that are due.

    A playbook tries a password once, and the file that says what came of it goes when the playbook ends. From then on
    it is tried only where it was taken before.
    """
    with tempfile.TemporaryDirectory() as folder:
        ways = {}
        for site, where in due.items():
            if not where.password or Path(where.note).parent.is_dir():
                ways[site] = where
            elif site in entered:
                ways[site] = entering.taken_before(where, Path(folder) / site)
        return remote.run_on(ways, dict.fromkeys(ways, script), dict.fromkeys(ways, text), _TIMEOUT)


def read(run: str, targets: Mapping[str, Target], local: Iterable[Noted]) -> list[Noted]:
    """Return who is or was at work in a run: what the notes of this machine say, and else what the sites have heard."""
    place = shlex.quote(f"{SITE_DIRECTORY}/{run}")
    script = (
        f'[ -d {place} ] || exit 0; now=$(date +%s); for note in {place}/*.json; do [ ! -f "$note" ] || '
        'echo "$((now - $(stat -c %Y "$note"))) $(cat "$note")"; done'
    )
    places = {
        f"{site} {number}": one for site, where in targets.items() for number, one in enumerate((where, *where.spares))
    }
    answers = remote.run_on(places, dict.fromkeys(places, script), {}, _TIMEOUT)
    heard = [one for key, answer in answers.items() for one in heartbeat.parse(key.rpartition(" ")[0], answer.output)]
    found = {(one.host, one.decision): one for one in local}
    for of_one in heartbeat.newest(heard):
        with suppress(KeyError, TypeError, ValueError):
            told = _noted(of_one)
            known = found.get((told.host, told.decision))
            # What this machine sees of its own processes comes first.
            if known is None or (known.alive is None and not known.ended):
                found[told.host, told.decision] = told
    return list(found.values())


def _noted(of_one: list[Heard]) -> Noted:
    note = of_one[0].note
    user, playbook, started, play, ended, host = (str(note[name]) for name in presence.TEXTS)
    decision = str(note["decision"])
    alive, why = (False, "") if ended else presence.lives(note)
    # Two machines may have one name. A boot before this one is told the same way: its beats have stopped.
    if far := not ended and (alive is None or not presence.is_of_this_boot(note)):
        alive, why = heartbeat.lives(of_one)
    return Noted(decision, int(note["pid"]), user, playbook, started, play, ended, alive, host, why, far)


def _keep(journal: Journal) -> str:
    """Return what keeps a note at a site: whoever reads finds the one before or this one. It need not be durable."""
    directory, name = f"{SITE_DIRECTORY}/{journal.run}", f"{journal.controller}-{journal.decision}"
    place, new, whole = (shlex.quote(one) for one in (directory, f"{directory}/.{name}", f"{directory}/{name}.json"))
    return f"set -e; umask 077; mkdir -p {place}; cat > {new}; mv -f {new} {whole}"


def _read(path: Path) -> Optional[dict[str, Any]]:
    """Return the note; None when its run's folder is gone, or the note is none any more."""
    try:
        note = storage.read_json(path)
        return {**note} if isinstance(note, dict) and {"pid", "host", "boot", "space", "born"} <= set(note) else None
    except (OSError, StoreError):
        return None


def _plain(where: Target) -> dict[str, Any]:
    return {**vars(where), "spares": [_plain(one) for one in where.spares]}


def _target(given: Mapping[str, Any]) -> Target:
    words = {"argv": tuple(given["argv"]), "sudo": tuple(given["sudo"])}
    return Target(**{**given, **words, "spares": tuple(_target(one) for one in given["spares"])})
