"""Line tasks: their values are right, their splits are apart, their tests tell a function from its neighbours."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner.errors import ReasonerError
from reasoner.problems import generator
from reasoner.problems import one_liners as lt


@pytest.fixture(scope="module")
def rows():
    return {split: lt.generate(split, lt.SIZES[split]) for split in generator.SPLITS}


def solution(code, name):
    """A function of this module's own source: nothing that a model or a data set wrote is run here."""
    scope = {}
    exec(code, scope)
    return scope[name]


def test_rows_have_one_visible_test_and_the_same_number_of_hidden_ones(rows):
    for split, some in rows.items():
        assert len({row["text"] for row in some}) == len({row["id"] for row in some}) == lt.SIZES[split]
        for row in some:
            assert re.fullmatch(rf"line-{split}-[0-9a-f]{{12}}", row["id"])
            assert (len(row["visible"]), len(row["hidden"])) == (1, lt.NUM_HIDDEN)
            assert len(set(row["visible"] + row["hidden"])) == 1 + lt.NUM_HIDDEN
            assert row["text"].count(f"{row['entry_point']}(") == 1
            assert not re.search(r"[{}|]|  |None", row["text"])


def test_expected_values_are_those_of_the_reference_solution(rows):
    """They are computed by other code: the solutions are text, the values come from functions."""
    for some in rows.values():
        for row in some:
            scope = {row["entry_point"]: solution(row["code"], row["entry_point"])}
            exec("\n".join(row["visible"] + row["hidden"]), scope)


BY_HAND = {
    "double": lambda given: 2 * int(given),
    "reverse": lambda given: given[1:-1][::-1],
    "keep_even size": lambda given: sum(number % 2 == 0 for number in json.loads(given)),
    "sub2": lambda given: int(given.split(", ")[0]) - int(given.split(", ")[1]),
    "total": lambda given: sum(json.loads(given)),
}


def test_values_by_hand(rows):
    seen = set()
    for row in (row for some in rows.values() for row in some):
        by_hand = BY_HAND.get(" ".join(row["steps"]))
        for test in row["visible"] + row["hidden"] if by_hand else ():
            given, _, value = test.removeprefix(f"assert {row['entry_point']}(").partition(") == ")
            assert value == repr(by_hand(given)), test
            seen.add(" ".join(row["steps"]))
    assert seen == set(BY_HAND)


def test_kinds_come_in_turn(rows):
    for some in rows.values():
        assert [row["kind"].split()[0] for row in some] == [lt.KINDS[i % 4] for i in range(len(some))]
        assert {len(row["steps"]) for row in some} == {1, 2}
        assert all(row["kind"].endswith(" in 2 steps") == (len(row["steps"]) == 2) for row in some)


def test_no_wrong_neighbour_passes_the_hidden_tests(rows):
    """A function that gives its input back, a constant, and one step of two."""
    for row in rows["test"]:
        values = [test.partition(" == ")[2] for test in row["hidden"]]
        given = [re.search(r"\((.*)\) == ", test)[1] for test in row["hidden"]]
        assert values != given
        assert len(set(values)) >= 2
        if len(row["steps"]) == 2:
            alone = row["code"].replace("return ", "return result if True else ")
            first = solution(alone, row["entry_point"])
            with pytest.raises(AssertionError):
                for test in row["visible"] + row["hidden"]:
                    exec(test, {row["entry_point"]: first})


def test_the_reference_of_a_property_is_the_solution_by_its_name(rows):
    for row in rows["dev"]:
        reference = row["property"]["reference"]
        assert reference == row["code"].replace(f"def {row['entry_point']}(", "def reference(", 1)
        assert row["property"]["args"] == lt.STRATEGIES[row["kind"].split()[0]]


def test_splits_share_no_names_and_no_task_up_to_renaming(rows):
    for names in (lt.NAMES, *lt.PARAMETERS.values()):
        lists = [set(names[split].replace(",", " ").split()) for split in ("train", "dev", "test")]
        assert sum(map(len, lists)) == len(set.union(*lists))
    bones = {split: {row["skeleton"] for row in some} for split, some in rows.items()}
    for a in generator.SPLITS:
        for b in generator.SPLITS:
            assert a == b or not bones[a] & bones[b]


def test_ood_is_told_in_words_of_its_own():
    common = {says for step in lt.OPERATIONS for says in step.says.split(" | ")}
    unseen = {says for step in lt.OPERATIONS for says in step.ood.split(" | ")}
    assert not common & unseen
    assert not set(lt.OPENINGS) & set(lt.OOD_OPENINGS) and not set(lt.LINKS) & set(lt.OOD_LINKS)


def test_the_same_in_another_process_and_a_smaller_n_is_a_prefix():
    code = "from reasoner.problems.one_liners import generate; print([r['id'] for r in generate('dev', 40, 5)])"
    root = Path(__file__).parents[3]
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    ids = [row["id"] for row in lt.generate("dev", 40, 5)]
    assert other.stdout.strip() == str(ids)
    assert [row["id"] for row in lt.generate("dev", 7, 5)] == ids[:7]
    assert [row["id"] for row in lt.generate("dev", 7, 6)] != ids[:7]


def test_rows_do_not_move(rows):
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    assert digest == "ee30b8dae1fc2e974cdfa588e1ba13cc6b0e6498dbc04791d392cc7486b26860"


def test_the_dial():
    for steps in (1, 2):
        assert {len(row["steps"]) for row in lt.generate("test", 60, min_steps=steps, max_steps=steps)} == {steps}
    assert lt.generate("test", 0) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "tset"}, "use 'test'"),
        ({"n": -1}, "n must be"),
        ({"n": True}, "n must be"),
        ({"seed": -1}, "seed must be"),
        ({"min_steps": 0}, "no 0-2 steps"),
        ({"min_steps": 2, "max_steps": 1}, "no 2-1 steps"),
        ({"max_steps": 3}, "no 1-3 steps"),
        ({"split": "dev", "n": 5000, "max_steps": 1}, "different dev tasks found"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments, says):
    with pytest.raises(ReasonerError, match=re.escape(says)) as caught:
        lt.generate(**{"split": "test", "n": 1, **arguments})
    assert caught.value.code == 2
