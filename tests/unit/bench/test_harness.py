"""A benchmark holds when its ratio and everything else it claims do, and what could not be measured never does."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmarks
import pytest
from benchmarks import __main__ as command
from benchmarks import harness
from benchmarks.harness import Benchmark, Measurement, Result, Settings
from hypothesis import given
from hypothesis import strategies as st


def benchmark(
    name: str = "one", better: str = "lower", limit: float = 1.5, found: Callable[[Settings], Measurement] | None = None
) -> Benchmark:
    """Make a benchmark that measures 1.0 unless told otherwise."""
    return Benchmark(name, "ours", "theirs", limit, better, found or (lambda settings: Measurement(1.0)))


def test_the_two_sides_alternate_and_take_turns_to_begin() -> None:
    order: list[str] = []

    def side(name: str, values: Iterator[float]) -> Callable[[], float]:
        def measure() -> float:
            order.append(name)
            return next(values)

        return measure

    found = harness.alternate(side("a", iter([1.0, 9.0, 2.0])), side("b", iter([4.0, 4.0, 5.0])), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert (found.ours, found.theirs) == ((1.0, 9.0, 2.0), (4.0, 4.0, 5.0))
    assert (found.our_median, found.their_median, found.ratio, found.times_as_fast) == (2.0, 4.0, 0.5, 2.0)
    assert found.figures("us", "them")["us_median"] == 2.0


def test_nothing_divided_by_nothing_is_no_ratio() -> None:
    found = harness.alternate(lambda: 0.0, lambda: 0.0, 1)
    assert math.isnan(found.ratio)
    assert math.isnan(found.times_as_fast)
    with pytest.raises(ValueError, match="at least one round"):
        harness.alternate(lambda: 0.0, lambda: 0.0, 0)


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["lower", "higher"]))
def test_a_ratio_is_within_its_limit_on_one_side_only(ratio: float, better: str) -> None:
    within = benchmark(better=better, limit=1.5).within(ratio)
    if not math.isfinite(ratio):
        assert not within
    else:
        assert within == (ratio <= 1.5 if better == "lower" else ratio >= 1.5)


@pytest.mark.parametrize(("better", "name"), [("smaller", "one"), ("lower", "../one"), ("lower", "")])
def test_what_makes_no_sense_is_refused(better: str, name: str) -> None:
    with pytest.raises(ValueError, match="benchmark"):
        benchmark(name=name, better=better)


def test_every_check_must_be_true() -> None:
    good = Result(benchmark(), Measurement(1.0, {}, {"equal": True}))
    bad = Result(benchmark(), Measurement(1.0, {}, {"equal": True, "memory": False}))
    slow = Result(benchmark(), Measurement(2.0))
    broken = Result(benchmark(), None, "ValueError: no")
    assert [one.holds for one in (good, bad, slow, broken)] == [True, False, False, False]
    assert bad.failed_checks == ["memory"]
    assert broken.to_dict()["ratio"] is None


def test_a_result_says_what_it_was_taken_on(tmp_path: Path) -> None:
    result = Result(benchmark(), Measurement(1.23456, {"bytes": 7}), machine=harness.machine())
    data = json.loads(harness.write(result, tmp_path).read_text())
    assert data["name"] == "one"
    assert (data["ratio"], data["limit"], data["holds"], data["figures"]) == (1.2346, 1.5, True, {"bytes": 7})
    assert set(data["machine"]) >= {"cores", "cpu", "memory_mib", "kernel", "load_at_start"}
    assert data["machine"]["memory_mib"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """A directory of benchmarks that is made of these modules."""
    modules: dict[str, ModuleType] = {}

    class Found:
        def __init__(self, name: str) -> None:
            self.name = name

    def importing(name: str) -> ModuleType:
        short = name.rpartition(".")[2]
        if short == "bench_torn":
            raise ImportError("no module named podman")
        return modules[short]

    monkeypatch.setattr(
        pkgutil, "iter_modules", lambda path: [Found(name) for name in (*modules, "harness", "bench_torn")]
    )
    monkeypatch.setattr(importlib, "import_module", importing)
    assert benchmarks.__path__
    return modules


def module(known: dict[str, ModuleType], name: str, **content: Any) -> None:
    """Add a file of benchmarks."""
    made = ModuleType(name)
    for key, value in content.items():
        setattr(made, key, value)
    known[name] = made


def main(tmp_path: Path, *argv: str) -> int:
    """Run the command with results and scratch below tmp_path."""
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return command.main([*argv, "--results", str(tmp_path / "results"), "--scratch", str(tmp_path / "scratch")])


def test_one_benchmark_or_a_file_of_them(
    known: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Settings] = []

    def measure(settings: Settings) -> Measurement:
        (settings.scratch / "filled").write_text("x")
        seen.append(settings)
        return Measurement(1.0)

    module(known, "bench_alone", BENCHMARK=benchmark("alone", found=measure))
    module(known, "bench_pair", BENCHMARKS=[benchmark("pair_a", found=measure), benchmark("pair_b", limit=0.5)])
    assert main(tmp_path, "--only", "alone", "--full", "--rounds", "2") == 0
    assert (seen[0].full, seen[0].rounds, seen[0].scratch.exists()) == (True, 2, False)
    assert main(tmp_path, "--only", "pair") == 1
    table = capsys.readouterr().out
    assert "pair_a" in table
    assert "alone" not in table.partition("pair_a")[2]
    assert sorted(path.stem for path in (tmp_path / "results").iterdir()) == ["alone", "pair_a", "pair_b"]
    assert not json.loads((tmp_path / "results" / "pair_b.json").read_text())["holds"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_one_that_breaks_stops_no_other_and_fails_the_run(
    known: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(settings: Settings) -> Measurement:
        raise OSError("no space left")

    module(known, "bench_a", BENCHMARK=benchmark("a", found=breaks))
    module(known, "bench_b", BENCHMARK=benchmark("b"))
    assert main(tmp_path) == 1
    told = capsys.readouterr()
    assert "no space left" in told.out
    assert "bench_torn.py could not be loaded: ImportError" in told.err
    assert json.loads((tmp_path / "results" / "a.json").read_text())["error"] == "OSError: no space left"
    assert json.loads((tmp_path / "results" / "b.json").read_text())["holds"]


def test_a_wrong_question_is_refused_before_anything_runs(
    known: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(known, "bench_a", BENCHMARK=benchmark("a"))
    assert main(tmp_path, "--only", "b") == 2
    assert "no benchmark is called b; there are: a, torn" in capsys.readouterr().err
    module(known, "bench_again", BENCHMARK=benchmark("a"))
    assert main(tmp_path) == 2
    assert "two benchmarks are called a" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_file_without_a_benchmark_is_named(
    known: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(known, "bench_empty")
    assert main(tmp_path, "--list") == 1
    assert "bench_empty.py could not be loaded: UsageError" in capsys.readouterr().err


def test_every_benchmark_of_the_project_can_be_listed() -> None:
    chosen, broken = command.collect()
    assert broken == {}
    assert all(one.name and one.what and one.against for one in chosen)
    assert sys.modules["benchmarks"] is benchmarks
