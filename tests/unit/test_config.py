"""Profiles resolve, keys are checked, and every value knows where it came from."""

import tomllib

import pytest

from reasoner import config
from reasoner.errors import ReasonerError


@pytest.mark.parametrize("device", config.DEVICES)
@pytest.mark.parametrize("name", ["pocket", "smol", "gsm8k", "math", "code"])
def test_every_shipped_profile_resolves(name, device):
    found, origin = config.resolve(name, device=device)
    assert found.profile == name
    assert origin["model.base"].startswith(f"profile {name}")
    assert origin["train.beta"] == "default"


def test_a_table_of_a_device_holds_on_that_device_only(tmp_path, monkeypatch):
    (tmp_path / "two.toml").write_text(
        '[model]\nbase = "pocket"\n[data]\nsource = "gsm8k"\n[train]\nsteps = 3\n'
        "[cpu.train]\nsteps = 5\n[cuda.train]\nseed = 7\n[cuda.gguf]\nmargn = 1.0\n"
    )
    monkeypatch.setattr(config, "profiles", lambda: {"two": tmp_path / "two.toml"})
    found, origin = config.resolve("two", {"train.seed": "9"}, "cpu")
    assert (found.train.steps, found.train.seed) == (5, 9)
    assert (origin["train.steps"], origin["model.base"]) == ("profile two, cpu", "profile two")
    with pytest.raises(ReasonerError, match=r"unknown config key 'gguf.margn' in profile two, cuda"):
        config.resolve("two", device="cuda")


def test_shipped_profiles_are_the_documented_ones():
    assert set(config.profiles()) == {"pocket", "smol", "gsm8k", "math", "code"}


def test_overrides_win_and_say_so():
    found, origin = config.resolve("pocket", {"train.steps": "7", "data.system": "Be brief.", "train.control": "none"})
    assert (found.train.steps, found.data.system, found.train.control) == (7, "Be brief.", None)
    assert origin["train.steps"] == "--set"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"train.step": "7"}, "did you mean `train.steps`?"),
        ({"trian.steps": "7"}, "did you mean `train.steps`?"),
        ({"train": "7"}, "unknown config key 'train'"),
        ({"train.steps": "many"}, "valid integer"),
        ({"train.num_generations": "1"}, "greater than or equal to 2"),
        ({"gguf.quant": "Q4_0_0"}, "Q4_K_M"),
        ({"serve.name": "../evil"}, "pattern"),
    ],
)
def test_wrong_overrides_are_refused_with_the_fix(overrides, says):
    with pytest.raises(ReasonerError) as caught:
        config.resolve("pocket", overrides)
    assert says in str(caught.value)
    assert caught.value.code == 2


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ReasonerError, match="did you mean `pocket`") as caught:
        config.resolve("pokcet")
    assert caught.value.code == 2


def test_a_run_config_repeats_the_run(tmp_path):
    found, origin = config.resolve("pocket", {"train.seed": "3"})
    path = tmp_path / "config.json"
    path.write_text(config.dump(found, origin))
    again, origin_again = config.read(path)
    assert again == found
    assert origin_again == origin
    changed, _ = config.read(path, {"eval.split": "ood"})
    assert changed.eval.split == "ood"
    assert changed.train.seed == 3


def test_a_broken_run_config_is_an_error_not_a_traceback(tmp_path):
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(ReasonerError) as caught:
        config.read(tmp_path / "config.json")
    assert caught.value.code == 2


def test_document_is_toml_and_explains_every_key():
    found, origin = config.resolve("gsm8k")
    text = config.document(found, origin)
    tree = tomllib.loads(text)
    assert tree["train"]["steps"] == found.train.steps
    for section, field in config.Config.model_fields.items():
        if section != "profile":
            for key, info in field.annotation.model_fields.items():
                assert info.description, f"{section}.{key} has no sentence"
                assert f"{key} = " in text
