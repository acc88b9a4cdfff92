"""The snapshot of a switch, which a unit of its own takes and holds, and another one digests."""

from __future__ import annotations

import time

from ..errors import BasculeError
from ..integrity.rows import PHYSICAL
from ..postgresql.spec import Spec
from . import files, units
from .pg_cluster import HOME

# The one that holds comes first: without it the other one ends by itself.
UNITS = ("snapshot", "equality")


def equality_file(spec: Spec, epoch: str, name: str) -> str:
    """Return the path of a file that belongs to the comparison of one switch."""
    return str(HOME / spec.component / f"equality-{epoch}.{name}")


def wait(spec: Spec, epoch: str, timeout: float) -> list[str]:
    """Wait until the comparison has its snapshot; return a warning when it has none, which must not stop a switch."""
    deadline = time.monotonic() + timeout
    while files.read_text(equality_file(spec, epoch, "pinned")) is None:
        if time.monotonic() > deadline:
            return [f"the comparison at {spec.side} has no snapshot of the switch: its rows will be not proved"]
        time.sleep(0.02)
    return []


def start(spec: Spec, epoch: str, role: str, layout: str = PHYSICAL) -> list[str]:
    """Start the unit that compares, in place of that of an earlier switch; return a warning when it does not start."""
    try:
        stop(spec)
        files.remove(equality_file(spec, epoch, "pinned"))
        arguments = ["--component", spec.component, "--epoch", epoch, "--role", role, "--layout", layout]
        units.start(spec.unit_name("snapshot"), [*units.AGENT, "snapshot", *arguments])
    except BasculeError as error:
        return [f"the comparison at {spec.side} did not start: {error}"]
    return []


def start_and_wait(spec: Spec, epoch: str, role: str) -> list[str]:
    """Start the unit that compares, and wait until it has its snapshot; return warnings."""
    return start(spec, epoch, role) or wait(spec, epoch, 20)


def stop(spec: Spec) -> bool:
    """End the comparison and let its snapshot go; return whether there was one."""
    stopped = [units.stop(spec.unit_name(name)) for name in UNITS]
    return any(stopped)


def is_running(spec: Spec) -> bool:
    """Whether a snapshot is held, or being digested."""
    return any(units.is_running(spec.unit_name(name)) for name in UNITS)
