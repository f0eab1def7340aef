"""Base and tuned on the same held-out problems, sets beside them and everyday prompts, through the serving endpoint.

Same prompts, same sampler (greedy), same verifier as in training. A completion cut by length is wrong and
counted apart; one that the verifier cannot judge is left out of every share and counted apart. Everyday
prompts have no verifier: what is counted there is whether an answer has fallen apart and whether a well-known fact
is still in it, not whether it is good.
"""

from __future__ import annotations

import dataclasses
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from reasoner import data, ollama, runs, verifiers
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.verifiers import arithmetic

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
"""Adjusted p below which a kind or a set counts as worse than the base."""
EVERYDAY_TOKENS = 200
"""Most tokens of an everyday answer: enough for a loop to show."""
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "product", "/": "division"}

Rows = list[dict[str, Any]]
MAIN = ""
"""Name of the main set: its files and its progress carry the role alone."""


def run(
    config: Config,
    run_: runs.Run,
    client: ollama.Client,
    models: dict[str, str],
    special: Sequence[str],
    progress: Callable[[str, int, int], None],
) -> tuple[list[Path], dict[str, Any]]:
    """Ask every model in `models` (role -> tag) everything; write `completions/[<set>-]<role>.jsonl`.

    `special` are the strings of the tokenizer's special tokens, none of which belongs in an answer. `progress` gets
    a label (`tuned`, `svamp base`, `everyday tuned`), how many are done, and of how many. One model is asked
    everything before the next one, so that a server with room for one loads each once.
    """
    found: dict[str, list[data.Problem] | None] = {MAIN: data.held_out(config)}
    found |= {name: data.beside(config, name) for name in config.eval.beside}
    checker = verifiers.load(config.verifier.name)
    sets = {name: judged(checker, name, problems) for name, problems in found.items() if problems is not None}
    unjudged = {name: len(found[name] or ()) - len(problems) for name, problems in sets.items()}
    everyday = data.everyday("eval") if config.eval.everyday else []
    scored: dict[str, dict[str, Rows]] = {name: {} for name in sets}
    chatted: dict[str, Rows] = {}
    outputs = []

    def ask(label: str, tag: str, prompts: Sequence[str], num_predict: int) -> list[Answer]:
        return _ask(config, client, tag, prompts, num_predict, lambda done: progress(label, done, len(prompts)))

    for role, tag in models.items():
        asked = {"model": tag, "stage": "served", "role": role, "seed": config.train.seed}
        for name, problems in sets.items():
            label = f"{name} {role}".strip()
            answers = ask(label, tag, [problem.question for problem in problems], config.serve.num_predict)
            scored[name][role] = [{**row, **asked} for row in _judged(checker, problems, answers, special)]
            outputs.append(_write(run_, label, scored[name][role]))
        if everyday:
            label = f"everyday {role}"
            answers = ask(label, tag, [row["prompt"] for row in everyday], EVERYDAY_TOKENS)
            chatted[role] = [
                {**_looked_at(row, answer), **asked} for row, answer in zip(everyday, answers, strict=True)
            ]
            outputs.append(_write(run_, label, chatted[role]))

    facts: dict[str, Any] = {
        **_compared(sets[MAIN], scored[MAIN]),
        "unjudged": unjudged[MAIN],
        "split": config.eval.split,
        "verifier": {"name": checker.name, "version": checker.version},
        "by_kind": by_kind(**scored[MAIN]),
        "beside": {
            name: {**_compared(sets[name], scored[name]), "unjudged": unjudged[name]}
            if name in sets
            else {"missing": str(data.sets_dir() / name)}
            for name in config.eval.beside
        },
    }
    facts["below_base"] = below_base(facts["by_kind"], facts["beside"])
    facts["problems_found"] = smoke(config, facts["tuned"])
    if everyday:
        facts["everyday"] = compare_everyday(**chatted)
        facts["problems_found"] += forgotten(config, facts["everyday"])
    return outputs, facts


def inputs(config: Config) -> dict[str, str]:
    """What is asked besides the main set, by hash, and who judges: a set found since, another prompt or another version
    of the verifier makes the scores stale."""
    checker = verifiers.load(config.verifier.name)
    found = {f"set {name}": data.beside(config, name) for name in config.eval.beside}
    hashes = {name: "missing" if problems is None else data.split_sha256(problems) for name, problems in found.items()}
    hashes["verifier"] = f"{checker.name} {checker.version}"
    return {**hashes, **({"everyday": runs.sha256_json(data.everyday("eval"))} if config.eval.everyday else {})}


