"""The page as text: what it says, that nothing in it is markup but ours, that nothing is fetched."""

import base64
import hashlib
import html.parser
import json
import re

import click.testing
import made_up
import pytest

from reasoner import files, runs
from reasoner.cli import main
from reasoner.errors import USAGE, ReasonerError, printable
from reasoner.reporting import compare, page, report

VOID = {"meta"}


class Reader(html.parser.HTMLParser):
    """Elements, their text, and whether every one of them is closed where it was opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def text(self, tag=None):
        return "".join(data for name, data in self.texts if tag in (None, name))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The material of one finished run, for tests that only look."""
    return report.read(made_up.run(tmp_path_factory.mktemp("whole"), right=0.9))


def read(run):
    return Reader(page.html(report.read(run)))


ELEMENTS = (
    "html head meta title style body header main section nav footer div p span b bdi code pre h1 h2 h3 h4 ul li a table"
    " thead tbody tfoot tr th td details summary article figure figcaption svg g line rect circle text polyline"
)
OURS = set(ELEMENTS.split())


def test_text_that_a_model_wrote_is_text(whole):
    found = Reader(page.html(whole))
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
    text = page.html(whole)
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
    found = Reader(page.html(whole))
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
    text = page.html(whole)
    places = [float(value) for value in re.findall(r'\b(?:c?[xy][12]?|width)="(-?[\d.]+)%"', text)]
    assert len(places) > 200 and min(places) >= 0 and max(places) <= 100
    lines = [tuple(map(float, point.split(","))) for points in re.findall(r'points="([^"]+)"', text)
             for point in points.split(" ")]  # fmt: skip
    assert min(x for x, _ in lines) == 0 and max(x for x, _ in lines) == 1000
    assert min(y for _, y in lines) >= 0 and max(y for _, y in lines) <= 100


def test_one_quant_is_ringed(whole):
    found = Reader(page.html(whole))
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
    found = Reader(page.html(whole))
    groups = report.flips(whole.completions)
    assert len(groups[1][1]) == 10 and groups[1][2] > 10
    assert len(found.of("article")) == sum(len(pairs) for _, pairs, _ in groups)
    said = found.text("pre")
    for base, tuned in (*groups[0][1], *groups[1][1]):
        assert report.visible(base["completion"]) in said and report.visible(tuned["completion"]) in said


def test_a_run_in_progress_has_a_page_that_reads_itself_again(folder):
    run = made_up.run(folder, finished=False)
    found = Reader(page.html(report.read(run), refresh=5))
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
    rows[3] |= {"entropy": float("nan"), "length": None, "reward": 0.0}
    files.write_text(run.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = read(run)
    assert "Entropy, nats a token, steps 1 to 40: 1.0" in found.text("title") and "nan" not in found.text("title")


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1), (0.83, 1), (1, 1), (1.06, 1.5), (38, 40), (0.0241, 0.025), (99, 100), (271, 300)]
)
def test_a_scale_ends_on_a_round_number(value, end):
    assert page._top(value) == pytest.approx(end)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (70, 81.1, [69, 72, 75, 78, 81, 84]),
        (105, 271, [100, 150, 200, 250, 300]),
        (0, 0, [0, 1]),
        (0, 4, [0, 1, 2, 3, 4]),
    ],
)
def test_a_scale_holds_its_values(low, high, scale):
    assert page._round_scale(low, high) == pytest.approx(scale)


def test_a_thick_line_is_the_mean_of_the_steps_around():
    points = [(float(x), float(x % 2)) for x in range(60)]
    smooth = page._smooth(points)
    assert [x for x, _ in smooth] == [x for x, _ in points]
    assert smooth[30][1] == pytest.approx(sum(x % 2 for x in range(27, 34)) / 7)
    assert page._smooth([(1.0, 0.5)]) == [(1.0, 0.5)]


# -- two runs ----------------------------------------------------------------------------------


def compared(folder, **second):
    runs_ = made_up.run(folder, "a"), made_up.run(folder, "b", **{"seed": 1, "right": 0.6, **second})
    return page.compared(*map(report.read, runs_), compare.run(["a", "b"]))


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


# -- the command -------------------------------------------------------------------------------


def call(*argv):
    return click.testing.CliRunner().invoke(main.cli, ["report", *argv])


def test_the_command_writes_both_and_prints_the_markdown(folder):
    run = made_up.run(folder)
    done = call("made-up")
    assert done.exit_code == 0
    assert done.stdout == printable((run.path / "report.md").read_text())
    assert (run.path / "report.html").read_text() == page.html(report.read(run))
    assert f"{run.path / 'report.html'}" in done.stderr and f"{run.path / 'report.md'}" in done.stderr
    assert not list(run.path.glob("*.partial"))


def test_the_command_compares(folder):
    a = made_up.run(folder, "a")
    made_up.run(folder, "b", seed=1)
    done = call("--compare", "a", "b")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (a.path / "compare-b.html").read_text().startswith("<!doctype html>")


def test_runs_that_were_scored_differently_are_refused(folder):
    made_up.run(folder, "a")
    other = made_up.run(folder, "b")
    files.write_json(other.summary_path, files.read_json(other.summary_path) | {"split_sha256": "f" * 64})
    done = call("--compare", "a", "b")
    assert isinstance(done.exception, ReasonerError) and done.exception.code == USAGE
    assert "not scored alike" in str(done.exception)
    assert not list(folder.glob("*/compare-*"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--compare", "a"], "requires 2 arguments"),
        (["a", "--compare", "a", "b"], "stands alone"),
        (["--compare", "a", "b", "--json"], "reasoner compare A B --json"),
        (["--compare", "a", "b", "--live"], "stands alone"),
        (["a", "--live", "--json"], "one of them"),
    ],
)
def test_wrong_flags_are_told(folder, argv, says):
    done = call(*argv)
    assert done.exit_code == 2
    assert says in done.stderr and done.stdout == ""


def test_the_summary_is_one_json_value(folder):
    run = made_up.run(folder)
    assert json.loads(call("made-up", "--json").stdout) == files.read_json(run.summary_path)
    run.summary_path.unlink()
    failed = call("made-up", "--json")
    assert failed.stdout == "" and failed.exception.code == USAGE


def test_live_writes_until_the_run_ends(folder, monkeypatch):
    run = made_up.run(folder, finished=False)
    path, seen, said = run.path / "report.html", [], []
    held = runs.lock(run)
    held.__enter__()

    def sleep(seconds):
        seen.append('http-equiv="refresh"' in path.read_text())
        files.append_jsonl(
            run.path / "metrics.jsonl", [dict(files.read_jsonl(run.path / "metrics.jsonl")[-1], step=21)]
        )
        if len(seen) == 2:
            held.__exit__(None, None, None)

    monkeypatch.setattr(page.time, "sleep", sleep)
    page.follow(run, said.append)
    assert seen == [True, True]
    assert 'http-equiv="refresh"' not in path.read_text() and "21 of 40" in path.read_text()
    assert said[0].startswith(f"open {path}") and "is not in progress" in said[-1]


def test_ctrl_c_leaves_a_page_that_no_longer_reads_itself_again(folder, monkeypatch):
    run = made_up.run(folder, finished=False)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(page.time, "sleep", interrupt)
    with runs.lock(run):
        done = call("made-up", "--live")
    assert done.exit_code == 0 and "goes on" in done.stderr
    assert 'http-equiv="refresh"' not in (run.path / "report.html").read_text()
