"""The page as text: what it says, that nothing in it is markup but ours, that nothing is fetched."""

import base64
import hashlib
import html.parser
import json
import re

import made_up
import pytest
from page_reader import OURS, Reader

from reasoner import files
from reasoner.reporting import html, material, sections
from reasoner.reporting.flips import flips
from reasoner.reporting.markup import visible


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The material of one finished run, for tests that only look."""
    return material.read(made_up.run(tmp_path_factory.mktemp("whole"), right=0.9))


def page(found, refresh=None):
    return html.render(sections.report(found), refresh)


def read(run):
    return Reader(page(material.read(run)))


def test_text_that_a_model_wrote_is_text(whole):
    found = Reader(page(whole))
    assert {name for name, _ in found.elements} <= OURS
    assert not [attrs for _, attrs in found.elements if any(key.startswith("on") or key == "style" for key in attrs)]
    assert found.text("pre").count("<script>document.title='owned'</script>") >= 4
    assert not {"\x1b", "\x00", "\x07", "\u202e", "\u2066", "\u200f", "\ud800"} & set(found.text())
    assert "␛[31mred" in found.text("pre") and "[U+202E]right to left" in found.text("pre")
    assert "مرحبا" in found.text("pre")
    assert all(attrs.get("dir") == "auto" for attrs in found.of("pre") if attrs["class"] == "said")


def test_names_from_data_and_config_are_text_too(folder):
    run = made_up.run(folder, hostile="x")
    summary = files.read_json(run.summary_path)
    summary["by_kind"] = {"<script>": next(iter(summary["by_kind"].values()))}
    summary["gate"], summary["promoted"] = ["<b>not</b> fit"], False
    summary["versions"]["<i>"] = "\x1b]0;owned"
    files.write_json(run.summary_path, summary)
    found = read(run)
    assert {name for name, _ in found.elements} <= OURS
    assert "Not promoted: <b>not</b> fit" in found.text("p")
    assert "<script>" in found.text("th")


def test_the_page_asks_for_nothing_and_runs_nothing(whole):
    text = page(whole)
    found = Reader(text)
    assert not any({"src", "srcset", "data", "action", "formaction", "poster", "xlink:href"} & set(attrs)
                   for _, attrs in found.elements)  # fmt: skip
    assert all(attrs["href"].startswith("#") for attrs in found.of("a"))
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style and "@import" not in style
    policy = next(
        attrs["content"] for attrs in found.of("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_links_go_to_parts_that_are_there_and_every_plot_has_words(whole):
    found = Reader(page(whole))
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"][1:] for attrs in found.of("a")]
    assert links == ["figures", "training", "kinds", "beside", "ladder", "behaviour", "flips", "everyday", "audit",
                     "lineage", "reproduce", "seconds"]  # fmt: skip
    assert set(links) <= set(ids)
    plots = [attrs for attrs in found.of("svg") if attrs.get("role") == "img"]
    assert len(plots) > 20 and len(plots) == sum(name == "title" for name, _ in found.elements) - 1
    assert "Reward, steps 1 to 40: 0.2" in found.text("title")


def test_no_figure_leaves_its_plot(whole):
    text = page(whole)
    places = [float(value) for value in re.findall(r'\b(?:c?[xy][12]?|width)="(-?[\d.]+)%"', text)]
    assert len(places) > 200 and min(places) >= 0 and max(places) <= 100
    lines = [tuple(map(float, point.split(","))) for points in re.findall(r'points="([^"]+)"', text)
             for point in points.split(" ")]  # fmt: skip
    assert min(x for x, _ in lines) == 0 and max(x for x, _ in lines) == 1000
    assert min(y for _, y in lines) >= 0 and max(y for _, y in lines) <= 100


def test_one_quant_is_ringed(whole):
    found = Reader(page(whole))
    assert len([attrs for attrs in found.of("circle") if attrs["class"] == "ring"]) == 1
    assert len([attrs for attrs in found.of("circle") if attrs["class"] == "hollow"]) == 3  # outside the margin


def test_the_headline_is_the_lift_and_a_lift_that_is_none_says_so(folder):
    run = made_up.run(folder)
    summary = files.read_json(run.summary_path)
    text = re.sub(r"\s+", " ", read(run).text())
    points, ends = summary["lift"]["points"], summary["lift"]["ci95"]
    assert f"{points:+.1f} points from base to tuned95 % interval [{ends[0]:+.1f}, {ends[1]:+.1f}]" in text
    summary["lift"] |= {"points": 1.0, "ci95": [-2.0, 4.0]}
    files.write_json(run.summary_path, summary)
    assert "+1.0 points from base to tuned: no measurable lift" in read(run).text()


def test_a_control_is_said_before_any_figure(folder):
    run = made_up.run(folder, control="shuffled")
    text = read(run).text()
    assert 0 < text.index("Control run (shuffled references)") < text.index("points from base to tuned")


def test_ten_flips_each_way_stand_in_full(whole):
    found = Reader(page(whole))
    groups = flips(whole.completions)
    assert len(groups[1].pairs) == 10 and groups[1].n > 10
    assert len(found.of("article")) == sum(len(group.pairs) for group in groups)
    said = found.text("pre")
    for base, tuned in (*groups[0].pairs, *groups[1].pairs):
        assert visible(base.completion) in said and visible(tuned.completion) in said


def test_a_run_in_progress_has_a_page_that_reads_itself_again(folder):
    run = made_up.run(folder, finished=False)
    found = Reader(page(material.read(run), refresh=5))
    assert [attrs["content"] for attrs in found.of("meta") if attrs.get("http-equiv") == "refresh"] == ["5"]
    assert "20 of 40 training steps" in found.text()
    assert not [attrs for attrs in read(run).of("meta") if attrs.get("http-equiv") == "refresh"]


def test_an_older_summary_and_a_training_of_one_step_have_a_page(folder):
    run = made_up.run(folder, steps=1)
    summary = files.read_json(run.summary_path)
    for key in ("by_kind", "beside", "everyday", "train"):
        del summary[key]
    files.write_json(run.summary_path, summary)
    for name in ("audit.json", "ladder.json", "history.jsonl"):
        (run.path / name).unlink()
    assert [attrs["href"] for attrs in read(run).of("a")] == [
        "#figures", "#training", "#behaviour", "#flips", "#lineage", "#reproduce", "#seconds",
    ]  # fmt: skip


def test_a_step_without_a_figure_leaves_a_gap_and_no_error(folder):
    run = made_up.run(folder)
    rows = files.read_jsonl(run.path / "metrics.jsonl")
    rows[3] |= {"entropy": float("nan"), "strict_gap": None, "reward": 0.0}
    files.write_text(run.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = read(run)
    assert "Entropy, nats a token, steps 1 to 40: 1.0" in found.text("title") and "nan" not in found.text("title")
