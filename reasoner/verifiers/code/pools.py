"""Keeps the sandbox's pools of this process: one for what people and models wrote, one in which examples are drawn.

They share no process, so a submission runs where no example has been, and never beside hypothesis.
"""

import atexit
import os
import threading
from pathlib import Path

from reasoner import sandbox

_opening = threading.Lock()
_open: dict[str, sandbox.Pool] = {}
_PRELUDE = Path(__file__).with_name("drawing.py")


def running() -> sandbox.Pool:
    """Returns the pool for submissions, opened on its first use. Raises `ReasonerError` where no tier works."""
    with _opening:
        if "running" not in _open:
            _open["running"] = sandbox.Pool(sandbox.choose())
        return _open["running"]


def drawing() -> sandbox.Pool:
    """Returns the pool in which `drawing` is, likewise."""
    with _opening:
        if "drawing" not in _open:
            _open["drawing"] = sandbox.Pool(sandbox.choose(), 1, _PRELUDE)
        return _open["drawing"]


def close() -> None:
    """Closes what is open; who asks next gets another."""
    with _opening:
        pools = [*_open.values()]
        _open.clear()
    for pool in pools:
        pool.close()


def _after_fork() -> None:
    global _opening
    _open.clear()
    _opening = threading.Lock()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
