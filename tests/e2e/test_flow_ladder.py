"""A trained run's ladder, whole and broken at every rung, and its quant chosen by the verifier."""

import json
import shutil
from pathlib import Path

import pytest
from flows import TRAINED, sets

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp, pytest.mark.needs_ollama, pytest.mark.timeout(1800)]

RUN = "climbed"
PATH = ["base", "adapter", "merged", "F16", "Q8_0", "served"]


def run(world, *overrides):
    """Train, where that is not done, and export under a name of its own; gives what `register` said."""
    given = sets(*TRAINED, f"serve.name={RUN}", *overrides)
    for argv in (["train", "--profile", "pocket", "--run", RUN, *given], ["register", RUN]):
        done = world.reasoner(*argv)
        assert done.returncode == 0, done.stderr
    return done.stderr


def climb(world):
    done = world.reasoner("ladder", RUN, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def record(world, stage):
    return json.loads(next((world.runs / RUN / "exports").glob(f"*/{stage}.json")).read_text())


@pytest.fixture(scope="module")
def trained(world, flow):
    """A copy of the flow's run, registered beside it."""
    shutil.copytree(world.folder / "finished", world.runs / RUN)
    run(world)
    return world


@pytest.fixture(scope="module")
def value(trained):
    return climb(trained)


def test_every_rung_is_asked_the_same_and_none_loses(trained, value):
    rungs = {row["rung"]: row for row in value["rungs"]}
    assert [name for name in rungs if name in PATH] == PATH
    assert {"Q6_K", "Q5_K_M", "Q4_K_M", "Q6_K-imatrix", "Q5_K_M-imatrix", "Q4_K_M-imatrix"} == set(rungs) - set(PATH)
    assert len({row["prompt_ids_sha256"] for row in rungs.values()}) == 1
    assert value["first_loss"] is None
    assert value["split"] == "dev" and value["n"] == 100
    assert rungs["adapter"]["change"]["points"] > 20  # it was trained
    assert all(row["unscored"] == 0 and row["scored"] == 100 for row in rungs.values())
    against = {name: row["change"]["against"] for name, row in rungs.items() if row["change"]}
    assert against["adapter"] == "base" and against["served"] == "Q8_0" and against["Q4_K_M-imatrix"] == "F16"
    assert json.loads((trained.runs / RUN / "ladder.json").read_text()) == value


def test_its_figures_are_those_of_its_completions_and_its_files_are_gone(trained, value):
    for row in value["rungs"]:
        path = trained.runs / RUN / "completions" / f"ladder-{row['rung']}.jsonl"
        rows = [json.loads(line) for line in path.open()]
        assert sum(one["verdict"] == "right" for one in rows) == row["right"]
        assert {one["seed"] for one in rows} == {0}
    assert not list((trained.runs / RUN / "ladder").glob("*.gguf"))


def test_a_second_climb_asks_nothing_again(trained, value):
    folder = trained.runs / RUN / "completions"
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("ladder-*")}
    assert climb(trained) == value
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("ladder-*")} == before


def break_copies(trained, *only):
    """Breaks copies of the run; gives for each fault the rung where it was put and the one that the ladder names."""
    python = str(Path(trained.program).with_name("python"))
    done = trained.call(python, "scripts/bench/ladder_faults.py", RUN, "-n", "100", *only, timeout=None)
    rows = [line.split(" | ")[1:3] for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row[0] for row in rows] == [row[1] for row in rows]
    return {row[0] for row in rows}


def test_the_right_rung_is_named_for_a_fault(trained, value):
    assert break_copies(trained, "--only", "adapter_not_merged") == {"merged"}


@pytest.mark.long
def test_the_right_rung_is_named_for_each_fault(trained, value):
    assert break_copies(trained) == set(PATH) - {"base"}


def test_a_part_that_is_gone_is_said(trained, value):
    merged = next((trained.runs / RUN / "exports").glob("*/merged"))
    merged.rename(merged.with_name("away"))
    done = trained.reasoner("ladder", RUN)
    merged.with_name("away").rename(merged)
    assert done.returncode == 3
    assert f"reasoner merge {RUN}" in done.stderr


def test_the_quant_is_chosen_by_the_verifier_for_base_and_tuned_alike(trained, value):
    run(trained, "gguf.quant=auto")
    made = record(trained, "gguf")
    chosen = made["facts"]["chosen"]
    inside = [row for row in chosen["quants"] if row["inside"]]
    assert len(chosen["quants"]) == 8 and chosen["n"] == 100
    assert made["facts"]["quant"] == chosen["quant"] == inside[0]["quant"] != "F16"
    assert made["facts"]["bytes"] < next(row["bytes"] for row in chosen["quants"] if row["quant"] == "Q8_0")
    tags = record(trained, "register")["facts"]
    served = {name.rpartition("/")[2]: output["sha256"] for name, output in made["outputs"].items()}
    assert served == {
        f"model.{chosen['quant']}.gguf": tags["tuned"]["gguf_sha256"],
        f"base.{chosen['quant']}.gguf": tags["base"]["gguf_sha256"],
    }
    again = run(trained, "gguf.quant=auto")
    assert "= gguf" in again and not any(line.startswith(("+", ">")) for line in again.splitlines())
    assert record(trained, "gguf") == made
    climbed = climb(trained)
    assert climbed["chosen"] == chosen["quant"] == climbed["served_quant"].removesuffix("-imatrix")
    assert climbed["first_loss"] is None
