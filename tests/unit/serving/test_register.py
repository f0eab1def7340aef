"""What register reads back, and when a scored model is promoted."""

import pytest

from reasoner import config, runs
from reasoner.errors import GATE, USAGE, ReasonerError
from reasoner.pipeline import checkpoint, job
from reasoner.serving import register


class Client:
    """Tags and digests; those in `dumb` are of models that give no answer."""

    host = "127.0.0.1:1"

    def __init__(self, tags, dumb=()):
        self.tags, self.dumb, self.asked = tags, set(dumb), []

    def list_tags(self):
        return [{"name": name, "digest": digest} for name, digest in self.tags.items()]

    def show(self, tag):
        return {"modelfile": f"FROM /blobs/sha256-{self.tags[tag]}"}

    def chat(self, tag, messages, options):
        self.asked.append(tag)
        if self.tags[tag] in self.dumb:
            raise ReasonerError(f"{tag} does not load")

    def digest(self, tag):
        return self.tags.get(tag)

    def copy(self, source, destination):
        self.tags[destination] = self.tags[source]

    def delete(self, tag):
        return self.tags.pop(tag, None) is not None


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    return runs.Run(tmp_path / "run")


def scored(points=30.0, low=25.0, high=35.0, found=(), below=()):
    lift = {"points": points, "ci95": [low, high]}
    return {"lift": lift, "problems_found": list(found), "below_base": list(below)}


def promote(client, run, facts, **overrides):
    settings, _ = config.resolve("pocket", overrides)
    return register.promote(settings, client, run, {"tag": "reasoner:step-000150", "digest": "d1"}, facts, 150)


def test_a_fit_model_becomes_latest(run):
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, run, scored())["promoted"] is True
    assert client.tags["reasoner:latest"] == "d1"
    row = register.history(run)[-1]
    assert (row["event"], row["step"], row["digest"], row["by"]) == ("promoted", 150, "d1", "reasoner run")


def test_no_measurable_lift_is_promoted_but_a_measured_loss_is_not(run):
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, run, scored(-1, -4, 2))["promoted"] is True
    client.tags["reasoner:latest"] = "old"
    refused = promote(client, run, scored(-9, -12, -6))
    assert refused["promoted"] is False
    assert refused["why"] == ["it scores 9.0 points below the base"]
    assert client.tags["reasoner:latest"] == "old"


def test_a_model_that_fails_the_smoke_check_is_not_promoted(run):
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    assert promote(client, run, scored(found=["7 % were cut"]))["why"] == ["7 % were cut"]
    assert client.tags["reasoner:latest"] == "old"


def test_a_model_that_lost_a_kind_is_not_promoted_whatever_it_gained_elsewhere(run):
    client = Client({"reasoner:step-000150": "d1", "reasoner:latest": "old"})
    lost = [
        {"name": "subtraction", "points": -7.5, "p_holm": 0.0123},
        {"name": "svamp", "points": -4.0, "p_holm": 1e-5},
    ]
    refused = promote(client, run, scored(points=50.0, below=lost))
    assert refused["promoted"] is False
    assert refused["why"] == [
        "subtraction: 7.5 points below the base, beyond noise (p = 0.012, adjusted for all kinds and sets)",
        "svamp: 4.0 points below the base, beyond noise (p = 1e-05, adjusted for all kinds and sets)",
    ]
    assert client.tags["reasoner:latest"] == "old"


def test_a_control_is_never_promoted(run):
    client = Client({"reasoner:step-000150": "d1"})
    assert promote(client, run, scored(), **{"train.control": "shuffled"})["is_control"] is True
    assert "reasoner:latest" not in client.tags


def test_controls_have_tags_of_their_own():
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    plain, _ = config.resolve("pocket")
    assert register.step_tag(plain, 150) == "reasoner:step-000150"
    assert register.step_tag(control, 150) == "reasoner:shuffled-step-000150"


def test_a_tag_rewritten_meanwhile_is_seen(run):
    client = Client({"reasoner:step-000150": "d2"})
    with pytest.raises(ReasonerError, match="is not the model that was scored"):
        promote(client, run, scored())


# -- the public tag over time


def publish(client, run, step, digest=None, **facts):
    settings, _ = config.resolve("pocket")
    tag = register.step_tag(settings, step)
    client.tags.setdefault(tag, digest or f"d{step}")
    return register.publish(settings, client, run, {"tag": tag, "digest": client.tags[tag]}, step, by="test", **facts)


def rollback(client, run):
    return register.rollback(config.resolve("pocket")[0], client, run)


