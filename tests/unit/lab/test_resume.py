"""Long sets of tests go on where they were interrupted, and never skip what has not passed with these sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.resume import Record, scope_of, sources

FIRST, SECOND, OTHER = "tests/faults/a.py::one", "tests/faults/a.py::two[x]", "tests/faults/b.py::one"


def test_a_scope_is_what_shares_hosts() -> None:
    assert scope_of(SECOND) == "tests/faults/a.py"
    assert scope_of("tests/molecule/test_scenarios.py::test_scenario[a]").endswith("[a]")


def run(record: Record, nodeid: str, *outcomes: str) -> None:
    """Report a test's three steps."""
    for when, outcome in zip(("setup", "call", "teardown"), outcomes, strict=True):
        record.ended(nodeid, when, outcome)


def test_only_scopes_that_passed_whole_with_the_same_sources_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "build/done.jsonl"
    record = Record(path, "sources")
    record.expect([FIRST, SECOND, OTHER])
    run(record, FIRST, "passed", "passed", "passed")
    assert Record(path, "sources").kept == set()
    run(record, OTHER, "passed", "failed", "passed")
    run(record, SECOND, "passed", "passed", "passed")
    assert Record(path, "sources").kept == {"tests/faults/a.py"}
    assert Record(path, "others").kept == set()
    assert Record(path, "sources").kept == set()


def test_a_clean_up_that_fails_keeps_its_scope_out(tmp_path: Path) -> None:
    record = Record(tmp_path / "done", "sources")
    record.expect([OTHER])
    run(record, OTHER, "passed", "passed", "failed")
    assert Record(tmp_path / "done", "sources").kept == set()


def test_the_sources_are_what_git_knows_and_what_is_new(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("build\n")
    before = sources(tmp_path)
    (tmp_path / "build").write_text("left out")
    assert sources(tmp_path) == before
    (tmp_path / "new.py").write_text("1")
    assert sources(tmp_path) != before
