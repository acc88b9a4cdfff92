"""Each case from the field has its tests, and each test that is named is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests/cases.md"
ROW = re.compile(r"\| (\d+) \| (.+?) \| (.+) \|$")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LAST = 28


def rows() -> dict[int, list[tuple[str, str]]]:
    """Return the tests of each case, by its number."""
    found = [match for line in CASES.read_text().splitlines() if (match := ROW.match(line))]
    assert len({match[1] for match in found}) == len(found), "a number stands there twice"
    return {int(match[1]): NAMED.findall(match[3]) for match in found}


def test_every_case_has_a_test() -> None:
    found = rows()
    assert list(found) == list(range(1, LAST + 1))
    assert [number for number, tests in found.items() if not tests] == []


def test_every_test_that_a_case_names_is_there() -> None:
    names: dict[str, set[str]] = {}
    missing = []
    for number, tests in rows().items():
        for path, name in tests:
            if path not in names:
                text = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
                names[path] = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
            if name not in names[path]:
                missing.append(f"case {number}: {path}::{name}")
    assert missing == []


def test_what_looks_like_a_test_is_read_as_one() -> None:
    """A name that is written another way would be looked at by nobody."""
    for line in CASES.read_text().splitlines():
        if ROW.match(line):
            assert line.count("::") == len(NAMED.findall(line)), line
