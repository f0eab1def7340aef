"""Sources look alike to the pipeline; splits have an identity; the control is a control."""

import json
import subprocess
import sys

import pytest

from reasoner import config, files
from reasoner.errors import ReasonerError
from reasoner.problems import data, sources
from reasoner.verifiers.number import reference_of


def settings(**overrides):
    return config.resolve("pocket", {f"data.{key}": value for key, value in overrides.items()})[0].data


def own(tmp_path, rows, name="mine.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def counting(num, **fields):
    return [{"question": f"{i} + 1?", "answer": f"#### {i + 1}", **fields} for i in range(num)]


def test_generated_and_own_problems_come_out_alike(tmp_path):
    generated = data.load(settings(), "test", 50)
    path = own(tmp_path, [{"question": p.question, "answer": p.answer, "id": p.id} for p in generated])
    mine = [p for split in ("train", "dev", "test") for p in data.load(settings(source=path), split, None)]
    assert {(p.id, p.question, p.answer) for p in mine} == {(p.id, p.question, p.answer) for p in generated}
    assert len(mine) == 50


def test_held_out_splits_of_a_single_file_are_carved_and_stay_the_same(tmp_path):
    path = own(tmp_path, counting(100))
    splits = {name: data.load(settings(source=path), name, None) for name in ("train", "dev", "test")}
    assert {name: len(problems) for name, problems in splits.items()} == {"train": 80, "dev": 10, "test": 10}
    assert len({p.question for problems in splits.values() for p in problems}) == 100
    assert [p.id for p in splits["train"][:3]] == ["mine-000001", "mine-000002", "mine-000003"]
    assert data.load(settings(source=path), "train", 3) == splits["train"][:3]
    # By the question alone: another order, other ids and answers hold out the same ones.
    other = own(tmp_path, [{**row, "id": "x", "answer": 5} for row in reversed(counting(100))], "other.jsonl")
    assert {p.question for p in data.load(settings(source=other), "test", None)} == {p.question for p in splits["test"]}
    record = data.provenance(settings(source=path), "test")
    assert (record["rows"], record["carved"], record["problems"]) == (100, {"test": 10, "dev": 10}, 10)


def test_a_carved_split_has_a_tenth_but_at_most_500(tmp_path):
    path = own(tmp_path, counting(6000))
    assert data.provenance(settings(source=path), "train")["carved"] == {"test": 500, "dev": 500}


def test_a_file_too_small_to_hold_anything_out_says_so(tmp_path):
    path = own(tmp_path, counting(2))
    with pytest.raises(ReasonerError, match="has no problems in split 'train'") as caught:
        data.load(settings(source=path), "train", None)
    assert caught.value.why == "of 2 rows, 2 are held out"
    assert caught.value.code == 2


def test_a_folder_of_splits(tmp_path):
    rows = counting(40)
    own(tmp_path, [*rows, rows[0]], "train.jsonl")
    own(tmp_path, [{"question": "  1  + 1? ", "answer": "2"}, {"question": "What?", "answer": "2"}], "test.jsonl")
    source = settings(source=str(tmp_path))
    assert [p.id for p in data.load(source, "test", None)] == ["test-000001", "test-000002"]
    train = data.provenance(source, "train")
    assert train["dropped"] == {"also in test": 1, "repeated": 1}
    assert (train["rows"], train["carved"], train["problems"]) == (41, {"dev": 3}, 36)
    assert [place["path"] for place in train["found"]] == [str(tmp_path / f"{s}.jsonl") for s in ("train", "test")]
    questions = [p.question for split in ("train", "dev") for p in data.load(source, split, None)]
    assert "1 + 1?" not in questions and len(set(questions)) == 39
    with pytest.raises(ReasonerError, match="no split 'ood'") as caught:
        data.load(source, "ood", 2)
    assert (caught.value.code, caught.value.why) == (2, "it has train, dev, test")


def test_a_folder_with_dev_by_another_name_and_two_files_for_one(tmp_path):
    own(tmp_path, counting(30), "train.jsonl")
    (tmp_path / "validation.json").write_text(json.dumps([{"question": "Why?", "answer": "#### 1"}]))
    source = settings(source=str(tmp_path))
    assert [p.question for p in data.load(source, "dev", None)] == ["Why?"]
    assert len(data.load(source, "test", None)) == 3
    own(tmp_path, counting(3), "dev.jsonl")
    with pytest.raises(ReasonerError, match="two files for the split 'dev'"):
        data.load(source, "train", None)


@pytest.mark.slow
def test_a_folder_in_the_hub_layout(tmp_path):
    (tmp_path / "data").mkdir()
    own(tmp_path / "data", counting(30), "train-00000-of-00001.jsonl")
    own(tmp_path / "data", [{"question": "Why?", "answer": "#### 1"}], "test-00000-of-00001.jsonl")
    source = settings(source=str(tmp_path))
    assert [p.question for p in data.load(source, "test", None)] == ["Why?"]
    assert len(data.load(source, "train", None)) == 27
    assert data.provenance(source, "dev")["found"] == [{"path": str(tmp_path), "subset": None}]


class Hub:
    """Answers for the hub from rows in memory, and notes what was asked."""

    def __init__(self, monkeypatch, sets):
        import datasets
        import huggingface_hub

        self.sets, self.asked = sets, []
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.info)
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def info(self, id_, *, revision, timeout):
        return type("Info", (), {"sha": revision or "c0ffee"})

    def load(self, id_, subset, *, revision):
        self.asked.append((id_, subset, revision))
        return self.sets[id_]


