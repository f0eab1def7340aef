"""Early refusals, and going on from a checkpoint."""

import pytest

from reasoner import config, files, runs
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.problems.problem import Problem
from reasoner.training import engine, grpo


def test_a_share_is_refused_where_the_verifier_has_none():
    with pytest.raises(ReasonerError, match="the verifier number has no shares of tests") as caught:
        grpo.check(config.resolve("pocket", {"verifier.reward": "share"})[0])
    assert (caught.value.code, caught.value.fix) == (2, "--set verifier.reward=verdict")
    names = {"data.source": "linetasks", "verifier.name": "code", "verifier.reward": "share"}
    grpo.check(config.resolve("pocket", names)[0])


def test_micro_batch_must_divide_the_step():
    found, _ = config.resolve("pocket", {"train.micro_batch": "7"})
    with pytest.raises(ReasonerError, match="does not divide") as caught:
        grpo.check(found)
    assert caught.value.code == 2


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    run = runs.Run(tmp_path)
    files.append_jsonl(tmp_path / "metrics.jsonl", [{"step": s} for s in range(1, 8)])
    for step in range(1, 8):
        files.write_text(tmp_path / "rollouts" / f"{runs.step_name(step)}.jsonl", "{}\n")
    files.write_text(run.checkpoints_dir / "checkpoint-5" / "DONE", "")
    assert grpo.forget_unfinished(run) == 5
    assert [row["step"] for row in files.read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "rollouts").iterdir())) == 5
    (run.checkpoints_dir / "checkpoint-5" / "DONE").unlink()
    assert grpo.forget_unfinished(run) == 0
    assert not list((tmp_path / "rollouts").iterdir())


def test_prompts_that_do_not_fit_are_found():
    found = config.resolve("pocket", {"serve.num_ctx": "300", "serve.num_predict": "100"})[0]
    tokenizer = locate.load_tokenizer(locate.locate(found.model))
    problems = [
        Problem("a", "What is 1 + 1?", "2"),
        Problem("b", "and so on " * 400, "2"),
        Problem("c", "x" * 150, "1"),
    ]
    assert engine.prompt_room(found) == 300 - found.train.max_completion_tokens
    assert list(engine.too_long(found, tokenizer, problems, 200)) == [1]
