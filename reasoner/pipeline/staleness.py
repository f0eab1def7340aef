"""Why a stage must run again. Existence is not freshness: inputs, settings, tools and outputs must be as recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reasoner import __version__, runs
from reasoner.config import Config, recorded
from reasoner.llamacpp import install
from reasoner.pipeline.job import Job
from reasoner.pipeline.stages import Stage


def settings_of(config: Config, reads: Sequence[str]) -> dict[str, Any]:
    """What a stage reads: `train` is a section, `serve.name` one key of it."""
    return {name: config.settings(name) for name in reads}


def tools_of(job: Job, names: Sequence[str], *, may_build: bool = True) -> dict[str, str]:
    found = {}
    for name in names:
        if name == "llama.cpp":
            tools = install.find_llama_cpp() or (install.llama_cpp(job.reporter.say) if may_build else None)
            found[name] = tools.version if tools else "missing"
        else:
            found[name] = __version__
    return found


def stale(job: Job, stage: Stage, *, ask_server: bool = True) -> list[str]:
    """Why the stage must run; empty when its record and its outputs say it need not."""
    record = job.record(stage.kind)
    if record is None:
        return ["not done yet"]
    reasons = [f"{name} changed" for name, value in stage.inputs(job).items() if record.inputs.get(name) != value]
    wanted = settings_of(job.config, stage.reads)
    for name in wanted:
        reasons += changes(name, recorded(record.config, name), wanted[name])
    for name, version in tools_of(job, stage.tools, may_build=ask_server).items():
        if record.tools.get(name) != version:
            reasons.append(f"{name} was {record.tools.get(name)}, is {version}")
    reasons += runs.broken_outputs(job.run.path, record.outputs)
    if not reasons and ask_server:
        reasons += stage.outside(job, record.facts)
    return reasons


def changes(name: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            f"{name}.{key} was {before.get(key)!r}, is {after.get(key)!r}"
            for key in {**before, **after}
            if before.get(key) != after.get(key)
        ]
    return [f"{name} was {before!r}, is {after!r}"]
