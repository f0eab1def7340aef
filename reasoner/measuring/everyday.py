"""Asks everyday prompts, which have no verifier, and compares the answers of base and tuned.

Counted is whether an answer has fallen apart and whether a well-known fact is still in it, not whether it is good.
Which prompts a small model answers with a loop is chance under greedy decoding: the same untrained model, rounded
otherwise, had twice as many (scripts/LOG.md). So the greedy answers are shown, and the sampled ones judge.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from reasoner import files
from reasoner.measuring import ask, collect, figures
from reasoner.measuring.engines.base import Answer, Engine, Prompt, Sampling
from reasoner.measuring.intervals import share
from reasoner.measuring.lift import fewer
from reasoner.measuring.scores import by_name
from reasoner.problems.everyday import EverydayPrompt
from reasoner.problems.problem import messages
from reasoner.verifiers.committed import after_thought

MAX_TOKENS = 200
"""Most tokens of an answer: enough for a loop to show."""
TEMPERATURE = 0.6
"""Of the sampled answers: what `smol` trains with."""
SAMPLES = 4
"""Sampled answers to a prompt."""
FACT_SAMPLES = 8
"""The same where it asks for a fact: two of fourteen wholly lost are then found 85 times in 100
(scripts/bench/everyday.py --power)."""
HOW = [MAX_TOKENS, TEMPERATURE, SAMPLES, FACT_SAMPLES]

Answers = Sequence[figures.EverydayAnswer]
ByPrompt = dict[str, list[bool]]


def answer(
    engine: Engine,
    prompts: Sequence[EverydayPrompt],
    sheet: collect.Sheet,
    listener: collect.Listener,
    system: str | None = None,
    *,
    is_sampled: bool,
) -> list[figures.EverydayAnswer]:
    """Returns the sheet's answers, asking for those it lacks: one greedy to each prompt, or several sampled ones."""
    times = {False: SAMPLES, True: FACT_SAMPLES} if is_sampled else {False: 1, True: 1}
    asked = [(one, sample) for one in prompts for sample in range(times[one.expect is not None])]
    questions = collect.Questions(
        names=[(one.id, sample) for one, sample in asked],
        prompts=[
            Prompt(messages(one.prompt, system), ask.seed_of(0, one.id, sample) if is_sampled else 0)
            for one, sample in asked
        ],
        sampling=Sampling(MAX_TOKENS, temperature=TEMPERATURE if is_sampled else 0.0),
        problems_sha256=files.sha256_json([one.row() for one in prompts]),
        system=system,
    )

    def make(index: int, answer: Answer, common: collect.Common) -> figures.EverydayAnswer:
        one, said = asked[index][0], after_thought(answer.text)
        return figures.EverydayAnswer(
            **common,
            id=one.id,
            kind=one.kind,
            prompt=one.prompt,
            degenerate=degenerate(said, number_ok=one.number_ok),
            fact_right=None if one.expect is None else re.search(one.expect, said, re.IGNORECASE) is not None,
        )

    return collect.collect(engine, questions, sheet, figures.EverydayAnswer, make, listener)


# -- answers that have fallen apart -------------------------------------------------------------


_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
_UNIT_END = re.compile(r"\n|(?<=[.!?])\s")
_ANSWER_WORDS = re.compile(r"\b(?:the|final|answer|is|equals|boxed|times)\b|\bx\b|(?<=\d)x(?=\d)", re.IGNORECASE)
_SENTENCE = 12
"""Characters below which a repeated unit says nothing: closing tags of code, a "Ha!"."""


def degenerate(text: str, *, number_ok: bool = False) -> str | None:
    """Returns how an answer has fallen apart: `empty`, `bare number` (or bare equation), `repeats`; None if it has not.

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


# -- base and tuned ----------------------------------------------------------------------------


def compare(base: Answers, tuned: Answers) -> figures.Everyday:
    """Compares one answer a prompt: what changed, what fell apart, which facts were lost and gained.

    `p_degenerate` is that of `lift.fewer`, of answers that have not fallen apart: with one answer a prompt, McNemar's
    exact test, one-sided.
    """
    pairs = list(zip(base, tuned, strict=True))
    whole = [[[row.degenerate is None] for row in rows] for rows in (base, tuned)]

    def counts(rows: Answers) -> figures.EverydayCounts:
        fallen = sum(row.degenerate is not None for row in rows)
        return figures.EverydayCounts(fallen, sum(row.fact_right is True for row in rows))

    return figures.Everyday(
        n=len(pairs),
        p_degenerate=fewer(*whole),
        changed=sum(b.completion.strip() != t.completion.strip() for b, t in pairs) / len(pairs),
        base=counts(base),
        tuned=counts(tuned),
        facts=sum(row.fact_right is not None for row in base),
        facts_lost=[b.id for b, t in pairs if b.fact_right and not t.fact_right],
        facts_gained=[b.id for b, t in pairs if t.fact_right and not b.fact_right],
    )


def compare_sampled(base: Answers, tuned: Answers) -> figures.Sampled:
    """Compares several answers a prompt; each prompt counts once, and each fact. `p_facts` is that of `lift.fewer`."""
    fallen = [by_name((row.id, row.degenerate is not None) for row in rows) for rows in (base, tuned)]
    right = [by_name((row.id, row.fact_right) for row in rows if row.fact_right is not None) for rows in (base, tuned)]

    def measured(fallen: ByPrompt, right: ByPrompt) -> figures.SampledMeasure:
        degenerate = figures.Share(*share(map(fmean, fallen.values()), len(base)))
        return figures.SampledMeasure(degenerate, math.fsum(map(fmean, right.values())))

    def moved(base: ByPrompt, tuned: ByPrompt) -> dict[str, tuple[int, int, int]]:
        counts = {name: (sum(answers), sum(tuned[name]), len(answers)) for name, answers in base.items()}
        return {name: count for name, count in counts.items() if count[0] != count[1]}

    return figures.Sampled(
        answers=len(base),
        temperature=TEMPERATURE,
        facts=len(right[0]),
        base=measured(fallen[0], right[0]),
        tuned=measured(fallen[1], right[1]),
        p_facts=fewer(list(right[0].values()), [right[1][one] for one in right[0]]),
        degenerate_by_id=moved(*fallen),
        facts_by_id=moved(*right),
    )
