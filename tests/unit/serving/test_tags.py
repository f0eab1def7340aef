"""Which tags are ours, what becomes of a person's, and how the public one moves."""

import pytest

from reasoner import config
from reasoner.errors import ReasonerError
from reasoner.serving import tags
from reasoner.serving.tags import Tagged

PUBLIC = "reasoner:latest"


@pytest.fixture(scope="module")
def settings():
    return config.resolve("pocket")[0]


def test_controls_have_tags_of_their_own(settings):
    control, _ = config.resolve("pocket", {"train.control": "shuffled"})
    assert tags.step_tag(settings, 150) == "reasoner:step-000150"
    assert tags.step_tag(control, 150) == "reasoner:shuffled-step-000150"


def test_missing_and_foreign_tags_are_reasons(fake, client):
    fake.put("a:1", "sha256:d1")
    recorded = [Tagged("a:1", "sha256:d1"), Tagged("a:2", "sha256:d1"), Tagged("a:1", "sha256:d0")]
    assert tags.not_there(client, recorded) == [
        f"a:2 is not in Ollama at {fake.host}",
        "a:1 in Ollama is another model",
    ]


# -- what is made and dropped


@pytest.fixture
def file(fake, tmp_path):
    """A GGUF in the server's store, and its SHA-256."""
    sha256 = "a" * 64
    fake.blobs[sha256] = b"GGUF"
    return tmp_path / "model.gguf", sha256


def make(client, tag, file, **how):
    with tags.making(client, tag, file[1]) as kept:
        client.create(tag, *file, **how)
    return kept


def test_a_tag_that_we_made_is_ours_until_another_model_takes_its_name(fake, client, file):
    assert make(client, "a:b", file) is None and tags.has_registered()
    assert make(client, "a:b", file, system="Another digest.") is None  # ours: nothing is kept of it
    assert list(fake.tags) == ["a:b"]
    fake.put("a:b", "sha256:a person's")
    assert tags.drop(client, "a:b") is False
    assert fake.tags == {"a:b": "sha256:a person's"} and not tags.has_registered()
    assert tags.drop(client, "a:person's") is False


def test_what_a_person_had_under_the_tag_keeps_its_model(fake, client, file):
    fake.put("a:b", "sha256:a person's model")
    assert make(client, "a:b", file) == "a:kept-a person's m"
    assert fake.tags["a:kept-a person's m"] == "sha256:a person's model"
    assert tags.drop(client, "a:b") is True
    fake.put("a:b", "sha256:once more")
    fake.put("a:too", "sha256:once more")
    assert make(client, "a:b", file) == "a:too"
    assert tags.remove_all(client) == ["a:b"]
    assert set(fake.tags) == {"a:kept-a person's m", "a:too"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_kill_leaves_of_a_registration_is_ours(when, fake, client, file):
    with pytest.raises(Killed), tags.making(client, "a:b", file[1]):
        if when == "after":
            client.create("a:b", *file)
        raise Killed
    assert tags.has_registered()
    assert tags.remove_all(client) == ["a:b"]
    assert fake.tags == {} and not tags.has_registered()
    assert len(fake.bodies("POST /api/create")) == 1  # `before`: made once, so that the file in no tag goes with it


def test_without_its_system_message_a_tag_has_its_file_and_stops(fake, client, tmp_path):
    sha256 = "a" * 64
    path = tmp_path / f"sha256-{sha256}"
    path.write_bytes(b"GGUF")
    fake.blobs[sha256] = b"GGUF"
    fake.put("m:base", "sha256:b", modelfile=f"FROM {path}", system="Be brief.", parameters={"stop": ["####"], "x": 1})
    with tags.without_system(client, "m:base") as bare:
        shown = client.show(bare)
        assert bare == "m:base-no-system" and shown.system is None
        assert shown.parameters == {"stop": ["####"]} and f"sha256-{sha256}" in shown.modelfile
        assert tags.has_registered()
    assert set(fake.tags) == {"m:base"} and not tags.has_registered()


def test_remove_all_spares_tags_that_are_no_longer_ours(settings, fake, client):
    fake.put("reasoner:step-000150", "sha256:d1")
    fake.put("mine", "sha256:x")
    assert tags.point(settings, client, Tagged("reasoner:step-000150", "sha256:d1"))
    fake.put(PUBLIC, "sha256:the person's own")
    tags.remember(client, "reasoner:step-000150")
    assert tags.has_registered()
    assert tags.remove_all(client) == ["reasoner:step-000150"]
    assert fake.tags == {"mine:latest": "sha256:x", PUBLIC: "sha256:the person's own"}
    assert not tags.has_registered()


# -- the public tag


def test_a_tag_rewritten_meanwhile_is_seen(settings, fake, client):
    fake.put("reasoner:step-000150", "sha256:d2")
    with pytest.raises(ReasonerError, match="is not the model that was scored"):
        tags.point(settings, client, Tagged("reasoner:step-000150", "sha256:d1"))


def test_what_is_public(settings, fake, client):
    assert tags.public(settings, client) is None
    fake.put(PUBLIC, "sha256:d")
    assert tags.public(settings, client) == Tagged(PUBLIC, "sha256:d")
