"""Reads what an engine must know of a model folder before it loads the weights."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner import files
from reasoner.bases import locate, templates, weights
from reasoner.config import Model
from reasoner.errors import USAGE, ReasonerError
from reasoner.export import adapters
from reasoner.measuring.engines.base import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Folder:
    """Is a model folder whose tokenizer fits its embeddings, with a PEFT adapter or not."""

    path: Path
    adapter: Path | None
    tokenizer: PreTrainedTokenizerBase
    digest: str  # identity of weights, config and tokenizer, and of the adapter
    num_ctx: int
    end_ids: list[int]  # tokens that end a completion: the template's end of turn, and what the folder itself names
    shown: str
    repaired: tempfile.TemporaryDirectory[str] | None  # where the adapter lies if it had to be repaired; goes with this
    begun: str = ""  # thought that every prompt has begun, part of each text

    def prompt_ids(self, messages: Messages) -> list[int]:
        return locate.prompt_ids(self.tokenizer, messages)

    def text(self, tokens: list[int]) -> str:
        return self.begun + str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def read(given: Path, adapter: Path | None, num_ctx: int) -> Folder:
    """Reads a folder; one that is itself an adapter names its base. Raises where the parts do not fit each other."""
    path, adapter = _base_and_adapter(given, adapter)
    found = locate.resolve(Model(base=str(path)))
    weights.check(path)
    tokenizer = locate.load_tokenizer(path)
    locate.check_embeddings(path, tokenizer)
    parts = {name: output.sha256 for name, output in found.files.items()}
    shown, repaired = str(path) if adapter is None else f"{path} + {adapter}", None
    if adapter is not None:
        fit = adapters.fit(adapter, path)
        names = (adapters.SHAPE, adapters.WEIGHTS)
        parts |= {f"adapter {name}": files.sha256_file(adapter / name) for name in names}
        if fit.repairs:
            repaired = tempfile.TemporaryDirectory(prefix="adapter-")
            adapter = Path(repaired.name)
            fit.save(adapter)
    trained = _json(path / "config.json").get("max_position_embeddings")
    if isinstance(trained, int) and trained > 0:
        num_ctx = min(num_ctx, trained)
    digest = "sha256:" + files.sha256_json(parts)
    begun = templates.begun(templates.rendered(tokenizer))
    ends = sorted(locate.end_ids(path, tokenizer))
    return Folder(path, adapter, tokenizer, digest, num_ctx, ends, shown, repaired, begun)


def _base_and_adapter(folder: Path, adapter: Path | None) -> tuple[Path, Path | None]:
    settings = _json(folder / "adapter_config.json")
    if adapter is not None or not settings or (folder / "config.json").exists():
        if adapter is not None and not (adapter / "adapter_config.json").exists():
            raise ReasonerError(f"{adapter} is no adapter", why="it has no adapter_config.json", code=USAGE)
        return folder, adapter
    return locate.locate(Model(base=str(settings.get("base_model_name_or_path") or ""))), folder


def _json(path: Path) -> dict[str, Any]:
    return files.read_json(path) or {}
