"""What holds best beside other programs: how OpenMP's threads wait, and how many there are; rows for LOG.md.


Each setting has a process of its own (libgomp reads its variables when it is loaded). They take turns unit by unit,
alone and beside busy processes, A B A B. Measured are a forward and backward pass over one group at the shapes of
`smol` (four of its 30 blocks, LoRA, packed, 16 bits where the CPU has them), and two tokens of llama.cpp for 64
sequences. Each figure has beside it how many cores others used meanwhile, as the machine says: where that is not 0 in
the rows of 0 busy ones, others were at work. Ratios are of neighbours in time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "1 thread": {"BENCH_THREADS": "1"},
}


def pass_over_a_group(threads: int):
    """A step's work on one group of four completions of 24 tokens."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from reasoner.machine import cpu
    from reasoner.training import packed

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=4, vocab_size=49152, tie_word_embeddings=True))
    kind = torch.bfloat16 if cpu.has_fast_bf16() else torch.float32
    head = model.get_output_embeddings().weight.detach().to(kind)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    packed.prepare(tuned)
    prompt, completions = list(range(60)), [list(range(24))] * 4
    tokens = torch.tensor([token for completion in completions for token in completion])

    def unit() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
            logps, _ = packed.token_logps(packed.hidden_states(tuned, [(prompt, completions)]), head, tokens, 0.6)
        logps.mean().backward()

    return unit


def token_of_64(model: Path, threads: int):
    import torch

    from reasoner.llamacpp import sampler

    engine = sampler.Sampler(model, width=64, context=120, threads=threads)
    prompt, generator = [list(range(100, 140))], torch.Generator().manual_seed(0)

    def unit() -> None:
        engine.sample(prompt, 64, max_tokens=2, temperature=1.0, stops=[], generator=generator)

    return unit


def child(model: Path) -> None:
    """Does one unit for each line of standard input; answers its seconds, and the cores that others used in them."""
    from reasoner.machine import cpu

    threads = int(os.environ.get("BENCH_THREADS") or cpu.free_cores())
    units = {"train": pass_over_a_group(threads), "sample": token_of_64(model, threads)}
    for unit in units.values():
        unit()
    print("ready", flush=True)
    for line in sys.stdin:
        before = cpu.Threads._now()
        units[line.strip()]()
        took, busy, ours = (b - a for a, b in zip(before, cpu.Threads._now(), strict=True))
        print(json.dumps([took, max(0.0, busy - ours) / took]), flush=True)


def start(name: str, model: Path) -> subprocess.Popen:
    command = [sys.executable, __file__, str(model), "--child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=os.environ | SETTINGS[name], **pipes)
    return process


def ask(process: subprocess.Popen, what: str) -> tuple[float, float]:
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return tuple(json.loads(process.stdout.readline()))


def measure(children: dict[str, subprocess.Popen], num_busy: int, rounds: int) -> dict[tuple[str, str], list]:
    """Units of every setting in turn; the busy ones are in sessions of their own, as other programs are."""
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop, start_new_session=True) for _ in range(num_busy)]
    found: dict[tuple[str, str], list] = {}
    try:
        for _ in range(rounds):
            for what in ("train", "sample"):
                for name, process in children.items():
                    took, others = ask(process, what)
                    print(f"{num_busy} busy, {name}, {what}: {took:.2f} s, others {others:.1f}", file=sys.stderr)
                    found.setdefault((name, what), []).append((took, others))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.model)
        return
    info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    cpu_name = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    print(f"{cpu_name}, {os.cpu_count()} cores; median of {2 * args.rounds}, ms; range; cores that others used; ratio")
    print("| setting | busy | train | sample |\n|---|---|---|---|", flush=True)
    children = {name: start(name, args.model) for name in SETTINGS}
    try:
        assert all(process.stdout.readline() == "ready\n" for process in children.values())
        turns = [(busy, measure(children, busy, args.rounds)) for busy in (0, args.busy) * 2]  # A B A B
    finally:
        for process in children.values():
            process.kill()
    for num_busy in (0, args.busy):
        for name in SETTINGS:
            cells = []
            for what in ("train", "sample"):
                seen = {n: [u for busy, f in turns if busy == num_busy for u in f[n, what]] for n in SETTINGS}
                ratio = statistics.median(  # of neighbours in time, so that what others do cancels out
                    one[0] / usual[0] for one, usual in zip(seen[name], seen["default"], strict=True)
                )
                times = [1000 * took for took, _ in seen[name]]
                others = statistics.median(used for _, used in seen[name])
                cells.append(
                    f"{statistics.median(times):.0f} ({min(times):.0f}-{max(times):.0f}), {others:.1f}, {ratio:.2f}"
                )
            print(f"| {name} | {num_busy} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
