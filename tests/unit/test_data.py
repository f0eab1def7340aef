"""Sources look alike to the pipeline; splits have an identity; the control is a control."""

import json

import pytest

from reasoner import config, data
from reasoner.errors import ReasonerError
from reasoner.verifiers.number import reference_of


def settings(**overrides):
    return config.resolve("pocket", {f"data.{key}": value for key, value in overrides.items()})[0].data


def test_generated_and_own_problems_come_out_alike(tmp_path):
    generated = data.load(settings(), "test", 5)
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": p.question, "answer": p.answer}) + "\n" for p in generated))
    own = data.load(settings(source=str(path)), "test", 5)
    assert [(p.question, p.answer) for p in own] == [(p.question, p.answer) for p in generated]
    assert len({p.id for p in own}) == 5


@pytest.mark.slow
def test_a_folder_in_the_hub_layout(tmp_path):
    row = {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text((json.dumps(row) + "\n") * 3)
    assert len(data.load(settings(source=str(tmp_path)), "train", None)) == 3
    assert len(data.load(settings(source=str(tmp_path)), "test", 2)) == 2
    with pytest.raises(ReasonerError, match="no split 'ood'") as caught:
        data.load(settings(source=str(tmp_path)), "ood", 2)
    assert caught.value.code == 2


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_says_so(monkeypatch):
    import datasets

    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ReasonerError, match="cannot be loaded") as caught:
        data.load(settings(source="openai/gsm8k"), "train", 1)
    assert caught.value.code == 3
    assert "PROFILE=pocket" in caught.value.fix


def test_rows_without_the_fields_are_refused(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"question": "1 + 1?", "solution": "2"}\n')
    with pytest.raises(ReasonerError, match="row 0 of train has no text field answer"):
        data.load(settings(source=str(tmp_path / "bad.jsonl")), "train", None)


def test_no_problems_is_an_error(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ReasonerError, match="has no problems"):
        data.load(settings(source=str(tmp_path / "none.jsonl")), "train", None)


def test_split_identity_changes_with_any_reference():
    problems = data.load(settings(), "test", 5)
    changed = [*problems[:4], data.Problem(problems[4].id, problems[4].question, "#### 0")]
    assert data.split_sha256(problems) == data.split_sha256(data.load(settings(), "test", 5))
    assert data.split_sha256(problems) != data.split_sha256(changed)


def test_shuffled_references_are_all_wrong_and_the_same_as_a_whole():
    problems = data.load(settings(), "train", 300)
    control = data.shuffle_references(problems, 0, reference_of)
    assert sorted(p.answer for p in control) == sorted(p.answer for p in problems)
    for before, after in zip(problems, control, strict=True):
        assert reference_of(before.answer) != reference_of(after.answer)
        assert before.question == after.question
    assert control == data.shuffle_references(problems, 0, reference_of)
    assert control != data.shuffle_references(problems, 1, reference_of)


def test_references_all_alike_cannot_be_shuffled():
    problems = [data.Problem(str(i), "q", "#### 1") for i in range(5)]
    with pytest.raises(ReasonerError, match="too much alike"):
        data.shuffle_references(problems, 0, reference_of)


def test_messages_put_the_system_message_first():
    assert data.messages("q", None) == [{"role": "user", "content": "q"}]
    assert [m["role"] for m in data.messages("q", "s")] == ["system", "user"]


def smol(**overrides):
    values = {"data.source": "wordproblems", "data.num_train": "10", "data.max_value": "30", "eval.num_problems": "40"}
    values |= {"eval.num_beside": "12"} | {key.replace("__", "."): value for key, value in overrides.items()}
    return config.resolve("pocket", values)[0]


def steps(problems):
    return {len(problem.kind) for problem in problems}


def test_balanced_reaches_the_generator():
    problems = data.load(settings(balanced="true"), "test", 40)
    assert [problem.kind[-1] for problem in problems] == list("+-*/") * 10


def test_held_out_problems_are_as_in_training_or_shorter():
    both = smol(data__min_steps="2", data__max_steps="2")
    assert steps(data.held_out(both)) == {2}
    assert data.held_out(both) == data.load(both.data, "test", 40)
    assert steps(data.held_out(smol(data__min_steps="2", data__max_steps="2", eval__max_steps="1"))) == {1}
    assert steps(data.held_out(smol(data__max_steps="2", eval__max_steps="1"))) == {1}
    assert steps(data.held_out(smol(data__min_steps="1", data__max_steps="1", eval__max_steps="2"))) == {1, 2}
    assert len(data.held_out(smol())) == 40


def test_generated_sets_beside_the_main_one():
    settings = smol(data__max_steps="2", eval__max_steps="1", data__balanced="true")
    two, ood = data.beside(settings, "two-step"), data.beside(settings, "ood")
    assert (len(two), steps(two), len(ood), steps(ood)) == (12, {2}, 12, {1})
    assert all(problem.id.startswith("pocket-test-") for problem in two)
    assert all(problem.id.startswith("pocket-ood-") for problem in ood)
    assert [problem.kind[-1] for problem in ood] == list("+-*/") * 3