@pytest.mark.slow
def test_a_hub_id_is_pinned_to_the_commit_it_had(monkeypatch):
    hub = Hub(monkeypatch, {"me/mine": {"train": counting(30), "validation": [{"question": "Why?", "answer": 7}]}})
    record = data.provenance(settings(source="me/mine", subset="main"), "dev")
    assert record["found"] == [{"hub": "me/mine", "subset": "main", "revision": "c0ffee"}]
    assert hub.asked == [("me/mine", "main", "c0ffee")]
    assert data.load(settings(source="me/mine"), "dev", None)[0].answer == "7"
    assert len(data.load(settings(source="me/mine"), "test", None)) == 3
    hub.sets["me/mine"] = {"everything": counting(30)}
    assert len(data.load(settings(source="me/mine"), "train", None)) == 24
    hub.sets["me/mine"] = {"a": counting(3), "b": counting(3)}
    with pytest.raises(ReasonerError, match="no split that we know"):
        data.load(settings(source="me/mine"), "train", None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["me/mine", "gsm8k"])
def test_a_hub_that_cannot_be_reached_says_so(sets, monkeypatch, name):
    import httpx
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(ReasonerError) as caught:
        data.load(settings(source=name), "train", 1)
    assert caught.value.code == 3
    assert "ConnectError: Name or service not known" in caught.value.why
    if name == "gsm8k":
        assert caught.value.what == "the data set gsm8k was found neither here nor at the hub"
        assert str(sets / "gsm8k" / "train.jsonl") in caught.value.why
        assert "REASONER_DATA" in caught.value.fix
    else:
        assert "cannot be loaded" in caught.value.what
        assert "PROFILE=pocket" in caught.value.fix


@pytest.mark.slow
def test_a_configuration_that_is_missing_is_named(monkeypatch):
    import datasets

    Hub(monkeypatch, {})

    def picky(*args, **kwargs):
        raise ValueError("Config name is missing. Please pick one among the available configs: ['main', 'socratic']")

    monkeypatch.setattr(datasets, "load_dataset", picky)
    with pytest.raises(ReasonerError) as caught:
        data.load(settings(source="me/mine"), "train", 1)
    assert "['main', 'socratic']" in caught.value.why
    assert "data.subset" in caught.value.fix
    assert caught.value.code == 2


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
        data.check(settings(source=name), "train")
    assert says in str(caught.value)
    assert caught.value.code == 2


