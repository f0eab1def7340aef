"""A run folder written by hand, with every part that a report can have, and texts that try to break out of it."""

import json
import math
import random
from dataclasses import replace

from reasoner import config, files, runs
from reasoner.measuring import everyday, lift, scores
from reasoner.measuring.figures import Compared, Completion, Evaluation, EverydayAnswer, Missing
from reasoner.problems.overlap import Contamination
from reasoner.training.facts import BeforeAfter, TrainFacts
from reasoner.verifiers.score import Judge

HOSTILE = (
    "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "\n\x1b[31mred\x1b[0m \x07\x00 \u202eright to left\u202c \u2066isolated\u2069 \u200f\n"
    '\'"><svg onload=alert(1)><style>*{display:none}</style><a href="javascript:alert(1)">x</a> '
    "مرحبا שלום \ud800 " + "Z\u0351\u0360\u0327" * 40 + "\n&lt;b&gt; ]]> --> ${x} {{x}} `|` #### 7\n" + "w" * 400
)
N = 60


def run(folder, name="made-up", *, hostile=HOSTILE, finished=True, seed=0, control=None, right=0.8, steps=40):
    """The run; `finished`: with a summary and completions, else a training at its last step."""
    chance = random.Random(seed)
    run_ = runs.Run(folder / name)
    changes = {"train.seed": str(seed), "train.steps": str(steps)} | ({"train.control": control} if control else {})
    found, origin = config.resolve("pocket", changes)
    files.write_text(run_.config_path, config.dump(found, origin))
    metrics, rollouts = [], []
    for step in range(1, steps + 1):
        done = 1 / (1 + math.exp(-8 * (step / steps - 0.4)))
        metrics.append(
            {
                "step": step, "steps": steps, "reward": 0.2 + 0.6 * done + chance.uniform(-0.08, 0.08),
                "signal": 0.5 + chance.uniform(-0.2, 0.2), "length": 8 + 30 * done, "truncated": 0.01,
                "shows_working": min(1.0, done + 0.05), "entropy": 1.1 - 0.7 * done, "strict_gap": 0.02,
                **({"chat_kl": 0.004 + 0.02 * done} if step % 10 == 0 else {}), "kinds": {"+ to 10": 0.5, "*": 0.5},
            }
        )  # fmt: skip
        rollouts.append([completion(f"r{i}", "right", "1 + 1 = 2\nwait, 2 + 2 = 5\n#### 2") for i in range(3)])
    files.append_jsonl(run_.path / "metrics.jsonl", metrics if finished else metrics[: steps // 2])
    for step, rows in enumerate(rollouts, 1):
        files.append_jsonl(run_.path / "rollouts" / f"{runs.step_name(step)}.jsonl", rows)
    files.append_jsonl(
        run_.path / "history.jsonl",
        [{"step": at, "event": "scored", "score": 0.2 + 0.6 * at / steps} for at in range(10, steps + 1, 10)],
    )
    files.write_json(run_.path / "audit.json", audit())
    if finished:
        _finish(run_, found, chance, hostile, right)
    return run_


def completion(problem_id, verdict, text, **more):
    return {
        "problem_id": problem_id, "question": "Ann has 3 pens and buys 4 more. How many pens?", "answer": "7",
        "verdict": verdict, "completion": text, "tokens": 12, "finish_reason": "stop", "strict": verdict,
        "extracted": "7", "shows_working": "=" in text, "leaked": [], "kind": "addition",
        "steps": {"known": 1, "in_order": 1, "equations": 1, "correct": 1}, **more,
    }  # fmt: skip


def answered(problem_id, verdict, **more):
    """A completion of which only so much matters."""
    given = {"problem_id": problem_id, "verdict": verdict, "completion": "", "finish_reason": "stop", "tokens": 1}
    return Completion(**given | more)


def training():
    """The record of a training of nothing."""
    return TrainFacts(
        engine="trl", sampler="llama.cpp", why_not_fast=None, device="cpu", threads=2, steps=4, resumed_from=None,
        loop_seconds=1.0, problems=2, problems_sha256="a", verifier=Judge("number", "2"), reward="verdict",
        base_weights_sha256=BeforeAfter("b", "b"), unscored=0, scored=8, unjudged_problems=1,
        overlap=Contamination("", 2, 0, {}, 0.0), curriculum=None, chat_kl=None, first={}, last={},
    )  # fmt: skip


def evaluation(points=30.0, low=25.0, high=35.0, found=(), below=()):
    """What was scored, as far as a promotion turns on it."""
    rows = [answered(f"p{at}", "right") for at in range(9)]
    figures = scores.measure(rows)
    gain = replace(lift.lift(rows, rows), points=points, ci95=(low, high))
    return Evaluation(
        n=9, split_sha256="c", base=figures, tuned=figures, lift=gain, split="test", verifier=Judge("number", "2"),
        problems_found=list(found), below_base=list(below),
    )  # fmt: skip


def _finish(run_, found, chance, hostile, right):
    rows = {"base": [], "tuned": []}
    for at in range(N):
        for role, share in (("base", 0.3), ("tuned", right)):
            verdict = "right" if chance.random() < share else "wrong"
            text = hostile if at % 4 == 0 else f"3 + 4 = {7 if verdict == 'right' else 8}\n#### 7"
            text = text.encode("utf-8", "replace").decode() if at % 8 else text
            rows[role].append(completion(f"p{at}", verdict, text, kind="addition" if at % 2 else "<b>two</b> steps"))
    rows["base"][0]["question"] = hostile
    for role, some in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in some)
        files.write_text(run_.path / "completions" / f"{role}.jsonl", text)
    chats = {
        role: [
            {"id": "hello", "kind": "greeting", "prompt": "Hello!", "completion": f"Hi from {role}.",
             "degenerate": None, "fact_right": None, "finish_reason": "stop"},
            {"id": "<i>paris", "kind": "fact", "prompt": hostile, "completion": hostile,
             "degenerate": "repeats itself" if role == "tuned" else None, "fact_right": role == "base",
             "finish_reason": "length"},
        ]
        for role in ("base", "tuned")
    }  # fmt: skip
    for role, some in chats.items():
        text = "".join(json.dumps(row) + "\n" for row in some)
        files.write_text(run_.path / "completions" / f"everyday-{role}.jsonl", text)
    read = {role: files.parse(list[Completion], some) for role, some in rows.items()}
    talk = {role: files.parse(list[EverydayAnswer], some) for role, some in chats.items()}
    figures = {role: scores.measure(some) for role, some in read.items()}
    gain = lift.lift(**read)
    svamp = Compared(**figures, lift=gain, n=N, split_sha256="b" * 64)
    _, kinds, beside = lift.below_base(lift.by_kind(**read), {"svamp": svamp, "gsm8k": Missing("data/<gsm8k>")})
    chat = replace(everyday.compare(**talk), sampled=everyday.compare_sampled(**talk))
    summary = {
        "schema": 1, "run": run_.name, "profile": found.profile, "seed": found.train.seed,
        "control": found.train.control, "device": "cpu", "n": N, "split": "test", "split_sha256": "a" * 64,
        "verifier": {"name": "number", "version": "2"}, **files.as_json(figures), "lift": files.as_json(gain),
        "by_kind": files.as_json(kinds), "beside": files.as_json(beside), "everyday": files.as_json(chat),
        "promoted": found.train.control is None, "gate": [],
        "served": {"host": "h", "tag": "reasoner:latest", "digest": "sha256:" + "d" * 64, "ollama": "0.34.4"},
        "train": {"reward": "verdict", "chat_kl_weight": 1.0}, "seconds": {"train": 80.0, "merge": 2.5, "total": 82.5},
        "versions": {"reasoner": "1.0", "trl": "1.14.2"},
    }  # fmt: skip
    files.write_json(run_.summary_path, summary)
    files.write_json(run_.path / "ladder.json", ladder())


def audit():
    check = {"name": "near misses <that> must fail", "must_hold": True, "n": 900, "failed": 3, "rate": 0.0033,
             "ci95": [0.001, 0.0097], "unscored": 0, "by_family": {}, "by_type": {}, "examples": []}  # fmt: skip
    return {"schema": 1, "verifier": {"name": "number", "version": "2", "contract": "number"}, "holds": False,
            "failed": ["near misses"],
            "data": {"source": "made-up", "n": 100, "judged": 99, "sampled": 99, "sha256": "a" * 64},
            "unjudged": [{"index": 3, "id": "p3", "answer": "x", "why": "no number"}], "checks": [check],
            "checks_per_second": 1000, "seconds": 1.0, "versions": {}}  # fmt: skip


def ladder():
    def rung(name, engine, points, size=None):
        change = {
            "against": "base",
            "points": points,
            "ci95": [points - 4, points + 4],
            "gained": 3,
            "lost": 1,
            "p": 0.5,
        }
        value = 0.2 if name == "base" else 0.78 + points / 100
        return {"rung": name, "engine": engine, "pass_at_1": value, "ci95": [value - 0.05, value + 0.05],
                "change": None if name == "base" else change, "truncated": 0.0, "bytes": size, "tokens_per_s": 120.0,
                "flips": [{"problem_id": "p<1>", "before": "right", "after": "wrong"}]}  # fmt: skip

    def quant(name, size, points, inside, imatrix=False):
        value = 0.78 + points / 100
        return {"quant": name, "bytes": size, "pass_at_1": value, "ci95": [value - 0.03, value + 0.03], "right": 78,
                "points": points, "points_ci95": [points - 1, points + 1], "tokens_per_s": 300.0, "imatrix": imatrix,
                "inside": inside, "other_types": 0}  # fmt: skip

    return {
        "schema": 1, "run": "made-up", "split": "dev", "n": 200, "margin_points": 2.0,
        "rungs": [rung("base", "transformers", 0), rung("adapter", "transformers", 0.5),
                  rung("merged", "transformers", 0), rung("F16", "llama.cpp", 0, 272_000_000),
                  rung("Q8_0", "llama.cpp", -9.0, 145_000_000), rung("served", "ollama", -9.5)],
        "first_loss": {"rung": "Q8_0", "points": -9.0, "ci95": [-13.0, -5.0], "p": 0.001, "cause": "its <end> token"},
        "quants": [quant("Q4_K_M", 105_000_000, -5.0, False), quant("Q4_K_M", 105_000_000, -2.6, False, imatrix=True),
                   quant("Q5_K_M", 112_000_000, -1.2, False), quant("Q6_K", 138_000_000, -0.4, True),
                   quant("Q6_K", 138_000_000, -0.4, True, imatrix=True),
                   quant("Q8_0", 145_000_000, 0.1, True), quant("F16", 271_000_000, 0.0, True)],
        "served_quant": "Q8_0", "chosen": "Q6_K",
    }  # fmt: skip
