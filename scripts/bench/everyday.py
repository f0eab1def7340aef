"""How much of a count of degenerate everyday answers is training, and how much the luck of greedy decoding.

    .venv/bin/python scripts/bench/everyday.py BASE.gguf OTHER.gguf … [-n PROMPTS]
    .venv/bin/python scripts/bench/everyday.py --sampled BASE.gguf OTHER.gguf …
    .venv/bin/python scripts/bench/everyday.py --kl BASE_FOLDER TUNED_FOLDER [-n PROMPTS]
    .venv/bin/python scripts/bench/everyday.py --power

The first: greedy answers in llama.cpp to the 40 prompts of the evaluation and the 112 of training, of each file,
against those of the first: changed, degenerate (with McNemar's exact test on those that flipped), facts. Another file
may be a tuned model, or the same model rounded otherwise, which says what a change without any training does.

The second: the same of the sampled answers to the 40 prompts by which the evaluation judges.

The third: KL(base || tuned) in nats a token and both entropies, on greedy answers of each of the two, by position.

The last: how often the evaluation's test of the facts, and McNemar's on the same answers in pairs, find a loss of so
many facts, by answers to each; simulated.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from scipy.stats import binomtest

from reasoner.bases import locate
from reasoner.measuring import everyday, intervals, lift
from reasoner.measuring.collect import Listener, Sheet
from reasoner.measuring.engines.base import Limits
from reasoner.measuring.engines.llamacpp import LlamaCpp
from reasoner.measuring.figures import EverydayAnswer
from reasoner.problems.everyday import EverydayPrompt, everyday_prompts
from reasoner.problems.problem import messages

KNOWN = (0.5, 1, 0.75, 1, 1, 1, 1, 1, 1, 0.75, 0.75, 0.5, 0.4, 0.1)
"""Shares of sampled answers that have each fact right, about those of `smol`'s base at 0.6."""


def answers(path: Path, rows: list[EverydayPrompt], *, is_sampled: bool) -> list[EverydayAnswer]:
    engine = LlamaCpp(path, Limits())
    with tempfile.TemporaryDirectory() as folder:
        found = everyday.answer(engine, rows, Sheet(Path(folder) / "bench.jsonl"), Listener(), is_sampled=is_sampled)
    engine.close()
    return found


def sampled(paths: list[Path]) -> None:
    rows = everyday_prompts("eval")
    print("| file | degenerate | by kind | facts | p | right of first, of this, where they differ |")
    print("|---|---|---|---|---|---|", flush=True)
    first = answers(paths[0], rows, is_sampled=True)
    for path in paths:
        these = answers(path, rows, is_sampled=True) if path != paths[0] else first
        found = everyday.compare_sampled(first, these)
        fallen, kinds = found.tuned.degenerate, Counter(row.degenerate for row in these if row.degenerate)
        low, high = fallen.ci95
        moved = ", ".join(f"{one} {b}, {t} of {n}" for one, (b, t, n) in found.facts_by_id.items())
        print(
            f"| {path.name} | {fallen.value:.1%} [{low:.1%}, {high:.1%}] of {found.answers} |"
            f" {', '.join(f'{kind} {count}' for kind, count in kinds.most_common())} |"
            f" {found.tuned.facts_right:.1f} of {found.facts} | {found.p_facts:.2g} | {moved} |",
            flush=True,
        )