def judged(checker: verifiers.Verifier, name: str, problems: Sequence[data.Problem]) -> list[data.Problem]:
    """The problems whose reference the verifier can judge; to ask the others would only add to `unscored`."""
    scores = verifiers.verify_many(checker, [(checker.commit(p.answer), p.answer, True) for p in problems])
    kept = [problem for problem, score in zip(problems, scores, strict=True) if score.verdict != "unscored"]
    if not kept:
        raise ReasonerError(
            f"the verifier {checker.name} can judge no reference of {name or 'the held-out problems'}",
            fix="reasoner audit --data … says why; set verifier.name, or leave the set out of eval.beside",
        )
    return kept


# -- asking ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One completion as it was served."""

    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int


def _ask(
    config: Config,
    client: ollama.Client,
    tag: str,
    prompts: Sequence[str],
    num_predict: int,
    progress: Callable[[int], None],
) -> list[Answer]:
    """One greedy completion for each prompt, in the order of the prompts."""
    options = {
        "temperature": 0.0,
        "seed": config.train.seed,
        "num_ctx": config.serve.num_ctx,
        "num_predict": num_predict,
        **({} if config.serve.num_thread is None else {"num_thread": config.serve.num_thread}),
    }

    def one(prompt: str) -> Answer:
        answer = client.chat(tag, data.messages(prompt, config.data.system), options)
        return Answer(
            str(answer.get("message", {}).get("content", "")),
            str(answer.get("done_reason", "")),
            int(answer.get("eval_count") or 0),
            int(answer.get("prompt_eval_count") or 0),
        )

    # Daemon threads and not an executor: the interpreter would wait for its threads, and so an interrupt for a server.
    waiting: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    arrived: queue.SimpleQueue[tuple[int, Answer | BaseException]] = queue.SimpleQueue()
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            try:
                index, prompt = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                arrived.put((index, one(prompt)))
            except BaseException as error:  # noqa: BLE001  (raised again where the answers are collected)
                arrived.put((index, error))

    for item in enumerate(prompts):
        waiting.put(item)
    for _ in range(min(config.eval.concurrency, len(prompts))):
        threading.Thread(target=work, daemon=True).start()
    answers: dict[int, Answer] = {}
    try:
        while len(answers) < len(prompts):
            index, answer = arrived.get()
            if isinstance(answer, BaseException):
                raise answer
            answers[index] = answer
            progress(len(answers))
    finally:
        is_over.set()
    return [answers[index] for index in range(len(prompts))]


def _judged(
    checker: verifiers.Verifier, problems: Sequence[data.Problem], answers: Sequence[Answer], special: Sequence[str]
) -> Rows:
    said = [(a.text, p.answer, a.finish_reason == "stop") for p, a in zip(problems, answers, strict=True)]
    scores = verifiers.verify_many(checker, said)
    strict: Sequence[verifiers.Score | None] = [None] * len(said)
    if checker.strict is not None:
        strict = verifiers.verify_many(dataclasses.replace(checker, function=checker.strict), said)
    return [_row(*parts, special) for parts in zip(problems, answers, scores, strict, strict=True)]


def _row(
    problem: data.Problem,
    answer: Answer,
    score: verifiers.Score,
    strict: verifiers.Score | None,
    special: Sequence[str],
) -> dict[str, Any]:
    return {
        "problem_id": problem.id,
        "kind": problem.kind,
        "question": problem.question,
        "answer": problem.answer.rpartition("####")[2].strip(),
        "completion": answer.text,
        "verdict": score.verdict,
        "strict": strict.verdict if strict else None,
        "extracted": score.extracted,
        "type": score.type,
        "rule": score.rule,
        "why": score.why,
        "finish_reason": answer.finish_reason,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "shows_working": verifiers.shows_working(answer.text),
        "steps": dataclasses.asdict(arithmetic.steps(answer.text, problem.steps)) if problem.steps else None,
        "leaked": [token for token in special if token in answer.text],
    }


