"""GGUF + Modelfile -> a tag in Ollama that is proven to ask the model what training asked it.

A new model goes under a tag of its own (`reasoner:step-000150`, `reasoner:base`). The public tag
(`reasoner:latest`) is only ever copied from such a tag, in one step, by `promote`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasoner import base, data, ollama, runs, toolchain
from reasoner.config import Config
from reasoner.errors import ReasonerError

NUM_PROMPTS = 12
"""Held-out prompts whose token ids are compared, trainer against server."""


def base_tag(config: Config) -> str:
    return f"{config.serve.name}:base"


def step_tag(config: Config, step: int) -> str:
    prefix = f"{config.train.control}-" if config.train.control else ""
    return f"{config.serve.name}:{prefix}{runs.step_name(step)}"


def public_tag(config: Config) -> str:
    return f"{config.serve.name}:latest"


def put(
    config: Config,
    client: ollama.Client,
    tag: str,
    gguf: Path,
    sha256: str,
    parameters: dict[str, Any],
    model_dir: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Create the tag, read back what Ollama made of it, and compare prompt ids. Gives tag and digest."""
    how = client.create(tag, gguf, sha256, parameters=parameters, system=config.data.system)
    shown = shown_parameters(str(client.show(tag).get("parameters") or ""))
    wanted = {
        key: [str(v) for v in value] if isinstance(value, list) else [f"{value:g}"] for key, value in parameters.items()
    }
    differing = [f"{key}: {want} became {shown.get(key)}" for key, want in wanted.items() if shown.get(key) != want]
    if differing:
        raise ReasonerError(f"Ollama registered {tag} with other parameters", why="\n".join(differing),
                            fix="upgrade Ollama, or remove the tag and run again")  # fmt: skip
    digest = _remember(client, tag)
    compared = compare_prompt_ids(config, client, tag, model_dir)
    file = {"linked": "hard link, no second copy", "present": "file already there", "uploaded": "uploaded"}[how]
    say(f"{tag} registered ({file}); {compared} prompts have the same token ids in trainer and server")
    return {"tag": tag, "digest": digest, "gguf_sha256": sha256, "file": how, "prompts_compared": compared}


def _ledger() -> Path:
    """Every tag we made and is to be found again by `uninstall`, whatever became of its run folder."""
    return toolchain.cache_dir() / "registered.json"


def _remember(client: ollama.Client, tag: str) -> str | None:
    digest = client.digest(tag)
    known = runs.read_json(_ledger()) or {}
    runs.write_json(_ledger(), {**known, f"{client.host} {tag}": digest})
    return digest


def has_registered() -> bool:
    """Whether any tag of ours may still be in an Ollama."""
    return bool(runs.read_json(_ledger()))


def remove_all(client: ollama.Client) -> list[str]:
    """Delete the tags we made on this server, unless another model has taken their name since."""
    known = runs.read_json(_ledger()) or {}
    done = []
    for key, digest in list(known.items()):
        where, _, tag = key.partition(" ")
        if where != str(client.host):
            continue
        if client.digest(tag) == digest and client.delete(tag):
            done.append(tag)
        del known[key]
    if known:
        runs.write_json(_ledger(), known)
    else:
        _ledger().unlink(missing_ok=True)
    return done


def shown_parameters(text: str) -> dict[str, list[str]]:
    """Parameters as `/api/show` prints them, a name and a value a line.

    >>> shown_parameters('num_ctx                        512\\nstop                           "<|end|>"')
    {'num_ctx': ['512'], 'stop': ['<|end|>']}
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        with contextlib.suppress(ValueError):
            value = f"{float(value):g}"
        if value.startswith('"'):
            value = str(json.loads(value))
        found.setdefault(name, []).append(value)
    return found


def compare_prompt_ids(config: Config, client: ollama.Client, tag: str, model_dir: Path) -> int:
    """Number of prompts found equal; raises at the first whose ids differ between trainer and server."""
    tokenizer = base.load_tokenizer(model_dir)
    problems = data.held_out(config)[:NUM_PROMPTS]
    for problem in problems:
        chat = data.messages(problem.question, config.data.system)
        trained = base.prompt_ids(tokenizer, chat)
        served = client.prompt_ids(tag, chat)
        if trained != served:
            raise ReasonerError(
                f"{tag} is asked something else than was trained",
                why=f"problem {problem.id}: {difference(trained, served, tokenizer.convert_ids_to_tokens)}",
                fix="Ollama rendered another chat template, or the GGUF has another tokenizer. Ollama 0.30 or later is"
                " needed, and it replaces a short template that resembles one it knows: a Jinja comment of more than"
                " 100 characters in the base's chat template keeps it",
            )
    return len(problems)


def difference(trained: list[int], served: list[int], name: Callable[[int], Any]) -> str:
    """Where two id lists first part, in words."""
    at = next(
        (i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b),
        min(len(trained), len(served)),
    )
    ours = f"{trained[at]} ({name(trained[at])!r})" if at < len(trained) else "the end"
    theirs = f"{served[at]} ({name(served[at])!r})" if at < len(served) else "the end"
    return f"at token {at} the trainer has {ours}, the server {theirs} ({len(trained)} and {len(served)} tokens)"


def not_there(client: ollama.Client, facts: list[dict[str, Any]]) -> list[str]:
    """Which of the recorded tags the server no longer has; empty when all are as recorded."""
    reasons = []
    for item in facts:
        digest = client.digest(item["tag"])
        if digest is None:
            reasons.append(f"{item['tag']} is not in Ollama at {client.host}")
        elif digest != item["digest"]:
            reasons.append(f"{item['tag']} in Ollama is another model")
    return reasons


def promote(
    config: Config, client: ollama.Client, registered: dict[str, Any], scored: dict[str, Any]
) -> dict[str, Any]:
    """Point the public tag at the scored model, unless a check of the served model forbids it.

    A model is refused for what it has lost, anywhere that was measured, never for having gained too little.
    """
    why = list(scored["problems_found"])
    if scored["lift"]["ci95"][1] < 0:
        why.append(f"it scores {-scored['lift']['points']:.1f} points below the base")
    why += [
        f"{lost['name']}: {-lost['points']:.1f} points below the base, beyond noise (p = {lost['p_holm']:.2g},"
        " adjusted for all kinds and sets)"
        for lost in scored["below_base"]
    ]
    if config.train.control:
        return {
            "promoted": False,
            "why": [f"a {config.train.control} control is never promoted"],
            "is_control": True,
        }
    if why:
        return {"promoted": False, "why": why, "is_control": False}
    public = public_tag(config)
    client.copy(registered["tag"], public)
    digest = _remember(client, public)
    if digest != registered["digest"]:
        raise ReasonerError(
            f"{public} is not the model that was scored",
            why=f"its digest is {digest}, scored was {registered['digest']}",
            fix="another program may be writing the same tag; run again",
        )
    return {"promoted": True, "why": [], "is_control": False, "tag": public, "digest": digest}
