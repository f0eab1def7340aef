"""Math-Verify's verdict, for what `reading` leaves unread. Runs in a worker that can be killed: sympy has no limits."""

from typing import Any

from math_verify import LatexExtractionConfig, parse, verify


def same(reference: str, answer: str) -> bool:
    """Whether Math-Verify finds them equal in both directions, both delimited; False where it cannot parse one."""
    config: Any = [LatexExtractionConfig()]
    sides = [parse(f"${text}$", extraction_config=config, parsing_timeout=None) for text in (reference, answer)]
    if any(not side or isinstance(side[0], str) for side in sides):
        return False
    return all(verify(a, b, timeout_seconds=None) for a, b in (sides, sides[::-1]))
