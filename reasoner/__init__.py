"""A small language model that reasons, in Ollama, and proof that it got better.

The public names are `verify`, `Score`, `verifier`, `reward`, `evaluate` and `run` (`reasoner.api`); each is loaded when
it is first used, and the first four need neither torch nor a network.

>>> import reasoner
>>> reasoner.verify("number", "She has 4 x 6 = 24 pens.\\n#### 24", "24").verdict
'right'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Score", "evaluate", "reward", "run", "verifier", "verify"]

if TYPE_CHECKING:
    from reasoner.api import Score, evaluate, reward, run, verifier, verify


def __getattr__(name: str) -> Any:
    if name in __all__:
        from reasoner import api

        return getattr(api, name)
    raise AttributeError(f"module 'reasoner' has no attribute {name!r}")
