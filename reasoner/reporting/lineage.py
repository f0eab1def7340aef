"""Says what a served model was made of, link by link as far as the records go, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reasoner import runs
from reasoner.files import sha256_json
from reasoner.reporting.blocks import Block, Cell, Code, Heading, Paragraph, Plain, Quoted, Table
from reasoner.reporting.material import Material

NOTE = (
    "From what is served back to what it was made of. “yes”: the record of the step above names these very bytes;"
    " “NO”: it names others; “-”: no record says."
)


@dataclass(frozen=True)
class Link:
    """Is one thing that another was made of. `named`: whether the record of that other names it; None: it is silent."""

    what: str
    value: str
    more: str = ""
    named: bool | None = None

    @property
    def holds(self) -> str:
        return {True: "yes", False: "NO", None: "-"}[self.named]


def links(material: Material) -> list[Link]:
    """Returns what is served, then what it was made of."""
    summary, done = material.summary, material.records
    found = [*_files(material), *_base(material)]
    if summary:
        served = summary.served
        found.insert(0, Link("served", served.digest, f"{served.tag}, Ollama {served.ollama}"))
        what = f"{summary.n} problems, split {summary.split}"
        found.append(Link("held-out problems, sha256", summary.split_sha256, what))
    judge = summary.verifier if summary else done.train and done.train.facts.verifier
    if judge:
        found.append(Link("verifier", f"{judge.name} {judge.version}"))
    changed = ", ".join(key for key, where in material.origin.items() if where == "--set") or "nothing"
    config = sha256_json(material.config)
    found.append(Link("config, sha256", config, f"profile {material.profile}, set by hand: {changed}"))
    newest = (summary.versions if summary else {}) or done.versions
    return [*found, *(Link(name, version) for name, version in newest.items())]


def _named(by: object, expected: object) -> bool | None:
    return None if by is None else by == expected


def _files(material: Material) -> Iterator[Link]:
    """Yields the served file, what was merged into it, and the adapter."""
    done = material.records
    if done.gguf:
        name, output = next(iter(done.gguf.outputs.items()))
        by = done.register.facts.tuned.gguf_sha256 if done.register else None
        yield Link("GGUF, sha256", output.sha256, f"{name}, {output.bytes:,} bytes", _named(by, output.sha256))
    if done.merge:
        by = done.gguf.inputs.get("merge") if done.gguf else None
        yield from _weights("merged, sha256", done.merge.outputs, _named(by, done.merge.key))
    if done.train:
        above = done.merge or done.gguf
        inputs = above.inputs if above else {}
        holds = _named(inputs.get("train"), done.train.key)
        if "adapter" in inputs:
            holds = _named(inputs["adapter"], material.adapter)
        yield from _weights("adapter, sha256", done.train.outputs, holds)


def _weights(what: str, outputs: Mapping[str, runs.Output], holds: bool | None) -> Iterator[Link]:
    for name, output in outputs.items():
        if name.endswith(".safetensors"):
            yield Link(what, output.sha256, name, holds)


def _base(material: Material) -> Iterator[Link]:
    """Yields the training data and the base."""
    done = material.records
    if done.train:
        what = f"{done.train.facts.problems:,} problems of {material.setting('data.source', '')}"
        yield Link("training data, sha256", done.train.facts.problems_sha256, what)
    if done.base:
        base = done.base.facts
        by = done.train.inputs.get("base") if done.train else None
        yield Link("base, sha256", base.sha256, base.spec, _named(by, base.sha256))
        if made := base.imported:
            yield Link("base's own GGUF, sha256", made.sha256, made.file or made.spec)


def commands(material: Material) -> list[tuple[str, str]]:
    """Returns (what for, the command), for the versions that the lineage names."""
    name = material.run.name
    given = [
        f"--set {shlex.quote(f'{key}={_setting(value)}')}"
        for key, where in material.origin.items()
        if where == "--set" and (value := material.setting(key, ...)) is not ...
    ]
    again = " ".join(["reasoner run", f"--profile {material.profile}", f"--run {name}-again", *given])
    found = [("The whole path again, under another name", again)]
    if gguf := material.records.gguf:
        file = next(iter(gguf.outputs))
        found.append(("The bytes that were scored", f"sha256sum {shlex.quote(f'runs/{name}/{file}')}"))
        found.append(("How much is lost on the way to Ollama", f"reasoner ladder {name}"))
    if material.summary:
        found.append(("Talk to it", f"ollama run {material.summary.served.tag}"))
    return [*found, ("This page", f"reasoner report {name}")]


def _setting(value: object) -> str:
    """Writes a value as `--set` reads it back."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def origin(material: Material) -> list[Block]:
    """Says where the model came from."""
    rows = [
        (Plain(link.what), Cell(Code(link.value), "hash"), Plain(link.more),
         Cell(link.holds, "bad") if link.named is False else link.holds)
        for link in links(material)
    ]  # fmt: skip
    return [Paragraph(NOTE), Table("Lineage", ("", "identity", "of", "named above"), rows)]


def reproduce(*materials: Material) -> list[Block]:
    """Says which commands make these runs again."""
    told = [pair for one in materials for pair in commands(one)]
    return [block for why, command in told for block in (Heading(why), Quoted(command))]
