"""Grade-school word problems from nothing: the `pocket` data source.

A problem is a chain of 1-8 exact steps on one running value, told as a short story. Rows carry the fields of
`openai/gsm8k` (`question`, `answer` ending in `#### N`), so the pipeline cannot tell the two apart.

What the splits promise stands in `generator`; objects and activities are a split's own, as names are. Not promised:
train, dev and test share sentence patterns, units and arithmetic facts (`12 + 5` may stand in all of them), two seeds
may overlap inside one split, and the stories know four operations on whole numbers only.

Words and sentence patterns stand in `stories.txt`. Words: `list split: word word …`, those of test also serve `ood`.
Patterns: a theme opens with its name, its word list and its units. Then come lines of a key and patterns: `=` opens
with a value, `=*` and `=/` with a first step of two numbers; `+ - * /` change the running value; `?*` and `?/` end with
a last step and its question; `?` only asks. `ood` patterns are for `ood` alone. {N} is the person, {S} {s} {h} refer to
them, {F} is somebody else, {o} what is counted, {u} its unit, {a} {b} open the story and {n} is the operand. A leading
`>` hands the story over to {F}.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypedDict

from reasoner.errors import USAGE, ReasonerError
from reasoner.problems.generator import check, check_whole, distinct, integer, is_of, named_after, pick
from reasoner.problems.problem import Step

MIN_STEPS, MAX_STEPS, MAX_VALUE = 1, 5, 50  # what the `pocket` profile trains and is scored on
_OPERATIONS = "+-*/"
_WEIGHTS = {"+": 3, "-": 3, "*": 2, "/": 2}
_LINKS = ("Then ", "Later ", "After that, ", "Next, ")


class Story(TypedDict):
    """Is one generated problem.

    `answer` has a line `left op right = result` per step, then `#### N`; `kind` is the operations, such as `+-*`;
    `skeleton` is pattern ids and numbers, without names.
    """

    id: str
    question: str
    answer: str
    kind: str
    steps: list[Step]
    skeleton: str


def generate(
    split: str,
    n: int,
    seed: int = 0,
    *,
    min_steps: int = MIN_STEPS,
    max_steps: int = MAX_STEPS,
    max_value: int = MAX_VALUE,
    balanced: bool = False,
) -> list[Story]:
    """Returns `n` different problems of one split, the same ones for the same arguments everywhere.

    No value exceeds `max_value` (20 to 1,000,000); none is negative or a fraction. `balanced` rows end in `+`, `-`,
    `*`, `/` in turn, by their last step; else the stories decide, with more sums and differences.

    >>> row = generate("test", 1, min_steps=1, max_steps=1)[0]
    >>> terse(row) == f"#### {row['steps'][-1]['result']}"
    True
    """
    check(split, n, seed)
    check_whole(1, min_steps=min_steps, max_steps=max_steps)
    if not min_steps <= max_steps <= 8:
        raise ReasonerError(
            f"steps {min_steps}-{max_steps} make no range", fix="use 1 <= min_steps <= max_steps <= 8", code=USAGE
        )
    if type(max_value) is not int or not 20 <= max_value <= 1_000_000:
        raise ReasonerError(f"max_value must be a whole number from 20 to 1000000, not {max_value!r}", code=USAGE)
    dial = f"{split}:{seed}:{min_steps}:{max_steps}:{max_value}{':balanced' if balanced else ''}"
    rng = random.Random(f"wordproblems-1:{dial}")

    def draw(place: int) -> Story | None:
        row = _attempt(rng, split, min_steps, max_steps, max_value)
        is_off_turn = balanced and row is not None and row["kind"][-1] != _OPERATIONS[place % len(_OPERATIONS)]
        return None if is_off_turn else row

    why = f"{min_steps}-{max_steps} steps with values up to {max_value} leave too few"
    fix = "ask for fewer problems, more steps or a larger max_value"
    return distinct(n, draw, lambda row: row["question"], f"{split} problems", why, fix)


def terse(problem: Story) -> str:
    """Returns the reference answer without its work: only the `#### N` line."""
    return problem["answer"].rsplit("\n", 1)[-1]


@dataclass
class Theme:
    """Holds one kind of story: its word list, its units, and its patterns by key, with `ood` ones apart."""

    name: str
    words: str
    units: list[str]
    common: dict[str, list[str]] = field(default_factory=dict)
    ood: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grammar:
    """Holds what stories are made of: words by list and split, themes by name, people by split."""

    words: dict[str, dict[str, list[str]]]
    themes: dict[str, Theme]
    often: list[Theme]  # to draw from, as often as each is to come
    people: dict[str, list[tuple[str, str, str]]]  # name, `she` or `he`, `her` or `him`


@cache
def grammar() -> Grammar:
    text = Path(__file__).with_name("stories.txt").read_text(encoding="utf-8")
    word_text, _, story_text = text.partition("\n\n")
    words: dict[str, dict[str, list[str]]] = {}
    for line in word_text.splitlines():
        head, _, tail = line.partition(": ")
        name, split = head.split()
        words.setdefault(name, {}).setdefault(split, []).extend(tail.split())
    themes: dict[str, Theme] = {}
    for line in story_text.strip().splitlines():
        key, _, tail = line.partition(" ")
        if key.startswith("["):
            name, (list_, *units) = key[1:-1], tail.split()
            theme = themes[name] = Theme(name, list_, units or [""])
            continue
        patterns = theme.common
        if key == "ood":
            patterns = theme.ood
            key, _, tail = tail.partition(" ")
        patterns.setdefault(key, []).extend(tail.split(" | "))
    often = [theme for theme in themes.values() for _ in range({"things": 3, "money": 2}.get(theme.name, 1))]
    people = {
        split: [(name, "she", "her") for name in words["girls"][split]]
        + [(name, "he", "him") for name in words["boys"][split]]
        for split in words["girls"]
    }
    return Grammar(words, themes, often, people)


def _attempt(rng: random.Random, split: str, min_steps: int, max_steps: int, max_value: int) -> Story | None:
    """Draws a problem; None where the numbers ran into a dead end, or the skeleton belongs to another split."""
    theme = pick(rng, grammar().often)
    is_ood = split == "ood"
    plan = _plan(rng, theme.ood if is_ood else theme.common, integer(rng, min_steps, max_steps), max_value)
    if plan is None:
        return None
    opening, story, steps = plan
    numbers = " ".join(str(n) for n in (*opening[2:], *(s["right"] for s in steps)))
    ids = " ".join((opening[0], *(id_ for id_, _, _ in story)))
    bones = f"{'ood-' if is_ood else ''}{theme.name} {ids} {numbers}"
    if not is_of(split, bones):
        return None
    question = _tell(rng, theme, "test" if is_ood else split, opening, story)
    lines = [f"{s['left']} {s['op']} {s['right']} = {s['result']}" for s in steps]
    return {
        "id": named_after(f"pocket-{split}", question),
        "question": question,
        "answer": "\n".join([*lines, f"#### {steps[-1]['result']}"]),
        "kind": "".join(s["op"] for s in steps),
        "steps": steps,
        "skeleton": bones,
    }


_Opening = tuple[str, str, int, int]  # pattern id, pattern, and its two numbers (the second 0 where there is one)
_Sentence = tuple[str, str, int]  # pattern id, pattern, operand


def _plan(
    rng: random.Random, patterns: dict[str, list[str]], num_steps: int, max_value: int
) -> tuple[_Opening, list[_Sentence], list[Step]] | None:
    """Draws the numbers and patterns of a story; None where no operation fits the running value."""
    steps: list[Step] = []
    story: list[_Sentence] = []

    def step(left: int, op: str, right: int) -> int:
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[op]
        steps.append({"left": left, "op": op, "right": right, "result": result})
        return result

    kind = pick(rng, ("=", "=", "=", "=*", "=/"))
    index = int(rng.random() * len(patterns[kind]))
    b = 0
    if kind == "=":
        a = value = integer(rng, 3, max(3, max_value * 6 // 10))
    elif kind == "=*":
        a = integer(rng, 2, 10)
        b = integer(rng, 2, min(10, max_value // a))
        value = step(a, "*", b)
    else:
        b = integer(rng, 2, 10)
        a = b * integer(rng, 2, max_value // b)
        value = step(a, "/", b)
    while len(steps) < num_steps:
        divisors = [d for d in range(2, 11) if value % d == 0 and value >= 2 * d]
        options = {"+": max_value - value >= 2, "-": value >= 4, "*": value * 2 <= max_value, "/": bool(divisors)}
        ops = [op for op, possible in options.items() if possible for _ in range(_WEIGHTS[op])]
        if not ops:
            return None
        op = pick(rng, ops)
        if op == "+":
            right = integer(rng, 2, min(max_value - value, max_value // 2))
        elif op == "-":
            right = integer(rng, 2, value - 2)
        elif op == "*":
            right = integer(rng, 2, min(10, max_value // value))
        else:
            right = pick(rng, divisors)
        ends = len(steps) == num_steps - 1 and f"?{op}" in patterns and rng.random() < 0.4
        key = f"?{op}" if ends else op
        which = int(rng.random() * len(patterns[key]))
        story.append((f"{key}{which}", patterns[key][which], right))
        value = step(value, op, right)
    if not story or not story[-1][0].startswith("?"):
        which = int(rng.random() * len(patterns["?"]))
        story.append((f"?{which}", patterns["?"][which], 0))
    return (f"{kind}{index}", patterns[kind][index], a, b), story, steps


def _tell(rng: random.Random, theme: Theme, split: str, opening: _Opening, story: list[_Sentence]) -> str:
    """Tells the story in words: who, what, and a pronoun only where it can mean one person."""
    people, objects = grammar().people[split], grammar().words[theme.words][split]
    who = pick(rng, people)
    unit = pick(rng, theme.units)
    object_ = pick(rng, objects)
    _, pattern, a, b = opening
    said = [pattern.format(N=who[0], s=who[1], o=object_, u=unit, a=a, b=b)]
    clear = True
    for key, pattern, operand in story:
        while (other := pick(rng, people))[0] == who[0]:
            pass
        pronoun = clear and rng.random() < 0.7
        subject = who[1] if pronoun else who[0]
        link = ""
        if pattern.startswith("{S}") and not key.startswith("?") and rng.random() < 0.25:
            link = pick(rng, _LINKS)
        # Money spent is spent on something else each time; elsewhere the objects are what is counted.
        thing = pick(rng, objects) if theme.name in ("money", "trip") and "{o}" in pattern else object_
        said.append(
            link
            + pattern.removeprefix(">").format(
                N=who[0],
                S=subject if link else subject[0].upper() + subject[1:],
                s=who[1] if clear or "{S}" in pattern else who[0],
                h=who[2] if clear else who[0],
                F=other[0],
                o=thing,
                u=unit,
                u1=unit.removesuffix("s"),
                n=operand,
            )
        )
        clear = "{F}" not in pattern
        if pattern.startswith(">"):
            who = other
    return " ".join(said)
