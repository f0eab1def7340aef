"""What is left of an adapter where base + adapter is rounded to 16 bits, and what that costs. Rows for scripts/LOG.md.

    .venv/bin/python scripts/bench/rounding.py RUN STEP [-n 200] [--threads 1]

For a few weights and each type: the part of the adapter kept (projection), and the error relative to the adapter.
Then both files answer dev problems of the run in llama.cpp, greedily, and the run's verifier judges.
"""

import argparse
import tempfile
from pathlib import Path

from reasoner import config, runs
from reasoner.llamacpp import quantize
from reasoner.llamacpp.live import LiveWeights
from reasoner.measuring import ask, lift, scores
from reasoner.measuring.collect import Listener, Sheet
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Limits, Sampling
from reasoner.pipeline import job
from reasoner.problems import load
from reasoner.verifiers import registry

TYPES = {"BF16": "bfloat16", "F16": "float16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("step", type=int)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    run = runs.existing(args.run)
    settings, _ = config.read(run.config_path)
    folder = job.Job(settings, run).base.path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    shape = model.config
    tuned = PeftModel.from_pretrained(model, run.checkpoints_dir / f"checkpoint-{args.step}")
    weights, changes = {}, {}
    with torch.no_grad():
        for name, module in tuned.named_modules():
            if hasattr(module, "get_delta_weight"):
                own = name.removeprefix("base_model.model.") + ".weight"
                weights[own] = module.get_base_layer().weight.detach()
                changes[own] = module.get_delta_weight("default").detach()
    for name in list(weights)[:: max(1, len(weights) // 7)]:
        for kind, dtype in TYPES.items():
            kept = (weights[name] + changes[name]).to(getattr(torch, dtype)).float() - weights[name]
            norm = changes[name].norm()
            share, error = (kept * changes[name]).sum() / norm**2, (kept - changes[name]).norm() / norm
            print(f"| {name} | {kind} | {norm / weights[name].norm():.1e} | {share:.2f} | {error:.2f} |")
    wanted = {"split": "dev", "source": None, "num_problems": args.n}
    problems = load.held_out(settings.model_copy(update={"eval": settings.eval.model_copy(update=wanted)}))
    checker = registry.load(settings.verifier.name)
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in TYPES:
            path = Path(temporary) / f"{kind}.gguf"
            quantize.run(folder, path, kind, Path(temporary) / "log", print)
            heads = {shape.num_attention_heads, shape.num_key_value_heads}
            live = LiveWeights(path, weights, num_blocks=shape.num_hidden_layers, heads=heads)
            for name, weight in weights.items():
                live.write(name, weight + changes[name])
            engine = opening.open_engine(str(path), limits=Limits(32, 1024, args.threads))
            exam = ask.Exam(problems, checker, Sampling(settings.serve.num_predict), settings.data.system)
            rows[kind] = ask.score(engine, exam, Sheet(Path(temporary) / f"{kind}.jsonl"), Listener())
            engine.close()
            found = scores.measure(rows[kind])
            print(f"{kind}: {found.right} of {found.scored} right, {found.ci95}", flush=True)
    same = sum(a.completion == b.completion for a, b in zip(rows["BF16"], rows["F16"], strict=True))
    print("F16 less BF16:", lift.lift(rows["BF16"], rows["F16"]), f"{same} texts the same")


if __name__ == "__main__":
    main()