@pytest.mark.parametrize("name", ["two-step", "ood"])
def test_generated_sets_need_the_generator(name, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(ReasonerError, match=f"the set '{name}' beside the main one is generated") as caught:
        data.beside(smol(data__source=str(tmp_path / "mine.jsonl")), name)
    assert caught.value.code == 2


def svamp_row(i, **changes):
    row = {
        "ID": f"chal-{i}",
        "Body": f"Dan had {i + 1} pens.",
        "Question": "How many?",
        "Equation": "",
        "Answer": 145.0,
    }
    return row | {"Type": "Addition"} | changes


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_DATA", str(tmp_path))
    for name in ("svamp", "gsm8k"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_sets_from_files_are_left_out_where_the_files_are_not(sets, monkeypatch, tmp_path):
    assert data.sets_dir() == sets
    assert data.beside(smol(), "svamp") is None
    assert data.beside(smol(), "gsm8k") is None
    monkeypatch.delenv("REASONER_DATA")
    monkeypatch.chdir(tmp_path)
    assert data.sets_dir().resolve() == tmp_path / "data"


def test_svamp(sets):
    rows = [
        svamp_row(1),
        svamp_row(2, Body="If he had 4 pens ", Answer=2.5, Type="Common-Divison"),
        svamp_row(3, Answer=-7, Type="Subtraction"),
        svamp_row(4, Answer=1e6, Type="Multiplication"),
        svamp_row(5, Type="Common-Division"),
        svamp_row(6, Type="Riddle"),
    ]
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps(rows))
    problems = sorted(data.beside(smol(), "svamp"), key=lambda problem: problem.id)
    assert problems[:2] == [
        data.Problem("svamp-chal-1", "Dan had 2 pens. How many?", "145", "+"),
        data.Problem("svamp-chal-2", "If he had 4 pens, how many?", "2.5", "/"),
    ]
    assert [(p.answer, p.kind) for p in problems[2:]] == [("-7", "-"), ("1000000", "*"), ("145", "/"), ("145", "")]


def test_gsm8k_and_the_order_of_files(sets):
    rows = [{"question": f"{i} + 1? Two\u2028lines.", "answer": f"Work.\n#### {i + 1}"} for i in range(300)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (sets / "gsm8k" / "test.jsonl").write_text(text, encoding="utf-8")
    some = data.beside(smol(), "gsm8k")
    more = data.beside(smol(eval__num_beside="300"), "gsm8k")
    assert more[:12] == some
    assert [problem.id for problem in some[:3]] == ["gsm8k-test-000100", "gsm8k-test-000255", "gsm8k-test-000120"]
    assert {problem.id for problem in more} == {f"gsm8k-test-{i:06d}" for i in range(300)}
    assert {(p.id[-3:], p.question, p.answer, p.kind) for p in more} == {
        (f"{i:03d}", row["question"], row["answer"], "") for i, row in enumerate(rows)
    }


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("svamp", "[{", "Expecting"),
        ("svamp", "{}", "it is no JSON list"),
        ("svamp", json.dumps([svamp_row(1), {"ID": "x", "Question": "?"}]), "row 1 has no text field Body"),
        ("svamp", json.dumps([svamp_row(1), 5]), "row 1 has no text field ID"),
        ("svamp", json.dumps([svamp_row(1, Answer="12")]), "row 0: Answer is no number: '12'"),
        ("svamp", json.dumps([svamp_row(1, Answer=float("nan"))]), "row 0: Answer is no number: nan"),
        ("gsm8k", '{"question": "q", "answer": "#### 1"}\n{"question": "q"}\n', "row 1 has no text field answer"),
        ("gsm8k", '{"question": "q", "answer": "#### 1"}\n{"question": \n', "row 1: Expecting value"),
        ("gsm8k", "", "row 0: Expecting value"),
    ],
)
def test_a_malformed_file_names_itself_and_the_row(sets, name, text, why):
    path = sets / name / {"svamp": "SVAMP.json", "gsm8k": "test.jsonl"}[name]
    path.write_text(text)
    with pytest.raises(ReasonerError) as caught:
        data.beside(smol(), name)
    assert str(path) in caught.value.what
    assert why in caught.value.why
    assert caught.value.code == 2


def test_a_set_without_problems_is_an_error(sets):
    (sets / "svamp" / "SVAMP.json").write_text("[]")
    with pytest.raises(ReasonerError, match="has no problems"):
        data.beside(smol(), "svamp")


def test_everyday_prompts_of_a_use_are_never_those_of_the_other():
    asked, probed = data.everyday("eval"), data.everyday("probe")
    assert {row["use"] for row in asked} == {"eval"} and {row["use"] for row in probed} == {"probe"}
    assert not {row["prompt"] for row in asked} & {row["prompt"] for row in probed}
