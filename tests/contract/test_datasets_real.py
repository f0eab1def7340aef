"""What the `datasets` library makes of a folder in the hub's layout."""

import pytest
from made_up_sets import counting, own, settings

from reasoner.problems import load


@pytest.mark.slow
def test_a_folder_in_the_hub_layout(tmp_path):
    (tmp_path / "data").mkdir()
    own(tmp_path / "data", counting(30), "train-00000-of-00001.jsonl")
    own(tmp_path / "data", [{"question": "Why?", "answer": "#### 1"}], "test-00000-of-00001.jsonl")
    source = settings(source=str(tmp_path))
    assert [p.question for p in load.problems(source, "test", None)] == ["Why?"]
    assert len(load.problems(source, "train", None)) == 27
    assert load.read(source, "dev").provenance.found == [{"path": str(tmp_path), "subset": None}]
