"""Makes wrong solutions that are one step from a right one, by small changes of its syntax tree.

Whether a change is a mistake is asked of the tests in the usual way (`usual`): they run after the solution, in one
process, in the sandbox. A hack would fool that; a mutated reference fools nobody.
"""

from __future__ import annotations

import ast
import copy
import random
from typing import Any

from reasoner.verifiers.code import task as tasks
from reasoner.verifiers.code.task import Task

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
}  # fmt: skip


def mutations(source: str, num: int, chance: random.Random) -> list[tuple[str, str]]:
    """Makes at most `num` sources, each with one change, named before it; some change nothing that matters."""
    tree = tasks.tree(source)
    places = [(at, how) for at, node in enumerate(ast.walk(tree)) for how in _changes(node)]
    chance.shuffle(places)
    found: dict[str, str] = {}
    for at, how in places:
        if len(found) == num:
            break
        other = copy.deepcopy(tree)
        _change(list(ast.walk(other))[at], how)
        text = ast.unparse(ast.fix_missing_locations(other)) + "\n"
        if text.strip() != ast.unparse(tree).strip():
            found.setdefault(text, how.partition(" ")[0])
    return [(how, text) for text, how in found.items()]


def usual(task: Task, source: str) -> str:
    """Writes a program that prints `held`, last, where the asserts of a task's tests hold, run in the usual way."""
    parts = [task.setup, source]
    for test in map(str, (*task.tests, *task.hidden_tests)):
        parts.append(test)
        if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tasks.tree(test).body):
            parts.append(f"check({task.entry_point})")
    return "\n".join([*parts, "print('\\nheld')", ""])


def _changes(node: ast.AST) -> list[str]:
    """Names what can be changed at a node."""
    found = []
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPS:
        found.append("operator")
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        found.append("comparison")
    if isinstance(node, ast.Constant):
        kinds: dict[type, list[str]] = {bool: ["not"], int: ["+1", "-1"], float: ["+1"], str: ["text"]}
        found += kinds.get(type(node.value), [])
    if isinstance(node, ast.Return) and node.value is not None:
        found += ["none", "wrapped", "negated"]
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        found.append("condition")
    if isinstance(node, ast.FunctionDef | ast.For | ast.If) and len(node.body) > 1:
        found += [f"drop {at}" for at in range(len(node.body))]
    if isinstance(node, ast.Call) and len(node.args) > 1:
        found.append("arguments")
    return found


def _change(node: Any, how: str) -> None:
    word, _, at = how.partition(" ")
    match word:
        case "operator":
            node.op = _SWAPS[type(node.op)]()
        case "comparison":
            node.ops[0] = _SWAPS[type(node.ops[0])]()
        case "not":
            node.value = not node.value
        case "+1":
            node.value += 1
        case "-1":
            node.value -= 1
        case "text":
            node.value += "x"
        case "none":
            node.value = ast.Constant(None)
        case "wrapped":
            node.value = ast.List([node.value], ast.Load())
        case "negated":
            node.value = ast.UnaryOp(ast.Not(), node.value)
        case "condition":
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case "drop":
            del node.body[int(at)]
        case "arguments":
            node.args.reverse()
