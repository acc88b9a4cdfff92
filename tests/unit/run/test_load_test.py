"""A load test says GO only on what was measured: k6's summary in its bad forms, the real k6 at real servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CommandFailed
from bascule.run import load_test
from bascule.run.gates import decide
from bascule.run.io.load_test import measure

PLAN: dict[str, Any] = {"url": "https://courses.example", "users": 100, "duration_seconds": 10}
# What k6 1.1.0 writes, but for metrics that nobody reads.
GOOD: dict[str, Any] = {
    "iterations": {"count": 1001, "rate": 100.0},
    "http_req_failed": {"passes": 0, "fails": 1001, "value": 0},
    "iteration_duration": {"med": 80.5, "p(95)": 410.25, "p(99)": 900.0, "max": 1200.0},
}
ALL = {"load_started", "load_dropped", "load_generator_cpu", "load_errors", "load_p95"}


def refused(metrics: Any, *, cpu: float = 2.0, wall: float = 10.0, processors: int = 2, age: float = 0.0) -> set[str]:
    """Return the gates that say NO-GO of a summary with these metrics, or of this text."""
    text = metrics if isinstance(metrics, str) else json.dumps({"metrics": metrics})
    return judged(load_test.wanted(PLAN, "url"), load_test.samples(text, cpu, wall, processors), age)


def judged(want: load_test.Wanted, found: list[load_test.Sample], age: float = 0.0) -> set[str]:
    """Return the gates that say NO-GO."""
    limits = load_test.limits(want)
    assert {one.name for one in found} == set(limits) == ALL
    verdicts = [decide(one.name, one.value, one.unit, 1000.0, limits, None, 1000.0 + age) for one in found]
    return {one.name for one in verdicts if not one.passes}


def changed(name: str, **figures: Any) -> dict[str, Any]:
    """Return the good metrics with figures of one changed."""
    return {**GOOD, name: {**GOOD.get(name, {}), **figures}}


def test_what_was_measured_within_the_limits_is_go() -> None:
    assert refused(GOOD) == set()
    values = {one.name: one.value for one in load_test.samples(json.dumps({"metrics": GOOD}), 2.0, 10.0, 2)}
    assert values == {
        "load_started": 1001, "load_dropped": 0, "load_generator_cpu": 10, "load_errors": 0, "load_p95": 0.41025,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metrics", "gates"),
    [
        (changed("iteration_duration", **{"p(95)": 2000.1}), {"load_p95"}),
        (changed("iteration_duration", **{"p(95)": float("nan")}), {"load_p95"}),
        (changed("iteration_duration", **{"p(95)": float("inf")}), {"load_p95"}),
        (changed("iteration_duration", **{"p(95)": None}), {"load_p95"}),
        ({**GOOD, "iteration_duration": {}}, {"load_p95"}),
        (changed("http_req_failed", value=0.0101), {"load_errors"}),
        (changed("http_req_failed", value=float("nan")), {"load_errors"}),
        (changed("dropped_iterations", count=1), {"load_dropped"}),
        ({**GOOD, "dropped_iterations": {}}, {"load_dropped"}),
        (changed("iterations", count=989), {"load_started"}),
        (changed("iterations", count=0), ALL - {"load_generator_cpu"}),
        ({}, ALL - {"load_generator_cpu"}),
        ("", ALL - {"load_generator_cpu"}),
        ("not json", ALL - {"load_generator_cpu"}),
        ('{"metrics": [1]}', ALL - {"load_generator_cpu"}),
        ("[]", ALL - {"load_generator_cpu"}),
    ],
)
def test_what_is_bad_or_missing_in_a_summary_is_no_go(metrics: Any, gates: set[str]) -> None:
    assert refused(metrics) == gates


@pytest.mark.parametrize(
    "machine", [{"cpu": 16.1}, {"cpu": 0.0}, {"cpu": float("nan")}, {"processors": 0}, {"wall": 0.0}]
)
def test_a_generator_at_its_limit_or_unseen_is_no_go(machine: dict[str, Any]) -> None:
    assert refused(GOOD, **machine) == {"load_generator_cpu"}


def test_a_stale_sample_is_no_go() -> None:
    assert refused(GOOD, age=301) == ALL


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ([], "it is no table: []"),
        ({}, "url: no address that begins with http:// or https://: None"),
        ({**PLAN, "pretest_url": "courses"}, "pretest_url: no address that begins with http:// or https://: 'courses'"),
        ({**PLAN, "user": 3}, "user: a key that means nothing"),
        ({**PLAN, "users": "many"}, "users: no number above zero: 'many'"),
        ({**PLAN, "users": 0}, "users: no number above zero: 0"),
        ({**PLAN, "p95_seconds": float("nan")}, "p95_seconds: no number above zero: nan"),
        ({**PLAN, "errors_percent": -1}, "errors_percent: no number above zero: -1"),
        ({**PLAN, "paths": []}, "paths: no list of paths that begin with /: []"),
        ({**PLAN, "paths": ["a"]}, "paths: no list of paths that begin with /: ['a']"),
        ({**PLAN, "duration_seconds": 0.19}, "duration_seconds: 19 starts, and 95 of 100 can be told of 20 at least"),
        ({**PLAN, "url": "https://a:b@courses.example"}, "url: an account in the address would stand in journals"),
    ],
)
def test_a_block_that_cannot_be_right_is_named(block: Any, said: str) -> None:
    assert load_test.problems(block) == [said]


def test_a_block_that_is_right_or_absent_has_no_problem() -> None:
    assert load_test.problems(None) == []
    assert load_test.problems({**PLAN, "errors_percent": 0, "paths": ["/", "/courses"]}) == []
    assert load_test.wanted(PLAN, "url").scheduled == 1000


@contextmanager
def serving(answer: Callable[[str], tuple[float, int]]) -> Iterator[str]:
    """Serve on loopback; `answer` says of a path after how many seconds comes which status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seconds, status = answer(self.path)
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def loaded(url: str, **block: Any) -> tuple[set[str], dict[str, float | None]]:
    """Put the real k6 on an address; return the gates that refuse, and the figures."""
    declared = {"url": url, "users": 10, "duration_seconds": 2, "paths": ["/one", "/two"], **block}
    assert load_test.problems(declared) == []
    want = load_test.wanted(declared, "url")
    found = measure(want)
    return judged(want, found), {one.name: one.value for one in found}


