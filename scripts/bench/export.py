"""From a checkpoint to a registered file: what changed alone (`reasoner.export.delta`) against the whole chain.

    .venv/bin/python scripts/bench/export.py FOLDER [--cases pocket,smol,0.6B,1.7B] [--quants Q4_K_M,Q8_0]
        [--adapter runs/smol/adapter]

The chain: PEFT merge and save (in 16 bits, as most scripts do it), the converter, the quantizer, `ollama create`; the
fast route: `delta.run` and a link in Ollama's store. Every step is a process of its own, one after another on the same
machine, so imports count (`ratio`); `ratio_in_process` is that of a watcher that is already up, `ratio_file` the same
without registering. The fast file is compared with the chain's, merged in 32 bits as `reasoner merge` does; the timing
is of the 16-bit merge. 0.6B and 1.7B have the shapes of Qwen3 and random weights. CPU seconds tell what a busy machine
hides. An Ollama of its own is started on a free port and stopped. Prints one JSON object a row.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from reasoner import files
from reasoner.bases import locate
from reasoner.export import delta
from reasoner.llamacpp import install
from reasoner.serving import install as ollama_install
from reasoner.serving import server as serving
from reasoner.serving.client import Client
from reasoner.serving.host import parse

POCKET = locate.shipped()["pocket"]
SHAPES = {
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 6144},
}


def quiet(text):
    pass


# -- steps: each is one process ----------------------------------------------------------------


def step_base(folder, shape):
    """A model of random weights with the shapes of Qwen3 and the pocket base's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = Qwen3Config(
        num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128, vocab_size=151936,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, **SHAPES[shape],
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder, max_shard_size="100GB")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(POCKET / name, Path(folder) / name)


def step_adapter(base_dir, folder, seed, like):
    """A random adapter, LoRA of rank 16 on all linear layers; `like` gives the shapes of another instead."""
    import torch

    torch.manual_seed(int(seed))
    if like:
        from safetensors.torch import load_file, save_file

        shutil.copytree(like, folder)
        path = Path(folder) / "adapter_model.safetensors"
        save_file({k: v + 1e-3 * torch.randn_like(v) for k, v in load_file(path).items()}, path)
        return
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16)
    shape = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, shape)
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "lora_B" in name:
                tensor.copy_(torch.randn_like(tensor) * 1e-2)
    tuned.save_pretrained(folder)


