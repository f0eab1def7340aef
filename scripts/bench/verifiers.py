"""Checks per second and core of a verifier, on generated answers and on hostile text.

.venv/bin/python scripts/bench/verifiers.py [NAME]
"""

import sys
import time

from reasoner import verifiers, wordproblems


def rate(checker: verifiers.Verifier, pairs: list[tuple[str, str]], seconds: float = 2.0) -> float:
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for completion, answer in pairs:
            verifiers.verify(checker, completion, answer)
        done += len(pairs)
    return done / (time.perf_counter() - started)


def main() -> None:
    checker = verifiers.load(sys.argv[1] if len(sys.argv) > 1 else "number")
    rows = wordproblems.generate("train", 1000)
    print(f"{checker.name} {checker.version}")
    print(f"  worked answers  {rate(checker, [(r['answer'], r['answer']) for r in rows]):>9,.0f} checks/s")
    print(f"  terse answers   {rate(checker, [(wordproblems.terse(r), r['answer']) for r in rows]):>9,.0f} checks/s")
    long = [("#### " + "9" * 19_000, "5"), ("\\boxed{" * 2_000, "5"), ("the answer is " * 1_000, "5")]
    print(f"  20 kB of junk   {rate(checker, long):>9,.0f} checks/s")


if __name__ == "__main__":
    main()
