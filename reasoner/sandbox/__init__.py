"""Runs Python that nobody has read, and gives plain values back.

    with Pool(choose()) as pool:
        result = pool.run(Request("def f(x):\n    return x + 1", entry="f", calls=(Call((1,)),)))
    result.answers[0].value == 2

In go source and inputs, out come plain values; what they are compared with never goes in, so code that owns its whole
process has only its answers to choose. `pool` keeps servers ready, `remote` is our side of one, `results` is what its
end means; `server` is what runs in it, `kernel` is what that asks of Linux, `frames` is the form of what comes out.
`selftest` runs the `attacks` and chooses the tier.

What it does not promise: to hold against a bug of the kernel. For that, run the whole program in a virtual machine.
"""

from __future__ import annotations

from reasoner.sandbox.pool import Pool
from reasoner.sandbox.results import Answer, Call, Request, Result
from reasoner.sandbox.selftest import choose

__all__ = ["Answer", "Call", "Pool", "Request", "Result", "choose"]
