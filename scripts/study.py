"""Does the lift of a profile hold over training seeds, and is the control flat? Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/study.py [--profile smol] [--seeds 0,1,2] [--control] [-- --set train.steps=60 …]

Each row is one whole `reasoner run` under a name of its own; rows that are done are only read. A run that is
not promoted (exit code 4) is a result like any other.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

REASONER = Path(sys.executable).with_name("reasoner")


def run(name: str, profile: str, options: list[str]) -> dict:
    argv = [str(REASONER), "run", "--profile", profile, "--run", name, *options]
    code = subprocess.run(argv).returncode
    if code not in (0, 4):
        sys.exit(f"{name} ended with exit code {code}")
    folder = Path(os.environ.get("REASONER_RUNS") or "runs")
    return json.loads((folder / name / "summary.json").read_text())


def percent(found: dict) -> str:
    low, high = (100 * x for x in found["ci95"])
    return f"{100 * found['pass_at_1']:.1f} [{low:.1f}, {high:.1f}]"


def points(found: dict) -> str:
    low, high = found["ci95"]
    return f"{found['points']:+.1f} [{low:+.1f}, {high:+.1f}]"


def row(value: dict) -> str:
    works = [f"{100 * value[role]['shows_working']:.0f}" for role in ("base", "tuned")]
    return (
        f"| {value['run']} | {value['seed']} | {value['n']} {value['split']} | {percent(value['base'])} | {works[0]}"
        f" | {percent(value['tuned'])} | {works[1]} | {points(value['lift'])} | {value['seconds']['train']:.0f}"
        f" | {value['seconds']['total']:.0f} | {'yes' if value['promoted'] else '; '.join(value['gate'])} |"
    )


def beside(value: dict) -> list[str]:
    """One line a kind and a set beside, and the everyday prompts."""
    lines = []
    for kind, cell in (value.get("by_kind") or {}).items():
        shown = [f"{cell[r]['right']}/{cell[r]['scored']}" for r in ("base", "tuned")]
        lines.append(f"| {value['run']} | {kind} | {shown[0]} | {shown[1]} | {points(cell['lift'])} |")
    for name, found in (value.get("beside") or {}).items():
        if "missing" not in found:
            scores = f"{percent(found['base'])} | {percent(found['tuned'])} | {points(found['lift'])}"
            lines.append(f"| {value['run']} | {name}, n {found['n']} | {scores} |")
    found = value.get("everyday")
    if found:
        shown = [f"degenerate {found[r]['degenerate']}, facts {found[r]['facts_right']}" for r in ("base", "tuned")]
        lines.append(f"| {value['run']} | everyday, n {found['n']} | {shown[0]} | {shown[1]} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="pocket")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("options", nargs="*", help="passed on to `reasoner run`")
    args = parser.parse_args()
    values = []
    for seed in filter(None, args.seeds.split(",")):
        options = ["--set", f"train.seed={seed}", *args.options]
        values.append(run(f"{args.profile}-seed-{seed}", args.profile, options))
    if args.control:
        values.append(run(f"{args.profile}-control", args.profile, ["--control", "shuffled", *args.options]))
    print(
        "| run | seed | problems | base right % | base works % | tuned right % | tuned works % | lift | train s | s"
        " | promoted |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(map(row, values)))
    print("\n| run | kind or set | base | tuned | lift |\n|---|---|---|---|---|")
    print("\n".join(line for value in values for line in beside(value)))


if __name__ == "__main__":
    main()
