"""The changes of `make mutants`: the same ones each time, each really a change, none left behind."""

from __future__ import annotations

import ast

from tests.meta.tree import PACKAGE
from tools.mutations import mutations

SOURCE = '''
"""Words."""

def decide(a: int, b: str = "x") -> bool:
    """More words."""
    if a < 3 and not b:
        raise GuardRefused(expected="less", found=f"{a}")
    call(a, key=True)
    return replace(a, status="open")
'''


def test_every_kind_of_change_is_tried_once_and_words_are_left_alone() -> None:
    assert [f"{one.line}: {one.what}" for one in mutations(SOURCE)] == [
        "8: without: call(a, key=True)",
        "4: 'x' -> 'changed'",
        "6: if a < 3 and (not b) -> if True",
        "6: if a < 3 and (not b) -> if False",
        "7: without: raise GuardRefused(expected='less', found=f'{a}')",
        "6: a < 3 and (not b) -> a < 3 or not b",
        "6: a < 3 and (not b): without a < 3",
        "6: a < 3 and (not b): without not b",
        "6: a < 3 -> a <= 3",
        "6: a < 3 -> a >= 3",
        "6: 3 -> 4",
        "6: not b -> b",
        "8: call(a, key=True) without key=True",
        "8: True -> False",
        "9: return replace(a, status='open') -> return None",
        "9: replace(a, status='open') without status='open'",
        "9: 'open' -> 'changed'",
    ]


def test_each_change_compiles_to_something_else_and_the_next_starts_from_the_source() -> None:
    source = (PACKAGE / "run" / "gates.py").read_text(encoding="utf-8")
    original = compile(ast.parse(source), "x", "exec")
    found = list(mutations(source))[::5]
    codes = [one.code("x") for one in found]
    assert len(codes) > 30
    assert [one.what for one, code in zip(found, codes) if code == original] == []
    assert found[0].code("x") == codes[0]


def test_a_word_becomes_another_one_whatever_it_is() -> None:
    assert [one.what for one in mutations("call('changed', 'x')")][1:] == ["'changed' -> 'other'", "'x' -> 'changed'"]
