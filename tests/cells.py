"""A pytest plugin: the fault matrix. Each cell is a fault at a step, and its test says what came of it, in figures.

`pytest -p tests.cells --cells DIR` runs the tests that are marked as cells and nothing else, and writes `summary.json`
there. What has passed with the same sources is not run again, so it can be interrupted. A cell that was chosen and not
run, and one that failed, stand in the summary as that.

A test is a cell by `@pytest.mark.cell(fault=…, step=…)`, with the names of its parameters in braces. It says by the
fixture `cell` how it ended and what was measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.resume import sources

ENDS = ("completed", "rolled_back", "held")
_PROPERTY = "cell"
_PASSED: pytest.StashKey[bool] = pytest.StashKey()


@dataclass(frozen=True)
class Figures:
    """What somebody outside has measured while something broke; a figure that nobody has taken is None, never 0.

    `outage_seconds` is the longest time without an acknowledged write. `lost_writes` counts acknowledged writes that
    the serving side lacks, `divergent_writes` those that only the other side has. `two_writers_seconds` says for how
    long both sides acknowledged writes.
    """

    outage_seconds: float | None
    lost_writes: int | None
    divergent_writes: int | None
    two_writers_seconds: float | None


class Cell:
    """What a test says of its cell."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def ended(self, end: str, figures: Figures) -> None:
        """Say how it ended; the last word counts."""
        assert end in ENDS, end
        self.said = {"end": end, **asdict(figures)}


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Iterable[Cell]:
    """The cell of this test; a test that is marked as one and says nothing of it fails."""
    found = Cell()
    yield found
    if request.node.stash.get(_PASSED, False) and request.node.get_closest_marker("cell"):
        assert found.said, "the test has not said how its cell ended"
    request.node.user_properties.append((_PROPERTY, found.said))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Tell the fixture whether the test itself has passed."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


def named(item: pytest.Item) -> dict[str, str] | None:
    """Return fault and step of a test's cell, or None where it is none."""
    marker = item.get_closest_marker("cell")
    if marker is None:
        return None
    given = {name: _word(value) for name, value in getattr(getattr(item, "callspec", None), "params", {}).items()}
    return {key: str(marker.kwargs[key]).format(**given) for key in ("fault", "step")}


def _word(value: Any) -> str:
    return str(getattr(value, "name", value))


class Matrix:
    """All cells of a session by the id of their test, and what is known of each."""

    def __init__(self, directory: Path, tree: str) -> None:
        self.directory = directory
        self.tree = tree
        self._path = directory / "cells.jsonl"
        self._found = directory / "found.json"
        known = self._known()
        if known.pop("", {}).get("sources") != tree:
            known = {}
            directory.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"sources": tree}) + "\n")
            self._found.unlink(missing_ok=True)
        self.kept = {test for test, line in known.items() if line["status"] == "passed"}

    def _known(self) -> dict[str, dict[str, Any]]:
        """Return the last line of each test, also of what another session adds meanwhile; "" has the sources."""
        if not self._path.exists():
            return {}
        return {line.get("test", ""): line for line in map(json.loads, self._path.read_text().splitlines())}

    def found(self, cells: Mapping[str, Mapping[str, str]]) -> None:
        """Keep which cells there are, beside those that another session has found."""
        before: dict[str, Mapping[str, str]] = json.loads(self._found.read_text()) if self._found.exists() else {}
        if {**before, **cells} != before:
            waiting = self.directory / f"found.{os.getpid()}"
            waiting.write_text(json.dumps({**before, **cells}))
            waiting.replace(self._found)

    def ended(self, test: str, status: str, said: Mapping[str, Any]) -> None:
        """Take note of how a cell's test has ended."""
        with self._path.open("a") as stream:
            stream.write(json.dumps({**said, "test": test, "status": status}) + "\n")

    def write(self) -> dict[str, Any]:
        """Write the summary, and return it."""
        cells = json.loads(self._found.read_text()) if self._found.exists() else {}
        known = self._known()
        said = summary(
            [{"status": "unrun", **cells[test], **known.get(test, {"test": test})} for test in sorted(cells)]
        )
        (self.directory / "summary.json").write_text(json.dumps(said, indent=2) + "\n")
        return said


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum cells up; a sum over figures is None where a cell that has run lacks one."""
    ran = [cell for cell in cells if cell["status"] != "unrun"]

    def total(key: str) -> Any:
        figures = [cell.get(key) for cell in ran]
        return None if not figures or None in figures else sum(figures)

    return {
        "cells": len(cells),
        **{status: sum(cell["status"] == status for cell in cells) for status in ("passed", "failed", "unrun")},
        "lost_writes": total("lost_writes"),
        "divergent_writes": total("divergent_writes"),
        "two_writers_seconds": total("two_writers_seconds"),
        "matrix": cells,
    }


_MATRIX: pytest.StashKey[Matrix] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--cells", metavar="DIR", help="run the fault matrix, and write its summary there")


def pytest_configure(config: pytest.Config) -> None:
    """Read what has passed; a worker is told by the process that started it."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given := config.getoption("--cells", default=None):
        # The digest is taken once, as a test may leave something beside the sources.
        tree = worker["cells_of"] if worker is not None else sources()
        config.stash[_MATRIX] = Matrix(Path(given), tree)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker which sources these are."""
    if (matrix := node.config.stash.get(_MATRIX, None)) is not None:
        node.workerinput["cells_of"] = matrix.tree


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is no cell, and what has passed."""
    if (matrix := config.stash.get(_MATRIX, None)) is None:
        return
    cells = {item.nodeid: found for item in items if (found := named(item)) is not None}
    matrix.found(cells)
    out = [item for item in items if item.nodeid not in cells or item.nodeid in matrix.kept]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


class _Reports:
    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)
        if report.when == "teardown":
            said: Any = next((value for name, value in report.user_properties if name == _PROPERTY), {})
            self.matrix.ended(report.nodeid, "failed" if report.nodeid in self._failed else "passed", said)

    def pytest_sessionfinish(self) -> None:
        said = self.matrix.write()
        words = ", ".join(f"{key} {said[key]}" for key in said if key != "matrix")
        print(f"\n{self.matrix.directory / 'summary.json'}: {words}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Listen where results come together."""
    matrix = session.config.stash.get(_MATRIX, None)
    if matrix is not None and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Reports(matrix))
