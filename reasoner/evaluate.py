"""Base and tuned on the same held-out problems, through the endpoint that serves them.

Same prompts, same sampler (greedy), same verifier as in training. A completion cut by length is wrong and
counted apart; one that the verifier cannot judge is left out of every share and counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from reasoner import data, ollama, runs, verifiers
from reasoner.config import Config
from reasoner.errors import ReasonerError

CONFIDENCE = 0.95


def run(
    config: Config,
    run_: runs.Run,
    client: ollama.Client,
    models: dict[str, str],
    special: Sequence[str],
    progress: Callable[[str, int, int], None],
) -> tuple[list[Path], dict[str, Any]]:
    """Score every model in `models` (role -> tag); write `completions/<role>.jsonl`, one line a completion.

    `special` are the strings of the tokenizer's special tokens, none of which belongs in an answer.
    """
    problems = data.load(config.data, config.eval.split, config.eval.num_problems)
    checker = verifiers.load(config.verifier.name)
    scored: dict[str, list[dict[str, Any]]] = {}
    outputs = []
    for role, tag in models.items():
        rows = _complete(config, client, role, tag, problems, checker, special, progress)
        path = run_.path / "completions" / f"{role}.jsonl"
        path.unlink(missing_ok=True)
        with runs.partial_file(path) as partial:
            runs.append_jsonl(partial, rows)
        outputs.append(path)
        scored[role] = rows
    facts: dict[str, Any] = {
        "n": len(problems),
        "split": config.eval.split,
        "split_sha256": data.split_sha256(problems),
        "verifier": {"name": checker.name, "version": checker.version},
        **{role: measure(rows) for role, rows in scored.items()},
        "lift": lift(scored["base"], scored["tuned"]),
        "by_kind": by_steps(scored),
    }
    facts["problems_found"] = smoke(config, facts["tuned"])
    return outputs, facts


def _complete(
    config: Config,
    client: ollama.Client,
    role: str,
    tag: str,
    problems: Sequence[data.Problem],
    checker: verifiers.Verifier,
    special: Sequence[str],
    progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """One greedy completion for each problem, in the order of the problems."""
    options = {
        "temperature": 0.0,
        "seed": config.train.seed,
        "num_ctx": config.serve.num_ctx,
        "num_predict": config.serve.num_predict,
        **({} if config.serve.num_thread is None else {"num_thread": config.serve.num_thread}),
    }

    def one(problem: data.Problem) -> dict[str, Any]:
        chat = data.messages(problem.question, config.data.system)
        answer = client.chat(tag, chat, options)
        text = str(answer.get("message", {}).get("content", ""))
        reason = str(answer.get("done_reason", ""))
        score = verifiers.verify(checker, text, problem.answer, is_finished=reason == "stop")
        return {
            "problem_id": problem.id,
            "model": tag,
            "stage": "served",
            "role": role,
            "kind": problem.kind,
            "question": problem.question,
            "answer": problem.answer.rpartition("####")[2].strip(),
            "completion": text,
            "verdict": score.verdict,
            "extracted": score.extracted,
            "rule": score.rule,
            "why": score.why,
            "finish_reason": reason,
            "tokens": int(answer.get("eval_count") or 0),
            "prompt_tokens": int(answer.get("prompt_eval_count") or 0),
            "seed": config.train.seed,
            "shows_working": verifiers.shows_working(text),
            "leaked": [token for token in special if token in text],
        }

    rows: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(config.eval.concurrency) as pool:
        futures = {pool.submit(one, problem): index for index, problem in enumerate(problems)}
        try:
            for future in as_completed(futures):
                rows[futures[future]] = future.result()
                progress(role, len(rows), len(problems))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[index] for index in range(len(problems))]


# -- statistics --------------------------------------------------------------------------------


def measure(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """pass@1 with its Wilson interval, and what else a reader needs to trust it. Shares are 0-1."""
    from scipy.stats import binomtest

    judged = [row for row in rows if row["verdict"] != "unscored"]
    right = sum(row["verdict"] == "right" for row in judged)
    n = len(rows)
    if not judged:
        raise ReasonerError(
            "no completion could be scored",
            why=rows[0]["why"] if rows else "no problems",
            fix="repair the verifier",
        )
    interval = binomtest(right, len(judged)).proportion_ci(CONFIDENCE, method="wilson")
    texts = Counter(row["completion"].strip() for row in rows)
    return {
        "pass_at_1": right / len(judged),
        "ci95": [float(interval.low), float(interval.high)],
        "right": right,
        "scored": len(judged),
        "shows_working": sum(row["shows_working"] for row in rows) / n,
        "truncated": sum(row["finish_reason"] == "length" for row in rows) / n,
        "unscored": n - len(judged),
        "empty": sum(not row["completion"].strip() for row in rows) / n,
        "leaked": sum(bool(row["leaked"]) for row in rows) / n,
        "repeated": max(texts.values()) / n,
        "committed": sum(row["extracted"] is not None for row in rows) / n,
        "mean_tokens": sum(row["tokens"] for row in rows) / n,
    }


def lift(base: Sequence[dict[str, Any]], tuned: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Tuned minus base on the same problems, in points, paired.

    The p-value is McNemar's exact test (binomial on the problems that flipped). The interval is
    Agresti and Min's for a difference of paired proportions (Statistics in Medicine 24, 2005: Wald with half an
    observation added to each of the four cells), which keeps its width where nothing flipped.
    """
    from scipy.stats import binomtest, norm

    pairs = [
        (b["verdict"] == "right", t["verdict"] == "right")
        for b, t in zip(base, tuned, strict=True)
        if "unscored" not in (b["verdict"], t["verdict"])
    ]
    gained = sum(t and not b for b, t in pairs)
    lost = sum(b and not t for b, t in pairs)
    n = len(pairs)
    if n == 0:
        raise ReasonerError("no problem was scored for both models", fix="repair the verifier")
    middle = (gained - lost) / (n + 2)
    error = ((gained + lost + 1) / (n + 2) ** 2 - middle**2 / (n + 2)) ** 0.5
    half = float(norm.ppf(0.5 + CONFIDENCE / 2)) * error
    return {
        "points": 100 * (gained - lost) / n,
        "ci95": [100 * (middle - half), 100 * (middle + half)],
        "p": float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        "test": "mcnemar-exact",
        "gained": gained,
        "lost": lost,
        "pairs": n,
    }


