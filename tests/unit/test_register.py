"""What register reads back, and when a scored model is promoted."""

import pytest

from reasoner import config, register
from reasoner.errors import ReasonerError


class Client:
    host = "127.0.0.1:1"

    def __init__(self, tags):
        self.tags = tags

    def digest(self, tag):
        return self.tags.get(tag)

    def copy(self, source, destination):
        self.tags[destination] = self.tags[source]

    def delete(self, tag):
        return self.tags.pop(tag, None) is not None


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path))


def scored(points=30.0, low=25.0, high=35.0, found=(), below=()):
    lift = {"points": points, "ci95": [low, high]}
    return {"lift": lift, "problems_found": list(found), "below_base": list(below)}


def promote(client, facts, **overrides):
    settings, _ = config.resolve("pocket", overrides)
    return register.promote(settings, client, {"tag": "reasoner:step-000150", "digest": "d1"}, facts)


def test_a_fit_model_becomes_latest():
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, scored())["promoted"] is True
    assert client.tags["reasoner:latest"] == "d1"


def test_no_measurable_lift_is_promoted_but_a_measured_loss_is_not():
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, scored(-1, -4, 2))["promoted"] is True
    client.tags["reasoner:latest"] = "old"
    refused = promote(client, scored(-9, -12, -6))
    assert refused["promoted"] is False
    assert refused["why"] == ["it scores 9.0 points below the base"]
    assert client.tags["reasoner:latest"] == "old"


def test_a_model_that_fails_the_smoke_check_is_not_promoted():
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, scored(found=["7 % were cut"]))["why"] == ["7 % were cut"]
    assert client.tags["reasoner:latest"] == "old"


def test_a_model_that_lost_a_kind_is_not_promoted_whatever_it_gained_elsewhere():
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    lost = [
        {"name": "subtraction", "points": -7.5, "p_holm": 0.0123},
        {"name": "svamp", "points": -4.0, "p_holm": 1e-5},
    ]
    refused = promote(client, scored(points=50.0, below=lost))
    assert refused["promoted"] is False
    assert refused["why"] == [
        "subtraction: 7.5 points below the base, beyond noise (p = 0.012, adjusted for all kinds and sets)",
        "svamp: 4.0 points below the base, beyond noise (p = 1e-05, adjusted for all kinds and sets)",
    ]
    assert client.tags["reasoner:latest"] == "old"


def test_a_control_is_never_promoted():
    client = Client({"reasoner:step-000150": "d1"})
    assert promote(client, scored(), **{"train.control": "shuffled"})["is_control"] is True
    assert "reasoner:latest" not in client.tags


def test_controls_have_tags_of_their_own():
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    plain, _ = config.resolve("pocket")
    assert register.step_tag(plain, 150) == "reasoner:step-000150"
    assert register.step_tag(control, 150) == "reasoner:shuffled-step-000150"


def test_a_tag_rewritten_meanwhile_is_seen():
    client = Client({"reasoner:step-000150": "d2"})
    with pytest.raises(ReasonerError, match="is not the model that was scored"):
        promote(client, scored())


def test_remove_all_spares_tags_that_are_no_longer_ours():
    client = Client({"reasoner:step-000150": "d1", "mine:latest": "x"})
    promote(client, scored())
    client.tags["reasoner:latest"] = "the person's own"
    register._remember(client, "reasoner:step-000150")
    assert register.has_registered()
    assert register.remove_all(client) == ["reasoner:step-000150"]
    assert client.tags == {"mine:latest": "x", "reasoner:latest": "the person's own"}
    assert not register.has_registered()


def test_missing_and_foreign_tags_are_reasons():
    client = Client({"a:1": "d1"})
    facts = [{"tag": "a:1", "digest": "d1"}, {"tag": "a:2", "digest": "d1"}, {"tag": "a:1", "digest": "d0"}]
    assert register.not_there(client, facts) == [
        "a:2 is not in Ollama at 127.0.0.1:1",
        "a:1 in Ollama is another model",
    ]


@pytest.mark.parametrize(
    ("trained", "served", "says"),
    [
        ([1, 5, 6], [5, 6], "at token 0 the trainer has 1 ('<1>'), the server 5 ('<5>') (3 and 2 tokens)"),
        ([1, 5], [1, 5, 7], "at token 2 the trainer has the end, the server 7 ('<7>') (2 and 3 tokens)"),
    ],
)
def test_difference_names_the_first_token(trained, served, says):
    assert register.difference(trained, served, lambda i: f"<{i}>") == says
