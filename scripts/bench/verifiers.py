"""Verifiers against labelled sets: false accepts, false rejects, speed. Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/bench/verifiers.py FOLDER [--verifier math] [--show 20] [--sets adversarial,vectors,…]

FOLDER holds the sets in the layout of their READMEs (checker-adversarial/cases.jsonl, …). A `pair` row of the vectors
is put in a box, unless it holds one (`--raw`: judged as it stands). `renderings` are the GSM8K solutions with their
last line told in other ways. `--verifier math-verify` is the library with delimited references, for the ratio.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reasoner.verifiers import registry
from reasoner.verifiers.score import Score

SETS = {
    "adversarial": "checker-adversarial/cases.jsonl",
    "vectors": "checker-vectors/vectors.jsonl",
    "hard": "hardverify-math/pairs.jsonl",
    "metamorphic": "math500-metamorphic/cases.jsonl",
    "responses": "math-model-responses/responses.jsonl",
    "gsm8k": "gsm8k-model-solutions/solutions.jsonl",
    "renderings": "gsm8k-model-solutions/solutions.jsonl",
    "math500": "math500/test.jsonl",
}
RENDERINGS = (
    "#### {v}", "#### ${v}", "#### {v}.", "#### **{v}**", "####{v}", "#### {v}.0", "#### {v} dollars", "#### {c}",
    "\\boxed{{{v}}}", "So the answer is $\\boxed{{{v}}}$.", "\\[ \\boxed{{{v}}} \\]", "\\boxed{{{c}}}",
    "\\boxed{{{v} \\text{{ dollars}}}}", "The answer is {v}.", "The final answer is: **{v}**", "Answer: {v}",
    "The answer is ${c}.", "<answer>{v}</answer>",
)  # fmt: skip
Row = tuple[str, str, str, str, bool]
"""Id, part, reference, completion, whether it is right."""


def boxed(text: str) -> str:
    return text if any(mark in text for mark in ("\\boxed", "####", "nswer")) else f"\\boxed{{{text}}}"


def rows(name: str, folder: Path, raw: bool) -> Iterator[Row]:
    for line in (folder / SETS[name]).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if name == "adversarial":
            parts = row.get("response_parts")
            text = row["response"] if parts is None else "".join(part * int(n) for part, n in parts)
            lenient = " lenient" if row.get("lenient") else ""
            yield row["id"], f"{row['format']}{lenient}", row["gold"], text, row["expected"]
        elif name == "vectors":
            if not row["disputed"]:
                text = boxed(row["pred"]) if row["kind"] == "pair" and not raw else row["pred"]
                yield row["id"], row["kind"], row["gold"], text, row["expected"]
        elif name == "hard":
            part = "core" if row["tag"] in ("core", "list-order") else "apart"
            yield row["id"], part, row["gold"], boxed(row["pred"]), row["expected"]
        elif name == "metamorphic":
            yield row["id"], "core" if row["core"] else "policy", row["gold"], row["response"], row["expected"]
        elif name == "responses":
            yield row["id"], "", row["gold"], row["response"], row["expected"]
        elif name in ("gsm8k", "renderings"):
            head, _, last = row["response"].rpartition("\n")
            value = last[2:].strip().replace(",", "")
            if not last.startswith("A:"):
                yield row["id"], "unfinished", row["gold"], row["response"], row["expected"]
                continue
            tellings = RENDERINGS if name == "renderings" else RENDERINGS[:1]
            grouped = f"{int(value):,}" if value.lstrip("-").isdecimal() else value
            for telling in tellings:
                text = f"{head}\n{telling.format(v=value, c=grouped)}"
                if ".0" not in telling or value.lstrip("-").isdecimal():
                    yield row["id"], telling if name == "renderings" else "", row["gold"], text, row["expected"]
        else:
            yield row["unique_id"], "", row["answer"], f"so \\boxed{{{row['answer']}}}.", True


def library() -> registry.Verifier:
    """Math-Verify in our process, references delimited, without its timeouts."""
    from math_verify import parse, verify

    def function(completion: str, answer: str) -> Score:
        reference = parse(answer if "$" in answer else f"${answer}$", parsing_timeout=None)
        is_right = verify(reference, parse(completion, parsing_timeout=None), timeout_seconds=None)
        return Score("right" if is_right else "wrong")

    return registry.Verifier("math-verify", "", function)


def line(name: str, part: str, found: list[tuple[bool, str, float]]) -> str:
    right = [verdict for expected, verdict, _ in found if expected]
    wrong = [verdict for expected, verdict, _ in found if not expected]
    times = sorted(seconds for _, _, seconds in found)
    rejected = len(right) - right.count("right")
    return (
        f"| {name} | {part} | {wrong.count('right')}/{len(wrong)} | {rejected}/{len(right)}"
        f" | {(right + wrong).count('unscored')} | {1e3 * times[len(times) // 2]:.2f}"
        f" | {1e3 * times[int(0.99 * (len(times) - 1))]:.1f} | {times[-1]:.2f} | {len(times) / sum(times):,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--verifier", default="math")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="judge `pair` vectors as they stand")
    args = parser.parse_args()
    checker = library() if args.verifier == "math-verify" else registry.load(args.verifier)
    folder = args.folder.absolute()
    os.chdir(tempfile.mkdtemp())
    print(f"{checker.name} {checker.version}")
    print("| set | part | wrong accepted | right rejected | unscored | median ms | p99 ms | slowest s | checks/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    shown = []
    for name in args.sets.split(","):
        parts: dict[str, list[tuple[bool, str, float]]] = {}
        for id_, part, reference, completion, expected in rows(name, folder, args.raw):
            started = time.perf_counter()
            score = registry.verify(checker, completion, reference)
            parts.setdefault(part, []).append((expected, score.verdict, time.perf_counter() - started))
            if (score.verdict == "right") != expected:
                shown.append((name, part, id_, expected, reference, completion[-160:], score))
        for part, found in sorted(parts.items()):
            print(line(name, part.replace("|", "\\|"), found), flush=True)
        if len(parts) > 1:
            print(line(name, "all", [one for found in parts.values() for one in found]), flush=True)
    print("files that a row left:", os.listdir("."))
    for name, part, id_, expected, reference, completion, score in shown[: args.show]:
        print(f"\n{name} {part} {id_} expected {'right' if expected else 'wrong'}: {score}")
        print(f"   reference  {reference[:150]!r}\n   completion {completion!r}")


if __name__ == "__main__":
    main()