def test_a_mistyped_path_names_the_nearest(tmp_path):
    path = own(tmp_path, counting(3))
    with pytest.raises(ReasonerError) as caught:
        data.check(settings(source=path.replace("mine", "mien")), "train")
    assert caught.value.fix == f"did you mean {path}?"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"question": "1 + 1?", "solution": "2"}', r"line 3: there is no `answer`, and `solution` has no \boxed{}"),
        ('{"question": "1 + 1?"}', "line 3: there is no `answer`, and no `solution` with one"),
        ('{"question": "1 + 1?", "answer": [2]}', "line 3: `answer` is neither text nor a number: [2]"),
        ('{"question": "1 + 1?", "answer": NaN}', "line 3: `answer` is neither text nor a number: nan"),
        ('{"question": "1 + 1?", "answer": true}', "line 3: `answer` is neither text nor a number: True"),
        ('{"question": "1 + 1?", "answer": 1e999999999}', "line 3: `answer` is neither text nor a number: inf"),
        ('{"question": "1 + 1?", "answer": " "}', "line 3: `answer` is neither text nor a number: ' '"),
        ('{"prompt": "1 + 1?", "answer": "2"}', "line 3: there is no text field `question` (or `problem`)"),
        ('{"question": " ", "answer": "2"}', "line 3: there is no text field `question`"),
        ('{"question": "1 + 1?", "answer": "2"', "line 3: Expecting ',' delimiter"),
        ("[1]", "line 3: it is no JSON object: [1]"),
    ],
)
def test_rows_that_are_no_problems_are_named_by_line(tmp_path, row, says):
    (tmp_path / "bad.jsonl").write_text(f'{{"question": "2 + 2?", "answer": "4"}}\n\n{row}\n')
    with pytest.raises(ReasonerError, match="bad.jsonl has rows that are no problems") as caught:
        data.load(settings(source=str(tmp_path / "bad.jsonl")), "train", None)
    assert caught.value.why.startswith(says)
    assert caught.value.code == 2


def test_many_bad_rows_are_counted(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{}\n" * 7)
    with pytest.raises(ReasonerError) as caught:
        data.load(settings(source=str(tmp_path / "bad.jsonl")), "train", None)
    assert caught.value.why.splitlines()[5] == "and 2 more of 7"


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ('"question": "q", "answer": 0.10', "0.10"),
        ('"question": "q", "answer": -3', "-3"),
        ('"question": "q", "answer": 1E+3', "1000"),
        (
            '"question": "q", "answer": 12345678901234567890.000000000000000001',
            "12345678901234567890.000000000000000001",
        ),
        ('"problem": "q", "solution": "so $\\\\boxed{\\\\frac{1}{2}}$."', r"\frac{1}{2}"),
        ('"problem": "q", "solution": "$\\\\boxed{1}$", "answer": "2"', "2"),
        ('"problem": "q", "answer": "p - q"', "p - q"),
    ],
)
def test_fields_and_numbers_of_own_rows(tmp_path, fields, answer):
    (tmp_path / "test.jsonl").write_text(f"{{{fields}}}\n")
    assert data.load(settings(source=str(tmp_path)), "test", None) == [data.Problem("test-000001", "q", answer)]


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"$\boxed{\left\{1, 2\right\}}$", r"\left\{1, 2\right\}"),
        (r"$\boxed{1}$ or rather $\fbox{2}$", "2"),
        (r"$\boxed{1}$, $\boxed{2", "1"),
        (r"$\boxed 7$", "7"),
        (r"$\boxed {7}$", "7"),
        (r"$\boxed\frac12$", None),
        (r"$\boxed{ }$", None),
        ("7", None),
    ],
)
def test_the_last_box_is_the_answer_of_a_solution(solution, answer):
    assert sources.last_boxed(solution) == answer


def test_ids_that_repeat_are_made_unique(tmp_path):
    path = own(tmp_path, [*counting(3, id="x"), {"question": "Why?", "answer": 1, "id": 7}], "test.jsonl")
    problems = data.load(settings(source=str(path.rpartition("/")[0])), "test", None)
    assert [p.id for p in problems] == ["x", "x-000002", "x-000003", "7"]


def test_a_question_told_twice_with_two_answers_is_counted_apart(tmp_path):
    rows = [{"question": "q", "answer": a} for a in ("1", "1", "2")]
    own(tmp_path, rows, "test.jsonl")
    record = data.provenance(settings(source=str(tmp_path)), "test")
    assert record["dropped"] == {"repeated": 1, "repeated with another answer": 1}
    assert data.load(settings(source=str(tmp_path)), "test", None)[0].answer == "1"


def test_no_problems_is_an_error(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ReasonerError, match="has no problems"):
        data.load(settings(source=str(tmp_path / "none.jsonl")), "train", None)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json"])
def test_a_file_that_is_no_text_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReasonerError, match="cannot be read"):
        data.load(settings(source=str(tmp_path / name)), "train", None)


