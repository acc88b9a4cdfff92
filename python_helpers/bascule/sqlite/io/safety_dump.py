"""The safety dump of a switch: the files as they were closed, encrypted, read back once and compared with the receipt.

A unit that nobody waits for. It reads the second name that a closing gives each file, which no copy that arrives later
takes the place of; a return that opens the same file again ends it. What was cut short is not proved, never assumed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState
from ...system import safety_dump as dumps_of
from ...system.io import age_keys, process, sealed, storage, units
from ...system.io.dump_notes import Notes
from ...system.io.process import Runner
from .. import content
from ..decisions import SqliteError
from . import database
from .fence import Place


def notes(component: str, epoch: str = "", side: str = "", runner: Runner = process.run) -> Notes:
    """Return what is written down of the dump of a switch."""
    return Notes(component, f"bascule-{component}-safety-dump", epoch, side, runner)


def begin(component: str, side: str, epoch: str, runner: Runner) -> list[str]:
    """Start the unit; return a warning when it does not start, which must not stop a switch."""
    argv = [*units.AGENT, "sqlite_safety_dump", "--component", component, "--epoch", epoch]
    return notes(component, epoch, side, runner).begin(argv)


def state(component: str, guard: GuardState, runner: Runner) -> dict[str, Any]:
    """Return what is known about the dump of the switch that closed this side; one of an earlier switch is none."""
    since = guard.receipt.epoch if guard.receipt else None
    return notes(component, runner=runner).state(lambda epoch: since is not None and Epoch.parse(epoch) < since)


def stop(component: str, runner: Runner) -> None:
    """End it: this side opens."""
    units.stop(notes(component).unit, runner)


class SafetyDump:
    """One safety dump, from the closed files to the proof."""

    def __init__(self, component: str, epoch: str) -> None:
        """Find the files and the receipt."""
        spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
        if spec is None:
            raise SqliteError(expected=f"{component} prepared here", found="no settings of it")
        self.component = component
        self.places = [Place(str(path)) for path in spec["databases"]]
        receipt = store.read(component, str(spec["side"])).receipt
        self.position: Mapping[str, str] = receipt.position if receipt else {}
        self.notes = notes(component, epoch, str(spec["side"]))

    def run(self) -> int:
        """Encrypt, read back, compare; return an exit status. What is written down says what was proved."""
        try:
            recipients = age_keys.recipients(self.component)
            storage.make_directory(self.notes.directory, 0o700)
            dumps, problems, rows = {}, [], 0
            for number, place in enumerate(self.places):
                self.notes.tell(step=f"encrypting {place.path}", held=True, recipients=recipients)
                target = self.notes.directory / f"{number}.sqlite.age"
                dumps[place.path] = sealed.seal(["cat", place.kept], target, recipients)
                self.notes.tell(step=f"reading {place.path} back", dumps=dumps)
                found, counted = self._read_back(dumps[place.path], place)
                problems += found
                rows += counted
            self.notes.tell(rows_compared=rows, not_compared={}, bytes=sum(int(one["bytes"]) for one in dumps.values()))
            self.notes.end(problems or ([] if rows else [dumps_of.NOTHING]))
        except (BasculeError, OSError) as error:
            found_text = error.message() if isinstance(error, BasculeError) else str(error)
            self.notes.end([" ".join(found_text.split())[-800:]])
            return 1
        return 0

    def _read_back(self, dump: Mapping[str, Any], place: Place) -> tuple[list[str], int]:
        """Return what a decrypted copy has otherwise than the receipt says, and how many rows it has."""
        plain = Path(place.kept).with_name("restored.sqlite")
        try:
            sealed.unseal(dump, plain, owner="root")
            faults = database.check(plain, still=True)
            read = database.read(plain, still=True)
        finally:
            storage.remove(plain)
        if content.identity(read) != self.position.get(place.path):
            faults.append(f"{place.path}: the dump is not what was closed with")
        return faults, sum(int(one["rows"]) for one in read["tables"].values())


def work(component: str, epoch: str) -> int:
    """Take and prove the safety dump of one switch; the unit `bascule-COMPONENT-safety-dump`."""
    # Users and the way back come first.
    os.nice(10)
    return SafetyDump(component, epoch).run()
