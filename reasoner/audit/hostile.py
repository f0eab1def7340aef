"""Tries hostile text on a verifier: a table of adversarial rows, bombs of time and memory, and canaries.

A canary is a file that appears if text is ever executed. It and bombs are judged in a process that can be killed.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

from reasoner.audit import child
from reasoner.audit.results import Case, Check, Tally
from reasoner.verifiers.registry import Verifier

LIMIT_S = 5.0
"""Wall time of a check above which it is called slow: information, for a busy machine is no fault of a verifier."""
LIMIT_BYTES = 1_000_000_000  # that one bomb may cost


def table() -> list[Case]:
    """Reads the adversarial rows."""
    text = Path(__file__).with_name("adversarial.jsonl").read_text(encoding="utf-8")
    lines = enumerate(text.rstrip("\n").split("\n"), 1)
    return [Case(**json.loads(line), id=f"adversarial-{at}") for at, line in lines]


def adversarial(checker: Verifier) -> Check:
    """Judges the table. For a person's own verifier it is information: another format makes many rows moot."""
    is_own = checker.contract == "own"
    tally = Tally("adversarial table", must_hold=not is_own)
    for case in table():
        if ("number" if is_own else checker.contract) in case.reads:
            tally.judge(checker, case)
    return tally.check()


def bombs(checker: Verifier, own: str | None = None) -> Check:
    """Tries the bombs; one that takes longer than `child.KILL_S` is killed. `own` stands in for all their references.

    None may be accepted, either; but what a person's own verifier takes `((5))` for is its owner's affair.
    """
    tally, slowest, slow, most_bytes = Tally("time and memory bombs"), 0.0, 0, 0
    cases = [
        Case(family, "".join(part * times for part, times in parts), own or answer, False, f"bomb-{at}")
        for at, (family, answer, parts) in enumerate(BOMBS)
    ]
    with tempfile.TemporaryDirectory(prefix="reasoner-audit-") as folder:
        for case, found in zip(cases, child.judged(checker, cases, Path(folder)), strict=False):
            slowest = max(slowest, round(found.seconds, 3))
            most_bytes = max(most_bytes, found.bytes)
            slow += found.seconds > LIMIT_S
            why = "accepted" if found.score.verdict == "right" and checker.contract != "own" else ""
            why = f"took {found.bytes / 1e9:.1f} GB (limit {LIMIT_BYTES / 1e9:g})" if found.bytes > LIMIT_BYTES else why
            why = found.score.why if found.failed else why
            tally.add(case, found.score, is_failure=bool(why), failure=why, seconds=round(found.seconds, 2))
    return dataclasses.replace(tally.check(), slowest_seconds=slowest, slow=slow, most_bytes=most_bytes)


def canary(checker: Verifier, own: str | None = None) -> Check:
    """Judges text that would leave a file if any of it were executed; for the reference `own`, the bare text too."""
    tally = Tally("canary for execution of the text")
    with tempfile.TemporaryDirectory(prefix="reasoner-audit-") as name:
        folder = Path(name)
        texts = [text.format(path=str(folder / "canary")) for text in CANARIES]
        shown = [(form, answer) for answer in ("5", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}")
                 for form in ("$\\boxed{{{}}}$", "#### {}", "The answer is {}.")]  # fmt: skip
        cases = [
            Case("canary", form.format(text), answer, False, f"canary-{at}")
            for at, text in enumerate(texts)
            for form, answer in (shown if own is None else [*shown, ("{}", own)])
        ]
        for case, found in zip(cases, child.judged(checker, cases, folder), strict=False):
            why = found.score.why if found.gone else ""
            why = f"executed: {', '.join(found.files)} appeared" if found.files else why
            tally.add(case, found.score, is_failure=bool(why), failure=why)
    return tally.check()


Parts = tuple[tuple[str, int], ...]


def _repeated(*parts: tuple[str, int] | str) -> Parts:
    return tuple((part, 1) if isinstance(part, str) else part for part in parts)


