"""`reasoner init`: what it chooses for whose problems, and that it writes a config that a run takes."""

import json
import subprocess
import sys
import tomllib

import pytest

from reasoner import config
from reasoner.bases import locate
from reasoner.errors import MISSING, ReasonerError
from reasoner.pipeline import propose


@pytest.fixture
def file(tmp_path, monkeypatch):
    """`file(answers, name)`: a JSON Lines file of problems with these answers, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path / "runs"))

    def write(answers, name="mine.jsonl", question="How much is number {}?"):
        rows = [{"question": question.format(at), "answer": answer} for at, answer in enumerate(answers)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    return write


def look(source, **more):
    return propose.propose(propose.Wish(source, **{"profile": "pocket", **more}), lambda text: None)


def look_by_number(source, **more):
    """The same without the audits of other verifiers, which take seconds."""
    return look(source, **{"verifier": "number", **more})


@pytest.mark.parametrize(
    ("answers", "verifier"),
    [
        ([str(n) for n in range(40)], "number"),
        ([f"${n}.50" for n in range(40)], "number"),
        ([rf"\frac{{{n}}}{{7}}" for n in range(1, 41)], "math"),
        ([f"({n}, {n + 1})" for n in range(40)], "math"),
        ([*map(str, range(99)), "(1, 2)"], "number"),  # one in a hundred is no reason for another verifier
        ([*map(str, range(20)), *(f"x > {n}" for n in range(20))], "math"),
    ],
)
def test_the_verifier_is_the_first_whose_audit_holds_and_that_reads_the_answers(file, answers, verifier):
    found = look(file(answers))
    assert found.settings["verifier.name"] == verifier
    chosen = next(one for one in found.candidates if one.name == verifier)
    assert chosen.why_not is None and chosen.judged >= 0.98 * chosen.n


def test_the_recipes_own_verifier_is_taken_where_it_is_of_the_same_family(file, monkeypatch):
    monkeypatch.setattr(propose, "_base", lambda start, say: (None, "no network"))
    found = look(file(map(str, range(40))), profile="smol")
    assert found.settings["verifier.name"] == "number-lenient"
    assert found.settings["train.curriculum"] is False and found.settings["eval.beside"] == []
    fractions = look(file([rf"\frac{{{n}}}{{7}}" for n in range(1, 41)], "fractions.jsonl"), profile="smol")
    assert fractions.settings["verifier.name"] == "math" and "data.system" not in fractions.settings
    assert "show a lift of " in "\n".join(propose.lines(look_by_number(file(["7"] * 90)), "reasoner.toml"))


def test_lengths_are_those_of_the_bases_own_tokenizer(file):
    source = file(["7"] * 40)
    found = look_by_number(source)
    start, _ = config.resolve("pocket")
    tokenizer = locate.load_tokenizer(locate.shipped()["pocket"])
    chat = [{"role": "user", "content": "How much is number 39?"}]
    if start.data.system:
        chat.insert(0, {"role": "system", "content": start.data.system})
    assert found.lengths.most == len(locate.prompt_ids(tokenizer, chat))
    assert not found.lengths.is_bytes and found.lengths.working is None
    long = look_by_number(file(["7"] * 40, "long.jsonl", question="Say {} " + "of many words " * 900))
    assert long.settings["serve.num_ctx"] > start.serve.num_ctx
    assert long.settings["serve.num_ctx"] >= long.lengths.most + start.serve.num_predict
    worked = look_by_number(file([f"{'one and one and ' * 200}\n#### {n}" for n in range(40)], "worked.jsonl"))
    assert worked.settings["train.max_completion_tokens"] >= worked.lengths.working > 200
    assert worked.settings["serve.num_predict"] >= worked.settings["train.max_completion_tokens"]


def test_a_tags_own_system_message_is_asked_with(file, monkeypatch):
    folder = locate.shipped()["pocket"]
    monkeypatch.setattr(propose, "_base", lambda start, say: (locate.Base("own", folder, "x", 1, {}), None))
    monkeypatch.setattr(propose, "_tag_system", lambda start, say: 'Be "brief".\n' * 40)
    told = look_by_number(file(["7"] * 40), base="ollama:mine")
    assert told.settings["data.system"] == 'Be "brief".\n' * 40
    assert told.lengths.most > 200
    written = tomllib.loads(propose.document(told))
    assert written["data"]["system"] == 'Be "brief".\n' * 40


def test_few_problems_make_a_small_step(file):
    start, _ = config.resolve("pocket")
    assert look_by_number(file(["1", "2", "3", "4", "5"])).settings["train.num_prompts"] == 3 < start.train.num_prompts


def test_without_a_network_the_rest_is_proposed(file, monkeypatch):
    def unreachable(model):
        raise ReasonerError("the base cannot be fetched", "no network", code=MISSING)

    monkeypatch.setattr(locate, "_snapshot", unreachable)
    found = look_by_number(file(map(str, range(40))), base="somebody/something")
    assert found.base_missing == "the base cannot be fetched: no network"
    assert found.lengths.is_bytes and found.settings["model.base"] == "somebody/something"
    assert "bytes" in "\n".join(propose.lines(found, "reasoner.toml"))
    with pytest.raises(ReasonerError, match="there is no base"):  # a mistake is one, network or not
        look_by_number("mine.jsonl", base="./nowhere")


@pytest.mark.parametrize(
    ("size", "profile"), [(300_000_000, "smol"), (propose.LARGE, "gsm8k"), (None, "smol")],
)  # fmt: skip
def test_the_recipe_goes_by_the_bases_size(file, monkeypatch, size, profile):
    base = size and locate.Base("own", locate.shipped()["pocket"], "x", size, {})
    monkeypatch.setattr(propose, "_base", lambda start, say: (base, None))
    monkeypatch.setattr(propose.device, "kind", lambda: "cpu")
    found = look_by_number(file(map(str, range(40))), profile=None, base="own")
    assert found.profile == profile


@pytest.mark.parametrize(
    ("answers", "more", "says"),
    [
        ([f"see page {n}, it depends; ask someone" for n in range(30)], {"verifier": "number"}, "no reference can be"),
        (["1", "2", "3"], {"verifier": "numbr"}, "no verifier named"),
        (["1", "2", "3"], {"profile": "pokcet"}, "did you mean `pocket`"),
        (["1", "2", "3"], {"answer": "result"}, "no column 'result'"),
        (["1"], {}, "no problems"),
    ],
)
def test_what_cannot_be_proposed_is_an_error_that_names_the_fix(file, answers, more, says):
    with pytest.raises(ReasonerError) as caught:
        look(file(answers), **more)
    assert says in str(caught.value) and caught.value.code == 2
    assert caught.value.fix


def test_the_command_writes_a_config_that_a_run_takes_and_never_over_another(file, tmp_path):
    name = file([str(n) for n in range(40)], 'weird "name" 😀.jsonl')
    (tmp_path / "sub").mkdir()
    call = [sys.executable, "-m", "reasoner"]
    for out in ("reasoner.toml", "sub/there.toml"):
        done = subprocess.run(
            [*call, "init", name, "--profile", "pocket", "--out", out], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert f"make reasoner ARGS='--config {out}'" in done.stdout
        profile, settings = config.own(tmp_path / out)
        assert profile == "pocket" and settings["data.num_train"] == "none"
        shown = subprocess.run([*call, "config", "--config", out], capture_output=True, text=True)
        source = tomllib.loads(shown.stdout)["data"]["source"]
        assert (source, shown.returncode) == (str(tmp_path / name), 0)
    before = (tmp_path / "reasoner.toml").read_bytes()
    again = subprocess.run([*call, "init", name], capture_output=True, text=True)
    assert again.returncode == 2 and "is there already" in again.stderr and "--out" in again.stderr
    assert (tmp_path / "reasoner.toml").read_bytes() == before


def test_none_in_a_config_file_is_null_where_a_key_may_be_null(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[data]\nnum_train = "none"\n[train]\nscale_rewards = "none"\n')
    found, _ = config.resolve("smol", config.own(own)[1])
    assert (found.data.num_train, found.train.scale_rewards) == (None, "none")
    assert config.resolve("smol", {"train.scale_rewards": "none"})[0].train.scale_rewards == "none"
