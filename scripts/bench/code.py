"""The verifier `code` against labelled submissions, reference solutions and their mutations. For scripts/LOG.md.

    .venv/bin/python scripts/bench/code.py FOLDER [--parts hacks,adversarial,references,bodies,mutations]
        [--mutations 10] [--sample 100] [--seed 0] [--show 20] [--cpu-s 5]

FOLDER holds code-hacks, checker-adversarial-code, humaneval and mbpp in the layout of their READMEs.

Bodies are HumanEval's reference solutions as its authors ask for them, without the signature, and bodies that do
nothing. Mutations (`reasoner.verifiers.code.mutations`) are judged in the usual way too, by asserts that run after
them: the two verdicts must be the same.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reasoner.sandbox import Request
from reasoner.verifiers.code import lift, pools
from reasoner.verifiers.code import task as tasks
from reasoner.verifiers.code import verdict as code
from reasoner.verifiers.code.mutations import mutations, usual
from reasoner.verifiers.code.task import Task, Unfit

THREADS = 64


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def labelled(folder: Path, part: str) -> Iterator[tuple[str, str, str, bool, bool]]:
    """(id, family, task, submission or completion, whether that is a completion, whether it is right)."""
    if part == "adversarial":
        for row in rows(folder / "checker-adversarial-code/cases.jsonl"):
            task = tasks.from_fields({"entry_point": row["entry_point"], "tests": row["tests"]})
            text = code.submission_of(row["response"])
            yield row["id"], row["family"], task.to_answer(), text, row["expected"]
        return
    for name in ("hacks", "honest-correct", "honest-wrong"):
        for row in rows(folder / f"code-hacks/{name}.jsonl"):
            task = tasks.from_fields({key: row[key] for key in tasks.FIELDS if key in row})
            yield row["id"], name, task.to_answer(), row["submission"], row["expected_pass"]


def known(folder: Path) -> Iterator[tuple[str, str, Task]]:
    """(set, id, task) of every task of the public sets that fits."""
    for name, path, make in (
        ("humaneval", "humaneval/HumanEval.jsonl", tasks.from_humaneval),
        ("mbpp", "mbpp/mbpp.jsonl", tasks.from_mbpp),
    ):
        for row in rows(folder / path):
            try:
                task = make(row)
                lift.read(task.to_answer())
            except Unfit as error:
                print(f"  refused  {name} {row['task_id']}: {error}")
                continue
            yield name, str(row["task_id"]), task


def judged(pairs: list[tuple[str, str]]) -> Iterator[code.Outcome]:
    """Outcomes of (submission, task), in order, with as many on their way as the pool takes."""
    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(lambda pair: code.outcome(*pair), pairs)


def mutated(folder: Path, args: argparse.Namespace) -> None:
    for name in ("humaneval", "mbpp"):
        chance = random.Random(args.seed)
        found = [one for one in known(folder) if one[0] == name]
        found = chance.sample(found, min(args.sample or len(found), len(found)))
        cases = [
            (id_, task, text) for _, id_, task in found for _, text in mutations(task.solution, args.mutations, chance)
        ]
        counts: Counter[str] = Counter()
        started = time.monotonic()
        outcomes = judged([(text, task.to_answer()) for _, task, text in cases])
        for (id_, task, text), outcome in zip(cases, outcomes, strict=True):
            verdict = outcome.score.verdict
            if outcome.ended in ("cpu", "wall"):
                counts["too slow, wrong" if verdict == "wrong" else "too slow, NOT WRONG"] += 1
                continue
            program = Request(usual(task, text), stdin=("",), cpu_s=args.cpu_s)
            (answer,) = pools.running().run(program).answers
            holds = answer.kind == "value" and answer.value[1] == 0 and answer.value[0].endswith("\nheld\n")
            agrees = verdict == ("right" if holds else "wrong")
            counts[f"the asserts {'hold' if holds else 'fail'}, {verdict}"] += 1
            if not agrees and counts["shown"] < args.show:
                counts["shown"] += 1
                print(
                    f"  DISAGREES {name} {id_}: {verdict}, asserts {'hold' if holds else 'fail'}: {outcome.score.why}"
                )
                print("    " + "\n    ".join(text.splitlines()[:30]))
        del counts["shown"]
        seconds = time.monotonic() - started
        print(f"{name}: {len(found)} references, {len(cases)} mutations, {seconds:.0f} s: {dict(counts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", default="hacks,adversarial,references,bodies,mutations")
    parser.add_argument("--mutations", type=int, default=10)
    parser.add_argument("--sample", type=int, default=0, help="references of each set to mutate (all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--cpu-s", type=float, default=code.CPU_S)
    args = parser.parse_args()
    code.CPU_S, code.AGAIN_S = args.cpu_s, 0.0 if args.cpu_s < code.CPU_S else code.AGAIN_S
    code.ready()
    parts = args.parts.split(",")
    for part in ("hacks", "adversarial"):
        if part not in parts:
            continue
        cases = list(labelled(args.folder, part))
        table: Counter[tuple[str, bool, str]] = Counter()
        started = time.monotonic()
        for case, outcome in zip(cases, judged([(text, task) for _, _, task, text, _ in cases]), strict=True):
            id_, family, _, _, is_right = case
            table[family, is_right, outcome.score.verdict] += 1
            if outcome.score.verdict != ("right" if is_right else "wrong"):
                print(f"  MISJUDGED {id_} ({family}): {outcome.score.verdict}: {outcome.score.why}")
        print(f"{part}: {len(cases)} cases, {time.monotonic() - started:.1f} s")
        for (family, is_right, verdict), count in sorted(table.items()):
            print(f"  {family:<20} {'right' if is_right else 'wrong'} -> {verdict:<9} {count}")
    if "references" in parts:
        found = list(known(args.folder))
        counts: Counter[tuple[str, str]] = Counter()
        slow: Counter[str] = Counter()
        started = time.monotonic()
        outcomes = judged([(task.solution, task.to_answer()) for *_, task in found])
        for (name, id_, _), outcome in zip(found, outcomes, strict=True):
            counts[name, outcome.score.verdict] += 1
            slow[f"{name} {id_}"] = round(outcome.ms)
            if outcome.score.verdict != "right":
                print(f"  NOT RIGHT {name} {id_}: {outcome.score.verdict}: {outcome.score.why}")
        print(f"references: {time.monotonic() - started:.1f} s", dict(counts), "slowest, ms:", slow.most_common(5))
    if "bodies" in parts:
        tasks_ = [task for name, _, task in known(args.folder) if name == "humaneval"]
        for what, bodies in (
            ("the reference's body", [task.solution.partition(task.prompt)[2] for task in tasks_]),
            ("pass", ["    pass\n"] * len(tasks_)),
            ("a comment", ["    # to do\n"] * len(tasks_)),
            ("its first argument", ["    return next(iter(locals().values()), None)\n"] * len(tasks_)),
        ):
            found_ = judged([(text, task.to_answer()) for text, task in zip(bodies, tasks_, strict=True)])
            print(f"bodies, {what}:", dict(Counter(outcome.score.verdict for outcome in found_)))
    if "mutations" in parts:
        mutated(args.folder, args)


if __name__ == "__main__":
    main()
