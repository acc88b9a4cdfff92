"""Change one thing at a time in the code that decides, and see whether the tests notice.

`make mutants` writes tests/mutants.json: how many changes there were, how many were noticed, and each that was not with
the argument why it changes nothing. A survivor without an argument, or too many of them, is a failure.

Own code, because mutmut leaves out every function with a decorator, as nearly all of the guard's store are, and cannot
name modules below python_helpers; cosmic-ray writes the changes into the working tree, starts a new interpreter for
each, and drops neither statements nor arguments. Here a change lives in the memory of a forked process alone.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "tests" / "mutants.json"
PACKAGES = "python_helpers"
AT_ONCE = 2
# So much longer than the unchanged code a test run may take, and never less than so many seconds.
PATIENCE, LEAST_PATIENCE = 12, 120
MEMORY = 3 << 30


@dataclass(frozen=True)
class Target:
    """A file, and the tests that should notice a change in it, the quickest first."""

    file: str
    tests: tuple[str, ...]


GUARD = tuple(f"tests/unit/guard/test_{name}.py" for name in ("state", "lost", "guard_store", "search"))
AREAS: dict[str, tuple[float, tuple[Target, ...]]] = {
    "rule": (
        0.95,
        tuple(Target(f"python_helpers/bascule/guard/{name}.py", GUARD) for name in ("state", "lost")),
    ),
    "store": (0.95, (Target("python_helpers/bascule/guard/io/store.py", GUARD),)),
    "gates": (0.95, (Target("python_helpers/bascule/run/gates.py", ("tests/unit/run/test_gates.py",)),)),
    "comparer": (
        0.9,
        (
            Target("python_helpers/bascule/postgresql/compare.py", ("tests/unit/postgresql/test_compare.py",)),
            Target(
                "python_helpers/bascule/postgresql/rows.py",
                ("tests/unit/postgresql/test_rows.py", "tests/unit/postgresql/test_digest.py"),
            ),
        ),
    ),
    "judge": (0.9, (Target("python_helpers/bascule/report/judge.py", ("tests/unit/report/test_figures.py",)),)),
    "manifest": (
        0.9,
        (
            Target(
                "python_helpers/bascule/filetree/manifest.py",
                ("tests/unit/filetree/test_manifest.py", "tests/unit/filetree/test_content.py"),
            ),
        ),
    ),
}


@dataclass
class Running:
    """One changed copy under test."""

    index: int
    scratch: tempfile.TemporaryDirectory[str]
    began: float = field(default_factory=time.monotonic)


class _Loader(importlib.abc.SourceLoader):
    """Loads one module from a changed tree."""

    def __init__(self, path: Path, code: CodeType) -> None:
        self._path = path
        self._code = code

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: Any) -> bytes:
        return Path(path).read_bytes()

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds that one module."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name = name
        self._path = path
        self._code = code

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=_Loader(self._path, self._code))


def _test(target: Target, code: CodeType | None, scratch: str) -> int:
    """Run the tests in this process, with the changed module in place of the real one."""
    if code is not None:
        path = ROOT / target.file
        name = ".".join(path.relative_to(ROOT / PACKAGES).with_suffix("").parts)
        sys.meta_path.insert(0, _Finder(name, path, code))
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not long", "--hypothesis-seed=0"]
    return int(pytest.main([*options, f"--basetemp={scratch}/tests", *target.tests]))


def _begin(target: Target, code: CodeType | None, scratch: str) -> int:
    """Start the tests in a process of their own; return its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        status = _test(target, code, scratch)
    finally:
        os._exit(status)


def _outcomes(target: Target, found: list[Mutation], patience: float) -> Iterator[tuple[int, bool]]:
    """Yield for each change whether the tests have noticed it, in the order in which that is known."""
    running: dict[int, Running] = {}
    waiting = iter(range(len(found)))
    following = next(waiting, None)
    while running or following is not None:
        while following is not None and len(running) < AT_ONCE:
            scratch = tempfile.TemporaryDirectory()
            code = found[following].code(str(ROOT / target.file))
            running[_begin(target, code, scratch.name)] = Running(following, scratch)
            following = next(waiting, None)
        for child, run in list(running.items()):
            if time.monotonic() - run.began > patience:
                os.killpg(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            running.pop(child).scratch.cleanup()
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code in (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR, 70):
                raise SystemExit(f"{target.file}: the tests could not be run at all: exit status {exit_code}")
            yield run.index, exit_code != pytest.ExitCode.OK
        time.sleep(0.02)


def _unchanged(target: Target) -> float:
    """Run the tests on the code as it is; return how long that takes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        _, status = os.waitpid(_begin(target, None, scratch), 0)
    if status:
        raise SystemExit(f"{target.file}: its tests fail on the code as it is: {' '.join(target.tests)}")
    return time.monotonic() - began


def measure(target: Target, argued: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    """Try every change of a file; return the figures and the survivors."""
    source = (ROOT / target.file).read_text(encoding="utf-8")
    found = list(mutations(source))
    patience = max(LEAST_PATIENCE, PATIENCE * _unchanged(target))
    survivors = []
    for count, (index, noticed) in enumerate(_outcomes(target, found, patience), 1):
        if not noticed:
            survivors.append(index)
        if count % 50 == 0 or count == len(found):
            print(f"{target.file}: {count} of {len(found)}, {len(survivors)} not noticed", flush=True)
    lines = source.splitlines()
    return {
        "mutants": len(found),
        "killed": len(found) - len(survivors),
        "survivors": [
            {
                "line": found[index].line,
                "code": (code := lines[found[index].line - 1].strip()),
                "mutation": found[index].what,
                "equivalent": argued.get((target.file, code, found[index].what), ""),
            }
            for index in sorted(survivors)
        ],
    }


def main() -> int:
    """Measure the areas asked for, write the result, and say what is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", help=f"out of {', '.join(AREAS)}; all of them by default")
    parser.add_argument("--list", action="store_true", help="show the changes and try none")
    given = parser.parse_args()
    if unknown := sorted(set(given.areas) - set(AREAS)):
        parser.error(f"no such area: {', '.join(unknown)}")
    os.chdir(ROOT)
    argued = {
        (file, s["code"], s["mutation"]): s["equivalent"] for file, data in _kept().items() for s in data["survivors"]
    }
    bad = []
    for area in given.areas or AREAS:
        floor, targets = AREAS[area]
        for target in targets:
            if given.list:
                for one in mutations((ROOT / target.file).read_text(encoding="utf-8")):
                    print(f"{target.file}:{one.line}: {one.what}")
                continue
            _keep(target.file, measure(target, argued))
        if given.list:
            continue
        files = _kept()
        measured = [files[target.file] for target in targets]
        share = sum(data["killed"] for data in measured) / sum(data["mutants"] for data in measured)
        print(f"{area}: {share:.1%} of the changes are noticed, {floor:.0%} are wanted")
        if share < floor:
            bad.append(f"{area}: only {share:.1%}")
        bad += [
            f"{target.file}:{s['line']}: {s['mutation']}: no argument why it changes nothing"
            for target in targets
            for s in files[target.file]["survivors"]
            if not s["equivalent"]
        ]
    print("\n".join(bad), file=sys.stderr)
    return 1 if bad else 0


def _kept() -> dict[str, Any]:
    files: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))["files"] if RESULT.is_file() else {}
    return files


def _keep(file: str, measured: dict[str, Any]) -> None:
    files = {**_kept(), file: measured}
    result = {
        "mutants": sum(data["mutants"] for data in files.values()),
        "killed": sum(data["killed"] for data in files.values()),
        "files": dict(sorted(files.items())),
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
