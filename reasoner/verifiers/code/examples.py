"""Draws the arguments of a property test from the strategy that a task's author wrote.

The strategy is an expression over `st`, such as `st.tuples(st.lists(st.integers(0, 9), max_size=6))`. It is read as a
syntax tree and built from an allow-list, never run as code. Drawing happens in the killable worker, where nothing else
is loaded: what hypothesis draws is a function of the expression, the number and the seed (and of the version of
hypothesis), and a strategy that never comes to an end costs `DRAW_S`.
"""

import ast
import base64
import hashlib
from collections.abc import Callable
from typing import Any

from reasoner.sandbox import frames
from reasoner.verifiers import worker
from reasoner.verifiers.code.bounded import Failed
from reasoner.verifiers.code.interpreter import evaluate
from reasoner.verifiers.code.task import Unfit, tree
from reasoner.verifiers.code.values import holds_type, is_plain

DRAW_S = 20.0  # wall time for drawing all examples of a task

_NAMES = "binary booleans characters complex_numbers dictionaries fixed_dictionaries floats from_regex frozensets"
_NAMES += " integers just lists none one_of permutations sampled_from sets text tuples"
_STRATEGIES = frozenset(_NAMES.split())


def draw(args: str, num: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Draws at most `num` different tuples of arguments; the same ones for the same `args`, `num` and `seed`.

    Raises `Unfit` where the strategy cannot be read or drawn from.
    """
    try:
        found: Any = worker.call(f"{__name__}:drawn", args, num, seed, timeout=DRAW_S)
    except (worker.TimedOut, worker.Broken) as error:
        why = f"not done after {DRAW_S:g} s" if isinstance(error, worker.TimedOut) else error
        raise Unfit(f"property: the strategy cannot be drawn from: {why}") from None
    if found["problem"]:
        raise Unfit(f"property: {found['problem']}")
    examples: list[tuple[Any, ...]] = frames.decode(base64.b64decode(found["examples"]))
    return examples


def drawn(args: str, num: int, seed: int) -> dict[str, str]:
    import hypothesis
    from hypothesis.errors import HypothesisException
    from hypothesis.internal.conjecture import providers

    # Constants of whatever modules are loaded would be drawn too: other examples after every edit of ours.
    inner: Any = providers
    assert callable(inner._get_local_constants)
    inner._get_local_constants = inner.Constants
    found: dict[str, tuple[Any, ...]] = {}

    def take(example: Any) -> None:
        if not isinstance(example, tuple):
            raise Unfit(f"the strategy gives {type(example).__name__}, not a tuple of arguments")
        if not is_plain(example) or holds_type(example):
            raise Unfit("the strategy gives what is no plain value")
        found.setdefault(repr(example), example)

    number = int.from_bytes(hashlib.sha256(f"{seed} {args}".encode()).digest()[:8], "big")
    given: Any = hypothesis.given
    settings: Any = hypothesis.settings(
        max_examples=num, phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
        database=None, deadline=None, print_blob=False,
    )  # fmt: skip
    try:
        settings(hypothesis.seed(number)(given(strategy(args))(take)))()
    except (Unfit, Failed) as error:
        return {"problem": str(error), "examples": ""}
    except (HypothesisException, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        return {"problem": f"the strategy cannot be drawn from: {type(error).__name__}: {why}", "examples": ""}
    return {"problem": "", "examples": base64.b64encode(frames.encode(list(found.values()))).decode("ascii")}


def strategy(args: str) -> Any:
    """Builds the hypothesis strategy of an expression. Raises `Unfit`, and what hypothesis says of wrong arguments.

    >>> strategy("st.tuples(st.integers(0, 9)) | st.just((10,))")
    one_of(tuples(integers(min_value=0, max_value=9)), just((10,)))
    """
    match tree(args.strip()).body:
        case [ast.Expr(value=value)]:
            built = _build(value)
            if _is_strategy(built):
                return built
    raise Unfit("args is not one strategy over st")


def _is_strategy(value: object) -> bool:
    from hypothesis.strategies import SearchStrategy

    return isinstance(value, SearchStrategy)


def _build(node: ast.expr) -> Any:
    import hypothesis.strategies as st

    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="st" | "strategies"), attr=name), args=args, keywords=words):
            if name not in _STRATEGIES:
                raise Unfit(f"the strategy uses st.{name}, which is not among {', '.join(sorted(_STRATEGIES))}")
            if any(word.arg is None for word in words):
                raise Unfit("the strategy has keywords that cannot be read")
            return getattr(st, name)(*map(_build, args), **{str(word.arg): _build(word.value) for word in words})
        case ast.Call(func=ast.Attribute(value=inner, attr="map" | "filter" as name), args=[function], keywords=[]):
            built = _build(inner)
            if not _is_strategy(built):
                raise Unfit(f"the strategy has .{name} of what is no strategy")
            return getattr(built, name)(_function(function))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            one, other = _build(left), _build(right)
            if _is_strategy(one) and _is_strategy(other):
                return one | other
        case ast.List(elts=parts):
            return [_build(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_build(part) for part in parts)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {evaluate(key): _build(one) for key, one in zip(keys, values, strict=True) if key}
    return evaluate(node)


def _function(node: ast.expr) -> Callable[[Any], Any]:
    """Builds what `.map` and `.filter` take: a lambda, a builtin, or a method of a text, such as `' '.join`."""
    match node:
        case ast.Attribute(value=ast.Constant(value=str())):
            call = ast.Call(node, [ast.Name("value", ast.Load())], [])
            return lambda value: evaluate(call, {"value": value})
    found = evaluate(node)
    if not callable(found):
        raise Unfit(f"the strategy has .map or .filter with what is no function: {ast.unparse(node)[:80]}")
    function: Callable[[Any], Any] = found
    return function
