"""A finished run as its records say it, small enough to be read whole: JSON that a test may change first."""

import dataclasses

from reasoner import files, runs
from reasoner.measuring import figures
from reasoner.reporting import records
from reasoner.training.facts import StepMetrics


def measured(right, working):
    return {
        "pass_at_1": right, "ci95": [right - 0.04, right + 0.04], "shows_working": working, "truncated": 0.01,
        "unscored": 2, "right": 1, "scored": 9, "empty": 0, "leaked": 0, "repeated": 0, "committed": 1,
        "mean_tokens": 9,
    }  # fmt: skip


def lift(points, low, high):
    return {
        "points": points, "ci95": [low, high], "p": 0.01, "test": "mcnemar-exact", "gained": 1, "lost": 0, "pairs": 9,
        "p_holm": 0.034, "se": 2.5, "detectable": 9.5,
    }  # fmt: skip


def kind(base, tuned, lift):
    return {"base": {"right": base, "scored": 100}, "tuned": {"right": tuned, "scored": 100}, "lift": lift}


GGUF = {
    "quant": "Q8_0", "bytes": 10, "architecture": "llama", "tokenizer": None, "pre_tokenizer": None, "eos_token_id": 1,
    "bos_token_id": 1, "context_length": 1, "chat_template_sha256": None, "tensor_types": {},
}  # fmt: skip


OVERLAP = {"rule": "r", "train": 100, "dropped": 0, "sets": {"held-out": None}, "seconds": 0.1}


def stored_facts():
    train = {
        "device": "cpu", "base_weights_sha256": {"before": "aa", "after": "aa"}, "steps": 100,
        "first": {"reward": 0.2}, "last": {"reward": 0.2}, "engine": "trl", "threads": 2, "problems_sha256": "11",
        "problems": 4000, "sampler": "generate", "why_not_fast": None, "resumed_from": None, "loop_seconds": 1,
        "verifier": {"name": "number", "version": "1"}, "reward": "verdict", "unscored": 0, "scored": 9,
        "unjudged_problems": 0, "overlap": OVERLAP, "curriculum": None, "chat_kl": None,
    }  # fmt: skip
    scored = {
        "n": 500, "split": "test", "split_sha256": "cc", "verifier": {"name": "number", "version": "1"},
        "base": measured(0.2, 0.0), "tuned": measured(0.9, 1.0),
        "lift": {"points": 70.0, "ci95": [66.0, 74.0], "p": 1e-30, "test": "mcnemar-exact", "gained": 1, "lost": 0},
        "by_kind": {"addition": kind(22, 78, lift(56.0, 45.0, 66.0)), "division": kind(8, 0, lift(-8.0, -13.6, -2.0))},
        "beside": {
            "svamp": {"n": 200, "split_sha256": "ff", "base": measured(0.045, 0.0), "tuned": measured(0.065, 0.0),
                      "lift": lift(2.0, -1.1, 5.1)},
            "gsm8k": {"missing": "data/gsm8k"},
        },
        "everyday": {
            "n": 40, "changed": 0.7125, "facts": 14, "facts_lost": ["japan"], "facts_gained": [],
            "base": {"degenerate": 0, "facts_right": 11}, "tuned": {"degenerate": 1, "facts_right": 10},
            "sampled": {
                "answers": 216, "temperature": 0.6, "facts": 14, "p_facts": 0.2, "facts_by_id": {"japan": [7, 5, 8]},
                "degenerate_by_id": {"cat": [0, 2, 4], "hello": [1, 0, 4]},
                "base": {"degenerate": {"value": 0.01, "ci95": [0.003, 0.03]}, "facts_right": 10.5},
                "tuned": {"degenerate": {"value": 0.02, "ci95": [0.01, 0.04]}, "facts_right": 10.25},
            },
        },
    }  # fmt: skip
    tag = {"tag": "reasoner:step-000100", "digest": "dd", "gguf_sha256": "ee", "file": "f", "prompts_compared": 4}
    base = {
        "sha256": "bb", "spec": "shipped:pocket", "path": "p", "architecture": "llama", "weights_bytes": 1, "files": {},
        "special_tokens": [], "license": "", "imported": None, "gguf": GGUF, "pinned": {}, "tag": tag,
    }  # fmt: skip
    merge = {
        "dtype": "bfloat16", "changed_tensors": 1, "tensors": 2, "delta_norm_over_base_norm": 0.1,
        "max_logit_difference": 0, "tolerance": 1, "max_logit_difference_16_bit": 0, "top_token_agreement_16_bit": 1,
    }  # fmt: skip
    return {
        "base": base, "train": train, "merge": merge, "gguf": GGUF, "modelfile": {"pinned": {}},
        "register": {"base": tag, "tuned": tag, "identity": []}, "evaluate": scored,
        "promote": {"promoted": True, "why": [], "is_control": False, "tag": "reasoner:latest", "digest": "dd"},
    }  # fmt: skip


def parsed(stored):
    """`records.Records` of such JSON."""
    kinds = {one.name: one for one in records.KINDS}
    return records.Records(
        **{name: runs.Record(**one | {"facts": files.parse(kinds[name].facts, one["facts"])})
           for name, one in stored.items()}
    )  # fmt: skip


def rows(verdicts, text="1 + 1 = 2\n#### 2"):
    """Completions with these verdicts."""
    return [
        figures.Completion(
            problem_id=str(i), question=f"q{i}", answer="2", verdict=v, completion=text, finish_reason="stop", tokens=9
        )
        for i, v in enumerate(verdicts)
    ]


def changed(row, **fields):
    return dataclasses.replace(row, **fields)


def chat(completion, degenerate=None, fact_right=None, reason="stop"):
    return figures.EverydayAnswer(
        id="hello", kind="greeting", prompt="Hello!", completion=completion, degenerate=degenerate,
        fact_right=fact_right, finish_reason=reason,
    )  # fmt: skip


def row(step, **more):
    told = {"steps": 9, "reward": 0.25, "signal": 0.5, "shows_working": 0.1, "length": 31.6, "truncated": 0.02}
    return StepMetrics(step=step, **told | more)
