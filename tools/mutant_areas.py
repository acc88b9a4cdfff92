"""What `make mutants` changes, which tests have to notice it, and what its result has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A file, and the tests that should notice a change in it, the quickest first."""

    file: str
    tests: tuple[str, ...]


GUARD = tuple(
    f"tests/unit/guard/test_{name}.py" for name in ("state", "tampered", "lost", "lost_cases", "guard_store", "search")
)
STORE = "tests/unit/guard/test_guard_store.py"
JUDGE, PROOF, FRENCH, LEGS = (f"tests/unit/report/test_{name}.py" for name in ("judge", "proof", "french", "legs"))
AREAS: dict[str, tuple[float, tuple[Target, ...]]] = {
    "rule": (
        0.95,
        (
            *(Target(f"python_helpers/bascule/guard/{name}.py", GUARD) for name in ("state", "lost")),
            Target("python_helpers/bascule/guard/todo.py", ("tests/unit/guard/test_todo.py",)),
        ),
    ),
    "store": (
        0.95,
        (
            Target("python_helpers/bascule/guard/io/store.py", (STORE, *(test for test in GUARD if test != STORE))),
            Target("python_helpers/bascule/guard/io/fence_settings.py", ("tests/unit/guard/test_fence_settings.py",)),
        ),
    ),
    "gates": (0.95, (Target("python_helpers/bascule/run/gates.py", ("tests/unit/run/test_gates.py",)),)),
    "comparer": (
        0.9,
        (
            Target(
                "python_helpers/bascule/postgresql/compare.py",
                ("tests/unit/postgresql/test_compare_counts.py", "tests/unit/postgresql/test_compare.py"),
            ),
            Target(
                "python_helpers/bascule/postgresql/rows.py",
                tuple(f"tests/unit/postgresql/test_{name}.py" for name in ("rows_cases", "rows", "digest")),
            ),
        ),
    ),
    # One says whether a component is proved, the other whether the figures of a whole run are good.
    "judge": (
        0.9,
        (
            Target("python_helpers/bascule/report/proof.py", (PROOF,)),
            Target("python_helpers/bascule/report/judge.py", (JUDGE, FRENCH, LEGS, PROOF)),
        ),
    ),
    "manifest": (
        0.9,
        (
            Target(
                "python_helpers/bascule/filetree/manifest.py",
                tuple(f"tests/unit/filetree/test_{name}.py" for name in ("manifest_cases", "content", "manifest")),
            ),
        ),
    ),
}


def wanting(result: dict[str, Any], areas: Sequence[str]) -> list[str]:
    """Return what is not good enough: a file not measured, too few changes noticed, a survivor without an argument."""
    bad = []
    for area in areas:
        floor, targets = AREAS[area]
        files = result["areas"].get(area, {}).get("files", {})
        bad += [f"{area}: {target.file} was not measured" for target in targets if target.file not in files]
        mutants = sum(data["mutants"] for data in files.values())
        killed = sum(data["killed"] for data in files.values())
        if killed < floor * mutants:
            bad.append(f"{area}: {killed} of {mutants} changes are noticed, {floor:.0%} are wanted")
        for target in targets:
            survivors = [one for one in result["survivors"] if one["file"] == target.file]
            lost = files.get(target.file, {"mutants": 0, "killed": 0})
            if len(survivors) != lost["mutants"] - lost["killed"]:
                bad.append(f"{target.file}: {len(survivors)} survivors are named, not all of them")
            bad += [
                f"{target.file}:{one['line']}: {one['change']}: no argument why it changes nothing"
                for one in survivors
                if not one["why"].strip()
            ]
    return bad
