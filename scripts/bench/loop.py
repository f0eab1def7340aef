"""The fast training loop against the plain one: same configuration, same seeds, whole trainings, and what came of them.

    .venv/bin/python scripts/bench/loop.py [--profile smol] [--seeds 0,1,2] [--steps 60] [-- --set …]

Runs alternate (fast, plain, fast, …), so that a noisy machine is noisy for both. Both are scored on the same held-out
problems. Finished runs are only read: call it again to go on. Prints a table for scripts/LOG.md.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

REASONER = Path(sys.executable).with_name("reasoner")
FOLDER = Path(os.environ.get("REASONER_RUNS") or "runs")


def run(loop: str, seed: str, args: argparse.Namespace) -> dict:
    name = f"loop-{args.profile}-{loop}-{seed}"
    settings = [f"train.loop={loop}", f"train.seed={seed}", f"train.steps={args.steps}", "eval.beside=[]"]
    settings += ["eval.everyday=false"]
    argv = [str(REASONER), "run", "--profile", args.profile, "--run", name]
    argv += [part for setting in settings for part in ("--set", setting)] + args.options
    code = subprocess.run(argv).returncode
    if code not in (0, 4):
        sys.exit(f"{name} ended with exit code {code}")
    trained = json.loads((FOLDER / name / "train.json").read_text())["facts"]
    metrics = [json.loads(line) for line in (FOLDER / name / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((FOLDER / name / "summary.json").read_text())
    return {
        "loop": loop,
        "seed": seed,
        "seconds": trained["loop_seconds"],
        "steps": sum(row["step_seconds"] for row in metrics),
        "threads": trained["threads"],
        "length": sum(row["length"] for row in metrics) / len(metrics),
        "base": summary["base"],
        "tuned": summary["tuned"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="smol")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("options", nargs="*", help="passed on to `reasoner run`")
    args = parser.parse_args()
    rows = [run(loop, seed, args) for seed in args.seeds.split(",") for loop in ("fast", "plain")]
    print("| seed | loop | training s | s a step | mean tokens | threads | base right | tuned right |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        tuned, base = row["tuned"], row["base"]
        step = row["steps"] / args.steps
        print(
            f"| {row['seed']} | {row['loop']} | {row['seconds']:.0f} | {step:.1f} | {row['length']:.0f}"
            f" | {row['threads']} | {base['pass_at_1']:.1%} | {tuned['pass_at_1']:.1%}"
            f" [{tuned['ci95'][0]:.1%}, {tuned['ci95'][1]:.1%}] |"
        )
    for name, key in (("whole training", "seconds"), ("steps alone", "steps")):
        fast, plain = (sum(r[key] for r in rows if r["loop"] == loop) for loop in ("fast", "plain"))
        print(f"{name}: plain / fast = {plain / fast:.2f}")


if __name__ == "__main__":
    main()