def test_the_record_of_generated_problems():
    record = data.provenance(settings(num_train="20", max_steps="1"), "train")
    assert record["found"] == [{"generator": "wordproblems", "seed": 0, "balanced": False, "max_steps": 1}]
    assert record["problems"] == sum(record["kinds"].values()) == 20
    assert record["sha256"] == data.split_sha256(data.load(settings(num_train="20", max_steps="1"), "train", 20))


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
    for name in ("svamp", "gsm8k", "math500", "math-train", "math-test"):
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
    ("name", "text", "says"),
    [
        ("svamp", "[{", "Expecting"),
        ("svamp", "{}", "is no JSON list"),
        ("svamp", json.dumps([svamp_row(1), {"ID": "x", "Question": "?"}]), "row 2: there is no text field `Body`"),
        ("svamp", json.dumps([svamp_row(1), 5]), "row 2: it is no JSON object: 5"),
        ("svamp", json.dumps([svamp_row(1, Answer="a dozen")]), "row 1: `Answer` is no number: 'a dozen'"),
        ("svamp", json.dumps([svamp_row(1, Answer=float("nan"))]), "row 1: `Answer` is no number: nan"),
        (
            "gsm8k",
            '{"question": "q", "answer": "#### 1"}\n{"question": "q"}\n',
            "line 2: there is no text field `answer`",
        ),
        ("gsm8k", '{"question": "q", "answer": "#### 1"}\n{"question": \n', "line 2: Expecting value"),
        ("gsm8k", "", "gsm8k has no problems in its split 'test'"),
    ],
)
def test_a_malformed_file_names_itself_and_the_row(sets, name, text, says):
    path = sets / name / {"svamp": "SVAMP.json", "gsm8k": "test.jsonl"}[name]
    path.write_text(text)
    with pytest.raises(ReasonerError) as caught:
        data.beside(smol(), name)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.code == 2


def test_a_set_without_problems_is_an_error(sets):
    (sets / "svamp" / "SVAMP.json").write_text("[]")
    with pytest.raises(ReasonerError, match="has no problems"):
        data.beside(smol(), "svamp")


@pytest.fixture
def gsm8k_files(sets):
    own(sets / "gsm8k", counting(200), "train.jsonl")
    own(sets / "gsm8k", [{"question": f"{i} * 2?", "answer": f"#### {2 * i}"} for i in range(50)], "test.jsonl")
    return sets / "gsm8k"


def test_gsm8k_by_name(gsm8k_files):
    source = settings(source="gsm8k")
    record = data.provenance(source, "train")
    assert (record["licence"], record["verifier"]) == ("MIT", "number")
    assert (record["rows"], record["dropped"], record["carved"], record["problems"]) == (200, {}, {"dev": 20}, 180)
    assert record["found"] == [
        {"path": str(gsm8k_files / f"{split}.jsonl"), "sha256": files.sha256_file(gsm8k_files / f"{split}.jsonl")}
        for split in ("train", "test")
    ]
    train = data.load(source, "train", None)
    assert record["sha256"] == data.split_sha256(train)
    # A fixed order that is not the file's, so that the first n are a fair sample; test is the set beside others.
    assert data.load(source, "train", 30) == train[:30]
    assert [p.id for p in train] != sorted(p.id for p in train)
    assert data.load(source, "test", 12) == data.beside(smol(), "gsm8k")
    dev = data.load(source, "dev", None)
    assert len({p.id for p in train} | {p.id for p in dev}) == 200


def test_test_problems_need_no_training_file(gsm8k_files):
    (gsm8k_files / "train.jsonl").unlink()
    assert len(data.load(settings(source="gsm8k"), "test", None)) == 50


@pytest.mark.slow
def test_a_named_set_comes_from_the_hub_where_its_files_are_not(sets, monkeypatch):
    test = [{"question": f"{i} * 2?", "answer": f"#### {2 * i}"} for i in range(50)]
    hub = Hub(monkeypatch, {"openai/gsm8k": {"train": counting(200), "test": test}})
    found = data.provenance(settings(source="gsm8k"), "train")
    commit = "740312add88f781978c0658806c59bc2815b9866"
    place = {"hub": "openai/gsm8k", "subset": "main", "revision": commit}
    assert found["found"] == [place]
    assert set(hub.asked) == {("openai/gsm8k", "main", commit)}
    own(sets / "gsm8k", counting(200), "train.jsonl")
    own(sets / "gsm8k", test, "test.jsonl")
    assert data.provenance(settings(source="gsm8k"), "train")["sha256"] == found["sha256"]


@pytest.mark.slow
def test_svamp_of_the_hub_has_the_same_rows(sets, monkeypatch):
    rows = [svamp_row(i) for i in range(20)]
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps(rows))
    local = data.load(settings(source="svamp"), "test", None)
    (sets / "svamp" / "SVAMP.json").unlink()
    texts = [{**row, "Answer": "145.0"} for row in rows]
    Hub(monkeypatch, {"ChilleD/SVAMP": {"train": texts[:14], "test": texts[14:]}})
    assert data.load(settings(source="svamp"), "test", None) == local


