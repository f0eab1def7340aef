"""Verifiers against labelled sets: false accepts, false rejects, speed. Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/bench/verifiers.py FOLDER [--verifier math] [--show 20] [--sets adversarial,vectors,…]

FOLDER holds the sets in the layout of their READMEs (checker-adversarial/cases.jsonl, …). A `pair` row of the vectors
is judged as it stands where it holds a box, a formula or a marker, else in a box.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reasoner import verifiers

SETS = {
    "adversarial": "checker-adversarial/cases.jsonl",
    "vectors": "checker-vectors/vectors.jsonl",
    "hard": "hardverify-math/pairs.jsonl",
    "metamorphic": "math500-metamorphic/cases.jsonl",
    "responses": "math-model-responses/responses.jsonl",
    "gsm8k": "gsm8k-model-solutions/solutions.jsonl",
    "math500": "math500/test.jsonl",
}


def boxed(text: str) -> str:
    return text if any(mark in text for mark in ("\\boxed", "####", "nswer")) else f"\\boxed{{{text}}}"


def rows(name: str, folder: Path, raw: bool) -> Iterator[tuple[str, str, str, str, bool]]:
    """(id, group, reference, completion, expected)."""
    for line in (folder / SETS[name]).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if name == "adversarial":
            parts = row.get("response_parts")
            text = row["response"] if parts is None else "".join(p * int(n) for p, n in parts)
            lenient = " lenient" if row.get("lenient") else ""
            yield row["id"], f"{row['format']}{lenient}", row["gold"], text, row["expected"]
        elif name == "vectors":
            if not row["disputed"]:
                is_pair = row["kind"] == "pair" and not raw
                yield (
                    row["id"],
                    row["kind"],
                    row["gold"],
                    boxed(row["pred"]) if is_pair else row["pred"],
                    row["expected"],
                )
        elif name == "hard":
            group = "core" if row["tag"] in ("core", "list-order") else "apart"
            yield row["id"], group, row["gold"], boxed(row["pred"]), row["expected"]
        elif name == "metamorphic":
            yield row["id"], "core" if row["core"] else "policy", row["gold"], row["response"], row["expected"]
        elif name == "responses":
            yield row["id"], "", row["gold"], row["response"], row["expected"]
        elif name == "gsm8k":
            head, _, last = row["response"].rpartition("\n")
            text = f"{head}\n#### {last[2:].strip()}" if last.startswith("A:") else row["response"]
            yield row["id"], "", row["gold"], text, row["expected"]
        else:
            yield row["unique_id"], "", row["answer"], f"so \\boxed{{{row['answer']}}}.", True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--verifier", default="math")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="judge `pair` vectors as they stand")
    args = parser.parse_args()
    checker = verifiers.load(args.verifier)
    folder = args.folder.absolute()
    os.chdir(tempfile.mkdtemp())
    print(
        "| set | part | wrong accepted | right rejected | unscored | median ms | p99 ms | slowest s |\n|---|---|---|---|---|---|---|---|"
    )
    shown = []
    for name in args.sets.split(","):
        groups: dict[str, list[tuple[bool, str, float]]] = {}
        for id_, group, reference, completion, expected in rows(name, folder, args.raw):
            started = time.perf_counter()
            score = verifiers.verify(checker, completion, reference)
            seconds = time.perf_counter() - started
            groups.setdefault(group, []).append((expected, score.verdict, seconds))
            if (score.verdict == "right") != expected:
                shown.append((name, group, id_, expected, reference, completion[-160:], score))
        for group, found in sorted(groups.items()):
            right = [v for e, v, _ in found if e]
            wrong = [v for e, v, _ in found if not e]
            times = sorted(s for _, _, s in found)
            print(
                f"| {name} | {group} | {wrong.count('right')}/{len(wrong)} | {len(right) - right.count('right')}/{len(right)}"
                f" | {(right + wrong).count('unscored')} | {1e3 * times[len(times) // 2]:.2f}"
                f" | {1e3 * times[int(0.99 * (len(times) - 1))]:.1f} | {times[-1]:.2f} |"
            )
    print("files that a row left:", os.listdir("."))
    for name, group, id_, expected, reference, completion, score in shown[: args.show]:
        print(
            f"\n{name} {group} {id_} expected {'right' if expected else 'wrong'}: {score}\n   ref {reference[:150]!r}\n   got {completion!r}"
        )


if __name__ == "__main__":
    main()
