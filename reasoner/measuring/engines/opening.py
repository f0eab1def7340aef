"""Opens the engine that a model's name asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reasoner.errors import USAGE, ReasonerError, nearest
from reasoner.measuring.engines.base import Engine, Limits
from reasoner.measuring.engines.llamacpp import LlamaCpp
from reasoner.measuring.engines.served import Ollama
from reasoner.measuring.engines.vllm import Vllm
from reasoner.serving import server
from reasoner.serving.client import Client

TAKES = {"transformers": "folder", "vllm": "folder", "llama.cpp": "gguf", "ollama": "tag", "openai": "url"}
"""What each engine is given, as `kind_of` says it; the first of a kind is its own where none is named."""


def open_engine(
    model: str,
    engine: str | None = None,
    limits: Limits | None = None,
    *,
    adapter: Path | None = None,
    client: Client | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Engine:
    """Opens the engine for a model: a tag in Ollama, a GGUF, a model folder (with an adapter or not), `URL#MODEL`.

    `client` is the Ollama to ask for a tag; None finds or starts one. Raises with code 2 where model and engine do not
    fit, with code 3 where the engine is not installed.
    """
    limits, kind = limits or Limits(), kind_of(model)
    name = engine or next(one for one, takes in TAKES.items() if takes == kind)
    if name not in TAKES:
        raise ReasonerError(f"no engine named {name!r}", fix=nearest(name, TAKES), code=USAGE)
    if kind != TAKES[name]:
        words = {"folder": "a model folder", "gguf": "a GGUF file", "tag": "a tag in Ollama", "url": "a URL"}
        raise ReasonerError(
            f"the engine {name} takes {words[TAKES[name]]}, and {model} is {words[kind]}",
            fix="leave --engine out, or name another model (a tag through /v1: http://127.0.0.1:11434/v1#TAG)",
            code=USAGE,
        )
    if adapter is not None and kind != "folder":
        raise ReasonerError("an adapter goes with a model folder", why=f"{model} is none", code=USAGE)
    path = Path(model).expanduser().absolute()
    if name == "vllm":
        return Vllm(path, adapter, limits)
    if kind == "folder":
        from reasoner.measuring.engines.transformers import Transformers  # which loads torch

        return Transformers(path, adapter, limits)
    if kind == "gguf":
        return LlamaCpp(path, limits)
    if kind == "url":
        from reasoner.measuring.engines.openai import OpenAI

        return OpenAI(model, limits.concurrency)
    return Ollama(client or server.ensure_server(say).client(), model, limits)


def kind_of(model: str) -> str:
    """Returns what a model's name names: `url`, `folder`, `gguf` or `tag`. Raises for a path that is not there."""
    if model.startswith(("http://", "https://")):
        return "url"
    path = Path(model).expanduser()
    if path.is_dir():
        return "folder"
    if path.is_file():
        if path.suffix != ".gguf":
            raise ReasonerError(f"{model} is no GGUF", fix="name a file that ends in .gguf", code=USAGE)
        return "gguf"
    if path.suffix == ".gguf" or model.startswith(("/", "./", "../", "~")):
        raise ReasonerError(f"there is no model at {model}", fix="check the path", code=USAGE)
    return "tag"
