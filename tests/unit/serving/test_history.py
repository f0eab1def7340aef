"""Which model was public when: promotions, roll-backs, and what a kill cuts off."""

import json

import pytest

from reasoner import config, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.serving import history, tags
from reasoner.serving.tags import Tagged

PUBLIC = "reasoner:latest"
SETTINGS = config.resolve("pocket")[0]


@pytest.fixture
def run(tmp_path):
    return runs.Run(tmp_path / "run")


@pytest.fixture
def publish(fake, client, run):
    def call(step, digest=None, **facts):
        tag = tags.step_tag(SETTINGS, step)
        if tag not in fake.tags:
            fake.put(tag, digest or f"sha256:d{step}")
        model = Tagged(tag, fake.tags[tag])
        return history.publish(SETTINGS, client, run, model, step, by="test", **facts)

    return call


@pytest.fixture
def rollback(client, run):
    return lambda: history.rollback(SETTINGS, client, run)


def silent(fake, digest, tag=None):
    """Models of this digest give no answer; with a tag, only under that one."""

    def answer(asked, messages, options):
        if fake.tags[asked] == digest and tag in (None, asked):
            return 500, {"error": "out of memory"}
        return "yes"

    fake.answer = answer


# -- an event


def test_an_event_is_a_line_with_what_its_kind_tells(run):
    previous = Tagged("reasoner:step-000001", "sha256:d1")
    history.tell(run, 2, "seen")
    history.tell(run, 2, "promoting", tag=PUBLIC, digest="sha256:d2", source="reasoner:step-000002", previous=None)
    history.tell(
        run, 2, "promoted", tag=PUBLIC, digest="sha256:d2", previous=previous, score=0.5, score_ci95=(0.4, 0.6)
    )
    history.tell(run, None, "kept", reason="worse", score=None)
    rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert all(row.pop("time").endswith("+00:00") for row in rows)
    assert rows == [
        {"step": 2, "event": "seen"},
        {"step": 2, "event": "promoting", "tag": PUBLIC, "digest": "sha256:d2", "from": "reasoner:step-000002",
         "previous": None},
        {"step": 2, "event": "promoted", "tag": PUBLIC, "digest": "sha256:d2", "score": 0.5, "score_ci95": [0.4, 0.6],
         "previous": {"tag": "reasoner:step-000001", "digest": "sha256:d1"}},
        {"step": None, "event": "kept", "reason": "worse", "score": None},
    ]  # fmt: skip
    found = history.events(run)
    assert [one.as_json() for one in found] == [{"time": one.time, **row} for one, row in zip(found, rows, strict=True)]
    assert found[1].source == "reasoner:step-000002" and found[2].previous == previous


@pytest.mark.parametrize("line", ["3", '{"event": "seen"}', '{"time": "t", "step": "two", "event": "seen"}'])
def test_a_history_of_another_kind_is_refused_by_name(run, line):
    run.path.mkdir()
    (run.path / "history.jsonl").write_text(line + "\n")
    with pytest.raises(ReasonerError, match="the history of run run cannot be read"):
        history.events(run)


# -- the public tag over time


def test_the_model_before_keeps_a_tag_until_the_new_one_has_answered(fake, publish, run):
    fake.put(PUBLIC, "sha256:a person's")
    publish(1)
    assert fake.tags["reasoner:kept-a person's"] == "sha256:a person's"
    assert [body["model"] for body in fake.bodies("POST /api/chat")] == ["reasoner:step-000001", PUBLIC]
    silent(fake, "sha256:d2")
    with pytest.raises(ReasonerError, match="refused an answer of reasoner:step-000002"):
        publish(2)
    assert fake.tags[PUBLIC] == "sha256:d1"
    assert [one.event for one in history.events(run)] == ["promoting", "promoted"]


@pytest.mark.parametrize("before", ["sha256:old", None])
def test_a_model_that_fails_under_the_public_name_gives_it_back(before, fake, client, publish, run):
    if before:
        fake.put(PUBLIC, before)
    silent(fake, "sha256:d1", PUBLIC)
    with pytest.raises(ReasonerError, match="refused an answer of reasoner:latest") as caught:
        publish(1)
    assert caught.value.why == "out of memory"
    assert fake.tags.get(PUBLIC) == before
    assert history.promotions(run) == []
    assert history.settle(SETTINGS, client, run) is None


def test_publishing_what_is_public_changes_nothing(publish, run):
    assert publish(1).event == "promoted"
    assert publish(1) is None
    assert len(history.events(run)) == 2


def test_rollback_undoes_one_promotion_after_the_other(fake, publish, rollback, run):
    for step in (1, 2, 3):
        publish(step)
    assert rollback().source == "reasoner:step-000002"
    assert fake.tags[PUBLIC] == "sha256:d2"
    assert rollback().step == 2
    assert fake.tags[PUBLIC] == "sha256:d1"
    with pytest.raises(ReasonerError, match="nothing to roll back to") as caught:
        rollback()
    assert caught.value.code == USAGE
    publish(3)
    assert [one.step for one in history.promotions(run)] == [1, 3]


def test_a_rollback_cut_off_by_a_kill_is_finished_by_the_next(fake, publish, rollback, run):
    for step in (1, 2, 3):
        publish(step)
    fake.put(PUBLIC, "sha256:d2")  # and no word of it in the history
    assert rollback().step == 3
    assert fake.tags[PUBLIC] == "sha256:d2"
    assert [one.step for one in history.promotions(run)] == [1, 2]


def test_rollback_refuses_where_another_model_became_public_or_the_old_one_is_gone(fake, publish, rollback):
    publish(1)
    publish(2)
    fake.put(PUBLIC, "sha256:another run's")
    with pytest.raises(ReasonerError, match="is not what run run promoted last"):
        rollback()
    fake.put(PUBLIC, "sha256:d2")
    fake.remove("reasoner:step-000001")
    with pytest.raises(ReasonerError, match="is gone from Ollama"):
        rollback()
    assert fake.tags[PUBLIC] == "sha256:d2"


@pytest.mark.parametrize("has_moved", [True, False])
def test_a_promotion_cut_off_by_a_kill_is_settled_from_what_is_public(has_moved, fake, client, run):
    fake.put(PUBLIC, "sha256:d2" if has_moved else "sha256:d1")
    previous = Tagged("reasoner:step-000001", "sha256:d1")
    history.tell(run, 2, "promoting", tag=PUBLIC, digest="sha256:d2", previous=previous, score=0.5)
    found = history.settle(SETTINGS, client, run)
    assert (found is not None) is has_moved
    assert len(history.promotions(run)) == has_moved
    if has_moved:
        assert (found.event, found.previous, found.score) == ("promoted", previous, 0.5)
        assert history.settle(SETTINGS, client, run) is None
