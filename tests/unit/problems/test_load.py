"""Sources look alike to the pipeline; a run's sets go with its settings."""

import pytest
from made_up_sets import own, settings, smol

from reasoner import config
from reasoner.errors import ReasonerError
from reasoner.problems import load


def test_generated_and_own_problems_come_out_alike(tmp_path):
    generated = load.problems(settings(), "test", 50)
    path = own(tmp_path, [{"question": p.question, "answer": p.answer, "id": p.id} for p in generated])
    mine = [p for split in ("train", "dev", "test") for p in load.problems(settings(source=path), split, None)]
    assert {(p.id, p.question, p.answer) for p in mine} == {(p.id, p.question, p.answer) for p in generated}
    assert len(mine) == 50


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gms8k", "did you mean `gsm8k`?"),
        ("wordproblem", "did you mean `wordproblems`?"),
        ("no/such.jsonl", "there is no file or folder no/such.jsonl"),
        ("./nothing", "there is no file or folder ./nothing"),
    ],
)
def test_a_source_that_cannot_be_is_refused_before_a_hub_is_asked(name, says):
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=name), "train", 1)
    assert says in str(caught.value)
    assert caught.value.code == 2


def steps(problems):
    return {len(problem.kind) for problem in problems}


def test_held_out_problems_are_as_in_training_or_shorter():
    both = smol(data__min_steps="2", data__max_steps="2")
    assert steps(load.held_out(both)) == {2}
    assert load.held_out(both) == load.problems(both.data, "test", 40)
    assert steps(load.held_out(smol(data__min_steps="2", data__max_steps="2", eval__max_steps="1"))) == {1}
    assert steps(load.held_out(smol(data__max_steps="2", eval__max_steps="1"))) == {1}
    assert steps(load.held_out(smol(data__min_steps="1", data__max_steps="1", eval__max_steps="2"))) == {1, 2}
    assert len(load.held_out(smol())) == 40


def test_generated_sets_beside_the_main_one():
    settings = smol(data__max_steps="2", eval__max_steps="1", data__balanced="true")
    two, ood = load.beside(settings, "two-step"), load.beside(settings, "ood")
    assert (len(two), steps(two), len(ood), steps(ood)) == (12, {2}, 12, {1})
    assert all(problem.id.startswith("pocket-test-") for problem in two)
    assert all(problem.id.startswith("pocket-ood-") for problem in ood)
    assert [problem.kind[-1] for problem in ood] == list("+-*/") * 3


@pytest.mark.parametrize("name", ["two-step", "ood"])
def test_generated_sets_need_the_generator(name, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(ReasonerError, match=f"the set '{name}' beside the main one is generated") as caught:
        load.beside(smol(data__source=str(tmp_path / "mine.jsonl")), name)
    assert caught.value.code == 2


def test_line_tasks_have_sets_beside_them():
    asked = config.resolve(
        "pocket", {"data.source": "linetasks", "data.max_steps": "1", "verifier.name": "code", "eval.num_beside": "8"}
    )[0]
    load.check_verifiers(asked)
    assert all(p.id.startswith("line-ood-") and "2" not in p.kind for p in load.beside(asked, "ood"))
    assert all(p.kind.endswith(" in 2 steps") for p in load.beside(asked, "two-step"))


def test_the_source_of_held_out_problems_is_checked_too(code_files):
    asked = smol(eval__source="humaneval")
    with pytest.raises(ReasonerError, match="is not for the references of humaneval"):
        load.check_verifiers(asked)
    with pytest.raises(ReasonerError, match="humaneval has no split 'dev'"):
        load.held_out(smol(eval__source="humaneval", eval__split="dev"))
    load.held_out(asked)
    # What pins the training source says nothing about the other one.
    both = smol(data__source="me/mine", data__subset="main", data__revision="c0ffee", eval__source="humaneval")
    assert len(load.held_out(both)) == 2


@pytest.mark.parametrize(
    ("source", "verifier", "is_fine"),
    [
        ("gsm8k", "number", True),
        ("gsm8k", "number-lenient", True),
        ("wordproblems", "arithmetic", False),
        ("math", "math", True),
        ("math", "checks/mine.py:mine", True),
        ("mine.jsonl", "math", True),
        ("mbpp", "code", True),
        ("linetasks", "code", True),
        ("humaneval", "number", False),
        ("math", "code", False),
        ("math", "number", False),
        ("gsm8k", "math", False),
        ("openai/gsm8k", "math", False),
        ("wordproblems", "math", False),
        ("math", "mathematics", False),
    ],
)
def test_a_source_is_paired_with_its_family_of_verifiers(source, verifier, is_fine):
    asked = config.resolve("pocket", {"data.source": source, "verifier.name": verifier})[0]
    if is_fine:
        return load.check_verifiers(asked)
    with pytest.raises(ReasonerError) as caught:
        load.check_verifiers(asked)
    assert caught.value.code == 2
    assert f"--set verifier.name={load.verifier_for(source)}" in caught.value.fix
