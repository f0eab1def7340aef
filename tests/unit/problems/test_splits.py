"""Held-out problems stay held out: carving, priority, copies."""

import pytest
from made_up_sets import counting, own, settings

from reasoner.errors import ReasonerError
from reasoner.problems import load


def test_held_out_splits_of_a_single_file_are_carved_and_stay_the_same(tmp_path):
    path = own(tmp_path, counting(100))
    splits = {name: load.problems(settings(source=path), name, None) for name in ("train", "dev", "test")}
    assert {name: len(problems) for name, problems in splits.items()} == {"train": 80, "dev": 10, "test": 10}
    assert len({p.question for problems in splits.values() for p in problems}) == 100
    assert [p.id for p in splits["train"][:3]] == ["mine-000001", "mine-000002", "mine-000003"]
    assert load.problems(settings(source=path), "train", 3) == splits["train"][:3]
    # By the question alone: another order, other ids and answers hold out the same ones.
    other = own(tmp_path, [{**row, "id": "x", "answer": 5} for row in reversed(counting(100))], "other.jsonl")
    assert {p.question for p in load.problems(settings(source=other), "test", None)} == {
        p.question for p in splits["test"]
    }
    record = load.read(settings(source=path), "test").provenance
    assert (record.rows, record.carved, record.problems) == (100, {"test": 10, "dev": 10}, 10)


def test_a_carved_split_has_a_tenth_but_at_most_500(tmp_path):
    path = own(tmp_path, counting(6000))
    assert load.read(settings(source=path), "train").provenance.carved == {"test": 500, "dev": 500}


def test_a_file_too_small_to_hold_anything_out_says_so(tmp_path):
    path = own(tmp_path, counting(2))
    with pytest.raises(ReasonerError, match="has no problems in split 'train'") as caught:
        load.problems(settings(source=path), "train", None)
    assert caught.value.why == "of 2 rows: 2 held out"
    assert caught.value.code == 2


def test_a_folder_of_splits(tmp_path):
    rows = counting(40)
    own(tmp_path, [*rows, rows[0]], "train.jsonl")
    own(tmp_path, [{"question": "  1  + 1? ", "answer": "2"}, {"question": "What?", "answer": "2"}], "test.jsonl")
    source = settings(source=str(tmp_path))
    assert [p.id for p in load.problems(source, "test", None)] == ["test-000001", "test-000002"]
    train = load.read(source, "train").provenance
    assert train.dropped == {"also in test": 1, "repeated": 1}
    assert (train.rows, train.carved, train.problems) == (41, {"dev": 3}, 36)
    assert [place["path"] for place in train.found] == [str(tmp_path / f"{s}.jsonl") for s in ("train", "test")]
    questions = [p.question for split in ("train", "dev") for p in load.problems(source, split, None)]
    assert "1 + 1?" not in questions and len(set(questions)) == 39
    with pytest.raises(ReasonerError, match="no split 'ood'") as caught:
        load.problems(source, "ood", 2)
    assert (caught.value.code, caught.value.why) == (2, "it has train, dev, test")


def test_a_question_told_twice_with_two_answers_is_counted_apart(tmp_path):
    rows = [{"question": "q", "answer": a} for a in ("1", "1", "2")]
    own(tmp_path, rows, "test.jsonl")
    record = load.read(settings(source=str(tmp_path)), "test").provenance
    assert record.dropped == {"repeated": 1, "repeated with another answer": 1}
    assert load.problems(settings(source=str(tmp_path)), "test", None)[0].answer == "1"


def test_all_rows_of_a_file_hold_nothing_out(tmp_path):
    found = load.read(settings(source=own(tmp_path, counting(100))), "all")
    assert (len(found.problems), found.provenance.carved, found.provenance.split) == (100, {}, "all")
    with pytest.raises(ReasonerError, match=r"mine.jsonl has no problems\n"):
        load.read(settings(source=own(tmp_path, [])), "all")


def test_a_file_of_one_question_over_and_over_says_so(tmp_path):
    path = own(tmp_path, [{"question": "1 + 1?", "answer": 2}] * 40)
    with pytest.raises(ReasonerError) as caught:
        load.read(settings(source=path), "train")
    assert caught.value.why == "of 40 rows: 39 repeated, 1 held out"
