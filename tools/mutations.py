"""The changes that are tried on a source: one each, all of the same few kinds, in the order of the source.

Left alone is what only people read: docstrings, annotations, texts of several words, the words of errors.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {"max": "min", "min": "max", "any": "all", "all": "any", "BaseException": "Exception"}
# What makes or words an error: its arguments are for people.
_ERRORS = ("Refused", "Error", "refuse")
_FOR_PEOPLE = ("expected", "found", "state", "next_command")


@dataclass(frozen=True)
class Mutation:
    """One change of a source."""

    line: int
    what: str
    _tree: ast.Module
    _change: Callable[[], Callable[[], None]]

    def code(self, path: str) -> CodeType:
        """Return the changed source, compiled; the tree is as before afterwards."""
        undo = self._change()
        try:
            return compile(ast.fix_missing_locations(self._tree), path, "exec")
        finally:
            undo()


def mutations(source: str) -> Iterator[Mutation]:
    """Yield every change of the source."""
    tree = ast.parse(source)
    for node in _walk(tree):
        yield from _of(tree, node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs, in the order of the source."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.Call) and _is_error(node) and name in ("args", "keywords"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from _walk(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_error(node: ast.Call) -> bool:
    return isinstance(node.func, (ast.Name, ast.Attribute)) and ast.unparse(node.func).endswith(_ERRORS)


def _of(tree: ast.Module, node: ast.AST) -> Iterator[Mutation]:
    line = getattr(node, "lineno", 1)

    def put(what: str, name: str, value: object, of: ast.AST = node) -> Mutation:
        def change() -> Callable[[], None]:
            before = getattr(of, name)
            setattr(of, name, value)
            return lambda: setattr(of, name, before)

        return Mutation(line, what, tree, change)

    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            for other in _COMPARED[type(op)]:
                ops: list[ast.cmpop] = [*node.ops[:at], other(), *node.ops[at + 1 :]]
                changed = ast.Compare(node.left, ops, node.comparators)
                yield put(f"{ast.unparse(node)} -> {ast.unparse(changed)}", "ops", ops)
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield put(f"{ast.unparse(node)} -> {ast.unparse(ast.BoolOp(other_op, node.values))}", "op", other_op)
        for at, value in enumerate(node.values):
            values = [*node.values[:at], *node.values[at + 1 :]]
            # One value alone is no such expression; with itself it is the same.
            values = values if len(values) > 1 else values * 2
            yield put(f"{ast.unparse(node)}: without {ast.unparse(value)}", "values", values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        # Twice is once less, and stays an expression of the same kind.
        yield put(
            f"{ast.unparse(node)} -> {ast.unparse(node.operand)}", "operand", ast.UnaryOp(ast.Not(), node.operand)
        )
    elif isinstance(node, ast.BinOp) and type(node.op) in _COUNTED:
        counted = _COUNTED[type(node.op)]()
        changed_op = ast.BinOp(node.left, counted, node.right)
        yield put(f"{ast.unparse(node)} -> {ast.unparse(changed_op)}", "op", counted)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        for always in (True, False):
            if not (isinstance(node, ast.While) and always):
                yield put(f"if {ast.unparse(node.test)} -> if {always}", "test", ast.Constant(always))
    elif isinstance(node, ast.comprehension) and node.ifs:
        for at, test in enumerate(node.ifs):
            line = test.lineno
            yield put(f"for without if {ast.unparse(test)}", "ifs", [*node.ifs[:at], *node.ifs[at + 1 :]])
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node, put)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in _NAMES:
        yield put(f"{node.id} -> {_NAMES[node.id]}", "id", _NAMES[node.id])
    elif isinstance(node, ast.Call) and not _is_error(node):
        for at, keyword in enumerate(node.keywords):
            if keyword.arg not in _FOR_PEOPLE:
                kept = [*node.keywords[:at], *node.keywords[at + 1 :]]
                yield put(f"{_short(node)} without {ast.unparse(keyword)}", "keywords", kept)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield put(f"{_short(node)} -> return None", "value", ast.Constant(None))
    yield from _without(node, put)


def _of_constant(node: ast.Constant, put: Callable[..., Mutation]) -> Iterator[Mutation]:
    value = node.value
    if isinstance(value, bool):
        yield put(f"{value} -> {not value}", "value", not value)
    elif isinstance(value, (int, float)):
        yield put(f"{value} -> {value + 1}", "value", value + 1)
    elif isinstance(value, str) and " " not in value:
        other = "changed" if value != "changed" else "other"
        yield put(f"{value!r} -> {other!r}", "value", other)


def _without(node: ast.AST, put: Callable[..., Mutation]) -> Iterator[Mutation]:
    """Leave one statement out of each list of statements."""
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if not isinstance(body, list):
            continue
        for at, statement in enumerate(body):
            droppable = isinstance(statement, (ast.Expr, ast.Raise, ast.Continue, ast.Break, ast.AugAssign)) or (
                isinstance(statement, ast.Assign) and isinstance(statement.targets[0], (ast.Attribute, ast.Subscript))
            )
            # A generator that never yields is noticed by everything: it is a test of the tests' runner alone.
            if droppable and not _is_docstring(statement) and not _yields(statement):
                kept = [*body[:at], ast.copy_location(ast.Pass(), statement), *body[at + 1 :]]
                mutation = put(f"without: {_short(statement)}", name, kept)
                yield Mutation(statement.lineno, mutation.what, mutation._tree, mutation._change)


def _yields(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Yield, ast.YieldFrom))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."