def test_svamp_is_not_trained_on(sets):
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps([svamp_row(1)]))
    with pytest.raises(ReasonerError, match="svamp has no split 'train'") as caught:
        data.check(settings(source="svamp"), "train")
    assert (caught.value.why, caught.value.code) == ("its problems are for testing only", 2)


def math_row(i, **changes):
    return {"problem": f"Find ${i}$.", "answer": str(i), "type": "Algebra", "difficulty": 1.0} | changes


@pytest.fixture
def math_files(sets):
    held_out = [
        {"problem": f"Find ${i}$.", "solution": rf"$\boxed{{{i}}}$", "answer": str(i), "subject": "Geometry"}
        | {"level": 1, "unique_id": f"test/geometry/{i}.json"}
        for i in range(20, 25)
    ]
    own(sets / "math500", held_out, "test.jsonl")
    train = [math_row(i) for i in range(20)]
    train += [math_row(90, answer=None), math_row(0, problem="find  $0$."), math_row(22, problem="Find $ 22 $.")]
    (sets / "math-train" / "train.json").write_text(json.dumps(train))
    rest = [
        {"problem": f"Find ${i}$.", "level": "Level 1", "type": "Algebra", "solution": rf"$\boxed{{{i}}}$", "idx": i}
        for i in range(20, 40)
    ]
    own(sets / "math-test", [*rest, {**rest[0], "problem": "Find $91$.", "solution": "None."}], "test.jsonl")
    return sets


def test_math_by_name(math_files):
    source = settings(source="math")
    test = data.load(source, "test", None)
    assert sorted(p.id for p in test) == [f"math-test/geometry/{i}" for i in range(20, 25)]
    assert {p.kind for p in test} == {"Geometry"}
    record = data.provenance(source, "train")
    assert record["rows"] == 44
    assert record["dropped"] == {"also in test": 6, "repeated": 1, "without an answer": 2}
    assert (record["carved"], record["problems"], record["kinds"]) == ({"dev": 3}, 32, {"Algebra": 32})
    assert (record["verifier"], len(record["found"])) == ("math", 3)
    train, dev = data.load(source, "train", None), data.load(source, "dev", None)
    assert sorted(int(p.answer) for p in train + dev) == [*range(20), *range(25, 40)]
    assert all(f"${p.answer}$" in p.question for p in train + dev + test)


def test_math_trains_on_nothing_where_what_is_held_out_is_unknown(math_files, monkeypatch):
    import huggingface_hub

    (math_files / "math500" / "test.jsonl").unlink()
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: (_ for _ in ()).throw(ConnectionError("no"))
    )
    with pytest.raises(ReasonerError, match="neither here nor at the hub") as caught:
        data.load(settings(source="math"), "train", None)
    assert caught.value.code == 3


def mbpp_row(i, **changes):
    row = {
        "text": f"Write a function to add {i}.\n",
        "code": f"def add_{i}(x):\r\n  return x + {i}",
        "task_id": i,
        "test_setup_code": "",
        "test_list": [f"assert add_{i}({x}) == {x + i}" for x in (1, 2, 3)],
        "challenge_test_list": [f"assert add_{i}(-1) == {i - 1}"] if i % 2 else [],
    }
    return row | changes


@pytest.fixture
def code_files(sets):
    (sets / "mbpp").mkdir()
    (sets / "humaneval").mkdir()
    rows = [mbpp_row(i) for i in (1, 2, 11, 12, 510, 511, 600, 601, 602, 603, 974)]
    rows[9]["test_list"] = ["assert add_603(Pair(1, 2)) == 3"] * 3
    own(sets / "mbpp", rows, "mbpp.jsonl")
    prompt = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """ The sum of a list.\n'
    prompt += '    >>> total([1])\n    1\n    """\n'
    late = 'def twice(x):\n    import math\n    """\n    Twice a number.\n    Example:\n    twice(1) == 2\n    """\n'
    human = [
        {
            "task_id": "HumanEval/0",
            "prompt": prompt,
            "entry_point": "total",
            "canonical_solution": "    return sum(xs)\n",
        }
        | {"test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n"},
        {"task_id": "HumanEval/115", "prompt": late, "entry_point": "twice", "canonical_solution": "    return 2 * x\n"}
        | {"test": "def check(candidate):\n    assert candidate(2) == 4\n"},
        {"task_id": "HumanEval/7", "prompt": late, "entry_point": "twice", "canonical_solution": "    return 2 * x\n"}
        | {"test": "def check(candidate):\n    import numpy\n    assert candidate(2) == numpy.int64(4)\n"},
    ]
    own(sets / "humaneval", human, "HumanEval.jsonl")
    return sets


