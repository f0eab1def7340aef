"""Figures in the documents: kept as completions in `results/`, judged again, and written into the text.

    .venv/bin/python scripts/figures.py keep RUN NAME [COMMAND]    # a finished run to results/NAME/
    .venv/bin/python scripts/figures.py write                      # tables between <!-- figures … --> and <!-- end -->

A table is written from what today's verifier says of the kept completions, never from a stored figure.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import zstandard

from reasoner import files, runs, words
from reasoner.errors import printable
from reasoner.machine.cpu import free_cores
from reasoner.measuring import lift, scores
from reasoner.measuring.figures import Completion, Lift, Measure
from reasoner.verifiers import registry

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ROLES = ("base", "tuned")
_MARK = re.compile(r"(<!-- figures (?P<name>[\w-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)


def keep(run_name: str, name: str, command: str) -> None:
    """Copy what a figure rests on: the summary, every completion of the main set, the command, machine and commit."""
    run, folder = runs.existing(run_name), RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    summary = json.loads(run.summary_path.read_text(encoding="utf-8"))
    summary["gguf"]["path"] = Path(summary["gguf"]["path"]).name
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    for role in ROLES:
        text = (run.path / "completions" / f"{role}.jsonl").read_bytes()
        (folder / f"{role}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(text))
    order = RESULTS / "order.txt"
    known = order.read_text(encoding="utf-8").split() if order.exists() else []
    order.write_text("\n".join(dict.fromkeys([*known, name])) + "\n", encoding="utf-8")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    (folder / "command.txt").write_text(
        f"{command}\nmachine: {cpu()}\ncommit: {commit.stdout.strip()}\nseed: {summary['seed']}\n", encoding="utf-8"
    )


def cpu() -> str:
    """The processor as the system names it, and how many cores this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*:\s*(.*)", text)
    flags = [one for one in ("avx2", "avx512_bf16", "amx_bf16") if re.search(rf"\b{one}\b", text)]
    return f"{free_cores()} cores of {model.group(1) if model else platform.machine()} ({', '.join(flags)})"


def judged(name: str) -> tuple[dict, dict[str, list[Completion]]]:
    """A kept run's summary, and its completions as today's verifier judges them."""
    summary = json.loads((RESULTS / name / "summary.json").read_text(encoding="utf-8"))
    checker = registry.load(summary["verifier"]["name"])
    judge = checker.judge
    rows = {}
    for role in ROLES:
        data = zstandard.ZstdDecompressor().decompress((RESULTS / name / f"{role}.jsonl.zst").read_bytes())
        known = [files.parse(Completion, json.loads(line)) for line in data.decode().split("\n") if line]
        said = [(one.completion, one.answer, one.finish_reason == "stop") for one in known]
        rows[role] = [
            replace(one, verdict=score.verdict, extracted=score.extracted, verifier=judge)
            for one, score in zip(known, registry.verify_many(checker, said), strict=True)
        ]
    return summary, rows


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [titles, ["---"] * len(titles), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _share(of: Measure) -> str:
    return f"{words.share(of.pass_at_1)} {words.interval(of.ci95)}"


def _effect(found: Lift) -> str:
    return f"{found.points:+.1f} [{found.ci95[0]:+.1f}, {found.ci95[1]:+.1f}]"


def _names() -> list[str]:
    """Kept runs in the order of `results/order.txt`."""
    return (RESULTS / "order.txt").read_text(encoding="utf-8").split()


def runs_table() -> str:
    """One row a kept run: both models, the lift, working shown, seconds, and where it comes from."""
    lines = []
    for name in _names():
        summary, rows = judged(name)
        base, tuned = (scores.measure(rows[role]) for role in ROLES)
        command = (RESULTS / name / "command.txt").read_text(encoding="utf-8").split("\n")
        lines.append(
            (
                f"[`{name}`](../results/{name})", "`{name}` {version}".format(**vars(rows["base"][0].verifier)),
                str(summary["n"]), _share(base), _share(tuned), _effect(lift.lift(rows["base"], rows["tuned"])),
                f"{words.share(base.shows_working)} → {words.share(tuned.shows_working)}",
                words.duration(summary["seconds"]["train"]), words.duration(summary["seconds"]["total"]),
                f"`{command[0]}`; {command[1].removeprefix('machine: ')}",
            )
        )  # fmt: skip
    titles = ("run", "verifier", "n", "base right", "tuned right", "lift, points", "working shown", "training", "all",
              "command, machine")  # fmt: skip
    return _table(titles, lines)


def kinds_table() -> str:
    """By kind of problem, for the kept runs that have few kinds."""
    lines = []
    for name in _names():
        _, rows = judged(name)
        for kind, found in lift.by_kind(rows["base"], rows["tuned"]).items():
            if found.lift and found.base.scored >= 50:
                before, after = (f"{one.right} of {one.scored}" for one in (found.base, found.tuned))
                lines.append((f"`{name}`", kind, before, after, _effect(found.lift)))
    return _table(("run", "kind", "base right", "tuned right", "lift, points"), lines)


def headline() -> str:
    """The first kept run in a sentence, with one problem before and after."""
    name = _names()[0]
    summary, rows = judged(name)
    base, tuned = (scores.measure(rows[role]) for role in ROLES)
    found = lift.lift(rows["base"], rows["tuned"])
    pairs = zip(rows["base"], rows["tuned"], strict=True)
    before, after = next((b, t) for b, t in pairs if (b.verdict, t.verdict) == ("wrong", "right"))
    machine = (RESULTS / name / "command.txt").read_text(encoding="utf-8").split("\n")[1].removeprefix("machine: ")

    def shown(text: str) -> str:
        return printable(" ".join(text.split())[:300])

    texts = (("problem", after.question), ("before", before.completion), ("after", after.completion))
    seconds = [words.duration(summary["seconds"][name]) for name in ("train", "total")]
    return (
        f"`{summary['profile']}`, seed {summary['seed']}, {machine}: **{_share(base)} → {_share(tuned)}** of"
        f" {summary['n']} held-out problems right, **{_effect(found)} points** (verifier"
        f" `{summary['verifier']['name']}`, greedy, served by Ollama {summary['served']['ollama']}); training"
        f" {seconds[0]}, the whole {seconds[1]}. One of them:\n\n"
        + "".join(f"    {name:<8} {shown(text)}\n" for name, text in texts)
    )


TABLES = {"headline": headline, "runs": runs_table, "kinds": kinds_table}


def write() -> list[Path]:
    """Write every table anew; gives the documents that changed."""
    changed = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        new = _MARK.sub(lambda found: found[1] + TABLES[found["name"]]() + found[4], text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def main() -> None:
    match sys.argv[1:]:
        case ["keep", run, name, *command]:
            keep(run, name, " ".join(command) or f"make reasoner RUN={run}")
        case ["write"]:
            for path in write():
                print(path.relative_to(ROOT))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
