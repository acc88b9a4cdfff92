"""Run the benchmarks one after the other: `python -m benchmarks [--only NAME …] [--full] [--rounds N] [--list]`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import harness
from benchmarks.harness import LOWER, Benchmark, Result, Settings

PREFIX = "bench_"


class UsageError(Exception):
    """What was asked for does not exist."""


def found_in(module: object) -> list[Benchmark]:
    """Return the benchmarks of a module: its BENCHMARK, or its BENCHMARKS."""
    named = getattr(module, "BENCHMARKS", None) or [getattr(module, "BENCHMARK", None)]
    found = [one for one in named if isinstance(one, Benchmark)]
    if len(found) != len(named):
        raise UsageError(f"{getattr(module, '__name__', module)} has neither BENCHMARK nor a list BENCHMARKS")
    return found


def collect(only: Sequence[str] = ()) -> tuple[list[Benchmark], dict[str, str]]:
    """Return the benchmarks that were asked for, and by file what could not be loaded.

    A name in `only` is a benchmark's, or that of a file without `bench_`: then everything in it.
    """
    chosen: list[Benchmark] = []
    broken: dict[str, str] = {}
    known: set[str] = set()
    for name in sorted(one.name for one in pkgutil.iter_modules(benchmarks.__path__) if one.name.startswith(PREFIX)):
        stem = name[len(PREFIX) :]
        try:
            inside = found_in(importlib.import_module(f"{benchmarks.__name__}.{name}"))
        except (ImportError, SyntaxError, UsageError) as error:
            if not only or any(asked.startswith(stem) for asked in only):
                broken[name] = f"{type(error).__name__}: {error}"
            known.add(stem)
            continue
        known.update([stem, *(each.name for each in inside)])
        chosen += [each for each in inside if not only or stem in only or each.name in only]
    unknown = sorted(set(only) - known)
    if unknown:
        raise UsageError(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    twice = sorted({one.name for one in chosen if [each.name for each in chosen].count(one.name) > 1})
    if twice:
        raise UsageError(f"two benchmarks are called {', '.join(twice)}; each writes results/NAME.json")
    return chosen, broken


def run(benchmark: Benchmark, settings: Settings) -> Result:
    """Measure once; what goes wrong is a result that does not hold, and stops no other benchmark."""
    machine = harness.machine()
    begun = time.monotonic()
    error, measurement = "", None
    scratch = settings.scratch / benchmark.name
    scratch.mkdir(parents=True)
    try:
        measurement = benchmark.measure(Settings(settings.full, scratch, settings.rounds))
    except Exception as problem:  # one benchmark that breaks must not hide what the others say
        traceback.print_exc()
        error = f"{type(problem).__name__}: {problem}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result(benchmark, measurement, error, time.monotonic() - begun, settings.full, machine)


def table(results: Iterable[Result]) -> Table:
    """Return one line per benchmark."""
    shown = Table(title="Benchmarks: ratios taken in one run, the two sides alternating, medians")
    for heading, right in (
        ("name", False), ("what", False), ("against", False), ("ratio", True), ("limit", True), ("holds", False),
    ):  # fmt: skip
        shown.add_column(heading, justify="right" if right else "left", overflow="fold")
    for result in results:
        benchmark, found = result.benchmark, result.measurement
        why = result.error or ", ".join(f"not {name}" for name in result.failed_checks)
        shown.add_row(
            benchmark.name,
            benchmark.what,
            benchmark.against,
            "-" if found is None else f"{found.ratio:.2f}",
            f"{'≤' if benchmark.better == LOWER else '≥'} {benchmark.limit:g}",
            "[green]yes[/]" if result.holds else "[red]no[/]" + (f": {why}" if why else ""),
        )
    return shown


def main(argv: Sequence[str]) -> int:
    """Run what was asked for; 1 when one does not hold, 2 when the question was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a benchmark, or a file of them")
    parser.add_argument("--full", action="store_true", help="the full sizes instead of those for CI")
    parser.add_argument("--rounds", type=int, default=5, help="how often the two sides alternate")
    parser.add_argument("--scratch", type=Path, help="a directory to work in (default: below TMPDIR)")
    parser.add_argument("--results", type=Path, default=harness.RESULTS, help="where the results are written")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "140")))
    try:
        chosen, broken = collect(given.only)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.list:
        for one in chosen:
            sys.stdout.write(f"{one.name}: {one.what}, against {one.against}\n")
    results = []
    if not given.list:
        scratch = Path(tempfile.mkdtemp(prefix="bascule-bench-", dir=given.scratch))
        try:
            for number, one in enumerate(chosen, 1):
                sys.stderr.write(f"({number}/{len(chosen)}) {one.name}: {one.what} ...\n")
                result = run(one, Settings(given.full, scratch, given.rounds))
                harness.write(result, given.results)
                results.append(result)
                sys.stderr.write(f"  {'holds' if result.holds else 'does NOT hold'} after {result.seconds:.0f} s\n")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        console.print(table(results))
    for name, why in broken.items():
        sys.stderr.write(f"{name}.py could not be loaded: {why}\n")
    return 0 if not broken and (given.list or (results and all(one.holds for one in results))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
