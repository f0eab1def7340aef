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