def power(rounds: int = 2000) -> None:
    import numpy

    random, known = numpy.random.default_rng(0), numpy.array(KNOWN)
    sure = numpy.flatnonzero(known >= 0.9)
    print(f"| answers to a fact | facts lost | this test | McNemar's |  ({rounds} rounds)\n|---|---|---|---|")
    for each in (everyday.SAMPLES, everyday.FACT_SAMPLES):
        for lost in range(5):
            hits = [0, 0]
            for _ in range(rounds):
                after = known.copy()
                after[random.choice(sure, lost, replace=False)] = 0.05
                one, other = (random.random((len(known), each)) < share[:, None] for share in (known, after))
                gained, gone = int((other & ~one).sum()), int((one & ~other).sum())
                hits[0] += lift.fewer(one.tolist(), other.tolist()) < intervals.SIGNIFICANCE
                hits[1] += gone > gained and binomtest(gained, gained + gone).pvalue < intervals.SIGNIFICANCE
            print(f"| {each} | {lost} | {hits[0] / rounds:.1%} | {hits[1] / rounds:.1%} |", flush=True)


def files(paths: list[Path], num: int | None) -> None:
    rows = [row for use in ("eval", "probe", "keep") for row in everyday_prompts(use)][:num]
    evaluated = sum(row.use == "eval" for row in rows)
    asked = f"of {evaluated}, of {len(rows) - evaluated}"
    print(f"| file | degenerate: {asked} | by kind | new, gone, p | facts | changed of {len(rows)} |")
    print("|---|---|---|---|---|---|")
    first = answers(paths[0], rows, is_sampled=False)
    for path in paths:
        these = answers(path, rows, is_sampled=False) if path != paths[0] else first
        found = everyday.compare(first, these)
        before, after = ([row.degenerate is not None for row in side] for side in (first, these))
        pairs = list(zip(before, after, strict=True))
        new, gone = pairs.count((False, True)), pairs.count((True, False))
        p = binomtest(new, new + gone).pvalue if new + gone else 1.0
        kinds = Counter(row.degenerate for row in these if row.degenerate)
        in_eval = sum(after[:evaluated])
        print(
            f"| {path.name} | {in_eval}, {found.tuned.degenerate - in_eval} |"
            f" {', '.join(f'{kind} {count}' for kind, count in kinds.most_common())} | {new}, {gone}, {p:.2g} |"
            f" {found.tuned.facts_right} of {found.facts} | {round(found.changed * len(rows))} |",
            flush=True,
        )


def weights(first: Path, second: Path, num: int | None) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = locate.load_tokenizer(first)
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for folder in (first, second)]
    print("| answers of | positions | KL(base \\|\\| tuned), nats a token | entropy, base, tuned |\n|---|---|---|---|")
    for model, name in zip(models, ("base", "tuned"), strict=True):
        values: list[torch.Tensor] = []
        for row in everyday_prompts("eval")[:num]:
            ids = torch.tensor([locate.prompt_ids(tokenizer, messages(row.prompt, None))])
            with torch.no_grad():
                whole = model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=everyday.MAX_TOKENS, do_sample=False,
                    eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
                )  # fmt: skip
                p, q = (m(whole).logits[0, ids.shape[1] - 1 : -1].log_softmax(-1) for m in models)
            found = [(p.exp() * (p - q)).sum(-1), -(p.exp() * p).sum(-1), -(q.exp() * q).sum(-1)]
            values.append(torch.stack(found))
        for low, high in ((0, 32), (32, 96), (96, everyday.MAX_TOKENS)):
            there = torch.cat([value[:, low:high] for value in values], dim=1)
            if not there.shape[1]:
                continue
            mean = there.mean(1).tolist()
            print(f"| {name} | {low}-{high} | {mean[0]:.4f} | {mean[1]:.2f}, {mean[2]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("-n", type=int, help="the first N prompts only")
    parser.add_argument("--sampled", action="store_true")
    parser.add_argument("--kl", action="store_true")
    parser.add_argument("--power", action="store_true")
    args = parser.parse_args()
    if args.kl and len(args.models) != 2:
        parser.error("--kl takes two folders")
    if args.power:
        power()
    elif args.kl:
        weights(args.models[0], args.models[1], args.n)
    elif not args.models:
        parser.error("no model")
    elif args.sampled:
        sampled(args.models)
    else:
        files(args.models, args.n)


if __name__ == "__main__":
    main()