def by_steps(scored: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Right and scored by number of reasoning steps, for sources whose problems have a kind such as `+-*`."""
    table: dict[str, dict[str, Any]] = {}
    for role, rows in scored.items():
        for row in rows:
            if row["kind"] and row["verdict"] != "unscored":
                name = f"{len(row['kind'])} step{'s' if len(row['kind']) > 1 else ''}"
                cell = table.setdefault(name, {}).setdefault(role, {"right": 0, "scored": 0})
                cell["right"] += row["verdict"] == "right"
                cell["scored"] += 1
    return dict(sorted(table.items()))


def smoke(config: Config, tuned: dict[str, Any]) -> list[str]:
    """What is wrong with the tuned model as served, whatever its score; empty when nothing is."""
    limits = config.eval
    found = []
    if tuned["truncated"] > limits.max_truncated:
        found.append(
            f"{tuned['truncated']:.1%} of completions were cut at {config.serve.num_predict} tokens"
            f" (limit {limits.max_truncated:.1%}): it does not end its answers, or serve.num_predict is too small"
        )
    if tuned["leaked"] > 0:
        found.append(f"{tuned['leaked']:.1%} of completions show special tokens: stops or template are wrong")
    if tuned["empty"] > limits.max_empty:
        found.append(f"{tuned['empty']:.1%} of completions are empty (limit {limits.max_empty:.1%})")
    if tuned["repeated"] > limits.max_repeated and tuned["scored"] > 4:
        found.append(f"one identical completion answers {tuned['repeated']:.1%} of the problems")
    unscored = tuned["unscored"] / (tuned["unscored"] + tuned["scored"])
    if unscored > config.verifier.max_unscored:
        found.append(f"the verifier gave no verdict on {unscored:.1%} of completions")
    return found
