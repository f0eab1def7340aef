"""Has the arguments of a property test drawn from the strategy that a task's author wrote.

The strategy is Python, and it is run, in a sandbox of its own (`drawing`): statements, the last of which is an
expression over `st` for the tuple of arguments; they see what the task's setup and the property's reference define.
What comes back is plain data that is checked here. What is drawn is a function of the strategy, the number and the
seed (and of the version of hypothesis), unless the strategy asks a clock or the system for chance.
"""

import hashlib
from typing import Any

from reasoner.sandbox import Call, Request, Result
from reasoner.verifiers.code.task import Property, Unfit

DRAW_S = 10.0  # processor time for drawing all examples of a task


def request(asked: Property, source: str, seed: int = 0) -> Request:
    """Asks `pools.drawing` for the examples; `source` is what the reference's calls would be run with."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {asked.args}".encode()).digest()[:8], "big")
    entry = "drawn_examples"
    source = f"{source}\n\n\nfrom _sandbox_drawing import drawn as {entry}\n"
    return Request(source, entry, (Call((asked.args, asked.examples, number)),), cpu_s=DRAW_S)


def drawn(asked: Property, result: Result) -> list[tuple[Any, ...]]:
    """Reads what was drawn: one tuple of arguments at least. Raises `Unfit`."""
    (answer,) = result.answers
    if answer.kind != "value":
        raise Unfit(f"property: no examples can be drawn: {' '.join(answer.text.split())[:300]}")
    found = answer.value
    if not isinstance(found, list) or not 1 <= len(found) <= asked.examples:
        raise Unfit("property: what was drawn are no examples")
    for one in found:
        if not isinstance(one, tuple):
            raise Unfit(f"property: the strategy gives {type(one).__name__}, not a tuple of arguments")
    return found
