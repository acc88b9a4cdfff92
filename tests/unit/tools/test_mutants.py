"""What `make mutants` keeps: the figures of each file as soon as it was measured, and arguments beside survivors."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.meta.tree import ROOT
from tools.mutant_areas import AREAS, Target

STATE, LOST = (target.file for target in AREAS["rule"][1][:2])
SOURCE = "def small(x):\n    return x < 3\n"


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the tool, with a tree and a result of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("mutants")
    monkeypatch.setattr(tool, "RESULT", tmp_path / "mutants.json")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "_unchanged", lambda target: 0.1)
    (tmp_path / "small.py").write_text(SOURCE)
    return tool


def survivor(file: str, why: str = "") -> dict[str, Any]:
    """Make one."""
    return {"file": file, "line": 2, "code": "x", "change": "1 -> 2", "why": why}


def test_each_file_is_kept_as_soon_as_it_was_measured(mutants: Any) -> None:
    mutants._keep(LOST, {"mutants": 10, "killed": 10, "source": "a", "survivors": []})
    mutants._keep(STATE, {"mutants": 40, "killed": 39, "source": "b", "survivors": [survivor(STATE)]})
    mutants._keep(LOST, {"mutants": 10, "killed": 9, "source": "c", "survivors": [survivor(LOST)]})
    found = json.loads(mutants.RESULT.read_text())
    assert (found["mutants"], found["killed"]) == (50, 48)
    assert [one["file"] for one in found["survivors"]] == [LOST, STATE]
    area = found["areas"]["rule"]
    assert (area["wanted"], area["share"], area["mutants"], area["killed"]) == (0.95, 0.96, 50, 48)
    assert set(area["files"]) == {STATE, LOST}
    assert area["files"][LOST] == {"mutants": 10, "killed": 9, "source": "c"}


@pytest.fixture
def tried(mutants: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let the first of the changes survive; return which ones were tried each time."""
    seen: list[list[str]] = []

    def outcomes(target: Target, found: Any, patience: float, at_once: int) -> Iterator[tuple[int, bool]]:
        seen.append([one.what for one in found])
        yield from ((index, index > 0) for index in reversed(range(len(found))))

    monkeypatch.setattr(mutants, "_outcomes", outcomes)
    return seen


def test_again_only_survivors_of_the_same_source_are_tried(mutants: Any, tried: list[list[str]]) -> None:
    target = Target("small.py", ())
    first = mutants.measure(target, mutants._kept(), False, 1)
    assert (first["mutants"], first["killed"]) == (len(tried[0]), len(tried[0]) - 1)
    (left,) = first["survivors"]
    assert (left["file"], left["line"], left["code"], left["why"]) == ("small.py", 2, "return x < 3", "")
    kept = {
        "survivors": [{**left, "why": "nobody sees it"}],
        "areas": {"a": {"files": {"small.py": {"source": first["source"], "mutants": first["mutants"]}}}},
    }
    again = mutants.measure(target, kept, True, 1)
    assert tried[1] == [left["change"]]
    assert (again["mutants"], again["killed"]) == (first["mutants"], first["killed"])
    assert again["survivors"][0]["why"] == "nobody sees it"
    other = {**kept, "survivors": [{**left, "change": "a change that is not made any more"}]}
    mutants.measure(target, other, True, 1)
    assert tried[2] == tried[0]
    (mutants.ROOT / "small.py").write_text(f"{SOURCE}# Another source.\n")
    mutants.measure(target, kept, True, 1)
    assert tried[3] == tried[0]
