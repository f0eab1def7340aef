"""When the public tag moves to a scored model."""

import fake_ollama
import pytest
from made_up import evaluation

from reasoner import config, runs
from reasoner.errors import GATE, ReasonerError
from reasoner.export.facts import PromoteFacts
from reasoner.measuring.figures import Below
from reasoner.pipeline import checkpoint, job, stages
from reasoner.serving import history
from reasoner.serving.tags import Tagged

PUBLIC = "reasoner:latest"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    with fake_ollama.running({"reasoner:step-000150": "sha256:d1", PUBLIC: "sha256:old"}) as made:
        yield made


@pytest.fixture
def run(tmp_path):
    return runs.Run(tmp_path / "run")


@pytest.fixture
def promote(fake, run):
    def call(points=30.0, low=25.0, high=35.0, found=(), below=(), **overrides):
        settings, _ = config.resolve("pocket", overrides)
        scored = evaluation(points, low, high, found, below)
        with fake.client() as client:
            model = Tagged("reasoner:step-000150", "sha256:d1")
            return stages.promote(settings, client, run, model, scored, 150)

    return call


def test_a_fit_model_becomes_latest(fake, promote, run):
    made = promote()
    assert made == PromoteFacts(promoted=True, why=[], tag=PUBLIC, digest="sha256:d1")
    assert fake.tags[PUBLIC] == "sha256:d1"
    event = history.events(run)[-1]
    assert (event.event, event.step, event.digest, event.by) == ("promoted", 150, "sha256:d1", "reasoner run")


@pytest.mark.parametrize(
    "facts",
    [
        {"points": -9, "low": -12, "high": -6},
        {"found": ["7 % were cut"]},
        {"below": [Below("svamp", -4.0, 1e-5)]},
        {"train.control": "shuffled"},
    ],
)
def test_a_model_that_is_refused_leaves_the_public_tag_as_it_was(facts, fake, promote, run):
    made = promote(**facts)
    assert made.promoted is False and made.why and made.tag is None
    assert made.is_control is ("train.control" in facts)
    assert fake.tags[PUBLIC] == "sha256:old" and history.events(run) == []


def test_a_tag_rewritten_meanwhile_is_seen(fake, promote):
    fake.put("reasoner:step-000150", "sha256:d2")
    with pytest.raises(ReasonerError, match="is not the model that was scored"):
        promote()


def test_a_control_has_no_step_to_promote_either(run):
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    with pytest.raises(ReasonerError, match="never promoted") as caught:
        checkpoint.promote_step(job.Job(control, run).at(2), "reasoner promote")
    assert caught.value.code == GATE
