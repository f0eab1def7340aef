"""Which answers have fallen apart, and the file of everyday prompts."""

import json
import re
from importlib import resources

import pytest

from reasoner.measuring.everyday import degenerate
from reasoner.problems.everyday import everyday_prompts

POEM = """The wind comes down, the wind comes down,
And leaves go dancing through the town.
    O stay, my summer, stay.
The brook runs cold, the brook runs cold,
And all the hills are red and gold.
    O stay, my summer, stay.
The birds have flown, the birds have flown,
And I sit by the fire alone.
    O stay, my summer, stay."""


CODE = """```html
<div>
  <div>
    <div>
      <a href="https://example.com">A link</a>
    </div>
  </div>
</div>
```
The `href` attribute holds the address. The text between the tags is what people see."""


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        "The capital of France is Paris.",
        "1. Apples\n2. Pears\n3. Plums",
        "1. Read a book.\n2. Read a letter.\n3. Read a map.\n4. Read a poem.\n5. Read a play.\n6. Read the news.",
        "7 plus 1 gives 8\n7 plus 2 gives 9\n7 plus 3 gives 10\n7 plus 4 gives 11\n7 plus 5 gives 12",
        "You are not alone. You are not alone. You are not alone. Ask a friend to practise with you tonight.",
        "Ha! Ha! Ha! Ha! That was a good one.",
        "Happy birthday to you, happy birthday to you, happy birthday dear Ann, happy birthday to you!",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
        "There are 7 days in a week.",
        "Count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.",
        "The sea is wide and the sea is deep, and nobody who has heard it at night forgets what it",
        "¡Hola! Buenos días, amigo mío.",
        "早上好，我的朋友。",
        POEM,
        CODE,
    ],
)
def test_good_answers_are_not_degenerate(text):
    assert degenerate(text) is None


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("...", "empty"),
        ("7", "bare number"),
        ("#### 12", "bare number"),
        ("4 * 6 = 24\n24 - 9 = 15\n#### 15", "bare number"),
        ("The answer is: $\\boxed{12}$.", "bare number"),
        ("3x4 = 12", "bare number"),
        # as SmolLM2-135M-Instruct answered
        ("L'Étoile, la Cité, " + "la France, " * 30 + "la Franc", "repeats"),
        ("The play is a classic story from the balcony scene of " + "the balcony of " * 25, "repeats"),
        ("They are good at it. " + "They can produce up to 100 pounds of honey per day. " * 6 + "They can", "repeats"),
        ("Bonjour, je m'aime. " * 4 + "\n\nThis is a French phrase that means thank you; people like it.", "repeats"),
        ("1. The sea is blue.\n2. The sea is blue.\n3. The sea is blue.\n4. The sea is blue.", "repeats"),
        ("1. The sea is blue. 2. The sea is blue. 3. The sea is blue. 4. The sea is blue.", "repeats"),
        ("Dear neighbour,\nthank you for feeding my cat while I was away, it was so kind of you and I will not forget"
         " it.\nYours, Ann\n\n" + "P.S. I wish you a wonderful day too.\n\n" * 5 + "P.S. I wi", "repeats"),
        ("A summer's sigh, a winter's sigh,\nA harvest moon's light.\n" * 5 + "A summer's", "repeats"),
        ("A fruit salad:\n" + "".join(f"* 1 cup of {'red' if i * i % 7 < 3 else 'green'} apples\n" for i in range(14)),
         "repeats"),
        ("ha" * 40, "repeats"),
        ("A paragraph that is quite long, with a comma and some words in it, and one more thing. It ends here. " * 3,
         "repeats"),
    ],
)  # fmt: skip
def test_answers_that_fell_apart(text, how):
    assert degenerate(text) == how


def test_a_number_is_an_answer_where_one_was_asked():
    assert degenerate("7", number_ok=True) is None
    assert degenerate("", number_ok=True) == "empty"
    assert degenerate("7 " * 30, number_ok=True) == "repeats"
    assert degenerate(" ".join(map(str, range(60))), number_ok=True) is None
    assert degenerate("The answer is seven") is None


@pytest.mark.parametrize("text", ["a" * 20_000, "ab " * 20_000, " " * 40_000 + "x", "1." * 20_000, "- \n" * 20_000,
                                  "".join(map(str, range(9000))) + " a"])  # fmt: skip
def test_the_detector_takes_no_long_time(text, quick):
    quick(1, degenerate, text)


GOOD = {
    "france": "The capital of France is Paris.",
    "japan": "It is Tokyo.",
    "italy": "**Rome** is.",
    "sky": "The sky is blue on such a day.",
    "week": "A week has 7 days.",
    "hot": "Cold.",
    "pyramids": "The pyramids of Giza are in Egypt.",
    "planet": "Humans live on Earth.",
    "water": "The formula is H2O.",
    "ocean": "The Pacific Ocean.",
    "moon": "Neil Armstrong, in 1969.",
    "hamlet": "William Shakespeare wrote Hamlet.",
    "red-planet": "Mars is called so.",
    "continents": "There are seven continents.",
}


@pytest.fixture(scope="module")
def everyday():
    text = (resources.files("reasoner.problems") / "everyday.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_forty_prompts_to_ask_sixteen_to_track_and_the_rest_to_keep(everyday):
    assert [row["use"] for row in everyday] == ["eval"] * 40 + ["probe"] * 16 + ["keep"] * 96
    for key in ("id", "prompt"):
        assert len({row[key] for row in everyday}) == len(everyday)
    assert {row["kind"] for row in everyday if row["use"] == "eval"} == {
        "fact", "greeting", "short text", "list", "rewrite", "advice", "refusal", "code", "definition", "translation",
    }  # fmt: skip
    assert {key for row in everyday for key in row} == {"id", "use", "kind", "prompt", "expect", "number_ok"}
    assert [prompt.row() for prompt in everyday_prompts("eval")] == everyday[:40]
    assert [prompt.row() for prompt in everyday_prompts("probe")] == everyday[40:56]
    assert [prompt.row() for prompt in everyday_prompts("keep")] == everyday[56:]


def test_what_training_keeps_is_not_what_evaluation_asks(everyday):
    def words(row):
        return frozenset(re.findall(r"\w+", row["prompt"].casefold()))

    asked = {row["id"]: words(row) for row in everyday if row["use"] == "eval"}
    for row in everyday[40:]:
        near = [name for name, other in asked.items() if len(words(row) & other) > 0.8 * len(words(row) | other)]
        assert near == [], row["prompt"]


def test_no_prompt_is_arithmetic(everyday):
    assert [row["id"] for row in everyday if re.search(r"\d", row["prompt"])] == []


def test_each_fact_knows_its_good_answer_and_no_other_one(everyday):
    facts = {row["id"]: row["expect"] for row in everyday if "expect" in row}
    assert facts.keys() == GOOD.keys()
    same = {("week", "continents"), ("continents", "week")}  # both are seven
    for asked, pattern in facts.items():
        for other, answer in GOOD.items():
            right = re.search(pattern, answer, re.IGNORECASE) is not None
            assert right == (asked == other or (asked, other) in same), (asked, answer)
        assert not re.search(pattern, "I do not know, sorry.", re.IGNORECASE)


@pytest.mark.parametrize("formula", ["H2O", "H₂O", "H_2O", "$H_{2}O$", "h2o"])
def test_the_formula_of_water_in_its_spellings(everyday, formula):
    pattern = next(row["expect"] for row in everyday if row["id"] == "water")
    assert re.search(pattern, f"It is {formula}.", re.IGNORECASE)
    assert not re.search(pattern, "It is H2O2.", re.IGNORECASE)
