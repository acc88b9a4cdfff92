"""What the unit of a safety dump has written down, and the unit itself: started, followed and found again."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from .. import safety_dump
from ..moments import now
from . import process, storage, units
from .process import Runner

HOME = Path("/var/lib/bascule")
DIRECTORY = Path("/var/backups/bascule")
KEPT = 2
_FILE = "safety_dump.json"


class Notes:
    """Those of one component's dump under one epoch; `unit` is the name of the unit that takes it."""

    def __init__(
        self, component: str, unit: str, epoch: str = "", side: str = "", runner: Runner = process.run
    ) -> None:
        """Name the dump; nothing is read or written yet."""
        self.component, self.unit, self.epoch = component, unit, epoch
        self.runner = runner
        self.directory = DIRECTORY / f"{component}-safety-{epoch}"
        self._began = time.monotonic()
        self._told: dict[str, Any] = {"state": safety_dump.RUNNING, "epoch": epoch, "side": side, "started_at": now()}

    @property
    def path(self) -> Path:
        """Where they lie."""
        return HOME / self.component / _FILE

    def __getitem__(self, name: str) -> Any:
        """Return what was told."""
        return self._told[name]

    def told(self, name: str, default: Any) -> Any:
        """Return what stands in the file, whoever has written it."""
        read: dict[str, Any] = storage.read_json(self.path) or {}
        return read.get(name, default)

    def begin(self, argv: Sequence[str], **values: Any) -> list[str]:
        """Start the unit, which reads `values`; return a warning when it does not start, which stops nothing else."""
        self._told.update(values)
        try:
            units.stop(self.unit, self.runner)
            storage.write_json(self.path, self._told)
            units.start(self.unit, argv, self.runner)
        except (BasculeError, OSError) as error:
            return [f"the safety dump of {self.component} did not start: {error}"]
        return []

    def state(self, old: Callable[[str], bool], *, coming: bool = False) -> dict[str, Any]:
        """Return what is known about the dump of the switch that closed this side.

        Args:
            old: says of an epoch whether it is of an earlier switch.
            coming: whether something runs that will start the unit.
        """
        read: dict[str, Any] = storage.read_json(self.path) or {}
        running = units.is_running(self.unit, self.runner)
        return safety_dump.state(read, old=bool(read) and old(str(read["epoch"])), running=running, coming=coming)

    def not_held(self, timeout: float) -> str:
        """Wait until the unit holds the snapshot by sessions of its own; return why it does not, or nothing."""
        deadline = time.monotonic() + timeout
        while True:
            # Looked for first: one that ends between two looks has written down why.
            runs = units.is_running(self.unit, self.runner)
            read = storage.read_json(self.path) or {}
            if read.get("epoch") == self.epoch and read.get("held"):
                return ""
            if not runs:
                return str(read.get("reason") or "its unit has ended")
            if time.monotonic() > deadline:
                return f"it has not within {timeout:g} s"
            time.sleep(0.05)

    def tell(self, **values: Any) -> None:
        """Write down how far it is."""
        self._told.update(values)
        storage.write_json(self.path, self._told)

    def end(self, problems: Sequence[str]) -> None:
        """Write down the verdict, proved where there is no problem; only then older dumps are superseded."""
        state = safety_dump.NOT_PROVED if problems else safety_dump.PROVED
        seconds = round(time.monotonic() - self._began, 1)
        self.tell(state=state, reason="; ".join(problems)[:800], step="", ended_at=now(), seconds=seconds)
        if not problems:
            with contextlib.suppress(OSError):
                self._remove_superseded()

    def _remove_superseded(self) -> None:
        for old in safety_dump.superseded([path.name for path in DIRECTORY.iterdir()], self.component, KEPT):
            shutil.rmtree(DIRECTORY / old)
