"""Finding a verifier and calling it: a failure is not a wrong answer, and an unknown name says what is known."""

import pickle

import pytest

from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers import registry
from reasoner.verifiers.checker import Verifier
from reasoner.verifiers.score import Score


def test_a_broken_verifier_is_not_a_wrong_answer():
    def broken(completion: str, answer: str) -> Score:
        raise ZeroDivisionError("boom")

    score = registry.verify(Verifier("broken", "1", broken), "#### 5", "5")
    assert score.verdict == "unscored"
    assert score.reward is None
    assert "ZeroDivisionError: boom" in score.why


def test_cut_off_is_wrong_even_where_the_number_fits():
    score = registry.verify(registry.load("number"), "#### 5", "5", is_finished=False)
    assert (score.verdict, score.reward) == ("wrong", 0.0)


def test_cut_off_does_not_hide_a_broken_reference():
    assert registry.verify(registry.load("number"), "#### 5", "x", is_finished=False).verdict == "unscored"


def test_unknown_verifier_names_the_nearest():
    with pytest.raises(ReasonerError, match="did you mean `number`"):
        registry.load("numbr")


def test_a_retired_name_says_which_one_judges_the_same():
    with pytest.raises(ReasonerError, match="the verifier 'arithmetic' is gone") as caught:
        registry.load("arithmetic")
    assert (caught.value.fix, caught.value.code) == ("--set verifier.name=number", USAGE)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_built_in_verifier_says_all_that_others_must_know_of_it(name):
    checker = registry.load(name)
    assert checker.name == name
    assert checker.family
    assert checker.lenient is None or registry.load(checker.lenient).family == checker.family


def test_nothing_is_loaded_for_a_name_that_is_not_ours():
    assert registry.built_in("number").lenient == "number-lenient"
    assert registry.built_in("checks/none.py:f") is registry.built_in("zebra") is None


def test_a_registered_verifier_is_found_by_its_name():
    @registry.verifier("shouts", version="1", commit=str.upper)
    def shouts(completion: str, answer: str) -> Score:
        return Score("right" if completion == answer.upper() else "wrong")

    checker = registry.load("shouts")
    assert registry.verify(checker, checker.commit("a"), "a").verdict == "right"
    assert (checker.family, checker.contract) == ("", "own")


def test_verifiers_can_cross_to_a_worker_process():
    for name in ("number", "number-lenient", "math"):
        checker = pickle.loads(pickle.dumps(registry.load(name)))
        assert checker.name == name
        assert checker.strict(checker.commit("5"), "5").verdict == "right"
