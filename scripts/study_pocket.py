"""Does the lift of `pocket` hold over training seeds, and is the control flat? Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/study_pocket.py [--seeds 0,1,2] [--control]

Each row is one whole `reasoner run` under a name of its own; rows that are done are only read.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

REASONER = Path(sys.executable).with_name("reasoner")


def run(name: str, *options: str) -> dict:
    argv = [str(REASONER), "run", "--profile", "pocket", "--run", name, "--json", *options]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def row(value: dict) -> str:
    def score(role: str) -> str:
        found = value[role]
        low, high = (100 * x for x in found["ci95"])
        return f"{100 * found['pass_at_1']:.1f} [{low:.1f}, {high:.1f}] | {100 * found['shows_working']:.1f}"

    low, high = value["lift"]["ci95"]
    lift = f"{value['lift']['points']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return (
        f"| {value['run']} | {value['seed']} | {value['n']} {value['split']} | {score('base')} | {score('tuned')}"
        f" | {lift} | {value['seconds']['train']:.0f} | {value['seconds']['total']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--control", action="store_true")
    args = parser.parse_args()
    values = [run(f"study-seed-{seed}", "--set", f"train.seed={seed}") for seed in args.seeds.split(",") if seed]
    if args.control:
        values.append(run("study-control", "--control", "shuffled"))
    print(
        "| run | seed | problems | base right % | base works % | tuned right % | tuned works % | lift | train s | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for value in values:
        print(row(value))


if __name__ == "__main__":
    main()
