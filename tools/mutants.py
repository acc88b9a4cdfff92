"""Change one thing at a time in the code that decides, and see whether the tests notice.

`make mutants` writes tests/mutants.json, file by file: how many changes there were, how many were noticed, and each
that was not with the argument why it changes nothing. A survivor without one, or too many of them, is a failure.

Own code, because mutmut leaves out every function with a decorator, as nearly all of the guard's store are, and cannot
name modules below python_helpers; cosmic-ray writes the changes into the working tree, starts a new interpreter for
each, and drops neither statements nor arguments. Here a change lives in the memory of a forked process alone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
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
from mutant_areas import AREAS, Target, wanting
from mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "tests" / "mutants.json"
PACKAGES = "python_helpers"
# So much more of the processor than the unchanged code a test run may take, and never less than so many seconds. It may
# wait longer: on a busy machine a run that only waits for its turn would look like one without an end.
PATIENCE, LEAST_PATIENCE, WAITING = 12, 30, 20
MEMORY = 3 << 30
# A forked process that finds them loaded starts a second sooner.
LOADED = ("hypothesis.strategies", "_hypothesis_pytestplugin", "yaml")


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


def _begin(target: Target, code: CodeType | None, scratch: str, patience: int = 0) -> int:
    """Start the tests in a process of their own, which may take so many seconds of the processor; return its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if patience:
            resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        status = _test(target, code, scratch)
    finally:
        os._exit(status)


def _outcomes(target: Target, found: Sequence[Mutation], patience: int, at_once: int) -> Iterator[tuple[int, bool]]:
    """Yield for each change whether the tests have noticed it, in the order in which that is known."""
    running: dict[int, Running] = {}
    waiting = iter(range(len(found)))
    following = next(waiting, None)
    while running or following is not None:
        while following is not None and len(running) < at_once:
            scratch = tempfile.TemporaryDirectory()
            code = found[following].code(str(ROOT / target.file))
            running[_begin(target, code, scratch.name, patience)] = Running(following, scratch)
            following = next(waiting, None)
        for child, run in list(running.items()):
            if time.monotonic() - run.began > WAITING * patience:
                os.killpg(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
            else:
                ended, status = os.waitpid(child, os.WNOHANG)
                if not ended:
                    continue
            running.pop(child).scratch.cleanup()
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code in (-signal.SIGKILL, -signal.SIGXCPU):
                print(f"{target.file}:{found[run.index].line}: {found[run.index].what}: without an end", flush=True)
            if exit_code in (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR, 70):
                raise SystemExit(f"{target.file}: the tests could not be run at all: exit status {exit_code}")
            yield run.index, exit_code != pytest.ExitCode.OK
        time.sleep(0.02)


def _unchanged(target: Target) -> float:
    """Run the tests on the code as it is; return how many seconds of the processor that takes."""
    with tempfile.TemporaryDirectory() as scratch:
        _, status, used = os.wait4(_begin(target, None, scratch), 0)
    if status:
        raise SystemExit(f"{target.file}: its tests fail on the code as it is: {' '.join(target.tests)}")
    return used.ru_utime + used.ru_stime


def measure(target: Target, kept: dict[str, Any], again: bool, at_once: int) -> dict[str, Any]:
    """Try the changes of a file, or `again` only those that were not noticed; return its figures and its survivors."""
    source = (ROOT / target.file).read_text(encoding="utf-8")
    digest = hashlib.sha256(source.encode()).hexdigest()
    before = _files(kept).get(target.file, {})
    argued = {(s["code"], s["change"]): s["why"] for s in kept["survivors"] if s["file"] == target.file}
    found = list(mutations(source))
    tried = found
    alive = {(s["line"], s["change"]) for s in kept["survivors"] if s["file"] == target.file}
    if again and (before.get("source"), before.get("mutants")) == (digest, len(found)):
        survived = [one for one in found if (one.line, one.what) in alive]
        # Where the changes themselves are others than those of last time, all of them are tried.
        tried = survived if {(one.line, one.what) for one in survived} == alive else found
    patience = int(max(LEAST_PATIENCE, PATIENCE * _unchanged(target)))
    alive_now = []
    for count, (index, noticed) in enumerate(_outcomes(target, tried, patience, at_once), 1):
        if not noticed:
            alive_now.append(index)
            print(f"{target.file}:{tried[index].line}: {tried[index].what}: not noticed", flush=True)
        if count % 50 == 0 or count == len(tried):
            print(f"{target.file}: {count} of {len(tried)}, {len(alive_now)} not noticed", flush=True)
    lines = source.splitlines()
    return {
        "mutants": len(found),
        "killed": len(found) - len(alive_now),
        "source": digest,
        "survivors": [
            {
                "file": target.file,
                "line": tried[index].line,
                "code": (code := lines[tried[index].line - 1].strip()),
                "change": tried[index].what,
                "why": argued.get((code, tried[index].what), ""),
            }
            for index in sorted(alive_now)
        ],
    }


def main() -> int:
    """Measure the areas asked for, write the result, and say what is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", help=f"out of {', '.join(AREAS)}; all of them by default")
    parser.add_argument("--list", action="store_true", help="show the changes and try none")
    parser.add_argument("--again", action="store_true", help="of a file as it was measured, try only what survived")
    parser.add_argument("--at-once", type=int, default=2, help="how many changes are tried side by side")
    given = parser.parse_args()
    if unknown := sorted(set(given.areas) - set(AREAS)):
        parser.error(f"no such area: {', '.join(unknown)}")
    os.chdir(ROOT)
    for name in LOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as compiled:
        # Compiled once for all the processes, and nothing of it in the tree.
        sys.dont_write_bytecode, sys.pycache_prefix = False, compiled
        bad = _measured(given)
    print("\n".join(bad), file=sys.stderr)
    return 1 if bad else 0


def _measured(given: argparse.Namespace) -> list[str]:
    """Try the areas that are asked for, or list their changes; return what is not good enough."""
    for area in given.areas or AREAS:
        for target in AREAS[area][1]:
            if given.list:
                for one in mutations((ROOT / target.file).read_text(encoding="utf-8")):
                    print(f"{target.file}:{one.line}: {one.what}")
            else:
                _keep(target.file, measure(target, _kept(), given.again, given.at_once))
    return [] if given.list else wanting(_kept(), given.areas or list(AREAS))


def _kept() -> dict[str, Any]:
    if not RESULT.is_file():
        return {"survivors": [], "areas": {}}
    result: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return result


def _files(result: dict[str, Any]) -> dict[str, Any]:
    return {file: data for area in result["areas"].values() for file, data in area["files"].items()}


def _keep(file: str, measured: dict[str, Any]) -> None:
    """Write the result with the new figures of one file in it: what was measured of others stays."""
    before = _kept()
    survivors = [*(one for one in before["survivors"] if one["file"] != file), *measured.pop("survivors")]
    files = {**_files(before), file: measured}
    areas = {}
    for area, (floor, targets) in AREAS.items():
        if found := {target.file: files[target.file] for target in targets if target.file in files}:
            sums = {name: sum(data[name] for data in found.values()) for name in ("mutants", "killed")}
            areas[area] = {"wanted": floor, "share": round(sums["killed"] / sums["mutants"], 3), **sums, "files": found}
    result = {
        "mutants": sum(area["mutants"] for area in areas.values()),
        "killed": sum(area["killed"] for area in areas.values()),
        "survivors": sorted(survivors, key=lambda one: (one["file"], one["line"], one["change"])),
        "areas": areas,
    }
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
