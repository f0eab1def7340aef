"""Runs inside the sandbox: draws the examples of a property. It imports nothing of ours.

It is the prelude of a pool of its own (`sandbox.Pool`), so hypothesis is loaded there and its files are not to be seen.
Submissions run in another pool, whose processes have neither.
"""

import ast
import contextlib
import importlib
import linecache
import os
import pkgutil
import sys
from typing import Any

_FILE = "args.py"


def ready() -> None:
    """Loads all of hypothesis, which a run could not, and draws once, for what it works out at its first use."""
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"  # what else is installed has no say in what is drawn
    from hypothesis import configuration
    from hypothesis import strategies as st
    from hypothesis.internal.conjecture import providers

    configuration.set_hypothesis_home_dir(os.devnull)  # it keeps nothing, and finds nothing
    ours = [one for name, one in sys.modules.items() if name.split(".")[0] == "hypothesis" and hasattr(one, "__path__")]
    for package in ours:  # not `extra`: that loads what else is installed, with its threads
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError):  # it serves a package that is not here
                importlib.import_module(module.name)
    # Constants of whatever modules are loaded would be drawn too: other examples after every edit of ours.
    inner: Any = providers
    assert callable(inner._get_local_constants)
    inner._get_local_constants = inner.Constants
    _examples(st.tuples(st.lists(st.integers()), st.text(), st.floats(), st.emails()), 10, 0)


def drawn(args: str, num: int, seed: int) -> list[Any]:
    """Draws at most `num` different examples of the strategy in which the statements of `args` end.

    They see `st` and what the run's own source defines. Raises what the statements and hypothesis raise.
    """
    from hypothesis import strategies as st

    names = sys.modules["__main__"].__dict__
    names.update(st=st, strategies=st)
    text = args.strip()
    linecache.cache[_FILE] = (len(text), None, text.splitlines(keepends=True), _FILE)  # it reads the text of lambdas
    tree = ast.parse(text, _FILE)
    last = tree.body.pop() if tree.body else None
    if not isinstance(last, ast.Expr):
        raise SyntaxError("args does not end in an expression, which is the strategy")
    exec(compile(tree, _FILE, "exec"), names)
    return _examples(eval(compile(ast.Expression(last.value), _FILE, "eval"), names), num, seed)


def _examples(strategy: Any, num: int, seed: int) -> list[Any]:
    import hypothesis
    from hypothesis import statistics

    found: dict[str, Any] = {}
    told: list[Any] = []
    given: Any = hypothesis.given
    collector: Any = statistics.collector
    settings: Any = hypothesis.settings(
        max_examples=num, phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
        database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
    )  # fmt: skip

    def take(example: Any) -> None:
        found.setdefault(repr(example), example)

    with collector.with_value(told.append):
        settings(hypothesis.seed(seed)(given(strategy)(take)))()
    if "satisfied assumptions" in told[0]["stopped-because"]:
        raise ValueError(f"its filters leave {len(found)} examples of {num}: build what they ask for instead")
    return list(found.values())
