"""The table of docs/base.md says what the code accepts, family by family."""

import importlib.util
import json
from pathlib import Path

import pytest

from reasoner.bases import locate, shape
from reasoner.config import Model
from reasoner.errors import ReasonerError

ROOT = Path(__file__).parents[3]


def script():
    path = ROOT / "scripts" / "bench" / "families.py"
    spec = importlib.util.spec_from_file_location("families", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = script()


def rows():
    table = FAMILIES.DOCUMENT.read_text().partition(FAMILIES.BEGIN)[2].partition(FAMILIES.END)[0]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if "|" in line]
    assert tuple(found[0]) == FAMILIES.HEAD
    return {row[0]: row[1:] for row in found[2:]}


def test_the_table_has_the_families_of_the_script():
    assert {name: row[0] for name, row in rows().items()} == {
        one.name: f"`{one.config['model_type']}`" for one in FAMILIES.FAMILIES.values()
    }
    assert {one.config["model_type"] for one in FAMILIES.FAMILIES.values()} >= set(shape.ARCHITECTURES.values())


@pytest.mark.parametrize("family", FAMILIES.FAMILIES.values(), ids=list(FAMILIES.FAMILIES))
def test_a_row_says_what_the_code_accepts(family, model_folder):
    kind, _, folder, gguf, tag = rows()[family.name]
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, **family.config, **family.raw}))
    try:
        locate.resolve(Model(base=str(model_folder)))
        why = None
    except ReasonerError as error:
        why = f"refused: {error.why}"
    if why is not None:
        assert (folder, gguf, tag) == (why, "–", "–")
        return
    assert folder.startswith("2 steps, ") and "KL" in folder
    if kind.strip("`") in shape.ARCHITECTURES.values():
        assert gguf.startswith("ids equal on ") and tag.startswith("2 steps, ")
    else:
        assert gguf == tag and gguf.startswith("refused: architecture ")
