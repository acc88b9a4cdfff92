"""What every benchmark is made of: two sides that alternate in one run, a ratio, a limit, and a result on disk.

A figure is a ratio taken in one run, never a time compared with one from another machine or day. The limit and every
further check must hold, or the benchmark does not.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
LOWER, HIGHER = "lower", "higher"


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run: the size, a directory it may fill, and how often the two sides alternate."""

    full: bool
    scratch: Path
    rounds: int = 5


@dataclass(frozen=True)
class Measurement:
    """What a benchmark found: the ratio, the figures behind it, and what else had to be true."""

    ratio: float
    figures: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """One line of the table. `better` says on which side of the limit the ratio must lie."""

    name: str
    what: str
    against: str
    limit: float
    better: str
    measure: Callable[[Settings], Measurement]

    def __post_init__(self) -> None:
        if self.better not in (LOWER, HIGHER):
            raise ValueError(f"benchmark {self.name}: better is {LOWER} or {HIGHER}, not {self.better!r}")
        if not self.name or not self.name.replace("_", "").isalnum():
            raise ValueError(f"a benchmark's name is the name of a file, not {self.name!r}")

    def within(self, ratio: float) -> bool:
        """Tell whether a ratio reaches the limit; what is not a number never does."""
        if not math.isfinite(ratio):
            return False
        return ratio <= self.limit if self.better == LOWER else ratio >= self.limit


@dataclass(frozen=True)
class Alternation:
    """Two sides measured in turn. `ratio` is ours divided by theirs: of times, lower is better for us."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def our_median(self) -> float:
        """The median of our side."""
        return statistics.median(self.ours)

    @property
    def their_median(self) -> float:
        """The median of the other side."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """Our median divided by theirs."""
        return self.our_median / self.their_median if self.their_median else math.nan

    @property
    def times_as_fast(self) -> float:
        """Their median divided by ours, for times: how many times as fast ours is."""
        return self.their_median / self.our_median if self.our_median else math.nan

    def figures(self, ours: str = "ours", theirs: str = "theirs") -> dict[str, Any]:
        """Return both lists and medians under these names, for `Measurement.figures`."""
        return {
            f"{ours}_seconds": [round(value, 4) for value in self.ours],
            f"{theirs}_seconds": [round(value, 4) for value in self.theirs],
            f"{ours}_median": round(self.our_median, 4),
            f"{theirs}_median": round(self.their_median, 4),
        }


def alternate(ours: Callable[[], float], theirs: Callable[[], float], rounds: int = 5) -> Alternation:
    """Run the two sides in turn; each returns what it measured. Who begins changes from round to round."""
    if rounds < 1:
        raise ValueError(f"at least one round is needed, not {rounds}")
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            found[side].append((ours, theirs)[side]())
    return Alternation(tuple(found[0]), tuple(found[1]))


@dataclass(frozen=True)
class Result:
    """What is written and shown of one benchmark."""

    benchmark: Benchmark
    measurement: Measurement | None
    error: str = ""
    seconds: float = 0.0
    full: bool = False
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def failed_checks(self) -> list[str]:
        """The names of what had to be true and was not."""
        return [name for name, true in self.measurement.checks.items() if not true] if self.measurement else []

    @property
    def holds(self) -> bool:
        """Whether the ratio is within its limit and everything else true; what could not be measured does not hold."""
        found = self.measurement
        return found is not None and self.benchmark.within(found.ratio) and not self.failed_checks

    def to_dict(self) -> dict[str, Any]:
        """Return plain types; a ratio that is no number is null."""
        found = self.measurement
        ratio = found.ratio if found is not None and math.isfinite(found.ratio) else None
        return {
            "name": self.benchmark.name,
            "what": self.benchmark.what,
            "against": self.benchmark.against,
            "ratio": None if ratio is None else round(ratio, 4),
            "limit": self.benchmark.limit,
            "better": self.benchmark.better,
            "holds": self.holds,
            "checks": found.checks if found else {},
            "figures": found.figures if found else {},
            "error": self.error,
            "size": "full" if self.full else "ci",
            "seconds": round(self.seconds, 1),
            "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": self.machine,
        }


def write(result: Result, directory: Path = RESULTS) -> Path:
    """Write a result beside the others and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.benchmark.name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result.to_dict(), indent=2, sort_keys=False, default=str) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path


def machine() -> dict[str, Any]:
    """Return what the figures were taken on, and how busy it was."""
    memory = _values(Path("/proc/meminfo")).get("MemTotal", "0 kB").split()[0]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _values(Path("/proc/cpuinfo")).get("model name", platform.processor() or "unknown"),
        "memory_mib": int(memory) // 1024,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _values(path: Path) -> dict[str, str]:
    """Return the first value of each name of a file like /proc/cpuinfo."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            found.setdefault(name.strip(), value.strip())
    return found
