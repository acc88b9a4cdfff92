"""The fault matrix says what came of each cell: also of one that failed, said nothing, or was not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cells import summary

ROOT = Path(__file__).parents[3]
CELLS = """
import os
import pytest
from tests.cells import Figures

@pytest.mark.cell(fault="{victim} killed", step="switch, {step}")
@pytest.mark.parametrize(("step", "victim"), [("one", "driver"), ("two", "agent")])
def test_killed(step, victim, cell):
    with open("ran", "a") as ran:
        ran.write(victim)
    cell.ended("rolled_back", Figures(1.5, 0, 0, 0.0))
    assert victim != os.environ.get("FAILS")

@pytest.mark.cell(fault="none", step="thaw")
def test_says_nothing(cell):
    if "SAYS" in os.environ:
        cell.ended("completed", Figures(0.25, 0, None, 0.0))

def test_is_no_cell():
    raise AssertionError
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_some.py").write_text(CELLS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    cell(fault, step): a cell\n")
    return tmp_path


def run(folder: Path, *more: str, **environment: str) -> dict[str, Any]:
    """Run the matrix of the folder; return its summary."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "tests.cells", "--cells", "out", *more, "."]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert (folder / "out/summary.json").exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "out/summary.json").read_text())
    return found


def states(said: dict[str, Any]) -> dict[str, str]:
    """Return the state of each cell by its fault and step."""
    return {f"{cell['fault']} at {cell['step']}": cell["status"] for cell in said["matrix"]}


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_what_came_of_each_is_said_and_what_passed_is_not_run_again(folder: Path, workers: tuple[str, ...]) -> None:
    said = run(folder, *workers, FAILS="agent")
    assert states(said) == {
        "driver killed at switch, one": "passed",
        "agent killed at switch, two": "failed",
        "none at thaw": "failed",
    }
    assert (said["cells"], said["passed"], said["failed"], said["unrun"]) == (3, 1, 2, 0)
    passed = next(cell for cell in said["matrix"] if cell["status"] == "passed")
    assert (passed["end"], passed["outage_seconds"], passed["lost_writes"]) == ("rolled_back", 1.5, 0)
    assert (folder / "ran").read_text() == "driveragent"
    said = run(folder, *workers, SAYS="1")
    assert set(states(said).values()) == {"passed"}
    assert (folder / "ran").read_text() == "driveragentagent"
    # Nobody has measured it in one of them: that is no zero.
    assert (said["lost_writes"], said["divergent_writes"]) == (0, None)


def test_what_was_not_run_is_listed_as_that(folder: Path) -> None:
    assert set(states(run(folder, "--collect-only")).values()) == {"unrun"}
    said = run(folder, "-k", "driver")
    assert (said["passed"], said["unrun"]) == (1, 2)


def test_other_sources_begin_anew(folder: Path) -> None:
    run(folder, SAYS="1")
    path = folder / "out/cells.jsonl"
    path.write_text(path.read_text().replace('"sources": "', '"sources": "0'))
    assert set(states(run(folder, "--collect-only")).values()) == {"unrun"}


def test_nothing_that_has_run_is_no_zero() -> None:
    said = summary([{"status": "unrun", "lost_writes": 0}])
    assert (said["lost_writes"], said["two_writers_seconds"]) == (None, None)
