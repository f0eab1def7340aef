"""Problems, chats and controls: identity, order, references; and the prompts that are no problems."""

import pytest
from made_up_sets import settings

from reasoner.errors import ReasonerError
from reasoner.problems import load
from reasoner.problems.everyday import everyday_prompts
from reasoner.problems.problem import Problem, messages, shuffle_references, split_sha256
from reasoner.verifiers.number import reference_of


def test_split_identity_changes_with_any_reference():
    problems = load.problems(settings(), "test", 5)
    changed = [*problems[:4], Problem(problems[4].id, problems[4].question, "#### 0")]
    assert split_sha256(problems) == split_sha256(load.problems(settings(), "test", 5))
    assert split_sha256(problems) != split_sha256(changed)


def test_shuffled_references_are_all_wrong_and_the_same_as_a_whole():
    problems = load.problems(settings(), "train", 300)
    control = shuffle_references(problems, 0, reference_of)
    assert sorted(p.answer for p in control) == sorted(p.answer for p in problems)
    for before, after in zip(problems, control, strict=True):
        assert reference_of(before.answer) != reference_of(after.answer)
        assert before.question == after.question
    assert control == shuffle_references(problems, 0, reference_of)
    assert control != shuffle_references(problems, 1, reference_of)


def test_references_all_alike_cannot_be_shuffled():
    problems = [Problem(str(i), "q", "#### 1") for i in range(5)]
    with pytest.raises(ReasonerError, match="too much alike"):
        shuffle_references(problems, 0, reference_of)


def test_messages_put_the_system_message_first():
    assert messages("q", None) == [{"role": "user", "content": "q"}]
    assert [m["role"] for m in messages("q", "s")] == ["system", "user"]


def test_everyday_prompts_of_a_use_are_never_those_of_another():
    uses = {use: everyday_prompts(use) for use in ("eval", "probe", "keep")}
    for use, rows in uses.items():
        assert {prompt.use for prompt in rows} == {use}
    prompts = [prompt.prompt for rows in uses.values() for prompt in rows]
    assert len(set(prompts)) == len(prompts)
