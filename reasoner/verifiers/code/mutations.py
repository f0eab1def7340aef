"""Makes wrong solutions that are one step from a right one, by small changes of its syntax tree.

Whether a change is a mistake is asked of the tests in the usual way (`usual`): they run after the solution, in one
process, in the sandbox. A hack would fool that; a mutated reference fools nobody.
"""

import ast
import copy
import random
from typing import Any

from reasoner.verifiers.code import task as tasks

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip


def mutations(source: str, num: int, chance: random.Random) -> list[tuple[str, str]]:
    """Makes at most `num` sources, each with one change, named before it; some change nothing that matters."""
    tree = tasks.tree(source)
    places = [(at, which) for at, node in enumerate(ast.walk(tree)) for which in range(len(_changes(node)))]
    chance.shuffle(places)
    found: dict[str, str] = {}
    for at, which in places:
        if len(found) == num:
            break
        other = copy.deepcopy(tree)
        node = list(ast.walk(other))[at]
        name, field, value = _changes(node)[which]
        setattr(node, field, value)
        text = ast.unparse(ast.fix_missing_locations(other)) + "\n"
        if text.strip() != ast.unparse(tree).strip():
            found.setdefault(text, name)
    return [(name, text) for text, name in found.items()]


def usual(task: tasks.Task, source: str) -> str:
    """Writes a program that prints `held`, last, where the asserts of a task's tests hold, run in the usual way."""
    parts = [task.setup, source]
    for test in map(str, (*task.tests, *task.hidden_tests)):
        parts.append(test)
        if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tasks.tree(test).body):
            parts.append(f"check({task.entry_point})")
    return "\n".join([*parts, "print('\\nheld')", ""])


def _changes(node: ast.AST) -> list[tuple[str, str, Any]]:
    """Lists what can be changed at a node: the name of the change, the field that it changes, and to what."""
    found: list[tuple[str, str, Any]] = []
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPS:
            found.append(("operator", "op", _SWAPS[type(op)]()))
        case ast.Compare(ops=[op, *others]) if type(op) in _SWAPS:
            found.append(("comparison", "ops", [_SWAPS[type(op)](), *others]))
        case ast.Constant(value=bool() as value):
            found.append(("not", "value", not value))
        case ast.Constant(value=int() as value):
            found += [("+1", "value", value + 1), ("-1", "value", value - 1)]
        case ast.Constant(value=float() as value):
            found.append(("+1", "value", value + 1))
        case ast.Constant(value=str() as value):
            found.append(("text", "value", value + "x"))
        case ast.Return(value=ast.expr() as value):
            results = [ast.Constant(None), ast.List([value], ast.Load()), ast.UnaryOp(ast.Not(), value)]
            found += [(name, "value", one) for name, one in zip(("none", "wrapped", "negated"), results, strict=True)]
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            found.append(("condition", "test", ast.UnaryOp(ast.Not(), test)))
        case ast.Call(args=args) if len(args) > 1:
            found.append(("arguments", "args", args[::-1]))
    if isinstance(node, ast.FunctionDef | ast.For | ast.If) and len(node.body) > 1:
        found += [("drop", "body", node.body[:at] + node.body[at + 1 :]) for at in range(len(node.body))]
    return found
