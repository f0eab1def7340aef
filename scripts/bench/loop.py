"""The fast training loop against the plain one, at the same configuration.

    .venv/bin/python scripts/bench/loop.py stages RUN [--at 0,20,60,100] [--steps 3] [--loops fast,plain]
    .venv/bin/python scripts/bench/loop.py whole [--profile smol] [--seeds 0,1,2] [--steps 60] [-- --set …]

`stages` goes on from checkpoints of a finished run with either loop, in turn, for a few steps: the same policy, the
same problems. Completions are long at first and short later, so the ratio is given by stage. Give the run
`--set train.keep_checkpoints=100`, else its early checkpoints are gone. The floor is the arithmetic of the tokens that
were sampled and trained, at the speed of products measured in the same minute. `--loops fast` in two clones, with one
`REASONER_RUNS`, compares two states of the code. `whole` trains from the start with both and
scores both on the same held-out problems; a plain training takes hours. Both print a table for scripts/LOG.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

REASONER = Path(sys.executable).with_name("reasoner")
RUNS = Path(os.environ.get("REASONER_RUNS") or "runs").absolute()


def call(argv: list[str], may: tuple[int, ...] = (0,)) -> None:
    code = subprocess.run([str(REASONER), *argv]).returncode
    if code not in may:
        sys.exit(f"reasoner {' '.join(argv)} ended with exit code {code}")


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def go_on(source: Path, at: int, loop: str, steps: int) -> list[dict]:
    """Metrics of `steps` steps after checkpoint `at`, in a copy of the run."""
    copy = RUNS / f"bench-{source.name}-{at}-{loop}"
    shutil.rmtree(copy, ignore_errors=True)
    (copy / "checkpoints").mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    config["config"]["train"] |= {"loop": loop, "steps": at + steps}
    (copy / "config.json").write_text(json.dumps(config))
    if at:
        shutil.copytree(source / "checkpoints" / f"checkpoint-{at}", copy / "checkpoints" / f"checkpoint-{at}")
    call(["train", "--run", copy.name])
    rows = metrics(copy)
    shutil.rmtree(copy)
    return [row for row in rows if row["step"] > at]


def floor_of(source: Path, rows: list[dict]) -> float:
    """Seconds that a step cannot be faster than: the sampled tokens, and those of groups with signal."""
    import torch
    from transformers import AutoModelForCausalLM

    from reasoner.machine import cpu
    from reasoner.training import floor

    settings = json.loads((source / "config.json").read_text())["config"]["train"]
    weights = floor.num_weights(AutoModelForCausalLM.from_pretrained(source / "base" / "model"))
    group = settings["num_generations"]
    share = (settings.get("num_trained") or group) / group
    tokens = [row["length"] * settings["num_prompts"] * group for row in rows]
    trained = [share * row["signal"] * num for row, num in zip(rows, tokens, strict=True)]
    speed = max(cpu.matmul_speed(dtype) for dtype in (torch.bfloat16, torch.float32))
    return floor.flops(weights, sum(tokens), sum(trained)) / len(rows) / speed


def stages(args: argparse.Namespace) -> None:
    source = RUNS / args.run
    print("| from step | loop | s a step | of it sampling | mean tokens | floor, s | times the floor |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    total = dict.fromkeys(args.loops.split(","), 0.0)
    for at in map(int, args.at.split(",")):
        for loop in total:
            rows = go_on(source, at, loop, args.steps)

            def mean(key: str, rows: list[dict] = rows) -> float:
                return sum(row[key] or 0 for row in rows) / len(rows)

            total[loop] += mean("step_seconds")
            sampling = f"{mean('sample_seconds'):.1f}" if loop == "fast" else ""
            least = floor_of(source, rows)
            shown = f"{mean('length'):.0f} | {least:.1f} | {mean('step_seconds') / least:.1f}"
            print(f"| {at} | {loop} | {mean('step_seconds'):.1f} | {sampling} | {shown} |", flush=True)
    if len(total) > 1:
        print(f"plain / fast, each stage counted alike: {total['plain'] / total['fast']:.2f}")


def whole(args: argparse.Namespace) -> None:
    rows = []
    for seed in args.seeds.split(","):
        for loop in ("fast", "plain"):
            name = f"loop-{args.profile}-{loop}-{seed}"
            settings = [f"train.loop={loop}", f"train.seed={seed}", f"train.steps={args.steps}"]
            settings += ["eval.beside=[]", "eval.everyday=false"]
            options = [part for setting in settings for part in ("--set", setting)] + args.options
            call(["run", "--profile", args.profile, "--run", name, *options], may=(0, 4))
            trained = json.loads((RUNS / name / "train.json").read_text())["facts"]
            summary = json.loads((RUNS / name / "summary.json").read_text())
            rows.append((seed, loop, trained, metrics(RUNS / name), summary))
    print("| seed | loop | training s | s a step | mean tokens | threads | base right | tuned right |")
    print("|---|---|---|---|---|---|---|---|")
    for seed, loop, trained, steps, summary in rows:
        base, tuned = summary["base"], summary["tuned"]
        step = sum(r["step_seconds"] for r in steps) / len(steps)
        length = sum(r["length"] for r in steps) / len(steps)
        low, high = tuned["ci95"]
        print(
            f"| {seed} | {loop} | {trained['loop_seconds']:.0f} | {step:.1f} | {length:.0f} | {trained['threads']}"
            f" | {base['pass_at_1']:.1%} | {tuned['pass_at_1']:.1%} [{low:.1%}, {high:.1%}] |"
        )
    fast, plain = (sum(r[2]["loop_seconds"] for r in rows if r[1] == loop) for loop in ("fast", "plain"))
    print(f"plain / fast, whole trainings: {plain / fast:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True)
    way = ways.add_parser("stages")
    way.set_defaults(run_way=stages)
    way.add_argument("run")
    way.add_argument("--at", default="0,20,60,100")
    way.add_argument("--steps", type=int, default=3)
    way.add_argument("--loops", choices=["fast,plain", "fast"], default="fast,plain")
    way = ways.add_parser("whole")
    way.set_defaults(run_way=whole)
    way.add_argument("--profile", default="smol")
    way.add_argument("--seeds", default="0,1,2")
    way.add_argument("--steps", type=int, default=60)
    way.add_argument("options", nargs="*", help="passed on to `reasoner run`")
    args = parser.parse_args()
    args.run_way(args)


if __name__ == "__main__":
    main()