def test_the_model_before_keeps_a_tag_until_the_new_one_has_answered(run):
    client = Client({"reasoner:latest": "a person's"}, dumb=["d2"])
    publish(client, run, 1)
    assert client.tags["reasoner:kept-a person's"] == "a person's"
    assert client.asked == ["reasoner:step-000001", "reasoner:latest"]
    with pytest.raises(ReasonerError, match="does not load"):
        publish(client, run, 2)
    assert client.tags["reasoner:latest"] == "d1"
    assert [row["event"] for row in register.history(run)] == ["promoting", "promoted"]


class Fickle(Client):
    """A server that answers under the step's tag, and no longer under the public one."""

    def chat(self, tag, messages, options):
        if tag == "reasoner:latest" and self.tags[tag] in self.dumb:
            raise ReasonerError("out of memory")


@pytest.mark.parametrize("before", [{"reasoner:latest": "old"}, {}])
def test_a_model_that_fails_under_the_public_name_gives_it_back(run, before):
    client = Fickle(dict(before), dumb=["d1"])
    with pytest.raises(ReasonerError, match="out of memory"):
        publish(client, run, 1)
    assert client.tags.get("reasoner:latest") == before.get("reasoner:latest")
    assert register.promotions(run) == []
    assert register.settle(config.resolve("pocket")[0], client, run) is None


def test_publishing_what_is_public_changes_nothing(run):
    client = Client({})
    assert publish(client, run, 1)["event"] == "promoted"
    assert publish(client, run, 1) is None
    assert len(register.history(run)) == 2


def test_rollback_undoes_one_promotion_after_the_other(run):
    client = Client({})
    for step in (1, 2, 3):
        publish(client, run, step)
    assert rollback(client, run)["from"] == "reasoner:step-000002"
    assert client.tags["reasoner:latest"] == "d2"
    assert rollback(client, run)["step"] == 2
    assert client.tags["reasoner:latest"] == "d1"
    with pytest.raises(ReasonerError, match="nothing to roll back to") as caught:
        rollback(client, run)
    assert caught.value.code == USAGE
    publish(client, run, 3)
    assert [row["step"] for row in register.promotions(run)] == [1, 3]


def test_a_rollback_cut_off_by_a_kill_is_finished_by_the_next(run):
    client = Client({})
    for step in (1, 2, 3):
        publish(client, run, step)
    client.tags["reasoner:latest"] = "d2"  # and no word of it in the history
    assert rollback(client, run)["step"] == 3
    assert client.tags["reasoner:latest"] == "d2"
    assert [row["step"] for row in register.promotions(run)] == [1, 2]


def test_rollback_refuses_where_another_model_became_public_or_the_old_one_is_gone(run):
    client = Client({})
    publish(client, run, 1)
    publish(client, run, 2)
    client.tags["reasoner:latest"] = "another run's"
    with pytest.raises(ReasonerError, match="is not what run run promoted last"):
        rollback(client, run)
    client.tags["reasoner:latest"] = "d2"
    del client.tags["reasoner:step-000001"]
    with pytest.raises(ReasonerError, match="is gone from Ollama"):
        rollback(client, run)
    assert client.tags["reasoner:latest"] == "d2"


@pytest.mark.parametrize("has_moved", [True, False])
def test_a_promotion_cut_off_by_a_kill_is_settled_from_what_is_public(run, has_moved):
    client = Client({"reasoner:latest": "d2" if has_moved else "d1"})
    previous = {"tag": "reasoner:step-000001", "digest": "d1"}
    register.tell(run, 2, "promoting", tag="reasoner:latest", digest="d2", previous=previous, score=0.5)
    row = register.settle(config.resolve("pocket")[0], client, run)
    assert (row is not None) is has_moved
    assert len(register.promotions(run)) == has_moved
    if has_moved:
        assert (row["event"], row["previous"], row["score"]) == ("promoted", previous, 0.5)
        assert register.settle(config.resolve("pocket")[0], client, run) is None


# -- the gate's rule


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
    assert register.verdict(config.resolve("pocket")[0], found(**changes), best, lost) == why


def test_the_gate_refuses_a_control():
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    assert register.verdict(control, found(), None, []) == ["a shuffled control is never promoted"]


def test_a_control_has_no_step_to_promote_either(run):

    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    with pytest.raises(ReasonerError, match="never promoted") as caught:
        checkpoint.promote_step(job.Job(control, run).at(2), "reasoner promote")
    assert caught.value.code == GATE


def test_drop_spares_a_tag_that_another_model_took(run):
    client = Client({})
    publish(client, run, 1)
    settings, _ = config.resolve("pocket")
    register._remember(client, "reasoner:step-000001")
    client.tags["reasoner:step-000001"] = "a person's"
    assert register.drop(client, register.step_tag(settings, 1)) is False
    assert client.tags["reasoner:step-000001"] == "a person's"
    assert register.drop(client, "a:person's") is False


def test_remove_all_spares_tags_that_are_no_longer_ours(run):
    client = Client({"reasoner:step-000150": "d1", "mine:latest": "x"})
    promote(client, run, scored())
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