def test_mbpp_by_name(code_files):
    source = settings(source="mbpp")
    train, dev, test = (data.load(source, split, None) for split in ("train", "dev", "test"))
    assert {p.id for p in train} == {"mbpp-601", "mbpp-602", "mbpp-974"}
    assert ({p.id for p in dev}, {p.id for p in test}) == (
        {"mbpp-511", "mbpp-600"},
        {"mbpp-11", "mbpp-12", "mbpp-510"},
    )
    record = data.provenance(source, "train")
    dropped = record["dropped"]
    assert (record["rows"], record["problems"], dropped.pop("few-shot example"), len(dropped)) == (6, 3, 2, 1)
    assert "tests cannot be lifted: " in next(iter(dropped)) and "Pair" in next(iter(dropped))
    assert (data.provenance(source, "test")["rows"], data.provenance(source, "dev")["rows"]) == (3, 2)
    assert (record["verifier"], record["licence"][:9], len(record["found"])) == ("code", "CC BY 4.0", 1)
    # The first test is shown, the others and the challenges are hidden.
    problem = next(p for p in train if p.id == "mbpp-601")
    assert problem.question == (
        "Write a function to add 601.\nYour code should pass this test:\nassert add_601(1) == 602"
    )
    task = json.loads(problem.answer)
    assert (task["entry_point"], task["tests"]) == ("add_601", ["assert add_601(1) == 602"])
    assert task["hidden_tests"] == [f"assert add_601({x}) == {x + 601}" for x in (2, 3, -1)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task_id": 975}, "`task_id` is none of 1-974: 975"),
        ({"task_id": "601"}, "`task_id` is none of 1-974: '601'"),
        ({"text": ""}, "there is no text field `text`"),
        ({"code": None}, "there is no text field `code`"),
        ({"test_list": "assert 1"}, "there is no list `test_list`"),
    ],
)
def test_mbpp_rows_that_are_no_tasks_are_named(code_files, changes, says):
    own(code_files / "mbpp", [mbpp_row(602), mbpp_row(601, **changes)], "mbpp.jsonl")
    with pytest.raises(ReasonerError) as caught:
        data.load(settings(source="mbpp"), "train", None)
    assert caught.value.why == f"line 2: {says}"


def test_humaneval_by_name(code_files):
    source = settings(source="humaneval")
    problems = {p.id: p for p in data.load(source, "test", None)}
    assert set(problems) == {"humaneval-0", "humaneval-115"}
    first = problems["humaneval-0"]
    assert first.question.startswith("Complete this Python function.\n\nfrom typing import List\n\n\ndef total(")
    assert (first.prose, problems["humaneval-115"].prose) == ("The sum of a list.", "Twice a number.")
    assert json.loads(first.answer)["entry_point"] == "total"
    record = data.provenance(source, "test")
    assert (record["rows"], sum(record["dropped"].values()), record["licence"][:3]) == (3, 1, "MIT")
    with pytest.raises(ReasonerError, match="no split 'train'"):
        data.check(source, "train")


