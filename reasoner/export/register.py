"""Puts a quantized file under a tag in Ollama, and proves that the tag asks the model what training asked it.

What the server made of the file is read back: its parameters, and the token ids of held-out prompts. Which tags are
ours, and which one is public, stands in `serving.tags`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.export.facts import Pinned
from reasoner.problems import load
from reasoner.problems.problem import messages
from reasoner.serving import tags
from reasoner.serving.client import Client

NUM_PROMPTS = 12
"""Held-out prompts whose token ids are compared, trainer against server."""


@dataclass(frozen=True)
class Servable:
    """Holds what a tag is made of: a GGUF, the parameters pinned with it, and the folder of the trainer's tokenizer."""

    gguf: Path
    sha256: str
    pinned: Pinned
    model_dir: Path


def put(config: Config, client: Client, tag: str, made: Servable, say: Callable[[str], None]) -> tags.Registered:
    """Creates the tag, reads back what Ollama made of it, and compares prompt ids."""
    with tags.making(client, tag, made.sha256) as kept:
        if kept:
            say(f"{tag} was not made here: its model stays as {kept}")
        how = client.create(tag, made.gguf, made.sha256, parameters=made.pinned, system=config.data.system)
        if differing := other_parameters(client, tag, made.pinned):
            fix = "upgrade Ollama, or remove the tag and run again"
            raise ReasonerError(f"Ollama registered {tag} with other parameters", "\n".join(differing), fix)
    digest = client.require(tag)
    compared = compare_prompt_ids(config, client, tag, made.model_dir)
    file = {"linked": "hard link, no second copy", "present": "file already there", "uploaded": "uploaded"}[how]
    say(f"{tag} registered ({file}); {compared} prompts have the same token ids in trainer and server")
    return tags.Registered(tag, digest, made.sha256, how, compared)


def other_parameters(client: Client, tag: str, pinned: Mapping[str, object]) -> list[str]:
    """Says which of the parameters pinned with a tag it does not have; empty when it has all."""
    shown = client.show(tag).parameters
    wanted = {key: list(map(str, one)) if isinstance(one, list) else [f"{one:g}"] for key, one in pinned.items()}
    return [f"{key}: {want} became {shown.get(key)}" for key, want in wanted.items() if shown.get(key) != want]


def compare_prompt_ids(config: Config, client: Client, tag: str, model_dir: Path) -> int:
    """Returns the number of prompts found equal; raises at the first whose ids differ between trainer and server."""
    tokenizer = locate.load_tokenizer(model_dir)
    problems = load.held_out(config)[:NUM_PROMPTS]
    for problem in problems:
        chat = messages(problem.question, config.data.system)
        trained = locate.prompt_ids(tokenizer, chat)
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


def difference(trained: list[int], served: list[int], name: Callable[[int], object], asked: str = "the server") -> str:
    """Says where two id lists first part; `name` gives the token of an id, `asked` is who has the second list."""
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), None)
    at = min(len(trained), len(served)) if at is None else at
    ours = f"{trained[at]} ({name(trained[at])!r})" if at < len(trained) else "the end"
    theirs = f"{served[at]} ({name(served[at])!r})" if at < len(served) else "the end"
    return f"at token {at} the trainer has {ours}, {asked} {theirs} ({len(trained)} and {len(served)} tokens)"