def _looked_at(row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    expect = row.get("expect")
    return {
        "id": row["id"],
        "kind": row["kind"],
        "prompt": row["prompt"],
        "completion": answer.text,
        "finish_reason": answer.finish_reason,
        "tokens": answer.tokens,
        "degenerate": degenerate(answer.text, number_ok=row.get("number_ok", False)),
        "fact_right": None if expect is None else re.search(expect, answer.text, re.IGNORECASE) is not None,
    }


def _write(run_: runs.Run, label: str, rows: Rows) -> Path:
    path = run_.path / "completions" / f"{label.replace(' ', '-')}.jsonl"
    path.unlink(missing_ok=True)
    with runs.partial_file(path) as partial:
        runs.append_jsonl(partial, rows)
    return path


# -- statistics --------------------------------------------------------------------------------


def _compared(problems: Sequence[data.Problem], scored: dict[str, Rows]) -> dict[str, Any]:
    return {
        "n": len(problems),
        "split_sha256": data.split_sha256(problems),
        **{role: measure(rows) for role, rows in scored.items()},
        "lift": lift(scored["base"], scored["tuned"]),
    }


def measure(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """pass@1 with its Wilson interval, and what else a reader needs to trust it. Shares are 0-1.

    `strict` is the share right under the verifier's stricter rule, of the completions on which that rule has a
    verdict; None where the verifier has no such rule. `steps` counts, over all completions, the equations written and
    those that hold, the known steps and those found in order; None where the steps are not known.
    """
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
    strict = [row["strict"] for row in rows if row["strict"] not in (None, "unscored")]
    known = [row["steps"] for row in rows if row.get("steps")]
    interval = binomtest(right, len(judged)).proportion_ci(CONFIDENCE, method="wilson")
    texts = Counter(row["completion"].strip() for row in rows)
    return {
        "pass_at_1": right / len(judged),
        "ci95": [float(interval.low), float(interval.high)],
        "right": right,
        "scored": len(judged),
        "strict": strict.count("right") / len(strict) if strict else None,
        "shows_working": sum(row["shows_working"] for row in rows) / n,
        "steps": {key: sum(found[key] for found in known) for key in known[0]} if known else None,
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


def by_kind(base: Rows, tuned: Rows) -> dict[str, dict[str, Any]]:
    """Right and scored of both models, and the paired lift, for each kind of problem.

    Generated problems of one step each go by operation, chains (`+-*`) by their number of steps; other sources' kinds
    go by their own names. A kind of which no pair was scored has no lift (None).
    """
    kinds = {row["kind"] for row in base if row["kind"]}
    are_chains = all(set(kind) <= set(OPERATIONS) for kind in kinds)
    are_single = are_chains and all(len(kind) == 1 for kind in kinds)

    def name(kind: str) -> str:
        if are_single:
            return OPERATIONS[kind]
        if are_chains:
            return f"{len(kind)} step{'s' if len(kind) > 1 else ''}"
        return re.sub(r"[^\w .,+*/()-]", "?", kind)[:40]  # a person's own file: nothing in a name is markup

    order = list(OPERATIONS.values()) if are_single else sorted({name(kind) for kind in kinds})
    table: dict[str, dict[str, Any]] = {}
    for wanted in order:
        pairs = [(b, t) for b, t in zip(base, tuned, strict=True) if b["kind"] and name(b["kind"]) == wanted]
        if pairs:
            is_scored = any("unscored" not in (b["verdict"], t["verdict"]) for b, t in pairs)
            table[wanted] = {
                **{
                    role: {
                        "right": sum(row["verdict"] == "right" for row in rows),
                        "scored": sum(row["verdict"] != "unscored" for row in rows),
                    }
                    for role, rows in zip(("base", "tuned"), zip(*pairs, strict=True), strict=True)
                },
                "lift": lift([b for b, _ in pairs], [t for _, t in pairs]) if is_scored else None,
            }
    return table


def below_base(kinds: dict[str, dict[str, Any]], beside: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Kinds and sets on which the tuned model is below the base beyond noise; each lift learns its `p_holm`.

    The family that Holm's method guards is every kind of the main set and every set beside it, trained or not: twelve
    looks at a model that forgot nothing would else find a loss one time in four.
    """
    family = [(name, cell["lift"]) for name, cell in (*kinds.items(), *beside.items()) if cell.get("lift")]
    for (_, found), adjusted in zip(family, holm([found["p"] for _, found in family]), strict=True):
        found["p_holm"] = adjusted
    return [
        {"name": name, "points": found["points"], "p_holm": found["p_holm"]}
        for name, found in family
        if found["points"] < 0 and found["p_holm"] < SIGNIFICANCE
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given.

    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = least
    return adjusted


# -- everyday answers --------------------------------------------------------------------------


_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
_UNIT_END = re.compile(r"\n|(?<=[.!?])\s")
_ANSWER_WORDS = re.compile(r"\b(?:the|final|answer|is|equals|boxed|times)\b|\bx\b|(?<=\d)x(?=\d)", re.IGNORECASE)
_SENTENCE = 12
"""Characters below which a repeated unit says nothing: closing tags of code, a "Ha!"."""


def degenerate(text: str, *, number_ok: bool = False) -> str | None:
    """How an answer has fallen apart: `empty`, `bare number` (or bare equation), `repeats`; None if it has not.

    An answer that is long, wrong, or cut by length is none of these.

    >>> degenerate("4 * 6 = 24"), degenerate("Seven, of course."), degenerate("I am here. " * 5)
    ('bare number', None, 'repeats')
    """
    if not any(c.isalnum() for c in text):
        return "empty"
    if not number_ok and not any(c.isalpha() for c in _ANSWER_WORDS.sub("", text)) and any(c.isdigit() for c in text):
        return "bare number"
    return "repeats" if _repeats(text) else None


def _repeats(text: str) -> bool:
    """Whether a line or sentence stands four times in a row, two thirds of them are old, or the end is a loop.

    Signs, case and list marks do not count, so a numbered loop is one too. A loop at the end is three rounds over
    60 % of the text, or four rounds of anything as long as a short sentence. Rounds are found in linear time by a
    Z-array over the reversed text: where it matches itself p further on for m characters, a suffix of m + p has
    period p.
    """
    units = [" ".join(re.findall(r"\w+", unit.casefold())) for unit in _UNIT_END.split(_LIST_MARK.sub("", text))]
    units = [unit for unit in units if unit and not unit.isdigit()]
    sentences = [unit for unit in units if len(unit) >= _SENTENCE]
    if len(sentences) >= 12 and 3 * len(set(sentences)) <= len(sentences):
        return True
    in_a_row = 1
    for before, unit in pairwise(units):
        in_a_row = in_a_row + 1 if unit == before else 1
        if in_a_row >= 4 and len(unit) >= _SENTENCE:
            return True
    line = " ".join(units)[::-1]
    match, left, right = [0] * len(line), 0, 0
    for period in range(1, len(line)):
        length = min(right - period, match[period - left]) if period < right else 0
        while period + length < len(line) and line[length] == line[period + length]:
            length += 1
        match[period] = length
        if period + length > right:
            left, right = period, period + length
        loop = period + length
        rounds = (loop + 1) / period  # the last round has no space after it
        if (rounds >= 3 and loop >= max(24, 0.6 * len(line))) or (rounds >= 4 and period >= _SENTENCE):
            return True
    return False


def compare_everyday(base: Rows, tuned: Rows) -> dict[str, Any]:
    """The figures of the everyday prompts: what changed, what fell apart, which facts were lost and gained."""
    pairs = list(zip(base, tuned, strict=True))
    return {
        "n": len(pairs),
        "changed": sum(b["completion"].strip() != t["completion"].strip() for b, t in pairs) / len(pairs),
        **{
            role: {
                "degenerate": sum(row["degenerate"] is not None for row in rows),
                "facts_right": sum(row["fact_right"] is True for row in rows),
            }
            for role, rows in (("base", base), ("tuned", tuned))
        },
        "facts": sum(row["fact_right"] is not None for row in base),
        "facts_lost": [b["id"] for b, t in pairs if b["fact_right"] and not t["fact_right"]],
        "facts_gained": [b["id"] for b, t in pairs if t["fact_right"] and not b["fact_right"]],
    }


# -- what forbids a promotion ------------------------------------------------------------------


def forgotten(config: Config, everyday: dict[str, Any]) -> list[str]:
    """What the training took from the model as a chat model; empty when nothing beyond the `[alarms]`."""
    limits, found = config.alarms, []
    fallen, n = everyday["tuned"]["degenerate"], everyday["n"]
    if fallen > limits.max_degenerate * n:
        found.append(
            f"{fallen} of {n} everyday answers are empty, repeat themselves or are a bare number"
            f" (base {everyday['base']['degenerate']}, limit {limits.max_degenerate:.1%})"
        )
    before, after = everyday["base"]["facts_right"], everyday["tuned"]["facts_right"]
    if after < before - limits.max_facts_lost:
        found.append(
            f"{after} of {everyday['facts']} everyday facts are right, {before} were"
            f" (may lose {limits.max_facts_lost}): lost {', '.join(everyday['facts_lost'])}"
        )
    return found


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
