"""A load test from outside: what the plan asks for, the script k6 gets, and the samples its summary gives. Pure.

Starts are scheduled (k6's `constant-arrival-rate`): users do not wait for a server that stalls, so a stall is measured
by everybody who came meanwhile, and not once. What was not started in time is counted by k6 as dropped, and is NO-GO.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .gates import MAX_AGE, number_of

# The gates of one load test.
GATES = ("load_started", "load_dropped", "load_generator_cpu", "load_errors", "load_p95")
# Of scheduled starts, how many have to have ended: a k6 that was stopped leaves some out.
_STARTED_PERCENT = 99.0
# A generator above this share of the machine's processors measures itself.
_GENERATOR_PERCENT = 80.0
# Of fewer answers than these nobody can tell how long 95 of 100 take.
_LEAST = 20
_FIGURES = {"users": 100.0, "every_seconds": 1.0, "duration_seconds": 60.0, "p95_seconds": 2.0, "errors_percent": 1.0}
_KEYS = frozenset({"url", "pretest_url", "paths", *_FIGURES})


@dataclass(frozen=True)
class Wanted:
    """What the plan asks for: users that each come once in `every_seconds`, for so many seconds, to these addresses."""

    urls: tuple[str, ...]
    users: float
    every_seconds: float
    duration_seconds: float
    p95_seconds: float
    errors_percent: float

    @property
    def scheduled(self) -> int:
        """How many starts are scheduled."""
        return math.floor(self.duration_seconds * self.users / self.every_seconds)

    @property
    def patience_seconds(self) -> float:
        """How long one answer is waited for; after that it is an error."""
        return max(10.0, 5 * self.p95_seconds)


@dataclass(frozen=True)
class Sample:
    """A figure for a gate; `value` is None where it is not known."""

    name: str
    value: float | None
    unit: str


def problems(declared: Any) -> list[str]:
    """Name what cannot be right in the plan's `plan_load_test`; nothing where none is declared."""
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        return [f"it is no table: {declared!r}"]
    found = [f"{key}: a key that means nothing" for key in declared if key not in _KEYS]
    for key in ("url", "pretest_url"):
        value = declared.get(key)
        if (key in declared or key == "url") and not str(value).startswith(("http://", "https://")):
            found.append(f"{key}: no address that begins with http:// or https://: {value!r}")
        elif "@" in str(value).partition("://")[2].partition("/")[0]:
            found.append(f"{key}: an account in the address would stand in journals")
    paths = declared.get("paths", ["/"])
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) and p.startswith("/") for p in paths):
        found.append(f"paths: no list of paths that begin with /: {paths!r}")
    for key, default in _FIGURES.items():
        number = number_of(declared.get(key, default))
        if number is None or number < 0 or (number == 0 and key != "errors_percent"):
            found.append(f"{key}: no number above zero: {declared.get(key)!r}")
    if not found and (starts := wanted(declared, "url").scheduled) < _LEAST:
        found.append(f"duration_seconds: {starts} starts, and 95 of 100 can be told of {_LEAST} at least")
    return found


def wanted(declared: Mapping[str, Any], url: str) -> Wanted:
    """Return what a block without problems asks for, at the address that stands under the key `url`."""
    base = str(declared[url]).rstrip("/")
    figures = {key: number_of(declared.get(key, default)) or 0.0 for key, default in _FIGURES.items()}
    return Wanted(tuple(base + path for path in declared.get("paths", ["/"])), **figures)


def script(want: Wanted) -> str:
    """Return the script for k6: one request per start, each address in turn; what is no 2xx is an error."""
    rate, unit = want.users / want.every_seconds, 1
    while rate != int(rate) and unit < 1000:
        rate, unit = rate * 10, unit * 10
    # As many as wait while answers take twice what is allowed, all made before the start: a slower service shows by its
    # answers and by starts that were dropped.
    waiting = math.ceil(2 * want.p95_seconds * want.users / want.every_seconds) + 10
    options = {
        "discardResponseBodies": True,
        "summaryTrendStats": ["med", "p(95)", "p(99)", "max"],
        "scenarios": {
            "load": {
                "executor": "constant-arrival-rate",
                "rate": max(1, round(rate)),
                "timeUnit": f"{unit}s",
                "duration": f"{math.ceil(want.duration_seconds * 1000)}ms",
                "preAllocatedVUs": waiting,
                "maxVUs": waiting,
                "gracefulStop": f"{math.ceil(want.patience_seconds) + 5}s",
            }
        },
    }
    return (
        "import http from 'k6/http';\nimport exec from 'k6/execution';\n"
        f"export const options = {json.dumps(options)};\n"
        f"const urls = {json.dumps(want.urls)};\n"
        "http.setResponseCallback(http.expectedStatuses({min: 200, max: 299}));\n"
        "export default function () {\n"
        "  const url = urls[exec.scenario.iterationInTest % urls.length];\n"
        f"  http.get(url, {{redirects: 0, timeout: '{math.ceil(want.patience_seconds)}s', tags: {{name: url}}}});\n"
        "}\n"
    )


def limits(want: Wanted) -> dict[str, dict[str, Any]]:
    """Return the gates of a load test, as `plan_gates` would declare them."""
    age = {"max_age": MAX_AGE}
    return {
        "load_started": {"min": want.scheduled * _STARTED_PERCENT / 100, **age},
        "load_dropped": {"max": 0, **age},
        "load_generator_cpu": {"max": _GENERATOR_PERCENT, "unit": "%", **age},
        "load_errors": {"max": want.errors_percent, "unit": "%", **age},
        "load_p95": {"max": want.p95_seconds, "unit": "s", **age},
    }


def samples(summary: str, cpu_seconds: float, wall_seconds: float, processors: int) -> list[Sample]:
    """Return the samples of a run of k6: what is not in its summary, or is no number, is not known.

    Args:
        summary: the text that `--summary-export` has written.
        cpu_seconds: processor time of k6.
        wall_seconds: how long k6 ran.
        processors: how many the machine has.
    """
    try:
        read = json.loads(summary)
    except ValueError:
        read = None
    metrics = read.get("metrics") if isinstance(read, Mapping) else None
    started = _number(metrics, "iterations", "count")
    # Without a start, k6 gives zeros for what it has not measured.
    errors = _number(metrics, "http_req_failed", "value") if started else None
    p95 = _number(metrics, "iteration_duration", "p(95)") if started else None
    # k6 leaves the count out when nothing was dropped.
    has_dropped = isinstance(metrics, Mapping) and "dropped_iterations" in metrics
    dropped = _number(metrics, "dropped_iterations", "count") if has_dropped else (0.0 if started else None)
    cpu = number_of(cpu_seconds / (wall_seconds * processors) * 100) if wall_seconds > 0 and processors > 0 else None
    return [
        Sample("load_started", started, ""),
        Sample("load_dropped", dropped, ""),
        # A generator that took no time at all was not seen.
        Sample("load_generator_cpu", cpu or None, "%"),
        Sample("load_errors", None if errors is None else errors * 100, "%"),
        Sample("load_p95", None if p95 is None else p95 / 1000, "s"),
    ]


def _number(metrics: Any, name: str, key: str) -> float | None:
    metric = metrics.get(name) if isinstance(metrics, Mapping) else None
    return number_of(metric.get(key)) if isinstance(metric, Mapping) else None
