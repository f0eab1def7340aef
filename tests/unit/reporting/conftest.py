"""The run of `stored_run` as records, summary, material and report."""

import pytest
from stored_run import parsed, stored_facts

from reasoner import config, files, runs
from reasoner.reporting import markdown, sections
from reasoner.reporting import material as materials
from reasoner.reporting import summary as summaries


@pytest.fixture
def stored():
    """The records of a run as JSON, by stage; each took two seconds."""
    outputs = {
        "train": {"adapter/adapter_model.safetensors": runs.Output("ad", 10, 1)},
        "merge": {"exports/merged/model.safetensors": runs.Output("99", 10, 1)},
        "gguf": {"exports/model.Q8_0.gguf": runs.Output("ee", 10, 1)},
    }
    found = {
        name: {"stage": name, "inputs": {}, "config": {}, "tools": {}, "outputs": outputs.get(name, {}), "facts": facts,
               "seconds": 2.0, "finished": "2026-01-01", "versions": {"trl": "1.14.2"}}
        for name, facts in stored_facts().items()
    }  # fmt: skip
    found["train"]["inputs"] = {"base": "bb"}
    found["merge"]["inputs"] = {"adapter": "a1"}
    found["gguf"]["inputs"] = {"merge": runs.Record(**found["merge"]).key}
    return found


@pytest.fixture
def run(tmp_path):
    return runs.Run(tmp_path / "demo")


@pytest.fixture
def summarised(run):
    """`summary.json` of a run with these records, as JSON."""

    def summary(stored):
        server = {"host": "127.0.0.1:11434", "version": "0.34.4"}
        made = summaries.make(config.resolve("pocket")[0], run, parsed(stored), server, {"trl": "1.14.2"})
        return files.as_json(made)

    return summary


@pytest.fixture
def summary(summarised, stored):
    return summarised(stored)


@pytest.fixture
def made_of(summary, stored, run):
    """The material of this run with these parts instead."""

    def material(**parts):
        done = parsed(stored)
        scored = done.evaluate.facts
        whole = {
            "run": run, "config": {}, "origin": {}, "summary": summaries.parse(summary), "records": done,
            "by_kind": scored.by_kind, "beside": scored.beside, "everyday": scored.everyday, "adapter": "a1",
        }  # fmt: skip
        return materials.Material(**whole | parts)

    return material


@pytest.fixture
def told(made_of):
    """`report.md` of this run with these parts instead."""
    return lambda **parts: markdown.render(sections.report(made_of(**parts)))


@pytest.fixture
def lines(summary):
    """What the closing summary says now."""
    return lambda: dict(summaries.lines(summaries.parse(summary)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path))
    return tmp_path
