"""A condition of a task is true or false: Ansible refuses text or a list in its place, and only when it comes to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from tests.meta.tree import ROOT, tracked

KEYWORDS = ("when", "that", "until", "failed_when", "changed_when", "break_when")
PLACES = ("playbooks/", "roles/", "tests/molecule/", "tests/faults/")
FILES = [path for path in tracked() if path.suffix == ".yml" and str(path.relative_to(ROOT)).startswith(PLACES)]


class Loader(yaml.CSafeLoader):
    """Reads YAML with tags of Ansible's own, whose values are left out."""


Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def conditions(content: Any) -> Iterator[str]:
    """Yield every condition of a file's content."""
    if isinstance(content, list):
        for one in content:
            yield from conditions(one)
    elif isinstance(content, dict):
        for name, value in content.items():
            if name in KEYWORDS:
                yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
            yield from conditions(value)


def is_true_or_false(found: nodes.Node) -> bool:
    """Whether an expression gives nothing but true and false, whatever its variables hold."""
    if isinstance(found, (nodes.And, nodes.Or)):
        return is_true_or_false(found.left) and is_true_or_false(found.right)
    if isinstance(found, nodes.CondExpr):
        return is_true_or_false(found.expr1) and found.expr2 is not None and is_true_or_false(found.expr2)
    if isinstance(found, nodes.Const):
        return isinstance(found.value, bool)
    if isinstance(found, nodes.Filter):
        return found.name == "bool"
    return isinstance(found, (nodes.Compare, nodes.Not, nodes.Test))


def leaks(condition: str) -> bool:
    """Whether `and` or `or` may hand on what is neither true nor false."""
    (output,) = Environment(autoescape=True).parse("{{ (" + condition.strip() + ") }}").body
    assert isinstance(output, nodes.Output)
    (found,) = output.nodes
    return isinstance(found, (nodes.And, nodes.Or)) and not is_true_or_false(found)


# Jinja reads `\d` of a regular expression in quotes as it is, with a warning.
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_and_and_or_give_true_or_false(path: Path) -> None:
    found = [one for one in conditions(Loader(path.read_text(encoding="utf-8")).get_single_data()) if leaks(one)]
    assert not found, "say `| bool`, or compare"


@pytest.mark.parametrize(
    ("condition", "leaking"),
    [
        ("a.text or not b", True),
        ("not b or a.text", True),
        ("a is defined and a.list", True),
        ("a.text | length > 0 or not b", False),
        ("a | bool and b == 1", False),
        ("a.list", False),
    ],
)
def test_a_leak_is_seen(condition: str, leaking: bool) -> None:
    assert leaks(condition) is leaking
