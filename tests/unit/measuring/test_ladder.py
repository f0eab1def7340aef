"""Which rung is named, which quant is taken: the rules, on rungs written by hand."""

import io
from dataclasses import replace

import fake_ollama
import gguf as gguf_py
import numpy as np
import pytest
from made_up import answered
from rich.console import Console

from reasoner import files, runs
from reasoner.errors import MISSING, ReasonerError
from reasoner.measuring import climb, ladder, quants, render
from reasoner.measuring.figures import Flip, Ladder, Loss, Quant, Rung

PATH = ("base", "adapter", "merged", "F16", "Q8_0", "served")


def answers(right, n=100, text="t"):
    """`right` of `n` right; completions are alike where verdict and `text` are."""
    return [answered(f"p{i}", "right" if i < right else "wrong", completion=f"{text} {i < right}") for i in range(n)]


def climbed(**rights):
    """Rungs of a path with so many right of 100, each compared with the one before it."""
    rows, rungs, before = {}, {}, None
    for name in PATH:
        rows[name] = answers(rights.get(name, 90), text="base" if name == "base" else "tuned")
        change = climb.compare(before, rows[before], rows[name]) if before else None
        rungs[name] = Rung(rung=name, engine="", pass_at_1=0.9, ci95=(0.8, 1.0), truncated=0.0, change=change)
        before = name
    return rungs, rows


def named(rungs, rows, margin=2.0):
    found = ladder.first_loss(rungs, rows, PATH, margin)
    return (found.rung, found.cause or None) if found else None


def test_a_whole_run_has_no_loss_and_a_gain_is_none():
    assert named(*climbed(base=20)) is None
    assert named(*climbed(base=20, served=99)) is None


@pytest.mark.parametrize("rung", PATH[1:])
def test_the_first_rung_that_loses_is_named(rung):
    lost = dict.fromkeys(PATH[PATH.index(rung) :], 60)
    assert named(*climbed(**lost)) == (rung, None)


def test_a_loss_inside_the_margin_or_inside_the_noise_is_none():
    lost = dict.fromkeys(PATH[4:], 80)  # ten lost, none gained: p = 0.002
    assert named(*climbed(base=20, **lost), margin=10.0) is None
    assert named(*climbed(base=20, **lost), margin=9.9) == ("Q8_0", None)
    few = dict.fromkeys(PATH[4:], 85)  # five lost, none gained: p = 0.06, whatever the margin
    assert named(*climbed(base=20, **few), margin=1.0) is None


def test_other_prompt_ids_are_named_at_once_though_nothing_is_lost():
    rungs, rows = climbed(base=20, F16=95)
    rungs["F16"] = replace(rungs["F16"], prompt_ids_differ="problem p0: at token 1")
    rung, known = named(rungs, rows)
    assert rung == "F16" and "problem p0: at token 1" in known


def test_an_adapter_that_changes_nothing_is_named():
    rungs, rows = climbed()
    rungs["adapter"] = replace(rungs["adapter"], change=replace(rungs["adapter"].change, same=100))
    rung, known = named(rungs, rows)
    assert rung == "adapter" and "changes nothing" in known


def test_a_merged_model_that_is_the_base_is_named_even_where_the_base_is_as_good():
    rungs, rows = climbed()
    rows["merged"] = rows["base"]
    rungs["merged"] = replace(rungs["merged"], change=replace(rungs["merged"].change, same=0))
    rung, known = named(rungs, rows)
    assert rung == "merged" and "not in the merged model" in known


def quant(name, points, half, right, imatrix=False, margin=2.0):
    ends = (points - half, points + half)
    return Quant(
        quant=name, imatrix=imatrix, right=right, points=points, points_ci95=ends, inside=-ends[0] <= margin,
        bytes=7238304, pass_at_1=0.9, ci95=(0.8, 1.0), tokens_per_s=None, other_types=0,
    )  # fmt: skip


F16 = quant("F16", 0, 0, 90)


def test_the_smallest_type_inside_is_taken():
    table = [quant("Q4_K_M", -1.0, 1.5, 89), quant("Q5_K_M", -0.5, 1.4, 89), quant("Q8_0", 0.0, 0.9, 90), F16]
    assert quants.choose(table).quant == "Q5_K_M"


