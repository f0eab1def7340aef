"""Decides whether a model may become public; nothing else does.

A model is refused for what it has lost, anywhere that was measured, never for having gained too little: not for what is
wrong with it as served (`smoke`), for the chat that its training took (`forgotten`), for a kind or a set on which it
is below the base, or, on the way, below the model that is public now (`decide`). A control is never public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reasoner.config import Config
from reasoner.measuring import lift
from reasoner.measuring.figures import Below, Completion, Evaluation, Everyday, GateFacts, Measure, load
from reasoner.measuring.intervals import SIGNIFICANCE, lower_bound
from reasoner.serving.tags import Tagged


def control(config: Config) -> list[str]:
    """Says that a control is never promoted; empty for any other run."""
    return [f"a {config.train.control} control is never promoted"] if config.train.control else []


def refusals(found: Evaluation) -> list[str]:
    """Says why a scored model may not take the base's place; empty where it may."""
    why = list(found.problems_found)
    if found.lift.ci95[1] < 0:
        why.append(f"it scores {-found.lift.points:.1f} points below the base")
    return why + lost(found.below_base, "the base")


def decide(
    config: Config, found: Evaluation, folder: Path, candidate: Tagged, against: Tagged, best: float | None
) -> GateFacts:
    """Decides on a checkpoint that was scored beside the public model, `folder` being where the completions are.

    `best` is the score, 0-1, of the best promoted checkpoint on the same problems; None where there is none.
    """
    metric = config.gate.metric
    base, tuned = (load(folder / "completions" / f"{role}.jsonl", Completion) for role in ("base", "tuned"))
    differences = list(lift.differences(base, tuned, "strict" if metric == "strict" else "verdict").values())
    score, score_ci95 = _by_metric(metric, found.tuned)
    facts = GateFacts(
        candidate=Tagged(candidate.tag, candidate.digest),
        against=Tagged(against.tag, against.digest),
        metric=metric,
        n=len(differences),
        split_sha256=found.split_sha256,
        score=score,
        score_ci95=score_ci95,
        against_score=_by_metric(metric, found.base)[0],
        points=100 * sum(differences) / max(len(differences), 1),
        lower=lower_bound(differences, config.gate.confidence) if differences else None,
        best=best,
        passed=False,
        why=[*found.problems_found, *lost(found.below_base, "it")],
    )
    why = verdict(config, facts)
    return replace(facts, passed=not why, why=why)


def _by_metric(metric: str, found: Measure) -> tuple[float | None, tuple[float, float] | None]:
    return (found.strict, found.strict_ci95) if metric == "strict" else (found.pass_at_1, found.ci95)


def verdict(config: Config, found: GateFacts) -> list[str]:
    """Returns why a checkpoint may not become public, what is in `why` already included; empty where it may.

    Not worse than the public model beyond the margin: the lower bound of the paired difference lies above minus the
    margin (non-inferiority). And no drift: its own score is not below the best promoted one by more than the margin, or
    many steps down, each within the margin, would add up.
    """
    gate, why = config.gate, [*found.why, *control(config)]
    if found.n < gate.min_problems:
        why.append(f"{found.n} problems have a verdict on both sides, {gate.min_problems} are needed")
    if found.lower is not None and found.lower <= -gate.margin:
        why.append(
            f"{found.points:+.1f} points against {found.against.tag}, and at {gate.confidence:.0%} it may be"
            f" {-found.lower:.1f} worse (margin {gate.margin:g})"
        )
    if found.best is not None and found.score is not None:
        below = round(100 * (found.best - found.score), 6)
        if below > gate.margin:
            why.append(f"{below:.1f} points below the best that was promoted (margin {gate.margin:g})")
    return why


def lost(below: Sequence[Below], what: str) -> list[str]:
    """Says on which kinds and sets a model is worse."""
    return [
        f"{one.name}: {-one.points:.1f} points below {what}, beyond noise (p = {one.p_holm:.2g},"
        " adjusted for all kinds and sets)"
        for one in below
    ]


def forgotten(config: Config, found: Everyday) -> list[str]:
    """Says what the training took from the model as a chat model; empty when nothing beyond the `[alarms]`."""
    limits, sampled, why = config.alarms, found.sampled, []
    if sampled is not None and (fallen := sampled.tuned.degenerate.value) > limits.max_degenerate:
        why.append(
            f"{fallen:.1%} of {sampled.answers} sampled everyday answers are empty, repeat themselves or are a bare"
            f" number (base {sampled.base.degenerate.value:.1%}, limit {limits.max_degenerate:.1%})"
        )
    if found.p_degenerate is not None and found.p_degenerate < SIGNIFICANCE:
        why.append(
            f"{found.tuned.degenerate} of {found.n} greedy everyday answers are empty, repeat themselves"
            f" or are a bare number, beyond noise more than the base's {found.base.degenerate}"
            f" (p {found.p_degenerate:.2g})"
        )
    if sampled is None:
        return why
    before, after = sampled.base.facts_right, sampled.tuned.facts_right
    if before - after > limits.max_facts_lost and sampled.p_facts < SIGNIFICANCE:
        gone = [f"{one} {b} -> {t} of {n}" for one, (b, t, n) in sampled.facts_by_id.items() if t < b]
        why.append(
            f"{after:.1f} of {sampled.facts} everyday facts are right in the mean,"
            f" {before:.1f} were (may lose {limits.max_facts_lost} beyond noise,"
            f" p {sampled.p_facts:.2g}): {', '.join(gone)}"
        )
    return why


def smoke(config: Config, tuned: Measure) -> list[str]:
    """Says what is wrong with the tuned model as served, whatever its score; empty when nothing is."""
    limits, found = config.eval, []
    if tuned.truncated > limits.max_truncated:
        found.append(
            f"{tuned.truncated:.1%} of completions were cut at {config.serve.num_predict} tokens"
            f" (limit {limits.max_truncated:.1%}): it does not end its answers, or serve.num_predict is too small"
        )
    if tuned.leaked > 0:
        found.append(f"{tuned.leaked:.1%} of completions show special tokens: stops or template are wrong")
    if tuned.empty > limits.max_empty:
        found.append(f"{tuned.empty:.1%} of completions are empty (limit {limits.max_empty:.1%})")
    if tuned.repeated > limits.max_repeated and tuned.scored > 4:
        found.append(f"one identical completion answers {tuned.repeated:.1%} of the problems")
    unscored = tuned.unscored / (tuned.unscored + tuned.scored)
    if unscored > config.verifier.max_unscored:
        found.append(f"the verifier gave no verdict on {unscored:.1%} of completions")
    return found
