"""Runs side by side: what is refused, what seeds agree on, what is left beside a control."""

import json

import click.testing
import made_up
import pytest

from reasoner import config, files, runs
from reasoner.cli import main
from reasoner.errors import USAGE, ReasonerError
from reasoner.measuring import lift, scores
from reasoner.measuring.figures import Completion
from reasoner.reporting import compare

N = 40


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Write a finished run whose tuned model has `right` of N problems right, its base 10."""
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path))

    def make(name, right=30, profile="pocket", completions=True, facts=None, **overrides):
        run = runs.Run(tmp_path / name)
        found, origin = config.resolve(
            profile, {key.replace("__", "."): str(value) for key, value in overrides.items()}
        )
        files.write_text(run.config_path, config.dump(found, origin))
        rows = {
            role: [
                {"problem_id": f"p{at}", "verdict": "right" if at < num else "wrong", "strict": None, "tokens": 1,
                 "completion": str(at), "shows_working": True, "finish_reason": "stop", "leaked": [], "extracted": "1"}
                for at in range(N)
            ]
            for role, num in (("base", 10), ("tuned", right))
        }  # fmt: skip
        read = {role: files.parse(list[Completion], found_rows) for role, found_rows in rows.items()}
        summary = {
            "run": name, "profile": profile, "seed": found.train.seed, "control": found.train.control, "n": N,
            "split": "test", "split_sha256": "a" * 64, "verifier": {"name": "number", "version": "2"},
            "promoted": found.train.control is None, "versions": {"trl": "1"}, "device": "cpu",
            "served": {"host": "h", "tag": "t", "digest": "d", "ollama": "0.34.4"},
            **{role: files.as_json(scores.measure(found_rows)) for role, found_rows in read.items()},
            "lift": files.as_json(lift.lift(**read)),
        }  # fmt: skip
        files.write_json(run.summary_path, summary | (facts or {}))
        if completions:
            for role, found_rows in rows.items():
                files.append_jsonl(run.path / "completions" / f"{role}.jsonl", found_rows)
        return run

    return make


def compared(names):
    """What `reasoner compare --json` prints."""
    return files.as_json(compare.run(names))


def test_seeds_of_one_recipe_are_taken_together_whatever_else_was_only_looked_at(finished):
    finished("a", 30)
    finished("b", 34, train__seed=1, serve__num_thread=2, train__keep_checkpoints=9, eval__everyday="true")
    finished("c", 38, train__seed=2, alarms__max_chat_kl=9)
    value = compared(["a", "b", "c"])
    (seeds,) = value["seeds"]
    assert (seeds["runs"], seeds["points"], seeds["sd"]) == (["a", "b", "c"], pytest.approx(60), pytest.approx(10))
    assert seeds["ci95"] == pytest.approx([60 - 4.302653 * 10 / 3**0.5, 60 + 4.302653 * 10 / 3**0.5], abs=1e-4)
    assert (seeds["over_problems"]["points"], seeds["over_problems"]["pairs"]) == (pytest.approx(60), N)
    assert (value["controls"], value["notes"]) == ([], [])
    assert [row["run"] for row in value["runs"]] == ["a", "b", "c"]


def test_a_control_is_subtracted_by_problem(finished):
    finished("a", 30)
    finished("control", 12, train__control="shuffled")
    value = compared(["control", "a"])
    (found,) = value["controls"]
    assert (found["run"], found["control"], found["lift"], found["control_lift"]) == ("a", "control", 50, 5)
    difference = lift.paired([0.0] * 12 + [1.0] * 18 + [0.0] * 10)
    assert found["difference"] == files.as_json(difference)
    assert value["seeds"] == []
    text = "\n".join(compare.lines(compare.run(["control", "a"])))
    assert "+50.0 − +5.0 = +45.0 points" in text
    assert "control (shuffled)" in text


def test_without_completions_the_difference_is_wider_and_says_so(finished):
    finished("a", 30, completions=False)
    finished("control", 12, train__control="shuffled")
    (found,) = compared(["a", "control"])["controls"]
    low, high = found["difference"]["ci95"]
    narrow = lift.paired([0.0] * 12 + [1.0] * 18 + [0.0] * 10).ci95
    assert found["difference"]["points"] == 45
    assert high - low > narrow[1] - narrow[0]
    assert "completions are gone" in "\n".join(compare.lines(compare.run(["a", "control"])))


def test_completions_of_another_evaluation_are_not_taken(finished):
    finished("a", 30, facts={"lift": files.as_json(lift.lift(*[[made_up.answered("x", "right")]] * 2))})
    finished("b", 34, train__seed=1)
    assert compared(["a", "b"])["seeds"][0]["over_problems"] is None


def test_a_control_of_another_seed_is_not_subtracted(finished):
    finished("a", 30)
    finished("control", 12, train__control="shuffled", train__seed=1)
    value = compared(["a", "control"])
    assert value["controls"] == []
    assert "no run of its recipe and its seed" in value["notes"][0]


def test_different_recipes_are_named_and_not_taken_together(finished):
    finished("a", 30)
    finished(
        "b",
        34,
        train__seed=1,
        train__steps=50,
    )
    finished("c", 34)
    value = compared(["a", "b", "c"])
    assert value["seeds"] == []
    assert value["notes"] == [
        "a, c: one seed twice, so there is no interval over seeds",
        "a and b are different recipes: train.steps 100 and 50",
    ]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"split_sha256": "b" * 64}, "problems: 40 of test (aaaaaaaaaaaa) in a, 40 of test (bbbbbbbbbbbb) in b"),
        ({"verifier": {"name": "number", "version": "1"}}, "verifier: number 2 in a, number 1 in b"),
    ],
)
def test_runs_that_were_scored_differently_are_refused(finished, facts, says):
    finished("a")
    finished("b", train__seed=1, facts=facts)
    with pytest.raises(ReasonerError, match="runs a and b were not scored alike") as refused:
        compare.run(["a", "b"])
    assert (refused.value.code, says in str(refused.value)) == (USAGE, True)


def test_runs_of_another_profile_stand_beside_and_nothing_is_taken_across(finished):
    finished("a")
    finished("b", profile="smol", train__seed=1, facts={"split_sha256": "b" * 64})
    value = compared(["a", "b"])
    assert (len(value["runs"]), value["seeds"]) == (2, [])
    assert value["notes"][0].startswith("a (pocket) and b (smol) were scored on different sets")


def test_mistakes(finished, tmp_path):
    finished("a")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text((tmp_path / "a" / "config.json").read_text())
    for names, says in ((["a"], "one run"), (["a", "a"], "twice"), (["a", "half"], "half is not finished")):
        with pytest.raises(ReasonerError, match=says) as refused:
            compare.run(names)
        assert refused.value.code == USAGE


def test_a_summary_that_another_version_wrote_is_named(finished):
    finished("a")
    finished("b", train__seed=1, facts={"base": {"pass_at_1": 0.2}})
    with pytest.raises(ReasonerError, match="summary of run b was written by another version") as refused:
        compare.run(["a", "b"])
    assert refused.value.code == USAGE


def test_json_is_one_value(finished):
    finished("a")
    finished("b", train__seed=1)
    done = click.testing.CliRunner().invoke(main.cli, ["compare", "a", "b", "--json"])
    assert json.loads(done.stdout)["seeds"][0]["runs"] == ["a", "b"]
    done = click.testing.CliRunner().invoke(main.cli, ["compare", "a", "b"])
    assert "over seeds" in done.stdout
