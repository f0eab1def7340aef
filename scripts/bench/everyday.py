"""How much of a count of degenerate everyday answers is training, and how much the luck of greedy decoding.

    .venv/bin/python scripts/bench/everyday.py BASE.gguf OTHER.gguf … [-n PROMPTS]
    .venv/bin/python scripts/bench/everyday.py --kl BASE_FOLDER TUNED_FOLDER [-n PROMPTS]

The first: greedy answers in llama.cpp to the 40 prompts of the evaluation and the 112 of training, of each file,
against those of the first: changed, degenerate (with McNemar's exact test on those that flipped), facts. Another file
may be a tuned model, or the same model rounded otherwise, which says what a change without any training does.

The second: KL(base || tuned) in nats a token and both entropies, on greedy answers of each of the two, by position.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from reasoner import base, data, engines, evaluate


def answers(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    engine, got = engines.LlamaCpp(path, num_ctx=2048, concurrency=8, num_thread=None), [dict[str, Any]() for _ in rows]

    def arrived(place: int, answer: engines.Answer) -> None:
        got[place] = evaluate.judge_everyday(rows[place], answer)

    prompts = [engines.Prompt(data.messages(row["prompt"], None)) for row in rows]
    engine.complete(prompts, engines.Sampling(evaluate.EVERYDAY_TOKENS), arrived)
    engine.close()
    return got


def files(paths: list[Path], num: int | None) -> None:
    rows = [row for use in ("eval", "probe", "keep") for row in data.everyday(use)][:num]
    evaluated = sum(row["use"] == "eval" for row in rows)
    asked = f"of {evaluated}, of {len(rows) - evaluated}"
    print(f"| file | degenerate: {asked} | by kind | new, gone, p | facts | changed of {len(rows)} |")
    print("|---|---|---|---|---|---|")
    first = answers(paths[0], rows)
    for path in paths:
        these = answers(path, rows) if path != paths[0] else first
        found = evaluate.compare_everyday(first, these)
        before, after = ([row["degenerate"] is not None for row in side] for side in (first, these))
        pairs = list(zip(before, after, strict=True))
        new, gone = pairs.count((False, True)), pairs.count((True, False))
        p = binomtest(new, new + gone).pvalue if new + gone else 1.0
        kinds = Counter(row["degenerate"] for row in these if row["degenerate"])
        in_eval = sum(after[:evaluated])
        print(
            f"| {path.name} | {in_eval}, {found['tuned']['degenerate'] - in_eval} |"
            f" {', '.join(f'{kind} {count}' for kind, count in kinds.most_common())} | {new}, {gone}, {p:.2g} |"
            f" {found['tuned']['facts_right']} of {found['facts']} | {round(found['changed'] * len(rows))} |",
            flush=True,
        )


def weights(first: Path, second: Path, num: int | None) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = base.load_tokenizer(first)
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for folder in (first, second)]
    print("| answers of | positions | KL(base \\|\\| tuned), nats a token | entropy, base, tuned |\n|---|---|---|---|")
    for model, name in zip(models, ("base", "tuned"), strict=True):
        values: list[torch.Tensor] = []
        for row in data.everyday("eval")[:num]:
            ids = torch.tensor([base.prompt_ids(tokenizer, data.messages(row["prompt"], None))])
            with torch.no_grad():
                whole = model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=evaluate.EVERYDAY_TOKENS, do_sample=False,
                    eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
                )  # fmt: skip
                p, q = (m(whole).logits[0, ids.shape[1] - 1 : -1].log_softmax(-1) for m in models)
            found = [(p.exp() * (p - q)).sum(-1), -(p.exp() * p).sum(-1), -(q.exp() * q).sum(-1)]
            values.append(torch.stack(found))
        for low, high in ((0, 32), (32, 96), (96, evaluate.EVERYDAY_TOKENS)):
            there = torch.cat([value[:, low:high] for value in values], dim=1)
            if not there.shape[1]:
                continue
            mean = there.mean(1).tolist()
            print(f"| {name} | {low}-{high} | {mean[0]:.4f} | {mean[1]:.2f}, {mean[2]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("-n", type=int, help="the first N prompts only")
    parser.add_argument("--kl", action="store_true")
    args = parser.parse_args()
    if args.kl and len(args.models) != 2:
        parser.error("--kl takes two folders")
    weights(args.models[0], args.models[1], args.n) if args.kl else files(args.models, args.n)


if __name__ == "__main__":
    main()
