"""Grade-school word problems from nothing: the `pocket` data source.

A problem is a chain of 1-8 exact steps on one running value, told as a short story. Rows carry the fields of
`openai/gsm8k` (`question`, `answer` ending in `#### N`), so the pipeline cannot tell the two apart.

What the splits promise:

- train, dev and test have names, objects and activities of their own. `ood` uses those of test.
- The *skeleton* of a problem (sentence patterns and numbers, without names and objects) is hashed into one of
  three buckets, one per split: no train problem is a test problem with the names changed.
- `ood` is told only in sentence patterns that no other split uses.
- The same arguments give the same rows on every machine and Python version; a smaller `n` gives a prefix.

What they do not promise: train, dev and test share sentence patterns and arithmetic facts (`12 + 5` may stand
in all of them), units are shared too, two seeds may overlap inside one split, and the stories know four
operations on whole numbers only.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from typing import TYPE_CHECKING, Any

from reasoner.errors import ReasonerError

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "dev", "test", "ood")
MIN_STEPS, MAX_STEPS, MAX_VALUE = 1, 5, 50
"""The default difficulty dial: what the `pocket` profile trains and is scored on."""

_BUCKETS = {"train": range(0, 208), "dev": range(208, 224), "test": range(224, 256)}

# Words: one list per split; those of test also serve `ood`.
_WORD_TEXT = """
girls train: Mia Anna Lena Sara Ella Nina Rosa Zoe Ivy Clara Emma Grace Ruth Alice Maya Lucy Nora Jane Tina
girls train: Eva Olivia Sofia Amelia Hannah Julia Laura Kate Molly Priya Aisha Fatima Yuki Mei Leila Ines
girls train: Carmen Marta Petra Greta Heidi Freya Astrid Bella Daisy Fiona Gina Holly Irene Jenny Karen
girls train: Linda Megan Nancy Paula Rita Susan Tara Uma Vera Wendy Abby Becky Celia Donna Edith Flora
girls train: Gloria Helen Isabel Joyce
girls dev: Dora Elsa Hilda Ida Joan Kira Lydia Mabel Naomi Opal
girls test: Maria Lily Chloe Stella Violet Hazel Amira Noor Sana Tess Willa Yara Zara Bianca Camila Dalia
boys train: Tom Ben Max Sam Leo Paul Finn Jack Noah Omar Ali Ravi Ken Luis Juan Marco Peter Hugo Otto Felix
boys train: Adam Eric Frank Gary Henry Ian James Karl Liam Mark Nick Oscar Phil Ryan Scott Tim Victor Will
boys train: Yusuf Zack Aaron Brian Carl David Evan Fred George Harry Ivan Jacob Kevin Louis Martin Nathan
boys train: Owen Patrick Quinn Robert Simon Thomas Abdul Boris Chen Diego Emil Gabriel Hassan Jonas
boys dev: Alan Bruno Cyrus Dennis Edgar Floyd Glen Howard Isaac Jerome
boys test: Lucas Daniel Theo Arthur Rafael Mateo Kofi Amir Bilal Dmitri Elias Faris Gavin Harold Idris Joel
things train: apples pens books coins stones shells cards stamps balls eggs cups plates nuts plums pears
things train: roses candles buttons beads keys toys cars dolls hats socks shirts shoes rings cookies cakes
things train: muffins lemons oranges grapes berries carrots potatoes onions tomatoes peppers pencils erasers
things train: rulers notebooks stickers posters maps photos flowers seeds leaves trees blocks bricks tiles
things train: nails screws bottles jars spoons forks bowls boxes bags tickets badges flags kites drums bells
things train: lamps clocks chairs ducks hens fish rabbits sheep goats marbles
things dev: melons brushes magnets puzzles ribbons gloves
things test: peaches crayons markers pebbles acorns figs mugs scarves towels balloons robots whistles pins
things test: cherries bananas envelopes
stuff train: rice flour sand sugar salt corn wheat coal soil coffee
stuff dev: gravel oats
stuff test: barley clay lentils
liquid train: water milk juice oil tea soup paint honey
liquid dev: lemonade vinegar
liquid test: syrup cider broth
long train: rope ribbon string pipe board fence wall hose
long dev: cord chain
long test: cable wire rail
acts train: read draw run sing swim dance walk write cook paint
acts dev: skate knit
acts test: study jog hike
"""

# Sentence patterns. A theme opens with its name, its word list and its units. Then come lines of a key and
# patterns: `=` opens with a value, `=*` and `=/` with a first step of two numbers; `+ - * /` change the
# running value; `?*` and `?/` end with a last step and its question; `?` only asks. `ood` patterns are for
# `ood` alone. {N} is the person, {S} {s} {h} refer to them, {F} is somebody else, {o} what is counted, {u} its
# unit, {a} {b} open the story and {n} is the operand. A leading `>` hands the story over to {F}.
_STORY_TEXT = """
[things] things
= {N} has {a} {o}. | {N} starts with {a} {o}. | {N} finds {a} {o} in a box.
= There are {a} {o} on {N}'s table. | {N} gets {a} {o} as a gift.
=* There are {a} boxes with {b} {o} each. {N} takes them all. | {N} has {a} bags with {b} {o} each.
=* {N} fills {a} shelves with {b} {o} each. | {N} buys {a} packs of {b} {o}.
=/ {a} {o} are shared equally among {b} children. {N} is one of them.
=/ {N} packs {a} {o} equally into {b} boxes and takes one box.
+ {S} buys {n} more. | {S} finds {n} more {o}. | {F} gives {h} {n} more. | {S} gets {n} more.
+ >{F} has {n} more {o} than {N}.
- {S} gives {n} {o} to {F}. | {S} loses {n} of them. | {S} sells {n} {o}. | {S} gives away {n}.
- >{F} has {n} fewer {o} than {N}.
* After a week {s} has {n} times as many. | {S} trades each one for {n} new ones.
* {S} makes it {n} times as many {o}. | >{F} has {n} times as many {o} as {N}.
/ {S} packs them equally into {n} bags and keeps one bag.
/ {S} splits them into {n} equal groups and keeps one.
/ {S} shares them equally among {n} people, and {s} is one of them.
?* {S} sells all of them for {n} dollars each. How many dollars does {N} get?
?* All {o} cost {n} dollars each. How many dollars do they cost together?
?/ {S} puts them equally into {n} boxes. How many {o} are in each box?
?/ {S} shares them equally among {n} friends. How many {o} does each friend get?
? How many {o} does {N} have now? | How many {o} does {N} have in the end?
? How many {o} does {N} have left?
ood = In {N}'s bag there are {a} {o}. | {a} {o} belong to {N}.
ood =* {N} has {b} {o} in each of {a} drawers.
ood =/ {N} is one of {b} people who get an equal part of {a} {o}.
ood + Another {n} are added. | {n} more {o} come from {F}.
ood - {n} of the {o} get lost. | {F} takes {n} away.
ood * The number of {o} grows to {n} times what it was.
ood / Only one of {n} equal parts stays with {N}.
ood ?* Every one is worth {n} dollars. How much are they worth in all?
ood ?/ {n} boxes are filled equally with them. What is the number of {o} in a box?
ood ? What is the number of {o} that {N} has?
[money] things
= {N} has {a} dollars. | {N} saves {a} dollars. | {N} has ${a} in a jar. | {N} brings ${a}.
=* {N} sells {a} {o} for {b} dollars each. | {N} works {a} hours for {b} dollars an hour.
=* {N} saves {a} dollars a week for {b} weeks.
=/ A prize of {a} dollars is shared equally among {b} people. {N} is one of them.
+ {S} earns {n} dollars. | {S} finds ${n}. | {F} gives {h} {n} dollars. | {S} sells {o} for {n} dollars.
+ >{F} has {n} dollars more than {N}.
- {S} spends {n} dollars on {o}. | {S} buys {o} for ${n}. | {S} pays {n} dollars to {F}.
- {S} loses {n} dollars. | >{F} has {n} dollars less than {N}.
* {S} saves until {s} has {n} times as much. | After a month {s} has {n} times as much money.
* >{F} has {n} times as much money as {N}.
/ {S} splits the money equally into {n} jars and takes one jar.
/ {S} shares the money equally among {n} people, and {s} is one of them.
?/ {S} spends it all on {o} for {n} dollars each. How many {o} does {N} get?
?/ {S} shares it equally among {n} friends. How many dollars does each friend get?
? How many dollars does {N} have now? | How much money does {N} have in the end?
? How many dollars does {N} have left?
ood = There are {a} dollars in {N}'s pocket.
ood =* For each of {a} {o} that {s} sells, {N} gets {b} dollars.
ood =/ {N} is one of {b} people who get an equal part of {a} dollars.
ood + Another {n} dollars come from {F}. | {n} dollars more are put in.
ood - {n} dollars go to {F} for {o}. | A bill takes {n} dollars away.
ood * The money grows to {n} times what it was.
ood / Only one of {n} equal parts stays with {N}.
ood ? What sum of money does {N} have?
[trip] things km miles
= {N} plans a walk of {a} {u}. | {N} wants to ride {a} {u}. | {N}'s way is {a} {u} long.
=* {N} wants to ride {a} {u} a day for {b} days. | {N} plans {a} trips of {b} {u} each.
=/ A way of {a} {u} is split into {b} equal parts. {N} takes one part.
+ {S} adds {n} {u}. | A new road makes it {n} {u} longer. | {S} goes {n} {u} more to buy {o}.
- {S} makes it {n} {u} shorter. | A bridge saves {h} {n} {u}. | {S} leaves out {n} {u}.
* {S} wants to go {n} times as far. | {S} makes it {n} times as long. | >{F} goes {n} times as far as {N}.
/ {S} splits it into {n} equal parts and goes only one part.
/ {S} shares the way equally among {n} people, and {s} is one of them.
?/ {S} does it in {n} equal days. How many {u} is that each day?
? How many {u} does {N} go? | How many {u} is {N}'s way now? | How far does {N} go, in {u}?
ood = It is {a} {u} from {N}'s house to the shop.
ood =* On each of {a} days {N} wants to go {b} {u}.
ood =/ {N} takes one of {b} equal parts of a way of {a} {u}.
ood + Another {n} {u} are added. | The way grows by {n} {u}.
ood - {n} {u} are left out. | The way gets {n} {u} shorter.
ood * The way grows to {n} times what it was.
ood / Only one of {n} equal parts is left for {N}.
ood ? What is the way now, in {u}?
[length] long cm meters feet
= {N} has a {o} of {a} {u}. | {N} buys a {o} that is {a} {u} long. | {N}'s {o} is {a} {u} long.
=* {N} makes a {o} from {a} parts of {b} {u} each.
=/ {N} cuts a {o} of {a} {u} into {b} equal parts and takes one part.
+ {S} adds {n} {u}. | {S} makes it {n} {u} longer. | {F} gives {h} {n} {u} more.
+ >{F}'s {o} is {n} {u} longer than that.
- {S} cuts off {n} {u}. | {S} makes it {n} {u} shorter. | {S} gives {n} {u} of it to {F}.
- >{F}'s {o} is {n} {u} shorter than that.
* {S} makes it {n} times as long. | >{F}'s {o} is {n} times as long as that.
/ {S} cuts it into {n} equal parts and keeps one part.
/ {S} shares it equally among {n} people, and {s} is one of them.
?/ {S} cuts it into {n} equal parts. How many {u} long is each part?
? How many {u} long is {N}'s {o} now? | How long is the {o} in the end, in {u}?
ood = There is a {o} of {a} {u} on {N}'s table.
ood =* From {a} parts, each {b} {u} long, {N} makes a {o}.
ood =/ {N} takes one of {b} equal parts of a {o} of {a} {u}.
ood + Another {n} {u} are added. | {n} {u} more come from {F}.
ood - {n} {u} are cut off. | {F} takes {n} {u} of it away.
ood * The {o} grows to {n} times what it was.
ood / Only one of {n} equal parts stays with {N}.
ood ? What is the length of the {o} now, in {u}?
[time] acts minutes hours
= {N} plans to {o} for {a} {u}. | {N} wants to {o} for {a} {u}.
=* {N} wants to {o} for {a} {u} a day on {b} days. | {N} plans to {o} {a} times for {b} {u} each.
=/ {N} plans to {o} for {a} {u} in {b} equal parts, but does only one part.
+ {S} adds {n} {u}. | {S} goes on for {n} {u} more. | {F} asks {h} to add {n} {u}.
+ >{F} plans {n} {u} more than {N}.
- {S} takes off {n} {u}. | {S} stops {n} {u} early. | >{F} plans {n} {u} less than {N}.
* {S} makes it {n} times as long. | >{F} plans {n} times as long as {N}.
/ {S} splits the time into {n} equal parts and does only one part.
?/ {S} splits the time equally over {n} days. How many {u} is that each day?
? How many {u} does {N} {o}? | For how many {u} does {N} {o} in the end?
ood = {a} {u} is the time {N} has to {o}.
ood =* On each of {a} days {N} wants to {o} for {b} {u}.
ood =/ {N} does one of {b} equal parts of {a} {u}.
ood + Another {n} {u} are added. | The time grows by {n} {u}.
ood - {n} {u} are left out. | The time gets {n} {u} shorter.
ood * The time grows to {n} times what it was.
ood / Only one of {n} equal parts is left for {N}.
ood ? What is the time that {N} has to {o}, in {u}?
[weight] stuff kg pounds
= {N} has {a} {u} of {o}. | {N} buys {a} {u} of {o}. | There are {a} {u} of {o} in {N}'s bag.
=* {N} has {a} bags with {b} {u} of {o} each. | {N} buys {a} {u} of {o} a day for {b} days.
=/ {a} {u} of {o} are shared equally among {b} people. {N} is one of them.
+ {S} buys {n} {u} more. | {S} adds {n} {u}. | {F} gives {h} {n} {u} more. | >{F} has {n} {u} more than {N}.
- {S} uses {n} {u}. | {S} sells {n} {u}. | {S} gives {n} {u} to {F}. | >{F} has {n} {u} less than {N}.
* After a week {s} has {n} times as much. | >{F} has {n} times as much {o} as {N}.
/ {S} packs it equally into {n} bags and keeps one bag.
/ {S} shares it equally among {n} people, and {s} is one of them.
?* {S} sells all of it for {n} dollars a {u1}. How many dollars does {N} get?
?/ {S} packs it equally into {n} boxes. How many {u} of {o} are in each box?
? How many {u} of {o} does {N} have now? | How many {u} of {o} does {N} have left?
ood = In {N}'s bag there are {a} {u} of {o}.
ood =* {N} has {b} {u} of {o} in each of {a} boxes.
ood =/ {N} is one of {b} people who get an equal part of {a} {u} of {o}.
ood + Another {n} {u} are added. | {n} {u} more come from {F}.
ood - {n} {u} of it get lost. | {F} takes {n} {u} away.
ood * The {o} grows to {n} times what it was.
ood / Only one of {n} equal parts stays with {N}.
ood ? What is the weight of {N}'s {o}, in {u}?
[volume] liquid liters cups
= {N} has {a} {u} of {o}. | {N} makes {a} {u} of {o}. | There are {a} {u} of {o} in {N}'s pot.
=* {N} has {a} bottles with {b} {u} of {o} each. | {N} makes {a} {u} of {o} a day for {b} days.
=/ {N} fills {a} {u} of {o} equally into {b} pots and takes one pot.
+ {S} makes {n} {u} more. | {S} pours in {n} {u}. | {F} gives {h} {n} {u} more.
+ >{F} has {n} {u} more than {N}.
- {S} uses {n} {u}. | {S} pours out {n} {u}. | {S} gives {n} {u} to {F}. | >{F} has {n} {u} less than {N}.
* {S} makes it {n} times as much. | >{F} has {n} times as much {o} as {N}.
/ {S} fills it equally into {n} bottles and keeps one bottle.
/ {S} shares it equally among {n} people, and {s} is one of them.
?/ {S} fills it equally into {n} bottles. How many {u} of {o} are in each bottle?
? How many {u} of {o} does {N} have now? | How many {u} of {o} does {N} have left?
ood = In {N}'s pot there are {a} {u} of {o}.
ood =* {N} has {b} {u} of {o} in each of {a} pots.
ood =/ {N} takes one of {b} equal parts of {a} {u} of {o}.
ood + Another {n} {u} are added. | {n} {u} more come from {F}.
ood - {n} {u} of it are poured out. | {F} takes {n} {u} away.
ood * The {o} grows to {n} times what it was.
ood / Only one of {n} equal parts stays with {N}.
ood ? What is the amount of {o} in {N}'s pot, in {u}?
"""

_OPERATIONS = "+-*/"
_WEIGHTS = {"+": 3, "-": 3, "*": 2, "/": 2}
_LINKS = ("Then ", "Later ", "After that, ", "Next, ")
_MAX_MISSES = 4000


def generate(
    split: str,
    n: int,
    seed: int = 0,
    *,
    min_steps: int = MIN_STEPS,
    max_steps: int = MAX_STEPS,
    max_value: int = MAX_VALUE,
    balanced: bool = False,
) -> list[dict[str, Any]]:
    """`n` different problems of one split, the same ones for the same arguments everywhere.

    A row has `question`, `answer` (one line `left op right = result` per step, then `#### N`), `id` (from the
    question, so it names the problem, not its place), `kind` (the operations, such as `+-*`), `steps` (dicts
    `left`, `op`, `right`, `result`) and `skeleton` (pattern ids and numbers, no names). No value exceeds
    `max_value`; none is negative or a fraction. `balanced` rows end in `+`, `-`, `*`, `/` in turn, by their last
    step; else the stories decide, with more sums and differences.

    >>> row = generate("test", 1, min_steps=1, max_steps=1)[0]
    >>> terse(row) == f"#### {row['steps'][-1]['result']}"
    True
    """
    _check(split, n, seed, min_steps, max_steps, max_value)
    dial = f"{split}:{seed}:{min_steps}:{max_steps}:{max_value}{':balanced' if balanced else ''}"
    rng = random.Random(f"wordproblems-1:{dial}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    misses = 0
    while len(rows) < n:
        row = _attempt(rng, split, min_steps, max_steps, max_value)
        is_off_turn = balanced and row is not None and row["kind"][-1] != _OPERATIONS[len(rows) % len(_OPERATIONS)]
        if row is None or is_off_turn or row["question"] in seen:
            misses += 1
            if misses > _MAX_MISSES:
                raise ReasonerError(
                    f"only {len(rows)} of {n} different {split} problems found",
                    why=f"{min_steps}-{max_steps} steps with values up to {max_value} leave too few",
                    fix="ask for fewer problems, more steps or a larger max_value",
                    code=2,
                )
            continue
        misses = 0
        seen.add(row["question"])
        rows.append(row)
    return rows


def dataset(split: str, n: int, seed: int = 0, **dial: Any) -> datasets.Dataset:
    """The rows of `generate` as a `datasets.Dataset`; `dial` takes its keyword arguments."""
    from datasets import Dataset

    return Dataset.from_list(generate(split, n, seed, **dial))


def terse(problem: dict[str, Any]) -> str:
    """The reference answer without its work: only the `#### N` line."""
    return str(problem["answer"]).rsplit("\n", 1)[-1]


def _check(split: str, n: int, seed: int, min_steps: int, max_steps: int, max_value: int) -> None:
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1, cutoff=0.0)[0]
        raise ReasonerError(f"unknown split {split!r}", why=f"not one of {SPLITS}", fix=f"use {near!r}", code=2)
    limits = (("n", n, 0), ("seed", seed, 0), ("min_steps", min_steps, 1), ("max_steps", max_steps, 1))
    for name, value, low in limits:
        if type(value) is not int or value < low:
            raise ReasonerError(f"{name} must be a whole number of at least {low}, not {value!r}", code=2)
    if not min_steps <= max_steps <= 8:
        raise ReasonerError(
            f"steps {min_steps}-{max_steps} make no range", fix="use 1 <= min_steps <= max_steps <= 8", code=2
        )
    if type(max_value) is not int or not 20 <= max_value <= 1_000_000:
        raise ReasonerError(f"max_value must be a whole number from 20 to 1000000, not {max_value!r}", code=2)


# Only `Random.random` is used below: Python promises its sequence for a seed, not that of `choice`.
def _int(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _pick(rng: random.Random, items: Any) -> Any:
    return items[int(rng.random() * len(items))]


def _read_words() -> dict[str, dict[str, list[str]]]:
    words: dict[str, dict[str, list[str]]] = {}
    for line in _WORD_TEXT.strip().splitlines():
        head, _, tail = line.partition(": ")
        name, split = head.split()
        words.setdefault(name, {}).setdefault(split, []).extend(tail.split())
    return words


class _Theme:
    """One kind of story: its word list, its units, and its patterns by key, with `ood` ones apart."""

    def __init__(self, name: str, words: str, units: list[str]) -> None:
        self.name, self.words, self.units = name, words, units or [""]
        self.common: dict[str, list[str]] = {}
        self.ood: dict[str, list[str]] = {}


def _read_themes() -> dict[str, _Theme]:
    themes: dict[str, _Theme] = {}
    theme = _Theme("", "", [])
    for line in _STORY_TEXT.strip().splitlines():
        key, _, tail = line.partition(" ")
        if key.startswith("["):
            words, *units = tail.split()
            theme = themes[key[1:-1]] = _Theme(key[1:-1], words, units)
            continue
        patterns = theme.common
        if key == "ood":
            patterns = theme.ood
            key, _, tail = tail.partition(" ")
        patterns.setdefault(key, []).extend(tail.split(" | "))
    return themes


_WORDS = _read_words()
_THEMES = _read_themes()
_OFTEN = [t for t in _THEMES.values() for _ in range({"things": 3, "money": 2}.get(t.name, 1))]
_PEOPLE = {
    split: [(name, "she", "her") for name in _WORDS["girls"][split]]
    + [(name, "he", "him") for name in _WORDS["boys"][split]]
    for split in _BUCKETS
}


def _attempt(rng: random.Random, split: str, min_steps: int, max_steps: int, max_value: int) -> dict[str, Any] | None:
    """One problem, or None where the numbers ran into a dead end or the skeleton belongs to another split."""
    theme = _pick(rng, _OFTEN)
    patterns = theme.ood if split == "ood" else theme.common
    plan = _plan(rng, patterns, _int(rng, min_steps, max_steps), max_value)
    if plan is None:
        return None
    opening, story, steps = plan
    numbers = " ".join(str(n) for n in (*opening[2:], *(s["right"] for s in steps)))
    ids = " ".join((opening[0], *(id_ for id_, _, _ in story)))
    bones = f"{'ood-' if split == 'ood' else ''}{theme.name} {ids} {numbers}"
    if split != "ood" and hashlib.sha256(bones.encode()).digest()[0] not in _BUCKETS[split]:
        return None
    question = _tell(rng, theme, "test" if split == "ood" else split, opening, story)
    lines = [f"{s['left']} {s['op']} {s['right']} = {s['result']}" for s in steps]
    return {
        "id": f"pocket-{split}-{hashlib.sha256(question.encode()).hexdigest()[:12]}",
        "question": question,
        "answer": "\n".join([*lines, f"#### {steps[-1]['result']}"]),
        "kind": "".join(str(s["op"]) for s in steps),
        "steps": steps,
        "skeleton": bones,
    }


_Opening = tuple[str, str, int, int]
"""Pattern id, pattern, and its two numbers (the second 0 where there is one)."""
_Sentence = tuple[str, str, int]
"""Pattern id, pattern, operand."""


def _plan(
    rng: random.Random, patterns: dict[str, list[str]], num_steps: int, max_value: int
) -> tuple[_Opening, list[_Sentence], list[dict[str, Any]]] | None:
    """The numbers and patterns of a story; None where no operation fits the running value."""
    steps: list[dict[str, Any]] = []
    story: list[_Sentence] = []

    def step(left: int, op: str, right: int) -> int:
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[op]
        steps.append({"left": left, "op": op, "right": right, "result": result})
        return result

    kind = _pick(rng, ("=", "=", "=", "=*", "=/"))
    index = int(rng.random() * len(patterns[kind]))
    b = 0
    if kind == "=":
        a = value = _int(rng, 3, max(3, max_value * 6 // 10))
    elif kind == "=*":
        a = _int(rng, 2, 10)
        b = _int(rng, 2, min(10, max_value // a))
        value = step(a, "*", b)
    else:
        b = _int(rng, 2, 10)
        a = b * _int(rng, 2, max_value // b)
        value = step(a, "/", b)
    while len(steps) < num_steps:
        divisors = [d for d in range(2, 11) if value % d == 0 and value >= 2 * d]
        options = {
            "+": max_value - value >= 2,
            "-": value >= 4,
            "*": value * 2 <= max_value,
            "/": bool(divisors),
        }
        ops = [op for op, possible in options.items() if possible for _ in range(_WEIGHTS[op])]
        if not ops:
            return None
        op = _pick(rng, ops)
        if op == "+":
            right = _int(rng, 2, min(max_value - value, max_value // 2))
        elif op == "-":
            right = _int(rng, 2, value - 2)
        elif op == "*":
            right = _int(rng, 2, min(10, max_value // value))
        else:
            right = _pick(rng, divisors)
        ends = len(steps) == num_steps - 1 and f"?{op}" in patterns and rng.random() < 0.4
        key = f"?{op}" if ends else op
        which = int(rng.random() * len(patterns[key]))
        story.append((f"{key}{which}", patterns[key][which], right))
        value = step(value, op, right)
    if not story or not story[-1][0].startswith("?"):
        which = int(rng.random() * len(patterns["?"]))
        story.append((f"?{which}", patterns["?"][which], 0))
    return (f"{kind}{index}", patterns[kind][index], a, b), story, steps


def _tell(rng: random.Random, theme: _Theme, split: str, opening: _Opening, story: list[_Sentence]) -> str:
    """The story in words: who, what, and a pronoun only where it can mean one person."""
    who = _pick(rng, _PEOPLE[split])
    unit = _pick(rng, theme.units)
    objects = _WORDS[theme.words][split]
    object_ = _pick(rng, objects)
    _, pattern, a, b = opening
    said = [pattern.format(N=who[0], s=who[1], o=object_, u=unit, a=a, b=b)]
    clear = True
    for key, pattern, operand in story:
        other = _pick(rng, _PEOPLE[split])
        while other[0] == who[0]:
            other = _pick(rng, _PEOPLE[split])
        hands_over = pattern.startswith(">")
        pronoun = clear and rng.random() < 0.7
        subject = who[1] if pronoun else who[0]
        link = ""
        if pattern.startswith("{S}") and not key.startswith("?") and rng.random() < 0.25:
            link = _pick(rng, _LINKS)
        # Money spent is spent on something else each time; elsewhere the objects are what is counted.
        thing = _pick(rng, objects) if theme.name in ("money", "trip") and "{o}" in pattern else object_
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
        if hands_over:
            who = other
    return " ".join(said)
