"""Two runs stand on one page, figure by figure."""

import made_up
from page_reader import OURS, Reader

from reasoner.reporting import pages


def compared(folder, **second):
    made_up.run(folder, "a")
    made_up.run(folder, "b", **{"seed": 1, "right": 0.6, **second})
    return pages.write_pair(("a", "b")).read_text()


def test_two_runs_stand_on_one_page(folder):
    found = Reader(compared(folder))
    assert {name for name, _ in found.elements} <= OURS
    text = found.text()
    assert "Over 2 training seeds: mean lift" in text
    assert "Right in a, wrong in b" in text and "Wrong in a, right in b" in text
    assert "train.seed" in found.text("code")
    assert "reasoner run --profile pocket --run b-again --set train.steps=40 --set train.seed=1" in found.text("pre")


def test_a_run_beside_its_control(folder):
    text = Reader(compared(folder, seed=0, control="shuffled")).text()
    assert "b: Control run (shuffled references)" in text
    assert "a minus its control b: " in text
