"""The hub: commits are pinned, its rows are those of the files, and what it refuses is told."""

import json
import sys
import types

import httpx
import huggingface_hub
import pytest
from made_up_sets import counting, own, settings, svamp_row

from reasoner.errors import ReasonerError
from reasoner.problems import load


class Hub:
    """Answers for the hub from rows in memory, and notes what was asked. The real library takes seconds to import."""

    def __init__(self, monkeypatch, sets, refuses=None, is_there=True):
        self.sets, self.asked, self.refuses, self.is_there = sets, [], refuses, is_there
        exceptions = types.SimpleNamespace(DatasetBuildError=type("DatasetBuildError", (Exception,), {}))
        library = types.SimpleNamespace(
            load_dataset=self.load, disable_progress_bars=lambda: None, exceptions=exceptions
        )
        monkeypatch.setitem(sys.modules, "datasets", library)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.info)

    def info(self, id_, *, revision, timeout):
        if not self.is_there:
            raise httpx.ConnectError("Name or service not known")
        return types.SimpleNamespace(sha=revision or "c0ffee")

    def load(self, id_, subset, *, revision):
        self.asked.append((id_, subset, revision))
        if self.refuses:
            raise self.refuses
        return self.sets[id_]


def test_a_hub_id_is_pinned_to_the_commit_it_had(monkeypatch):
    hub = Hub(monkeypatch, {"me/mine": {"train": counting(30), "validation": [{"question": "Why?", "answer": 7}]}})
    record = load.read(settings(source="me/mine", subset="main"), "dev").provenance
    assert record.found == [{"hub": "me/mine", "subset": "main", "revision": "c0ffee"}]
    assert hub.asked == [("me/mine", "main", "c0ffee")]
    assert load.problems(settings(source="me/mine"), "dev", None)[0].answer == "7"
    assert len(load.problems(settings(source="me/mine"), "test", None)) == 3
    hub.sets["me/mine"] = {"everything": counting(30)}
    assert len(load.problems(settings(source="me/mine"), "train", None)) == 24
    hub.sets["me/mine"] = {"a": counting(3), "b": counting(3)}
    with pytest.raises(ReasonerError, match="no split that we know"):
        load.problems(settings(source="me/mine"), "train", None)


def test_a_run_stays_at_the_commit_it_began_with(monkeypatch, tmp_path):
    hub = Hub(monkeypatch, {})
    assert load.pinned(settings(source="me/mine")).revision == "c0ffee"
    assert load.pinned(settings(source="me/mine", revision="abc")).revision == "abc"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "mine").write_text("")
    hub.is_there = False
    for source in ("me/mine", "gsm8k", "wordproblems", "mine.csv"):  # none of them is asked of the hub
        assert load.pinned(settings(source=source)).revision is None
    with pytest.raises(ReasonerError, match="cannot be loaded"):
        load.pinned(settings(source="me/other"))


@pytest.mark.parametrize("name", ["me/mine", "gsm8k"])
def test_a_hub_that_cannot_be_reached_says_so(sets, monkeypatch, name):
    Hub(monkeypatch, {}, is_there=False)
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source=name), "train", 1)
    assert caught.value.code == 3
    assert "ConnectError: Name or service not known" in caught.value.why
    if name == "gsm8k":
        assert caught.value.what == "the data set gsm8k was found neither here nor at the hub"
        assert str(sets / "gsm8k" / "train.jsonl") in caught.value.why
        assert "REASONER_DATA" in caught.value.fix
    else:
        assert "cannot be loaded" in caught.value.what
        assert "PROFILE=pocket" in caught.value.fix


def test_a_configuration_that_is_missing_is_named(monkeypatch):
    why = "Config name is missing. Please pick one among the available configs: ['main', 'socratic']"
    Hub(monkeypatch, {}, refuses=ValueError(why))
    with pytest.raises(ReasonerError) as caught:
        load.problems(settings(source="me/mine"), "train", 1)
    assert "['main', 'socratic']" in caught.value.why
    assert "data.subset" in caught.value.fix
    assert caught.value.code == 2


def test_a_named_set_comes_from_the_hub_where_its_files_are_not(sets, monkeypatch):
    test = [{"question": f"{i} * 2?", "answer": f"#### {2 * i}"} for i in range(50)]
    hub = Hub(monkeypatch, {"openai/gsm8k": {"train": counting(200), "test": test}})
    found = load.read(settings(source="gsm8k"), "train").provenance
    commit = "740312add88f781978c0658806c59bc2815b9866"
    place = {"hub": "openai/gsm8k", "subset": "main", "revision": commit}
    assert found.found == [place]
    assert set(hub.asked) == {("openai/gsm8k", "main", commit)}
    own(sets / "gsm8k", counting(200), "train.jsonl")
    own(sets / "gsm8k", test, "test.jsonl")
    assert load.read(settings(source="gsm8k"), "train").provenance.sha256 == found.sha256


def test_svamp_of_the_hub_has_the_same_rows(sets, monkeypatch):
    rows = [svamp_row(i) for i in range(20)]
    (sets / "svamp" / "SVAMP.json").write_text(json.dumps(rows))
    local = load.problems(settings(source="svamp"), "test", None)
    (sets / "svamp" / "SVAMP.json").unlink()
    texts = [{**row, "Answer": "145.0"} for row in rows]
    Hub(monkeypatch, {"ChilleD/SVAMP": {"train": texts[:14], "test": texts[14:]}})
    assert load.problems(settings(source="svamp"), "test", None) == local


def test_math_trains_on_nothing_where_what_is_held_out_is_unknown(math_files, monkeypatch):
    (math_files / "math500" / "test.jsonl").unlink()
    Hub(monkeypatch, {}, is_there=False)
    with pytest.raises(ReasonerError, match="neither here nor at the hub") as caught:
        load.problems(settings(source="math"), "train", None)
    assert caught.value.code == 3


def test_mbpp_of_the_hub_has_the_same_rows(code_files, monkeypatch):
    rows = [json.loads(line) for line in (code_files / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
    splits = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
    hub = Hub(
        monkeypatch,
        {
            "google-research-datasets/mbpp": {
                name: [row for row in rows if row["task_id"] in ids] for name, ids in splits.items()
            }
        },
    )
    here = {split: load.read(settings(source="mbpp"), split).provenance for split in ("train", "dev", "test")}
    (code_files / "mbpp" / "mbpp.jsonl").unlink()
    for split, record in here.items():
        found = load.read(settings(source="mbpp"), split).provenance
        assert (found.rows, found.dropped, found.sha256) == (record.rows, record.dropped, record.sha256)
    commit = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
    assert set(hub.asked) == {("google-research-datasets/mbpp", "full", commit)}
