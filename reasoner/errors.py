"""What a user can act on.

Raised where the fact is known, never re-wrapped, shown in one place (`cli`). Anything else that
escapes is a bug: `cli` says so, and its traceback goes to a log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

DONE, FAILED, USAGE, MISSING, GATE, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: done · a stage failed · command or config wrong · something needed is missing ·
the gate did not hold · interrupted."""


class ReasonerError(Exception):
    """Says what went wrong, why, what to do next, and where the log is."""

    def __init__(
        self,
        what: str,
        why: str | None = None,
        fix: str | None = None,
        log: Path | str | None = None,
        code: int = FAILED,
    ) -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.log, self.code = what, why, fix, log, code

    def __str__(self) -> str:
        lines = [self.what]
        for name in ("why", "fix", "log"):
            value = getattr(self, name)
            if value is not None:
                first, *rest = str(value).splitlines() or [""]
                lines.append(f"  {name:<5} {first}")
                lines.extend(f"        {line}" for line in rest)
        return "\n".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the closest known one, or all of them.

    >>> nearest("pockte", ["pocket", "gsm8k"])
    'did you mean `pocket`?'
    >>> nearest("zebra", ["pocket", "gsm8k"])
    'known: gsm8k, pocket'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else "known: " + ", ".join(names)


def printable(text: str) -> str:
    """Text for a terminal, its control characters made visible: models and servers wrote some of it."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)
