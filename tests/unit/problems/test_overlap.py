"""Copies across sets are found, and not trained on."""

import dataclasses
import json

from made_up_sets import counting, own, smol

from reasoner import config, files
from reasoner.problems import load, overlap
from reasoner.problems.problem import Problem


def problem_of(id_, question, prose=""):
    return Problem(id_, question, "1", prose=prose)


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_overlap_finds_equal_and_near_problems():
    held_out = [
        problem_of("a", "What is 1 + 1?"),
        problem_of("b", f"Say: {LONG}."),
        problem_of("c", "Sort all the numbers of this list, please, quickly."),
        problem_of("d", "def f(x): ...", prose="Add one."),
        problem_of("e", "one two three four five six seven and then something else that is rather long, as you see"),
    ]
    train = [
        problem_of("1", "what is  1+1 ?"),
        problem_of("2", "They count: " + LONG.upper().replace(" ", ", ") + "!"),
        problem_of("3", "Please do: sort all the numbers of this list please quickly and return it"),
        problem_of("4", "Write it.\nYour code should pass this test:\nassert g(1) == 2", prose="add one."),
        problem_of("5", "What is 1 + 2?"),
        problem_of("6", "one two three four five six seven or so"),
        problem_of("7", " ".join(LONG.split()[:12]) + " fifteen"),
    ]
    assert overlap.exact(train, held_out) == {0, 3}
    found = overlap.find_overlap(train, held_out)
    assert dataclasses.replace(found, first=[]) == overlap.Overlap(
        train=7, held_out=5, exact=2, near=2, near_train=2, short=2, first=[]
    )
    assert [(pair.held_out, pair.train) for pair in found.first] == [("b", "2"), ("c", "3")]
    assert found.first[1].words == "sort all the numbers of this list please quickly"
    assert found.first[0].words in LONG and len(found.first[0].words.split()) == 13


def test_near_copies_are_listed_up_to_ten():
    held_out = [problem_of(str(i), f"{LONG} {i}") for i in range(30)]
    found = overlap.find_overlap([problem_of("x", f"{LONG} x"), problem_of("y", f"{LONG} y")], held_out)
    assert (found.near, found.near_train, len(found.first)) == (30, 2, 10)
    assert {pair.train for pair in found.first} == {"x"}


def two_sources(tmp_path, num="none"):
    (tmp_path / "scored").mkdir(exist_ok=True)
    own(tmp_path / "scored", [{"question": q, "answer": 1} for q in ("3 + 1?", f"{LONG}?", "Why?")], "test.jsonl")
    train = own(tmp_path, [*counting(100), {"question": f"Say {LONG} now.", "answer": "1"}])
    values = {"data.source": train, "data.num_train": num, "eval.source": str(tmp_path / "scored")}
    return config.resolve("pocket", values)[0]


def test_problems_that_an_evaluated_set_asks_too_are_not_trained_on(tmp_path):
    asked = two_sources(tmp_path)
    assert {p.question for p in load.held_out(asked)} == {"3 + 1?", f"{LONG}?", "Why?"}
    whole, used = load.problems(asked.data, "train", None), load.training(asked)
    gone = [p for p in whole if p.question == "3 + 1?"]
    assert len(gone) == 1 and used == [p for p in whole if p not in gone]
    found = load.contamination(asked)
    assert (found.train, found.dropped) == (len(used), 1)
    main = found.sets["held-out"]
    assert (main.exact, main.near, main.held_out) == (1, 1, 3)
    assert files.parse(overlap.Contamination, json.loads(json.dumps(dataclasses.asdict(found)))) == found
    line = f"overlap of {len(used)} training problems with held-out 1 exact (dropped), 1 of 3 near"
    assert found.line() == line
    # The number asked for is filled up from the others.
    assert load.training(two_sources(tmp_path, "50")) == used[:50]


def test_sets_beside_are_looked_at_where_they_are(code_files, tmp_path):
    asked = config.resolve("code")[0]
    found = load.contamination(asked)
    assert set(found.sets) == {"held-out", "mbpp"}
    assert (found.train, found.dropped, found.sets["mbpp"].near) == (3, 0, 0)
    assert [p.id for p in load.held_out(asked)] != [] and load.held_out(asked)[0].id.startswith("humaneval-")
    beside = asked.model_copy(update={"eval": asked.eval.model_copy(update={"beside": ("svamp",)})})
    assert load.contamination(beside).sets["svamp"] is None
    assert load.contamination(beside).line().endswith("; svamp not here when training began")


def test_generated_training_problems_are_all_used(sets):
    asked = smol(eval__beside='["ood", "two-step", "svamp"]')
    assert load.training(asked) == load.problems(asked.data, "train", 10)
    found = load.contamination(asked)
    assert (found.train, found.dropped, found.sets["svamp"]) == (10, 0, None)