def test_the_real_k6_passes_a_quick_server_and_asks_for_each_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    # Somebody's settings for other tests: they would count more than the script.
    monkeypatch.setenv("K6_ITERATIONS", "3")

    def answer(path: str) -> tuple[float, int]:
        asked.append(path)
        return 0.0, 200

    with serving(answer) as url:
        gates, figures = loaded(url)
    # How much processor time a start takes is the machine's affair; the rest is not.
    assert gates - {"load_generator_cpu"} == set()
    assert set(asked) == {"/one", "/two"}
    assert figures["load_started"] == len(asked)
    assert figures["load_generator_cpu"]


def test_the_real_k6_refuses_a_slow_server() -> None:
    with serving(lambda _: (0.8, 200)) as url:
        gates, figures = loaded(url, p95_seconds=0.5)
    assert "load_p95" in gates
    assert (figures["load_p95"] or 0) >= 0.8


def test_the_real_k6_counts_what_a_server_that_stalls_kept_from_starting() -> None:
    with serving(lambda _: (3.0, 200)) as url:
        gates, figures = loaded(url, users=40, p95_seconds=0.1)
    assert {"load_dropped", "load_started"} <= gates
    assert (figures["load_dropped"] or 0) > 0


def test_the_real_k6_counts_answers_that_are_no_answer() -> None:
    with serving(lambda path: (0.0, 503 if path == "/two" else 200)) as url:
        gates, figures = loaded(url)
    assert "load_errors" in gates
    assert figures["load_errors"] == pytest.approx(50, abs=5)


def test_a_server_that_is_not_there_is_no_go() -> None:
    with serving(lambda _: (0.0, 200)) as url:
        pass
    gates, figures = loaded(url)
    assert "load_errors" in gates
    assert figures["load_errors"] == 100


@pytest.mark.parametrize("body", ["exit 0", "exit 3"])
def test_a_generator_that_is_missing_fails_or_leaves_no_summary_is_an_error(tmp_path: Path, body: str) -> None:
    want = load_test.wanted(PLAN, "url")
    with pytest.raises(CommandFailed, match="to start"):
        measure(want, (str(tmp_path / "k6"),))
    program = tmp_path / "other"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    with pytest.raises(CommandFailed, match=r"summary of k6|exit status 3"):
        measure(want, (str(program),))
