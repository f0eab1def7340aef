"""When a model may become public."""

import pytest

from reasoner import config
from reasoner.measuring import gate


def scored(points=30.0, low=25.0, high=35.0, found=(), below=()):
    lift = {"points": points, "ci95": [low, high]}
    return {"lift": lift, "problems_found": list(found), "below_base": list(below)}


def test_no_measurable_lift_is_promoted_but_a_measured_loss_is_not():
    assert gate.refusals(scored()) == gate.refusals(scored(-1, -4, 2)) == []
    assert gate.refusals(scored(-9, -12, -6)) == ["it scores 9.0 points below the base"]


def test_a_model_that_fails_the_smoke_check_is_not_promoted():
    assert gate.refusals(scored(found=["7 % were cut"])) == ["7 % were cut"]


def test_a_model_that_lost_a_kind_is_not_promoted_whatever_it_gained_elsewhere():
    lost = [
        {"name": "subtraction", "points": -7.5, "p_holm": 0.0123},
        {"name": "svamp", "points": -4.0, "p_holm": 1e-5},
    ]
    assert gate.refusals(scored(points=50.0, below=lost)) == [
        "subtraction: 7.5 points below the base, beyond noise (p = 0.012, adjusted for all kinds and sets)",
        "svamp: 4.0 points below the base, beyond noise (p = 1e-05, adjusted for all kinds and sets)",
    ]


def found(**changes):
    base = {"n": 200, "lower": -1.0, "points": 0.5, "score": 0.6, "against": {"tag": "reasoner:latest"}}
    return {**base, **changes}


@pytest.mark.parametrize(
    ("changes", "best", "lost", "why"),
    [
        ({}, None, [], []),
        ({"lower": -1.999}, None, [], []),
        ({"lower": -2.0}, None, [], ["+0.5 points against reasoner:latest, and at 95% it may be 2.0 worse (margin 2)"]),
        ({"n": 99}, None, [], ["99 problems have a verdict on both sides, 100 are needed"]),
        ({"score": 0.6}, 0.62, [], []),
        ({"score": 0.59}, 0.62, [], ["3.0 points below the best that was promoted (margin 2)"]),
        ({}, None, ["7 % were cut"], ["7 % were cut"]),
        ({"n": 0, "lower": None, "score": None}, 0.6, [], ["0 problems have a verdict on both sides, 100 are needed"]),
    ],
)
def test_a_checkpoint_may_become_public_where_it_is_shown_not_to_be_worse(changes, best, lost, why):
    assert gate.verdict(config.resolve("pocket")[0], found(**changes), best, lost) == why


def test_the_gate_refuses_a_control():
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    assert gate.verdict(control, found(), None, []) == ["a shuffled control is never promoted"]
