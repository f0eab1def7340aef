"""Where a model came from is said as far as the records go, and how to make it again."""

import shlex

import pytest

from reasoner import config
from reasoner.reporting import lineage


def links(material):
    return {link.what: link.holds for link in lineage.links(material)}


def test_the_lineage_goes_from_the_served_digest_to_the_base(made_of):
    found = lineage.links(made_of(config={"profile": "pocket"}, origin={"train.seed": "--set", "data.seed": "default"}))
    assert [(link.what, link.value) for link in found[:6]] == [
        ("served", "sha256:dd"), ("GGUF, sha256", "ee"), ("merged, sha256", "99"), ("adapter, sha256", "ad"),
        ("training data, sha256", "11"), ("base, sha256", "bb"),
    ]  # fmt: skip
    assert links(made_of()) == {
        "served": "-", "GGUF, sha256": "yes", "merged, sha256": "yes", "adapter, sha256": "yes", "base, sha256": "yes",
        "training data, sha256": "-", "held-out problems, sha256": "-", "verifier": "-", "config, sha256": "-",
        "trl": "-",
    }  # fmt: skip
    assert next(link.more for link in found if link.what.startswith("config")).endswith("set by hand: train.seed")


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("GGUF, sha256", lambda stored: stored["register"]["facts"]["tuned"].update(gguf_sha256="of another file")),
        ("merged, sha256", lambda stored: stored["gguf"]["inputs"].update(merge="of another model")),
        ("adapter, sha256", lambda stored: stored["merge"]["inputs"].update(adapter="of another adapter")),
        ("base, sha256", lambda stored: stored["train"]["inputs"].update(base="of another base")),
    ],
)
def test_a_broken_link_says_no_and_only_that_one(made_of, told, stored, what, spoil):
    whole = links(made_of())
    spoil(stored)
    assert links(made_of()) == {**whole, what: "NO"}
    assert [line.split(" |")[0] for line in told().splitlines() if line.endswith(" | NO |")] == [f"| {what}"]


def test_an_adapter_that_lies_there_now_but_was_not_merged_says_no(made_of):
    assert links(made_of(adapter="b2"))["adapter, sha256"] == "NO"


def test_where_no_record_speaks_the_lineage_says_so(made_of, stored):
    stored["merge"]["inputs"].clear()
    stored["gguf"]["inputs"].clear()
    assert links(made_of())["merged, sha256"] == links(made_of())["adapter, sha256"] == "-"


def test_what_reproduces_a_run_has_every_setting_made_by_hand(made_of):
    stored = {"profile": "pocket", "train": {"seed": 3, "control": None}, "data": {"source": "my data.jsonl"}}
    origin = {"train.seed": "--set", "train.control": "--set", "data.source": "--set", "eval.gone": "--set",
              "train.steps": "default"}  # fmt: skip
    found = dict(lineage.commands(made_of(config=stored, origin=origin)))
    assert found["The whole path again, under another name"] == (
        "reasoner run --profile pocket --run demo-again --set train.seed=3 --set train.control=none"
        " --set 'data.source=my data.jsonl'"
    )
    assert found["The bytes that were scored"] == "sha256sum runs/demo/exports/model.Q8_0.gguf"
    assert found["Talk to it"] == "ollama run reasoner:latest"


def test_the_command_that_reproduces_a_run_makes_its_config(made_of):
    given = {
        "train.steps": "7",
        "eval.beside": '["svamp"]',
        "train.control": "shuffled",
        "data.system": "Say: it's `x`",
    }
    found, origin = config.resolve("pocket", given)
    command = lineage.commands(made_of(config=found.model_dump(mode="json"), origin=origin))[0][1]
    pairs = [word for word in shlex.split(command) if "=" in word]
    again, _ = config.resolve("pocket", dict(pair.split("=", 1) for pair in pairs))
    assert again == found
