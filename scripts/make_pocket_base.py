"""Make the `pocket` base model from nothing: tokenizer, weights, model card.

    python scripts/make_pocket_base.py                  # writes reasoner/bases/pocket (about half an hour, 2 cores)
    python scripts/make_pocket_base.py --steps 60 --out /tmp/try      # a quick look

Everything comes from `reasoner.problems.stories`, split train. Most stories are answered tersely (`#### 42`), the
rest with the worked steps: the model can reason, but seldom does. What training by outcome alone makes of that is
the point of the `pocket` profile.

Repeatable: with the same package versions, CPU type and `--threads` the weights are meant to come out bit for bit the
same (the script prints their SHA-256). Another CPU, thread count or torch version rounds differently, and training
amplifies it.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import math
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sentencepiece
import torch
import torch.nn.functional as F

from reasoner.problems.stories import generate, terse

SEED = 17
VOCAB = 768
BOS, EOS, PAD, UNK = "<s>", "<|end|>", "<pad>", "<unk>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
PLAN = ((0.25, None), (0.55, 0.25), (1.0, 0.72))
"""Until this share of the steps, this share of terse answers (`#### N` alone). None is the warm-up: bare sums
without a story, worked, in double batches; they are short, and arithmetic is what takes longest to learn."""
TWO_TURNS = 0.05
"""Share of conversations with a second problem, so that a chat survives its second message."""
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{- raise_exception('unknown role: ' + message['role']) }}"
    "{%- endif %}"
    "{{- '<|' + message['role'] + '|>' + (message['content'] | trim) + '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


def make_tokenizer(out: Path) -> Any:
    """A SentencePiece BPE with digits split and byte fallback, written with the config that both readers need.

    `add_prefix_space` false keeps llama.cpp from adding a space after each role marker, and a marker that is not
    listed as special is spelled in bytes there: without either the served model reads other ids than the trained one.
    """
    from transformers import AutoTokenizer

    rows = generate("train", 12_000, SEED, min_steps=1)
    text = [row["question"] for row in rows] + [line for row in rows[:3000] for line in row["answer"].splitlines()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB,
        split_digits=True,
        byte_fallback=True,
        character_coverage=1.0,
        required_chars="".join(chr(c) for c in range(33, 127)),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        control_symbols=list(ROLES),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        unk_piece=UNK,
        bos_piece=BOS,
        eos_piece=EOS,
        pad_piece=PAD,
        num_threads=1,
        minloglevel=2,
    )
    (out / "tokenizer.model").write_bytes(model.getvalue())
    special = [UNK, BOS, EOS, PAD, *ROLES]
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_prefix_space": False,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "unk_token": UNK,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": 1024,
        "added_tokens_decoder": {
            str(i): {
                "content": piece,
                "special": True,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "single_word": False,
            }
            for i, piece in enumerate(special)
        },
        "chat_template": CHAT_TEMPLATE,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return AutoTokenizer.from_pretrained(out)


def make_model(tokenizer: Any, layers: int, hidden: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rms_norm_eps=1e-5,
    )
    return LlamaForCausalLM(config)


def chat(problems: list[dict[str, Any]], answers: list[str]) -> list[tuple[str, bool]]:
    """A conversation as (text, is it the model's turn) pieces; together exactly what the chat template renders."""
    pieces = [(BOS, False)]
    for problem, answer in zip(problems, answers, strict=True):
        pieces += [(f"<|user|>{problem['question']}{EOS}<|assistant|>", False), (f"{answer}{EOS}", True)]
    return pieces


def bare(problem: dict[str, Any]) -> str:
    """The problem without its story, such as `12, + 5, * 2`."""
    steps = problem["steps"]
    return ", ".join([str(steps[0]["left"]), *(f"{step['op']} {step['right']}" for step in steps)])


def batches(tokenizer: Any, batch: int, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` batches of ids and labels, -100 outside the answers; each batch holds chats of about one length."""
    rng = random.Random(f"make-pocket-base:{SEED}")
    pool: list[tuple[list[int], list[int]]] = []
    ready: list[list[tuple[list[int], list[int]]]] = []
    chunk = 0
    for step in range(steps):
        if not ready:
            chunk += 1
            share = next(terse_share for until, terse_share in PLAN if step < until * steps)
            size = batch if share is not None else 2 * batch
            problems = generate("train", 50 * size, SEED * 1000 + chunk, min_steps=1)
            if share is None:
                problems = [{**p, "question": bare(p)} for p in problems]
            answers = [terse(p) if rng.random() < (share or 0.0) else p["answer"] for p in problems]
            chats, i = [], 0
            while i < len(problems):
                turns = 2 if rng.random() < TWO_TURNS else 1
                chats.append(chat(problems[i : i + turns], answers[i : i + turns]))
                i += turns
            texts = [text for pieces in chats for text, _ in pieces]
            coded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
            pool = []
            for pieces in chats:
                ids: list[int] = []
                labels: list[int] = []
                for _, ours in pieces:
                    part = next(coded)
                    ids += part
                    labels += part if ours else [-100] * len(part)
                pool.append((ids, labels))
            rng.shuffle(pool)
            pool.sort(key=lambda pair: len(pair[0]))
            ready = [pool[at : at + size] for at in range(0, len(pool) - size + 1, size)]
            rng.shuffle(ready)
        chosen = ready.pop()
        width = max(len(ids) for ids, _ in chosen)
        ids = torch.full((len(chosen), width), tokenizer.pad_token_id)
        labels = torch.full((len(chosen), width), -100)
        for row, (one, label) in enumerate(chosen):
            ids[row, : len(one)] = torch.tensor(one)
            labels[row, : len(one)] = torch.tensor(label)
        yield ids, labels


def train(model: Any, tokenizer: Any, steps: int, batch: int, lr: float, keep: Path | None) -> None:
    """AdamW on embeddings and norms, Muon on the matrices, bf16 autocast; loss on the model's turns only."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    optimizers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    model.train()
    started, mean = time.monotonic(), 0.0
    for step, (ids, labels) in enumerate(batches(tokenizer, batch, steps)):
        scale = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(ids, use_cache=False).last_hidden_state
            wanted = labels[:, 1:] != -100
            logits = model.lm_head(hidden[:, :-1][wanted])
        loss = F.cross_entropy(logits.float(), labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 49:
            print(f"step {step + 1}/{steps}  loss {mean:.4f}  {time.monotonic() - started:.0f} s", flush=True)
        if keep and step % 200 == 199:
            save(model, keep)


def save(model: Any, out: Path) -> str:
    """Weights (bf16) and configs into `out`; the SHA-256 of the weights."""
    from transformers import GenerationConfig

    out.mkdir(parents=True, exist_ok=True)
    saved = copy.deepcopy(model).to(torch.bfloat16)
    saved.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=3, do_sample=False, max_new_tokens=96
    )
    saved.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


@torch.no_grad()
def answer(model: Any, tokenizer: Any, problems: list[dict[str, Any]], how: str) -> list[str]:
    """Completions: `greedy`, `sampled` at temperature 1, or `worked` (greedy, but not starting with `#`)."""
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p["question"]}], tokenize=False, add_generation_prompt=True
        )
        for p in problems
    ]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = [""] * len(texts)
    hashes = [i for i in range(VOCAB) if tokenizer.convert_ids_to_tokens(i).startswith("#")]
    for at in range(0, len(order), 125):
        rows = order[at : at + 125]
        batch = tokenizer(
            [texts[i] for i in rows], add_special_tokens=False, return_tensors="pt", padding=True, padding_side="left"
        )
        made = model.generate(
            **batch,
            max_new_tokens=80,
            do_sample=how == "sampled",
            temperature=1.0 if how == "sampled" else None,
            top_k=0 if how == "sampled" else None,
            begin_suppress_tokens=hashes if how == "worked" else None,
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, ids in zip(rows, made[:, batch["input_ids"].shape[1] :], strict=True):
            out[i] = tokenizer.decode(ids, skip_special_tokens=True)
    return out


def measure(folder: Path, split: str, n: int, how: str, **dial: int) -> dict[str, Any]:
    """Share correct (with a 95 % Wilson interval) and share showing an equation, of the saved model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problems = generate(split, n, 0, **dial)
    torch.manual_seed(SEED)
    texts = answer(model, tokenizer, problems, how)
    right = sum(
        text.rsplit("####", 1)[-1].strip() == terse(p)[5:] if "####" in text else False
        for text, p in zip(texts, problems, strict=True)
    )
    share, z = right / n, 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    shown = sum(" = " in text.split("####")[0] for text in texts) / n
    return {
        "split": split, "how": how, "n": n, "correct": round(share, 3),
        "interval": [round(middle - half, 3), round(middle + half, 3)], "shows_working": round(shown, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="make the pocket base model from nothing")
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--out", type=Path, default=root / "reasoner" / "bases" / "pocket")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="also save a loadable model here every 200 steps")
    parser.add_argument("--no-card", action="store_true", help="leave out the figures and the model card")
    args = parser.parse_args()

    started = time.monotonic()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    aside = args.out.parent / f".{args.out.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tokenizer = make_tokenizer(aside)
    model = make_model(tokenizer, args.layers, args.hidden)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count / 1e6:.2f} M parameters, {VOCAB} pieces", flush=True)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for path in aside.iterdir():
            shutil.copy(path, args.keep)
    train(model, tokenizer, args.steps, args.batch, args.lr, args.keep)
    digest = save(model, aside)
    seconds = time.monotonic() - started
    print(f"sha256 {digest}  model.safetensors  {seconds:.0f} s", flush=True)
    if not args.no_card:
        figures = [measure(aside, "test", 500, how) for how in ("greedy", "sampled", "worked")]
        figures += [measure(aside, "ood", 500, how) for how in ("greedy", "worked")]
        for figure in figures:
            print(figure, flush=True)
        card = write_card(args, count, digest, seconds, figures)
        (aside / "README.md").write_text(card)
    old = args.out.parent / f".{args.out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if args.out.exists():
        os.rename(args.out, old)
    os.rename(aside, args.out)
    shutil.rmtree(old, ignore_errors=True)


CARD = """---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# pocket: a base model of {millions:.1f} M parameters that can reason, but seldom does

The embedded base of the `pocket` profile. It answers generated grade-school word problems, most of them tersely
(`#### 42`) and often wrongly; now and then it writes the steps first (`12 + 5 = 17`), and is then mostly right.
GRPO with a reward for the right number alone turns that seldom into almost always: in minutes, on a CPU.

**It is not** a general language model: it knows {pieces} pieces of the English of one generator, four operations on
whole numbers up to 50, and nothing else. Use it to see, test and rehearse the pipeline.

| | |
|---|---|
| architecture | Llama, {layers} layers, width {hidden}, tied embeddings, bf16; context 1024 |
| tokenizer | SentencePiece BPE, digits split, byte fallback, {pieces} pieces; ends a turn with `<|end|>` |
| data | `reasoner.problems.stories`, split `train` only, 1-5 steps: {stories},000 problems; nothing else |
| answers | {terse:.0%} terse, the rest worked; loss on the answers only |
| warm-up | before that, {sums},000 of such sums without a story (`12, + 5, * 2`), all worked: arithmetic |
| made by | `{command}` |
| seed | {seed} |
| took | {seconds:.0f} s on {machine} |
| SHA-256 | `{digest}` (model.safetensors) |
| licence | Apache-2.0, like the project; the data is generated, so nobody else's text is in it |

## Figures

Default dial (1-5 steps, values up to 50), seed 0, transformers in fp32. Worked means: the completion has an equation
before the answer. `sampled` is temperature 1; `forced` is greedy with `#` forbidden as the first token: what the model
can do when it reasons. `ood` has sentence patterns that no training problem has. Intervals are 95 % (Wilson).

| problems | decoding | n | correct | interval | worked |
|---|---|---|---|---|---|
{table}

## Made again

Every seed is fixed and torch's deterministic algorithms are on, so the same command with the same package versions,
CPU type and thread count is meant to give the same bytes; compare the SHA-256 (the shipped file was made once). Not
guaranteed: another CPU, thread count or torch version, which round differently, and training amplifies that.
"""


def write_card(args: argparse.Namespace, count: int, digest: str, seconds: float, figures: list[dict[str, Any]]) -> str:
    def cpu() -> str:
        info = Path("/proc/cpuinfo")
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        return names[0] if names else platform.machine()

    # Shares of the steps, from PLAN: the warm-up has double batches, the stories the given share of terse answers.
    ends = [0.0, *(until for until, _ in PLAN)]
    parts = [(until - start, share) for start, (until, share) in zip(ends, PLAN, strict=False)]
    story_steps = sum(part for part, share in parts if share is not None)
    terse_steps = sum(part * share for part, share in parts if share is not None)
    chats = args.steps * args.batch
    table = "\n".join(
        f"| {f['split']} | {'forced' if f['how'] == 'worked' else f['how']} | {f['n']} | {f['correct']:.1%} "
        f"| {f['interval'][0]:.1%} - {f['interval'][1]:.1%} | {f['shows_working']:.1%} |"
        for f in figures
    )
    return CARD.format(
        millions=count / 1e6,
        pieces=VOCAB,
        layers=args.layers,
        hidden=args.hidden,
        stories=round(chats * story_steps * (1 + TWO_TURNS) / 1000),
        sums=round(chats * 2 * (1 - story_steps) * (1 + TWO_TURNS) / 1000),
        terse=terse_steps / story_steps,
        command="python scripts/make_pocket_base.py",
        seed=SEED,
        seconds=seconds,
        machine=f"{cpu()}, {args.threads} threads, torch {torch.__version__}, Python {platform.python_version()}",
        digest=digest,
        table=table,
    )


if __name__ == "__main__":
    main()
