"""Each row of the README's table of what is supported names the tests that show it, and these are there."""

from __future__ import annotations

import ast
import re

import pytest

from .tree import ROOT, text_of, tracked

PAGE = ROOT / "tests/supported.md"
NAMED = re.compile(r"`(tests/[\w/.]+?\.(?:py|yml))(?:::(\w+))?`")


def rows_of(text: str) -> dict[str, str]:
    """Return the first table's rows by their first cell, without links; the head left out."""
    lines = [line for line in text.splitlines() if line.startswith(("| ", "|---"))]
    below = lines[next(at for at, line in enumerate(lines) if line.startswith("|---")) + 1 :]
    cells = [line.strip("|").split(" | ", 1) for line in below]
    return {re.sub(r" \(\[.*?\]\(.*?\)\)", "", first).strip(): rest for first, rest in cells}


def shown() -> dict[str, str]:
    return rows_of(text_of(PAGE))


def test_each_row_of_the_readme_has_tests_and_none_has_more() -> None:
    _, _, below = text_of(ROOT / "README.md").partition("\n## What is supported\n")
    section, _, _ = below.partition("\n## ")
    assert list(shown()) == list(rows_of(section))
    assert PAGE in tracked()


@pytest.mark.parametrize("row", shown())
def test_the_tests_of_a_row_are_there(row: str) -> None:
    found = NAMED.findall(shown()[row])
    assert found
    assert shown()[row].count("`tests/") == len(found), "what looks like a test is read as one"
    for name, function in found:
        text = text_of(ROOT / name)
        if name.endswith(".yml"):
            assert not function
            continue
        functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert function in functions if function else any(one.startswith("test_") for one in functions), name
