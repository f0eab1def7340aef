"""Completions on disk: resumed, judged again, taken over from another run, counted as looks."""

import pytest
from answers import Scripted

from reasoner import files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.measuring import ask as asking
from reasoner.measuring.collect import Listener, Sheet
from reasoner.measuring.engines import base
from reasoner.problems.problem import Problem
from reasoner.verifiers import registry
from reasoner.verifiers.score import Score

PROBLEMS = [Problem(f"p{i}", f"What is {i} + 0?", f"#### {i}") for i in range(6)]
GREEDY = base.Sampling(32)


def score(engine, path, problems, checker, said, sampling=GREEDY, model="", progress=lambda done, total: None, **more):
    """The completions as they are written."""
    checker = registry.load(checker) if isinstance(checker, str) else checker
    listener = Listener(said.append, lambda label, done, total: progress(done, total))
    exam = asking.Exam(problems, checker, sampling, **more)
    return files.as_json(asking.score(engine, exam, Sheet(path, model), listener))


@pytest.fixture
def ask(tmp_path):
    said = []

    def ask(engine, problems=PROBLEMS, checker="number", sampling=GREEDY, **more):
        return score(engine, tmp_path / "c.jsonl", problems, checker, said, sampling, **more)

    ask.path, ask.said = tmp_path / "c.jsonl", said
    return ask


def test_an_interrupted_evaluation_asks_only_for_what_is_missing(ask):
    with pytest.raises(KeyboardInterrupt):
        ask(Scripted(break_after=4))
    assert len(files.read_jsonl(ask.path)) == 4
    seen = []
    again = Scripted()
    rows = ask(again, progress=lambda done, total: seen.append((done, total)))
    assert [prompt.messages[-1]["content"] for prompt in again.asked] == ["What is 1 + 0?", "What is 0 + 0?"]
    assert seen == [(5, 6), (6, 6)]
    assert [row["problem_id"] for row in rows] == [problem.id for problem in PROBLEMS]
    assert rows == files.read_jsonl(ask.path)
    assert [row["verdict"] for row in rows] == ["wrong", "right", *4 * ["wrong"]]
    third = Scripted()
    assert ask(third) == rows and third.asked == []


def test_a_file_cut_anywhere_loses_only_the_line_that_was_cut(ask):
    rows = ask(Scripted())
    whole = ask.path.read_bytes()
    for end in range(0, len(whole), 61):
        ask.path.write_bytes(whole[:end])
        again = Scripted()
        assert ask(again) == rows
        assert len(again.asked) == len(rows) - whole[:end].count(b"\n")
        assert ask.path.read_bytes() == whole


def test_a_line_that_stands_twice_counts_once(ask):
    rows = ask(Scripted())
    first = ask.path.read_bytes().split(b"\n")[0]
    ask.path.write_bytes(ask.path.read_bytes() + first + b"\n\nno json\n")
    assert ask(Scripted()) == rows
    assert files.read_jsonl(ask.path) == rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"engine": Scripted(digest="sha256:b")}, "model"),
        ({"sampling": base.Sampling(32, stops=("x",))}, "sampling"),
        ({"system": "Be brief."}, "system"),
        ({"problems": PROBLEMS[:3]}, "problems"),
        ({"seed": 1}, "seed"),
    ],
)
def test_completions_of_another_question_are_not_taken(ask, change, says):
    ask(Scripted())
    engine = change.pop("engine", Scripted())
    rows = ask(engine, **change)
    assert len(engine.asked) == len(rows)
    assert ask.said == [f"c.jsonl answers another question ({says}): begun anew"]


def test_another_verifier_judges_again_what_is_there(ask):
    checker = registry.load("number")
    ask(Scripted())

    def all_right(completion, answer):
        return Score("right", extracted=completion)

    other = registry.Verifier("number", "next", all_right)
    engine = Scripted()
    rows = ask(engine, checker=other)
    assert engine.asked == []
    assert {(row["verdict"], row["verifier"]["version"]) for row in rows} == {("right", "next")}
    assert rows == files.read_jsonl(ask.path)
    assert ask.said == ["c.jsonl: 6 completions are judged again by number next"]
    assert {row["verifier"]["version"] for row in ask(Scripted(), checker=checker)} == {checker.version}


def test_a_verifier_that_waits_for_others_judges_after_the_asking(ask):
    asked = []

    def slow(completion, answer):
        asked.append(len(files.read_jsonl(ask.path)))
        return Score("right")

    rows = ask(Scripted(), checker=registry.Verifier("slow", "1", slow, is_parallel=True))
    assert asked == 6 * [6]
    assert {row["verdict"] for row in rows} == {"right"} and files.read_jsonl(ask.path) == rows


def test_more_samples_ask_for_the_new_ones_and_each_has_a_seed_of_its_own(ask):
    hot = base.Sampling(32, temperature=1.0)
    ask(Scripted(), sampling=hot, samples=2)
    engine = Scripted()
    rows = ask(engine, sampling=hot, samples=3)
    assert len(engine.asked) == 6
    assert [(row["problem_id"], row["sample"]) for row in rows[:4]] == [("p0", 0), ("p0", 1), ("p0", 2), ("p1", 0)]
    seeds = [row["seed"] for row in rows]
    assert len(set(seeds)) == len(seeds) == 18 and all(0 <= seed < 2**31 for seed in seeds)