def test_an_estimate_inside_is_not_enough_and_f16_stays_where_nothing_is_shown():
    assert quants.choose([quant("Q8_0", 0.0, 3.2, 90), F16]) is F16
    assert ladder.least_loss(60) > 2.0 > ladder.least_loss(200)


def test_a_matrix_is_used_only_where_it_profits():
    plain, better = quant("Q4_K_M", 0.0, 1.0, 90), quant("Q4_K_M", 1.0, 1.0, 91, imatrix=True)
    assert quants.choose([plain, better, F16]) is better
    alike = quant("Q4_K_M", 0.0, 1.0, 90, imatrix=True)
    assert quants.choose([plain, alike, F16]) is plain
    assert quants.choose([quant("Q4_K_M", -3.0, 1.0, 87), alike, F16]) is alike


def test_tensors_that_a_k_quant_cannot_hold_are_counted():
    assert quants.other_types("Q4_K_M", {"F32": 9, "Q4_K": 24, "Q6_K": 5}) == 0
    assert quants.other_types("Q4_K_M", {"F32": 61, "Q5_0": 180, "Q8_0": 1, "Q4_K": 30}) == 181
    assert quants.other_types("Q8_0", {"F32": 9, "Q8_0": 29}) == 0


def written(path, eos=2, value=1.0):
    out = gguf_py.GGUFWriter(str(path), "llama")
    out.add_eos_token_id(eos)
    for name in ("a", "b"):
        out.add_tensor(name, np.full((2, 32), value if name == "b" else 0.0, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def test_what_differs_between_two_files_is_said(tmp_path):
    one = written(tmp_path / "one.gguf")
    assert ladder.differences(one, written(tmp_path / "same.gguf")) == ""
    other = ladder.differences(one, written(tmp_path / "other.gguf", eos=3, value=2.0))
    assert other == "1 of 2 tensors differ, metadata differ (tokenizer.ggml.eos_token_id)"


def test_a_part_that_is_gone_is_said_with_the_command_that_makes_it(tmp_path):
    run = runs.Run(tmp_path / "mine")
    adapter, merged, file = run.path / "adapter", run.path / "merged", run.path / "model.gguf"
    export = ladder.Export(tmp_path, adapter, merged, file, "Q8_0", False, "a:1", {})

    def check(served):
        with fake_ollama.running() as fake:
            if served:
                fake.put("a:1", "sha256:d", modelfile=f"FROM /models/blobs/sha256-{served}")
            ladder.check_parts(run, export, fake.quick_client())

    def fix(served=""):
        with pytest.raises(ReasonerError) as caught:
            check(served)
        assert caught.value.code == MISSING
        return caught.value.fix

    assert fix() == "reasoner train --run mine"
    files.write_json(adapter / "adapter_config.json", {})
    assert fix() == "reasoner merge mine"
    files.write_json(merged / "config.json", {})
    assert fix() == "reasoner gguf mine"
    file.write_bytes(b"weights")
    assert fix() == "reasoner register mine"
    assert fix("0" * 64) == "reasoner register mine"
    check(files.sha256_file(file))


def test_the_table_names_loss_and_problems_and_no_escape_reaches_the_terminal():
    before, after = answers(90), answers(70)
    rung = Rung(
        rung="Q8_0", engine="llama.cpp", pass_at_1=0.7, ci95=(0.6, 0.8), truncated=0.0,
        change=climb.compare("F16", before, after), flips=[Flip("\x1b[31m[red]x", "right", "wrong")],
    )  # fmt: skip
    lost = Loss(rung="Q8_0", points=-20.0, ci95=(-28.0, -12.0), p=0.001, cause="29 of 38 tensors differ")
    value = Ladder(
        run="mine", n=100, split="dev", margin_points=2.0, rungs=[rung], chosen="F16", served_quant="Q8_0",
        first_loss=lost, quants=[F16],
    )  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=160).print(render.ladder(value))
    text = out.getvalue()
    assert "first loss: Q8_0, -20.0 points: 29 of 38 tensors differ" in text
    assert "no longer right: \\x1b[31m[red]x" in text and "\x1b" not in text
