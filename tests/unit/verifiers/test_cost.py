"""What a verdict costs grows with the text and not with its square: a policy cannot stall its own training."""

import time

import pytest

from reasoner.verifiers import registry

RUNS = (" ", "\n", "\t", "\u2003", "> ", ".", '"', "'", "*", "$", "\\quad ", "{", "1,")
FRAMES = (
    "{}5", "5{}", "The answer is {}5", "The answer is 5{}.", "\\boxed{{{}5}}", "\\boxed{{18 or{}19}}", "#### {}5",
    "So x ={} 5 apples.",
)  # fmt: skip


@pytest.mark.parametrize("name", ["math", "number", "number-lenient"])
@pytest.mark.parametrize("run", RUNS, ids=repr)
def test_a_long_run_of_anything_costs_little(name, run):
    checker = registry.load(name)
    for frame in FRAMES:
        text = frame.format(run * (20_000 // len(run)))
        started = time.process_time()
        checker.function(text, "5")
        assert time.process_time() - started < 0.5, frame  # 2 s and more where it grew with the square
