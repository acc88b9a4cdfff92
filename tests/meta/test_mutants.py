"""What tests/mutants.json claims: every file that decides was tried, the tests noticed enough, the rest is argued.

It is the result of `make mutants`, of the code as it was then; that it is not of another code is for whoever runs it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tools.mutant_areas import AREAS, wanting

from .tree import PACKAGE, ROOT

WANTED = {"rule": 0.95, "store": 0.95, "gates": 0.95, "comparer": 0.9, "judge": 0.9, "manifest": 0.9}


@pytest.fixture
def result() -> dict[str, Any]:
    """Return what was measured."""
    found: dict[str, Any] = json.loads((ROOT / "tests" / "mutants.json").read_text(encoding="utf-8"))
    return found


def test_the_tests_notice_enough_and_every_survivor_is_argued(result: dict[str, Any]) -> None:
    assert {area: wanted for area, (wanted, _) in AREAS.items()} == WANTED
    assert wanting(result, list(AREAS)) == []
    assert set(result["areas"]) == set(AREAS)


def test_no_file_of_the_guard_is_left_out() -> None:
    tried = {ROOT / target.file for _, targets in AREAS.values() for target in targets}
    guard = {path for path in (PACKAGE / "guard").rglob("*.py") if path.name != "__init__.py"}
    assert guard - tried == set()
    assert [path for path in tried if not path.is_file()] == []


def test_the_sums_are_those_of_the_files(result: dict[str, Any]) -> None:
    files = {file: data for area in result["areas"].values() for file, data in area["files"].items()}
    for name in ("mutants", "killed"):
        assert result[name] == sum(data[name] for data in files.values())
        for area in result["areas"].values():
            assert area[name] == sum(data[name] for data in area["files"].values())
    assert len(result["survivors"]) == result["mutants"] - result["killed"]
    for one in result["survivors"]:
        assert one["file"] in files
        assert len(one["why"].split()) > 3, one


def part(**changes: Any) -> dict[str, Any]:
    """Make the result of one area."""
    (target,) = AREAS["gates"][1]
    files = {target.file: {"mutants": 100, "killed": 99}}
    survivor = {"file": target.file, "line": 1, "change": "1 -> 2", "why": "nobody sees it"}
    return {"survivors": [survivor], "areas": {"gates": {"files": files}}, **changes}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"areas": {}}, "was not measured"),
        ({"survivors": []}, "0 survivors are named, not all of them"),
        ({"survivors": [{**part()["survivors"][0], "why": " "}]}, "no argument why it changes nothing"),
        ({"areas": {"gates": {"files": {AREAS["gates"][1][0].file: {"mutants": 100, "killed": 94}}}}}, "94 of 100"),
    ],
)
def test_what_is_not_good_enough_is_named(changes: dict[str, Any], why: str) -> None:
    assert wanting(part(), ["gates"]) == []
    assert any(why in one for one in wanting(part(**changes), ["gates"])), wanting(part(**changes), ["gates"])
