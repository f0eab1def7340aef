"""Milliseconds a token of llama.cpp in process with two threads, alone or beside busy processes; rows for LOG.md.

OMP_WAIT_POLICY=PASSIVE .venv/bin/python scripts/bench/threads.py MODEL.gguf [--busy 2]
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from reasoner.llamacpp import sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--busy", type=int, default=0)
    args = parser.parse_args()
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(args.busy)
    ]
    try:
        for width, tokens in ((1, 150), (8, 60), (64, 15)):
            with sampler.Sampler(args.model, width=width, context=300, threads=2) as engine:
                prompts = [list(range(100, 140))]
                engine.sample(prompts, width, max_tokens=4, temperature=1.0, stops=[])
                started = time.perf_counter()
                engine.sample(prompts, width, max_tokens=tokens, temperature=1.0, stops=[])
                ms = 1000 * (time.perf_counter() - started) / tokens
            policy = os.environ.get("OMP_WAIT_POLICY", "default")
            print(f"| {width} | {policy}, {args.busy} busy | {ms:.0f} |", flush=True)
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    main()