def test_a_completion_that_the_engine_would_not_make_is_unscored(ask):
    class Short(Scripted):
        def complete(self, prompts, sampling, arrived):
            for index in range(len(prompts)):
                arrived(index, base.Answer("", "unanswered", 0, 900, why="too long"))

    rows = ask(Short())
    assert {(row["verdict"], row["why"]) for row in rows} == {("unscored", "the engine gave no answer: too long")}


def test_ids_must_tell_problems_apart(ask):
    with pytest.raises(ReasonerError, match="two problems have the id 'p0'") as caught:
        ask(Scripted(), problems=[*PROBLEMS, PROBLEMS[0]])
    assert caught.value.code == USAGE


def test_half_a_character_from_a_server_is_no_end(ask):
    rows = ask(Scripted(text="\ud83d\n#### 1"))
    assert files.read_jsonl(ask.path) == rows and rows[1]["verdict"] == "right"


@pytest.fixture
def of_run():
    """Scores in a run's own file, as the stage does, and keeps what is said."""

    def of_run(name, engine, problems=PROBLEMS, checker="number", **more):
        of_run.said.clear()
        path = runs.runs_dir() / name / "completions" / "base.jsonl"
        rows = score(engine, path, problems, checker, of_run.said, **more)
        assert rows == files.read_jsonl(path)
        return rows, asking.look(engine, problems, path)

    of_run.said = []
    return of_run


def test_a_base_that_another_run_asked_is_not_asked_again_and_it_stays_one_look(of_run):
    first, look = of_run("a", Scripted(), model="reasoner:base")
    (runs.runs_dir() / "latest").symlink_to("a")
    engine, seen = Scripted(), []
    second, again = of_run("b", engine, model="s1:base", progress=lambda *done: seen.append(done))
    assert engine.asked == [] and seen[-1] == (6, 6)
    assert second == [{**row, "model": "s1:base"} for row in first]
    assert (look, again) == (1, 1)
    assert of_run.said == ["base.jsonl: 6 completions of run a: the same model file, problems and sampling"]
    assert files.read_json(runs.runs_dir() / "b" / "completions" / "base.key.json")["from"] == "a"


def test_a_public_model_is_not_asked_what_it_answered_as_a_candidate():
    exports, said = runs.runs_dir() / "a" / "exports", []
    candidate = exports / "step-000010" / "gate" / "completions" / "tuned.jsonl"
    first = score(Scripted(), candidate, PROBLEMS, "number", said, model="m:step-10")
    engine = Scripted()
    public = exports / "step-000020" / "gate" / "completions" / "base.jsonl"
    second = score(engine, public, PROBLEMS, "number", said, model="m:latest")
    assert engine.asked == [] and second == [{**row, "model": "m:latest"} for row in first]
    assert said == ["base.jsonl: 6 completions of run a: the same model file, problems and sampling"]


def test_what_another_run_was_answered_is_judged_by_the_verifier_of_today(of_run):
    of_run("a", Scripted())
    today = registry.Verifier("number", "next", lambda completion, answer: Score("right"))
    rows, _ = of_run("b", Scripted(), checker=today)
    assert {(row["verdict"], row["verifier"]["version"]) for row in rows} == {("right", "next")}
    assert len(of_run.said) == 1, "judged once, not judged and judged again"


@pytest.mark.parametrize("how", ["model", "problems", "cut", "unanswered", "no key", "no field", "CPU"])
def test_answers_of_another_run_that_are_not_all_of_this_are_not_taken(of_run, how, monkeypatch):
    of_run("a", Scripted())
    path = runs.runs_dir() / "a" / "completions" / "base.jsonl"
    rows = files.read_jsonl(path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "no key":
        path.with_name("base.key.json").unlink()
    elif how == "CPU":
        monkeypatch.setattr(cache, "machine_key", lambda: "another")
    elif how in ("unanswered", "no field"):
        rows[2].update({"finish_reason": "unanswered"}) if how == "unanswered" else rows[2].pop("finish_reason")
        path.unlink()
        files.append_jsonl(path, rows)
    engine = Scripted(digest="sha256:b") if how == "model" else Scripted()
    made, _ = of_run("b", engine, problems=PROBLEMS[:4] if how == "problems" else PROBLEMS)
    assert len(engine.asked) == len(made) and of_run.said == []


def test_a_run_with_answers_of_its_own_keeps_them(of_run):
    of_run("a", Scripted(text="#### 2"))
    with pytest.raises(KeyboardInterrupt):
        of_run("b", Scripted(digest="sha256:b", break_after=4))
    engine = Scripted(digest="sha256:b")
    of_run("b", engine)
    assert len(engine.asked) == 2


def test_a_second_look_at_a_test_split_is_known_and_a_resumed_one_is_none(ask):
    def look(engine, problems=PROBLEMS):
        ask(engine, problems=problems)
        return asking.look(engine, problems, ask.path)

    assert look(Scripted(), PROBLEMS[:4]) == 1
    assert look(Scripted(), PROBLEMS[:4]) == 1
    ask.path.unlink()
    assert look(Scripted(), PROBLEMS[:4]) == 2
    assert look(Scripted(digest="sha256:b"), PROBLEMS[:4]) == 1
    assert look(Scripted(), PROBLEMS[4:]) == 1, "no problem of these was asked before"
    assert look(Scripted()) == 4, "all three looks so far were at some of these"
    assert len(files.read_json(runs.runs_dir() / "looks.json")) == 2
