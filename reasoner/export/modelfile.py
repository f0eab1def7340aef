"""Chat template, stops and parameters -> Modelfile text, with where the model came from as comments."""

from __future__ import annotations

import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from reasoner import __version__
from reasoner.bases import locate
from reasoner.config import Config, public
from reasoner.errors import ReasonerError
from reasoner.export.facts import Pinned


def template_path() -> Path:
    """`modelfiles/chat.Modelfile`: inside the installed package, else beside it in a checkout."""
    package = Path(str(resources.files("reasoner")))
    for folder in (package / "modelfiles", package.parent / "modelfiles"):
        if (folder / "chat.Modelfile").exists():
            return folder / "chat.Modelfile"
    raise ReasonerError("modelfiles/chat.Modelfile is missing", fix="install reasoner again")


def parameters(config: Config, model_dir: Path) -> Pinned:
    """What is pinned with the model, as Ollama's API takes it.

    The stop is the token with which the trained chat template ends a turn: Ollama's own defaults (temperature
    0.8, no end to an answer) would change what was trained and what is scored.
    """
    stop, serve = [str(locate.load_tokenizer(model_dir).eos_token)], config.serve
    pinned: Pinned = {"num_ctx": serve.num_ctx, "num_predict": serve.num_predict, "temperature": serve.temperature}
    return {**pinned, "stop": stop, **({} if serve.num_thread is None else {"num_thread": serve.num_thread})}


def render(config: Config, gguf: Path, pinned: Pinned, facts: Mapping[str, object]) -> str:
    """The Modelfile; `ollama create NAME -f Modelfile` beside the GGUF makes the same model by hand.

    `facts` fills the comment lines: name, run, step, base, base_sha256, license, llama_cpp, gguf_sha256,
    template_sha256, quant.
    """
    system = f"\nSYSTEM {quoted(config.data.system)}\n" if config.data.system else ""
    verifier, source = public(config.verifier.name), public(config.data.source)
    values = {"verifier": verifier, "source": source, "steps": config.train.steps, "seed": config.train.seed, **facts}
    comments = {key: " ".join(str(value).split()) for key, value in values.items()}
    lines = [
        f"PARAMETER {name} {quoted(item) if isinstance(item, str) else item}"
        for name, value in pinned.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    return string.Template(template_path().read_text(encoding="utf-8")).substitute(
        comments, version=__version__, gguf=f"./{gguf.name}", system=system, parameters="\n".join(lines)
    )


def quoted(text: str) -> str:
    """Text as one Modelfile value. Triple quotes have no escape, so text that holds them is refused."""
    if '"""' in text or text.endswith('"'):
        if '"' in text and "\n" not in text and '"""' not in text:
            return text
        raise ReasonerError("a Modelfile cannot hold this text", why=f"it has quotation marks: {text[:60]!r}")
    return f'"""{text}"""'
