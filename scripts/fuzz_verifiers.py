# ruff: noqa: SIM905, E501  (lists of words are easier to read as text; look-alikes are meant)

"""Fuzzes the verifiers with texts made by grammars, and with bytes. Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/fuzz_verifiers.py [--num 1_000_000] [--seed 0] [--verifiers math,number,number-lenient]

Of each kind (LaTeX, plain mathematics, prose, code, mixed scripts, bytes) `--num` texts are judged, each in one of the
frames that completions come in, against one of the references. What must hold of each: no untyped exception, at most
`MOST_S` of processor time, the same verdict with white space around it and when asked a second time. Exits
with 1, and prints the texts, where it does not.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from reasoner.verifiers import registry

MOST_S = 0.2
SHOWN = 20  # faults printed
Draw = random.Random

REFERENCES = {
    "math": (
        "5", "-0.75", "\\frac{3}{4}", "75\\%", "(0,5)", "[0, 1] \\cup \\{3\\}", "x=1 \\text{ or } y=2", "1, 2", "0,1",
        "\\{1,2\\}", "2\\sqrt{5}", "\\sqrt[3]{-8}", "x^2+2x+1", "x>0", "\\begin{pmatrix}1\\\\-2\\\\3\\end{pmatrix}",
        "\\frac{\\pi}{4}+k\\pi", "\\{3k+1 \\mid k \\in \\mathbb{Z}\\}", "\\begin{cases} x^2 & x\\ge 0 \\\\ -x & x<0 \\end{cases}",
        "1+2i", "1011_2", "3:4", "90^\\circ", "4:30 \\text{ p.m.}", "\\text{Tuesday}", "(C)", "f(x)=2x", "\\infty",
        "5 \\text{ cm}^2", "0.\\overline{3}", "\\binom{5}{2}", "1 \\pm \\sqrt2", "\\mathbf{i}-2\\mathbf{j}", "y=2x+1",
    ),
    "number": ("5", "-0.75", "1,234", "3/4", "75%", "$18.50", "0.001", "12 dollars"),
}  # fmt: skip
_ATOMS = (
    "1 2 5 10 0 75 1234 1{,}234 0.75 .5 3.14 x y n k \\pi e i \\infty \\alpha \\theta AB 12_8 \\ldots \\emptyset"
).split()
_BINARY = (
    "+ - * / = < > \\le \\ge \\ne \\cdot \\times \\div , ; : \\cup \\cap \\in \\pm \\mp \\to \\mid \\equiv ^ _ \\lor \\land \\pmod"
).split()
_AROUND = (
    "({})", "[{}]", "[{})", "]{}[", "\\{{{}\\}}", "|{}|", "\\sqrt{{{}}}", "\\sqrt[3]{{{}}}", "-{}", "{}!", "{}\\%", "{}^\\circ",
    "\\left({}\\right)", "\\text{{{}}}", "\\mathbf{{{}}}", "\\overline{{{}}}", "\\sin {}", "\\log_{{2}}({})", "f({})", "{}'",
    "\\boxed{{{}}}", "${}$", "\\({}\\)", "\\lfloor {} \\rfloor", "\\operatorname{{cis}} {}", "\\hat{{{}}}", "\\${}",
    "\\begin{{pmatrix}} {} \\\\ 1 \\end{{pmatrix}}", "\\begin{{cases}} {} & x>0 \\\\ 1 & x \\le 0 \\end{{cases}}", "\\int {} dx",
    "\\sum_{{k=1}}^{{n}} {}", "{}, k \\in \\mathbb{{Z}}", "\\{{ x \\mid {} \\}}", "{} \\text{{ cm}}",
)  # fmt: skip
_TWO = (
    "\\frac{{{}}}{{{}}}", "{} \\text{{ or }} {}", "{} \\text{{ and }} {}", "\\binom{{{}}}{{{}}}", "{}^{{{}}}", "({}, {})", "{}{}",
)  # fmt: skip
_PLAIN = (
    "1 2 5 10 0 75 1,234 0.75 .5 1/2 x y n pi e i inf sqrt(2) 5% $5 2^3 x^2 √ ½ ² ≤ ≥ ± ∪ ∞ π ° − × ÷ and or"
    " ( ) [ ] { } , ; : = < > + - * / ! ' _ ~ …"
).split()
_WORDS = (
    "the answer is so we have that 5 18 20 1,234 -3 $5 75% half dozen twice not if would be impossible however except"
    " bigger than sum product of and or apples cm km/h dollars cents Tuesday = + - x therefore thus final **Answer:** ####"
    " \\boxed{5} The Answer: remains add subtract first then which gives equals wait no (C) (eighteen) eighteen forty-two"
    " . , ; : ? ! \n \n\n > * _ ` \" ' $ | # I hope this helps"
).split(" ")
_CODE = (
    "```python\n ``` def f(x): return x + 1 \n if else for in range(5): print(18) assert f(2) == 5 # answer 18 import os"
    " while True: pass {'a': 1} [1, 2] lambda x: x == != -> \t __import__('os') \"5\" <answer> </answer> {} () ; \\n"
).split(" ")
_SCRIPTS = (
    "٥ ١٨ ４２ ५ 五 百 ⅷ Ⅷ ½ ² ₂ 𝟓 𝑥 е а ο Ω א \u200f \u200e \u200b \ufeff \u0301 👍 👩\u200d👧 ß ﬁ „ “ »"
    " ， 。 （ ） ＝ ： \u2003 \u3000 \xad 5 18 the answer is = ."
).split(" ")
_FRAMES = (
    "\\boxed{%s}", "#### %s", "The answer is %s.", "%s", "so $%s$", "<answer>%s</answer>", "**Answer:** %s",
    "First.\n\nSo %s",
)  # fmt: skip


def latex(draw: Draw, depth: int = 3) -> str:
    if depth == 0 or draw.random() < 0.2:
        return draw.choice(_ATOMS)
    inner = (latex(draw, depth - 1), latex(draw, depth - 1))
    match draw.randrange(4):
        case 0:
            return draw.choice(_AROUND).format(inner[0])
        case 1:
            return draw.choice(_TWO).format(*inner)
    return f"{inner[0]} {draw.choice(_BINARY)} {inner[1]}"


def broken_latex(draw: Draw) -> str:
    """Makes LaTeX from which a piece was cut, or to which one was added."""
    text = latex(draw, 4)
    at, upto = sorted(draw.choices(range(len(text) + 1), k=2))
    return text[:at] + (text[upto:] if draw.random() < 0.5 else draw.choice(_BINARY + _ATOMS) + text[at:])


def _of(words: list[str], most: int) -> Callable[[Draw], str]:
    return lambda draw: draw.choice(("", " ", " ")).join(draw.choices(words, k=draw.randint(1, most)))


KINDS: dict[str, Callable[[Draw], str]] = {
    "latex": lambda draw: latex(draw, draw.randint(1, 5)),
    "broken latex": broken_latex,
    "plain": _of(_PLAIN, 16),
    "prose": _of(_WORDS, 30),
    "code": _of(_CODE, 24),
    "scripts": _of(_SCRIPTS, 16),
    "bytes": lambda draw: draw.randbytes(draw.randint(1, 60)).decode(
        "latin-1" if draw.random() < 0.5 else "utf-8", "replace"
    ),
}


def fuzz(verifier: str, kind: str, num: int, seed: int = 0) -> tuple[Counter[str], float, list[str]]:
    """Returns how often each verdict came, the processor time of the slowest in seconds, and what went wrong."""
    draw = Draw(f"{seed} {kind}")
    judge, references = registry.load(verifier).function, REFERENCES["math" if verifier == "math" else "number"]
    verdicts, slowest, faults = Counter[str](), 0.0, []
    for _ in range(num):
        completion, answer = draw.choice(_FRAMES) % KINDS[kind](draw), draw.choice(references)
        started = time.process_time()
        try:
            score = judge(completion, answer)
            slowest = max(slowest, took := time.process_time() - started)
            others = (judge(f"\n {completion} \n\n", answer).verdict, judge(completion, answer).verdict)
        except Exception as error:  # noqa: BLE001 (whatever it raises is the finding)
            faults.append(f"{type(error).__name__}: {error}: {answer!r} {completion!r}")
            continue
        verdicts[score.verdict] += 1
        if took > MOST_S:
            faults.append(f"{took:.2f} s: {answer!r} {completion!r}")
        if others != (score.verdict, score.verdict):
            faults.append(f"{score.verdict}, but {' and '.join(others)}: {answer!r} {completion!r}")
    return verdicts, slowest, faults


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--num", type=int, default=1_000_000, help="texts of each kind")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--verifiers", default="math,number,number-lenient")
    asked.add_argument("--kinds", default=",".join(KINDS))
    given = asked.parse_args()
    failed = False
    print("| verifier | kind | texts | right | unscored | slowest s | faults |\n|---|---|---|---|---|---|---|")
    for verifier in given.verifiers.split(","):
        for kind in given.kinds.split(","):
            verdicts, slowest, faults = fuzz(verifier, kind, given.num, given.seed)
            told = f"{verdicts['right']:,} | {verdicts['unscored']:,} | {slowest:.3f} | {len(faults)}"
            print(f"| {verifier} | {kind} | {given.num:,} | {told} |", flush=True)
            for fault in faults[:SHOWN]:
                print(f"    {fault}", file=sys.stderr, flush=True)
            failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
