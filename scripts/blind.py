"""Judges the blind set, `results/checker-blind/cases.jsonl`, which was written before anything ran on it.

    .venv/bin/python scripts/blind.py [--show] [--cases FILE] [--write FILE]

Prints, for each verifier and of the rows that are not disputed, how many wrong ones it accepted, how many right ones
it rejected, and how many it left without a verdict. `--show` prints those rows; `--write` keeps them with the counts.
`results/checker-blind/first.json` is the first run; rows that were mended since then are blind no more.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from reasoner.verifiers import registry

FOLDER = Path(__file__).parent.parent / "results" / "checker-blind"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--show", action="store_true")
    asked.add_argument("--cases", type=Path, default=FOLDER / "cases.jsonl")
    asked.add_argument("--write", type=Path)
    given = asked.parse_args()
    rows = [json.loads(line) for line in given.cases.read_text(encoding="utf-8").splitlines()]
    counts: Counter[tuple[str, str, str]] = Counter()
    faults = []
    for row in rows:
        verifier = registry.load(row["verifier"])
        score = verifier.function(row["completion"], row["answer"])
        if not row["disputed"]:
            counts[f"{verifier.name} {verifier.version}", row["expected"], score.verdict] += 1
        if score.verdict != row["expected"]:
            faults.append({"id": row["id"], "verdict": score.verdict, "disputed": row["disputed"], "why": score.why})
            if given.show and not row["disputed"]:
                about = f"{row['id']} {row['verifier']} [{row['kind']}] is {row['expected']}"
                print(f"{about}, got {score.verdict}: {score.why}\n    {row['answer']!r}\n    {row['completion']!r}")
    table = {}
    print("| verifier | wrong accepted | right rejected | unscored |\n|---|---|---|---|")
    for name in sorted({name for name, _, _ in counts}):
        of = {kind: sum(n for (a, b, _), n in counts.items() if (a, b) == (name, kind)) for kind in ("wrong", "right")}
        accepted, rejected = counts[name, "wrong", "right"], counts[name, "right", "wrong"]
        unscored = counts[name, "wrong", "unscored"] + counts[name, "right", "unscored"]
        print(f"| {name} | {accepted} of {of['wrong']} | {rejected} of {of['right']} | {unscored} |")
        table[name] = {**of, "wrong_accepted": accepted, "right_rejected": rejected, "unscored": unscored}
    if given.write:
        given.write.write_text(
            json.dumps({"counts": table, "not as labelled": faults}, indent=1, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    main()