@pytest.mark.slow
def test_mbpp_of_the_hub_has_the_same_rows(code_files, monkeypatch):
    rows = [json.loads(line) for line in (code_files / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
    splits = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
    hub = Hub(
        monkeypatch,
        {
            "google-research-datasets/mbpp": {
                name: [row for row in rows if row["task_id"] in ids] for name, ids in splits.items()
            }
        },
    )
    here = {split: data.provenance(settings(source="mbpp"), split) for split in ("train", "dev", "test")}
    (code_files / "mbpp" / "mbpp.jsonl").unlink()
    for split, record in here.items():
        found = data.provenance(settings(source="mbpp"), split)
        assert {key: found[key] for key in ("rows", "dropped", "sha256")} == {
            key: record[key] for key in ("rows", "dropped", "sha256")
        }
    commit = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
    assert set(hub.asked) == {("google-research-datasets/mbpp", "full", commit)}


def problem_of(id_, question, prose=""):
    return data.Problem(id_, question, "1", prose=prose)


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
    assert sources.exact(train, held_out) == {0, 3}
    found = sources.overlap(train, held_out)
    assert {key: found[key] for key in ("train", "held_out", "exact", "near", "near_train", "short")} == {
        "train": 7,
        "held_out": 5,
        "exact": 2,
        "near": 2,
        "near_train": 2,
        "short": 2,
    }
    assert [(pair["held_out"], pair["train"]) for pair in found["first"]] == [("b", "2"), ("c", "3")]
    assert found["first"][1]["words"] == "sort all the numbers of this list please quickly"
    assert found["first"][0]["words"] in LONG and len(found["first"][0]["words"].split()) == 13


def test_near_copies_are_listed_up_to_ten():
    held_out = [problem_of(str(i), f"{LONG} {i}") for i in range(30)]
    found = sources.overlap([problem_of("x", f"{LONG} x"), problem_of("y", f"{LONG} y")], held_out)
    assert (found["near"], found["near_train"], len(found["first"])) == (30, 2, 10)
    assert {pair["train"] for pair in found["first"]} == {"x"}


def two_sources(tmp_path, num="none"):
    (tmp_path / "scored").mkdir(exist_ok=True)
    own(tmp_path / "scored", [{"question": q, "answer": 1} for q in ("3 + 1?", f"{LONG}?", "Why?")], "test.jsonl")
    train = own(tmp_path, [*counting(100), {"question": f"Say {LONG} now.", "answer": "1"}])
    values = {"data.source": train, "data.num_train": num, "eval.source": str(tmp_path / "scored")}
    return config.resolve("pocket", values)[0]


def test_problems_that_an_evaluated_set_asks_too_are_not_trained_on(tmp_path):
    asked = two_sources(tmp_path)
    assert {p.question for p in data.held_out(asked)} == {"3 + 1?", f"{LONG}?", "Why?"}
    whole, used = data.load(asked.data, "train", None), data.training(asked)
    gone = [p for p in whole if p.question == "3 + 1?"]
    assert len(gone) == 1 and used == [p for p in whole if p not in gone]
    found = data.contamination(asked)
    assert (found["train"], found["dropped"]) == (len(used), 1)
    assert {key: found["sets"]["held-out"][key] for key in ("exact", "near", "held_out")} == {
        "exact": 1,
        "near": 1,
        "held_out": 3,
    }
    line = f"overlap of {len(used)} training problems with held-out 1 exact (dropped), 1 of 3 near"
    assert data.contamination_line(found) == line
    # The number asked for is filled up from the others.
    assert data.training(two_sources(tmp_path, "50")) == used[:50]


def test_sets_beside_are_looked_at_where_they_are(code_files, tmp_path):
    asked = config.resolve("code")[0]
    found = data.contamination(asked)
    assert set(found["sets"]) == {"held-out", "mbpp"}
    assert (found["train"], found["dropped"], found["sets"]["mbpp"]["near"]) == (3, 0, 0)
    assert [p.id for p in data.held_out(asked)] != [] and data.held_out(asked)[0].id.startswith("humaneval-")
    beside = asked.model_copy(update={"eval": asked.eval.model_copy(update={"beside": ("svamp",)})})
    assert data.contamination(beside)["sets"]["svamp"] is None
    assert data.contamination_line(data.contamination(beside)).endswith("; svamp not here when training began")


def test_generated_training_problems_are_all_used(sets):
    asked = smol(eval__beside='["ood", "two-step", "svamp"]')
    assert data.training(asked) == data.load(asked.data, "train", 10)
    found = data.contamination(asked)
    assert (found["train"], found["dropped"], found["sets"]["svamp"]) == (10, 0, None)


def test_the_source_of_held_out_problems_is_checked_too(code_files):
    asked = smol(eval__source="humaneval")
    with pytest.raises(ReasonerError, match="is not for the references of humaneval"):
        data.check_verifier(asked)
    with pytest.raises(ReasonerError, match="humaneval has no split 'dev'"):
        data.check_held_out(smol(eval__source="humaneval", eval__split="dev"))
    data.check_held_out(asked)
    # What pins the training source says nothing about the other one.
    both = smol(data__source="me/mine", data__subset="main", data__revision="c0ffee", eval__source="humaneval")
    assert len(data.held_out(both)) == 2


def test_line_tasks():
    source = settings(source="linetasks", num_train="none")
    problems = data.load(source, "test", None)
    assert len(problems) == 500 and data.load(source, "test", 8) == problems[:8]
    assert [p.kind.split()[0] for p in problems[:4]] == ["number", "pair", "text", "list"]
    task = json.loads(problems[0].answer)
    assert (len(task["tests"]), len(task["hidden_tests"]), sorted(task["property"])[:2]) == (1, 7, ["args", "examples"])
    assert problems[0].question == f"{problems[0].prose}\nYour code should pass this test:\n{task['tests'][0]}"
    record = data.provenance(settings(source="linetasks", max_steps="1"), "train", 30)
    assert record["found"] == [{"generator": "linetasks", "seed": 0, "balanced": False, "max_steps": 1}]
    assert (record["source"], record["verifier"], record["problems"]) == ("linetasks", "code", 30)
    with pytest.raises(ReasonerError, match="no largest value"):
        data.load(settings(source="linetasks", max_value="30"), "test", 1)


def test_line_tasks_have_sets_beside_them():
    asked = config.resolve(
        "pocket", {"data.source": "linetasks", "data.max_steps": "1", "verifier.name": "code", "eval.num_beside": "8"}
    )[0]
    data.check_verifier(asked)
    assert all(p.id.startswith("line-ood-") and "2" not in p.kind for p in data.beside(asked, "ood"))
    assert all(p.kind.endswith(" in 2 steps") for p in data.beside(asked, "two-step"))


def test_named_sets_are_pinned():
    with pytest.raises(ReasonerError, match="is pinned") as caught:
        data.check(settings(source="gsm8k", revision="main"), "train")
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("source", "verifier", "is_fine"),
    [
        ("gsm8k", "number", True),
        ("gsm8k", "number-lenient", True),
        ("wordproblems", "arithmetic", True),
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
        return data.check_verifier(asked)
    with pytest.raises(ReasonerError) as caught:
        data.check_verifier(asked)
    assert caught.value.code == 2
    assert f"--set verifier.name={sources.verifier_for(source)}" in caught.value.fix


def reasoner(*argv, **env):
    environment = {"PATH": "/usr/bin:/bin", **env}
    return subprocess.run(
        [sys.executable, "-m", "reasoner", "data", *argv], capture_output=True, text=True, env=environment
    )


def test_the_command_lists_the_named_sets(gsm8k_files):
    done = reasoner("--json", REASONER_DATA=str(gsm8k_files.parent))
    rows = {row["source"]: row for row in json.loads(done.stdout)}
    assert rows["gsm8k"]["splits"] == {"train": 180, "dev": 20, "test": 50}
    assert (rows["svamp"]["found"], rows["svamp"]["missing"]) == ([], ["svamp/SVAMP.json"])
    (gsm8k_files / "test.jsonl").write_text("oops\n")
    done = reasoner(REASONER_DATA=str(gsm8k_files.parent))
    assert done.returncode == 0
    assert "cannot be read" in done.stdout and "line 1: Expecting value" in done.stdout
    assert "licence: MIT; its problems come from competitions" in done.stdout


def test_the_command_shows_problems_and_what_is_read(tmp_path):
    rows = [{"question": "1 + 1?\x1b[31m", "answer": "#### 2"}, {"question": "Why?", "answer": "#### because"}]
    own(tmp_path, rows, "test.jsonl")
    done = reasoner(str(tmp_path))
    assert "1 + 1?\\x1b[31m\n" in done.stdout
    assert "2 read; dropped: none" in done.stdout
    assert "read as    no: the reference is not a number: 'because'" in done.stdout
    value = json.loads(reasoner(str(tmp_path), "--split", "test", "--show", "1", "--json").stdout)
    assert (value["problems"], [row["read"]["value"] for row in value["shown"]]) == (2, ["2"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["gms8k"], "did you mean `gsm8k`?"),
        (["svamp", "--split", "train"], "its problems are for testing only"),
        (["wordproblems", "--verifier", "nubmer"], "number"),
        (["wordproblems", "--split", "tset"], "--split"),
    ],
)
def test_mistakes_at_the_command(argv, says):
    done = reasoner(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_everyday_prompts_of_a_use_are_never_those_of_another():
    uses = {use: data.everyday(use) for use in ("eval", "probe", "keep")}
    for use, rows in uses.items():
        assert {row["use"] for row in rows} == {use}
    prompts = [row["prompt"] for rows in uses.values() for row in rows]
    assert len(set(prompts)) == len(prompts)
