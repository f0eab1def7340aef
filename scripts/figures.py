"""Figures in the documents: kept as completions in `results/`, judged again, and written into the text.

    .venv/bin/python scripts/figures.py keep RUN NAME [COMMAND]    # a finished run's summary and completions -> results/NAME/
    .venv/bin/python scripts/figures.py write                      # tables between <!-- figures … --> and <!-- end -->

A table is written from what today's verifier says of the kept completions, never from a stored figure.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ROLES = ("base", "tuned")
_MARK = re.compile(r"(<!-- figures (?P<name>[\w-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)


def keep(run_name: str, name: str, command: str) -> None:
    """Copy what a figure rests on: the summary, every completion of the main set, the command, machine and commit."""
    from reasoner import runs

    run, folder = runs.existing(run_name), RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    summary = json.loads(run.summary_path.read_text(encoding="utf-8"))
    summary["gguf"]["path"] = Path(summary["gguf"]["path"]).name
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    for role in ROLES:
        text = (run.path / "completions" / f"{role}.jsonl").read_bytes()
        (folder / f"{role}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(text))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    (folder / "command.txt").write_text(
        f"{command}\nmachine: {cpu()}\ncommit: {commit.stdout.strip()}\nseed: {summary['seed']}\n", encoding="utf-8"
    )


def cpu() -> str:
    """The processor as the system names it, and how many cores this process may use."""
    from reasoner.machine.cpu import free_cores

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*:\s*(.*)", text)
    flags = [one for one in ("avx2", "avx512_bf16", "amx_bf16") if re.search(rf"\b{one}\b", text)]
    return f"{free_cores()} cores of {model.group(1) if model else platform.machine()} ({', '.join(flags)})"


def completions(name: str, role: str) -> list[dict]:
    data = (RESULTS / name / f"{role}.jsonl.zst").read_bytes()
    return [json.loads(line) for line in zstandard.ZstdDecompressor().decompress(data).decode().split("\n") if line]


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