def step_merge(base_dir, adapter, folder, dtype):
    """PEFT merge and save; in float32, rounded once at the end, or in bfloat16 throughout."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_dir, dtype=getattr(torch, dtype))
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload().to(torch.bfloat16)
    merged.save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                 "special_tokens_map.json", "vocab.json", "merges.txt", "added_tokens.json"):  # fmt: skip
        if (Path(base_dir) / name).exists():
            shutil.copyfile(Path(base_dir) / name, Path(folder) / name)


def step_fast(base_dir, adapter, reference, out, quant, host, models):
    """The fast route, then the link; prints its own facts."""
    import resource

    import gguf  # noqa: F401 - a watcher that is up has them
    import psutil
    import torch  # noqa: F401

    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    why = delta.refuses(Path(base_dir), Path(adapter), Path(reference), quant)
    checked = time.monotonic() - started
    if why:
        raise SystemExit(f"refused: {why}")
    made = delta.run(Path(base_dir), Path(adapter), Path(reference), Path(out), quant, quiet)
    started = time.monotonic()
    with Client(parse(host), Path(models)) as client:
        how = client.create("bench-export:fast", Path(out), str(made.sha256))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = files.as_json(made) | {
        "refuses_s": checked,
        "register_s": time.monotonic() - started,
        "how": how,
        "rss_bytes": peak,
        "above_bytes": peak - before,
    }
    print(json.dumps({key: value for key, value in facts.items() if key != "rewritten"}))


def step_ggml(base_dir, adapter, reference, quant):
    """ggml alone on the touched tensors, weights ready in memory, all cores; prints wall and CPU seconds."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack

    import torch
    from gguf import GGMLQuantizationType

    wall = cpu = 0.0
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as opened, ThreadPoolExecutor(cores) as pool:
        plan = delta._plan(Path(base_dir), Path(adapter), Path(reference), quant, opened)
        quantize = delta._ggml()
        for item in plan.touched:
            rows, width, kind = item.stored.rows, item.stored.width, int(GGMLQuantizationType[item.kind])
            weights, made = item.stored.read(0, rows).float(), torch.empty(item.bytes, dtype=torch.uint8)
            address = made.data_ptr()
            step = max(1, (1 << 18) // width)

            def part(first, at=address, item=item, weights=weights, step=step, width=width, kind=kind):
                num = min(step, item.stored.rows - first)
                into = at + first * (item.bytes // item.stored.rows)
                quantize(kind, weights.data_ptr() + 4 * first * width, into, 0, num, width, None)

            started, used = time.monotonic(), time.process_time()
            list(pool.map(part, range(0, rows, step)))
            wall += time.monotonic() - started
            cpu += time.process_time() - used
    print(json.dumps({"wall_s": wall, "cpu_s": cpu}))


# -- one process, measured ---------------------------------------------------------------------


class Disk:
    """The most bytes under some folders, each file once however many names it has, above those at the start."""

    def __init__(self, *folders):
        self.folders, self.start, self.peak = folders, 0, 0
        self.start = self.bytes()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def bytes(self):
        found = {}
        for folder in self.folders:
            for root, _, names in os.walk(folder):
                for name in names:
                    try:
                        stat = os.lstat(os.path.join(root, name))
                    except OSError:
                        continue
                    found[stat.st_ino] = stat.st_blocks * 512
        return sum(found.values())

    def watch(self):
        while not self.stop.wait(0.1):
            self.peak = max(self.peak, self.bytes() - self.start)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.peak = max(self.peak, self.bytes() - self.start)
        self.stop.set()
        self.thread.join()


def timed(argv, log, env=None):
    """Runs a program; gives wall and CPU seconds, its peak memory, and what it printed."""
    with log.open("ab") as errors, (log.parent / "printed").open("w+b") as printed:
        started = time.monotonic()
        child = subprocess.Popen(
            [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=printed, stderr=errors,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})},
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode()
    if child.returncode:
        raise SystemExit(f"{argv} failed with {child.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return {"s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}, text


def own(step, *arguments):
    """`-P`: the files beside this one have names that libraries import (`evaluate`, `code`)."""
    return [sys.executable, "-P", __file__, "--step", step, *map(str, arguments)]


def sha256(path):
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def measure(case, folder, quants, adapter, server):
    tools, log = install.llama_cpp(quiet), folder / "log"
    converter = {"PYTHONPATH": str(tools.gguf_py), "TRANSFORMERS_OFFLINE": "1"}

    def convert(source, out):
        argv = [sys.executable, tools.convert_script, source, "--outfile", out, "--outtype", "auto"]
        return timed(argv, log, converter)[0]

    if case == "pocket":
        base_dir, like = POCKET, ""
    elif case == "smol":
        told = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base_dir, like = Path(told["base_model_name_or_path"]), adapter
    else:
        base_dir, like = folder / "base", ""
        timed(own("base", base_dir, case), log)
    for seed in (1, 2):
        timed(own("adapter", base_dir, folder / f"adapter-{seed}", seed, like), log)
    references, wanted = {}, {}
    for seed, to in ((1, references), (2, wanted)):
        # merged in 32 bits: the first is the fast route's reference, the second what it has to equal
        part = folder / "long"
        timed(own("merge", base_dir, folder / f"adapter-{seed}", part / "merged", "float32"), log)
        convert(part / "merged", part / "16bit.gguf")
        for quant in quants:
            made = folder / f"{seed}.{quant}.gguf"
            timed([tools.quantize, part / "16bit.gguf", made, quant], log)
            to[quant] = made if seed == 1 else sha256(made)
            if seed == 2:
                made.unlink()
        shutil.rmtree(part)
    second = folder / "second"
    for quant in quants:
        # the chain, in the order in which it is run, its disk and memory at their highest
        chain = {}
        shutil.rmtree(second, ignore_errors=True)
        second.mkdir()
        with Disk(second, server.models_dir) as disk:
            chain["merge"] = timed(own("merge", base_dir, folder / "adapter-2", second / "merged", "bfloat16"), log)[0]
            chain["convert"] = convert(second / "merged", second / "16bit.gguf")
            made = second / f"model.{quant}.gguf"
            chain["quantize"] = timed([tools.quantize, second / "16bit.gguf", made, quant], log)[0]
            (second / "Modelfile").write_text(f"FROM {made}\n")
            cli = [ollama_install.ollama_binary(quiet).path, "create", "bench-export:chain", "-f", second / "Modelfile"]
            chain["create"] = timed(cli, log, {"OLLAMA_HOST": server.host.env})[0]
        chain_disk = disk.peak
        with server.client() as client:
            client.delete("bench-export:chain")
        shutil.rmtree(second)
        second.mkdir()
        out = second / f"model.{quant}.gguf"
        argv = own(
            "fast", base_dir, folder / "adapter-2", references[quant], out, quant, server.host, server.models_dir
        )
        with Disk(second, server.models_dir) as disk:
            fast, printed = timed(argv, log)
        facts = json.loads(printed)
        with server.client() as client:
            client.delete("bench-export:fast")
        alone = json.loads(timed(own("ggml", base_dir, folder / "adapter-2", references[quant], quant), log)[1])
        total = sum(item["s"] for item in chain.values())
        cpu = sum(item["cpu_s"] for item in chain.values())
        file_s = facts["refuses_s"] + facts["seconds"]
        row = {
            "case": case, "quant": quant, "bytes": out.stat().st_size, "equal": sha256(out) == wanted[quant],
            "chain_s": total, "chain_steps_s": {name: round(item["s"], 2) for name, item in chain.items()},
            "chain_cpu_s": cpu, "fast_s": fast["s"], "fast_cpu_s": fast["cpu_s"],
            "refuses_s": facts["refuses_s"], "delta_s": facts["seconds"],
            "register_s": facts["register_s"], "registered": facts["how"],
            "ratio": total / fast["s"], "ratio_in_process": total / (file_s + facts["register_s"]),
            "ratio_file": (total - chain["create"]["s"]) / file_s, "ratio_cpu": cpu / fast["cpu_s"],
            "ggml_s": alone["wall_s"], "ggml_cpu_s": alone["cpu_s"], "over_ggml": facts["seconds"] / alone["wall_s"],
            "chain_peak_memory": max(item["rss"] for item in chain.values()), "fast_peak_memory": facts["rss_bytes"],
            "fast_above_imports": facts["above_bytes"],
            "chain_extra_disk": chain_disk, "fast_extra_disk": disk.peak,
            "disk_over_file": disk.peak / out.stat().st_size,
        }  # fmt: skip
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        out.unlink()


def main():
    if sys.argv[1:2] == ["--step"]:
        return globals()[f"step_{sys.argv[2]}"](*sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default="pocket,smol,0.6B,1.7B")
    parser.add_argument("--quants", default="Q4_K_M,Q8_0")
    parser.add_argument("--adapter", type=Path, default=Path("runs/smol/adapter"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    os.environ["OLLAMA_HOST"] = f"127.0.0.1:{port}"
    os.environ["OLLAMA_MODELS"] = str(options.folder.absolute() / "ollama")
    server = serving.ensure_server(quiet)
    try:
        for case in options.cases.split(","):
            folder = options.folder.absolute() / case
            folder.mkdir()
            measure(case, folder, options.quants.split(","), options.adapter, server)
            shutil.rmtree(folder)
    finally:
        serving.stop_server()
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