BOMBS: tuple[tuple[str, str, Parts], ...] = (
    ("power tower", "5", _repeated(r"$\boxed{7^{7^{7^{7^{7}}}}}$")),
    ("power tower", "5", _repeated("#### 7**7**7**7**7")),
    ("power tower", "x^2+1", _repeated(r"$\boxed{x^{9^{9^{9^{9}}}}}$")),
    ("power tower", "10^{50}", _repeated(r"$\boxed{(((2^{999999999})^{999999999})^{999999999})}$")),
    ("factorial", "5", _repeated(r"$\boxed{(987654321)!}$")),
    ("factorial", "5", _repeated(r"$\boxed{9!!!!!!!!!}$")),
    ("factorial", "5", _repeated(r"$\boxed{\binom{2000000000}{1000000000}}$")),
    ("sums and products", "5", _repeated(r"$\boxed{\sum_{k=1}^{10^{12}} \frac{1}{k}}$")),
    ("sums and products", "5", _repeated(r"$\boxed{\prod_{k=1}^{10^{12}} (k^2+1)}$")),
    ("sums and products", "x^2+1", _repeated(r"$\boxed{(x+y+z+1)^{100000}}$")),
    ("sums and products", "x^2+1", _repeated(r"$\boxed{\int_0^x \sin(\cos(t^{t^t}))\,dt}$")),
    ("sums and products", "5", _repeated("$\\boxed{", ("1+", 200_000), "1}$")),
    ("digits", "5", _repeated("#### ", ("9", 1_000_000))),
    ("digits", "5", _repeated("$\\boxed{", ("7", 1_000_000), "}$")),
    ("digits", "5", _repeated("#### 5.", ("0", 1_000_000), "1")),
    ("digits", "\\frac{1}{3}", _repeated("$\\boxed{\\frac{", ("3", 100_000), "}{", ("9", 100_000), "}}$")),
    ("digits", "5", _repeated("#### 1e999999999")),
    ("digits", "0", _repeated(r"$\boxed{10^{-10^{10}}}$")),
    ("nesting", "5", _repeated("$\\boxed{", ("(", 50_000), "5", (")", 50_000), "}$ or so")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\frac{1}{", 20_000), "5", ("}", 20_000), "}$ or so")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\sqrt{", 20_000), "25", ("}", 20_000), "}$")),
    ("nesting", "5", _repeated(("\\boxed{", 200_000), "6")),
    ("nesting", "5", _repeated("$\\boxed{", ("{", 300_000), "6", ("}", 300_000), "}$")),
    ("nesting", "5", _repeated("$\\boxed{", ("\\left(", 30_000), "6", ("\\right)", 30_000), "}$")),
    ("nesting", "[0, 1]", _repeated("$\\boxed{", ("[0,", 30_000), "1", ("]", 30_000), "}$")),
    ("lists", "5", _repeated("$\\boxed{", ("5,", 200_000), "5}$")),
    ("lists", "1, 2", _repeated("$\\boxed{", ("1,2,", 100_000), "3}$")),
    ("lists", "\\{1, 2\\}", _repeated("$\\boxed{\\{", ("x,y,", 100_000), "z\\}}$")),
    ("lists", "(1, 2)", _repeated("$\\boxed{\\begin{pmatrix}", ("1&2&3\\\\", 50_000), "4\\end{pmatrix}}$")),
    ("many commitments", "5", _repeated(("#### 6\n", 200_000))),
    ("many commitments", "5", _repeated(("\\boxed{6} ", 100_000))),
    ("many commitments", "5", _repeated(("the answer is ", 100_000))),
    ("many commitments", "5", _repeated(("#### ", 300_000))),
    ("long text", "5", _repeated((" ", 2_000_000))),
    ("long text", "5", _repeated(("\n", 2_000_000))),
    ("long text", "5", _repeated(("\\", 1_000_000))),
    ("long text", "5", _repeated(("$", 1_000_001))),
    ("long text", "5", _repeated(("6 = ", 300_000), "6")),
    ("long text", "5", _repeated(("a\u0301", 500_000))),
    ("long text", "5", _repeated(("\U0001f9ee", 300_000))),
    ("long text", "5", _repeated(("<think>", 150_000))),
    ("long text", "5", _repeated("#### 6", (" apples", 200_000))),
    ("long text", "5", _repeated(("\0", 500_000))),
)
"""Texts that cost time or memory to read. None commits to its reference, so none may be accepted."""

CANARIES: tuple[str, ...] = (
    "open({path!r},'w')",
    "[open({path!r},'w'),5][1]",
    "(open({path!r},'w'),1)",
    "\\pi*0+open({path!r},'w').write('5')",
    "__import__('os').system('touch {path}')*0+5",
    "__import__('pathlib').Path({path!r}).touch() or 5",
    "eval(\"open({path!r},'w')\")",
    "exec(\"open({path!r},'w')\")",
    "(lambda: open({path!r},'w'))()",
    "x = open({path!r},'w')",
    "().__class__.__base__.__subclasses__() or open({path!r},'w')",
    "Integer(open({path!r},'w').write('5'))",
    "Symbol('x').subs(open({path!r},'w'), 1)",
    "sqrt(open({path!r},'w').write('5'))",
    "\\begin{{pmatrix}} open({path!r},'w') \\\\ 2 \\end{{pmatrix}}",
    "\\immediate\\write18{{touch {path}}}",
    "$(touch {path})",
    "`touch {path}`",
    "{{{{ open({path!r},'w') }}}}",
    "!!python/object/apply:os.system ['touch {path}']",
    "open('canary','w')",
)
"""Each would leave a file, at an absolute path or in the current folder, if the text were evaluated."""
