"""A dump that is taken, or brought here and restored, as a unit: how far it is, and how it ended."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import storage, units
from ...spec import Spec
from ..cluster.cluster import HOME, load_spec

TAKE, BRING, CARRY = "take", "bring", "carry"
# Of the dumps that counted, at each side.
KEPT = 2


class Job:
    """What a unit writes down while it works; whoever follows it reads that."""

    def __init__(self, spec: Spec, what: str, key: dict[str, Any]) -> None:
        self.path = _path(spec, what)
        self.notes: dict[str, Any] = {"key": key, "state": "running", "step": "", "began": time.time()}
        self._saved = 0.0

    def note(self, **values: Any) -> None:
        """Write down how far it is."""
        self.notes.update(values)
        storage.write_json(self.path, self.notes)
        self._saved = time.monotonic()

    def tell(self, text: str) -> None:
        """Write progress down, now and then."""
        if time.monotonic() - self._saved > 1:
            self.note(progress=text)

    def done(self, result: dict[str, Any]) -> int:
        """Write down the result; return an exit status."""
        self.note(state="done", step="", progress="", result=result)
        return 0

    def failed(self, error: Exception) -> int:
        """Write down why it failed; return an exit status."""
        known = (
            error if isinstance(error, BasculeError) else BasculeError(expected="files on this host", found=str(error))
        )
        self.note(state="failed", error=known.fields())
        return 1


def follow(component: str, side: str, what: str, key: dict[str, Any], *, begin: bool, wait: float) -> dict[str, Any]:
    """Start the unit unless it does the same already, wait a while, and say how far it is or how it ended."""
    spec = load_spec(component, side)
    unit, path = spec.unit_name(f"dump-{what}"), _path(spec, what)
    notes = storage.read_json(path) or {}
    if begin and not (notes.get("key") == key and units.is_running(unit)):
        # Another decision's is of no use any more; what it has finished is found again.
        units.stop(unit)
        storage.remove(path)
        words = [word for name, value in sorted(key.items()) for word in (f"--{name}", str(value))]
        units.start(unit, [*units.AGENT, f"pg_dump_{what}", "--component", component, *words])
    units.wait(unit, wait)
    running = units.is_running(unit)
    notes = storage.read_json(path) or {}
    if notes.get("state") == "done" and notes.get("key") == key:
        return {"changed": bool(notes["result"].get("changed", True)), "running": False, "result": notes["result"]}
    if running:
        return {"changed": True, "running": True, "progress": describe(notes)}
    error = notes.get("error") or {}
    raise BasculeError(
        expected=error.get("expected") or f"{unit} to end with a result",
        found=error.get("found") or f"it was ended; {units.last_messages(unit)[-400:]}",
        state=error.get("state") or "what was finished is kept",
        next_command=error.get("next_command") or "run the same playbook again: it goes on from there",
    )


def stop(spec: Spec) -> bool:
    """End both units of this side."""
    ended = [units.stop(spec.unit_name(f"dump-{what}")) for what in (TAKE, BRING)]
    return any(ended)


def describe(notes: dict[str, Any]) -> str:
    """Return how far a unit is, for people."""
    return " ".join(str(notes[name]) for name in ("step", "progress") if notes.get(name))


def directory(component: str, name: str = "") -> Path:
    """Return where dumps that travel lie, at both sides alike."""
    base = Path("/var/backups/bascule") / f"{component}-carried"
    return base / name if name else base


def forget_older(component: str, current: Path) -> None:
    """Make room: rehearsals, and dumps of earlier switches but the newest. The data itself lies in a cluster."""
    others = [path for path in directory(component).iterdir() if path != current]
    finals = sorted((p for p in others if p.name.startswith("final-")), key=lambda p: p.stat().st_mtime)
    rehearsals = [path for path in others if path.name.startswith("rehearsal-")]
    for path in [*rehearsals, *finals[: max(0, len(finals) - KEPT + 1)]]:
        shutil.rmtree(path)


def _path(spec: Spec, what: str) -> Path:
    return HOME / spec.component / f"dump-{what}.json"
