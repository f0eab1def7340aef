"""One pass over one run: its config, its base, its server, and the records of its stages.

Nothing here decides or runs anything. A property that needs the server starts it when it is first asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from reasoner import __version__, runs
from reasoner.bases import from_gguf, locate, specs
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.export.facts import BASE, GGUF
from reasoner.llamacpp import install
from reasoner.measuring.collect import Listener
from reasoner.serving import server as serving
from reasoner.serving.client import Client
from reasoner.training.facts import StepMetrics, steps_of


@dataclass
class Reporter:
    """Tells whoever watches what is going on; nothing depends on it.

    `stage` gets a name, a verdict (`done`, `fresh`), a reason and seconds; `scored` a label, how many completions are
    there, and of how many; `begin` a stage and why it runs.
    """

    say: Callable[[str], None] = lambda text: None
    stage: Callable[[str, str, str, float], None] = lambda name, verdict, reason, seconds: None
    train_step: Callable[[StepMetrics], None] = lambda metrics: None
    scored: Callable[[str, int, int], None] = lambda role, done, total: None
    begin: Callable[[str, str], None] = lambda name, reason: None


@dataclass
class Job:
    """One pass over one run, or over one checkpoint of it."""

    config: Config
    run: runs.Run
    reporter: Reporter = field(default_factory=Reporter)
    checkpoint: int | None = None
    """Step of the checkpoint that is exported; None: what the training ends with."""

    @property
    def listener(self) -> Listener:
        return Listener(self.reporter.say, self.reporter.scored)

    @cached_property
    def server(self) -> serving.Server:
        return serving.ensure_server(self.reporter.say)

    @cached_property
    def client(self) -> Client:
        return self.server.client()

    @cached_property
    def base(self) -> locate.Base:
        model, recorded = self.config.model, self.record(BASE)
        if recorded is not None and recorded.config.get("model") == model.model_dump(mode="json"):
            facts = recorded.facts
            shape = (facts.architecture, facts.weights_bytes)
            found = locate.Base(facts.spec, Path(facts.path), *shape, facts.files, facts.imported)
            if not found.changed_files():
                return found
        if not specs.is_spec(model.base):
            return locate.resolve(model)
        made = from_gguf.materialize(model.base, self.reporter.say, lambda: self.client)
        folder = locate.resolve(model.model_copy(update={"base": str(made.path)}))
        return dataclasses.replace(folder, spec=model.base, imported=made.facts)

    def at(self, step: int) -> Job:
        """The job of one checkpoint. `gguf.quant = auto` is for what the training ends with."""
        quant = self.config.gguf.model_copy(update={"quant": self.base_quant})
        found = Job(self.config.model_copy(update={"gguf": quant}), self.run, self.reporter, step)
        found.__dict__ |= {name: self.__dict__[name] for name in ("server", "client", "base") if name in self.__dict__}
        return found

    @property
    def step(self) -> int:
        return steps_of(self.run, self.config) if self.checkpoint is None else self.checkpoint

    @property
    def adapter(self) -> Path:
        return self.run.path / "adapter" if self.checkpoint is None else self.export / "adapter"

    @property
    def export(self) -> Path:
        return self.run.export_dir(self.step)

    @property
    def base_model(self) -> Path:
        """The base as a model folder that the converter takes: its weights linked, its tokenizer copied."""
        return self.run.path / "base" / "model"

    @property
    def base_quant(self) -> str:
        """Type in which the base goes through the whole path before training; `auto` is known only after it."""
        quant = self.config.gguf.quant
        return "Q8_0" if quant == "auto" else quant

    @property
    def base_gguf(self) -> Path:
        return self.run.path / "base" / f"base.{self.base_quant}.gguf"

    @property
    def tuned_gguf(self) -> Path:
        quant = self.config.gguf.quant
        return self.export / f"model.{self.need(GGUF).facts.quant if quant == 'auto' else quant}.gguf"

    @property
    def reference_gguf(self) -> Path:
        """A tuned model of this base by the long route, from which `delta` makes the others."""
        return self.run.path / "base" / f"reference.{self.config.gguf.quant}.gguf"

    @property
    def served_base(self) -> tuple[Path, str]:
        """The base in the type of the tuned model, and its SHA-256."""
        outputs = self.need(GGUF).outputs if self.config.gguf.quant == "auto" else self.need(BASE).outputs
        name, output = list(outputs.items())[-1]
        return self.run.path / name, output.sha256

    def record_path(self, kind: runs.Kind[runs.Facts]) -> Path:
        return self.run.record_path(kind, self.step)

    def record(self, kind: runs.Kind[runs.Facts]) -> runs.Record[runs.Facts] | None:
        return self.run.record(kind, self.step)

    def need(self, kind: runs.Kind[runs.Facts]) -> runs.Record[runs.Facts]:
        """The record of a stage that must have been run."""
        if (found := self.record(kind)) is None:
            raise ReasonerError(f"stage {kind.name} of run {self.run.name} has not been run", fix="make reasoner")
        return found

    def versions(self) -> dict[str, str]:
        """Versions of everything that made the result."""
        found = {"reasoner": __version__, "python": platform.python_version()}
        for name in ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "vllm"):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
        found["llama.cpp"] = install.llama_cpp(self.reporter.say).version
        found["ollama"] = self.server.version
        return found
