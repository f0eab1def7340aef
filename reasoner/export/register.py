"""Puts a quantized file under a tag in Ollama, and proves that the tag asks the model what training asked it.

What the server made of the file is read back: its parameters, and the token ids of held-out prompts. Which tags are
ours, and which one is public, stands in `serving.tags`. The Modelfile makes the same tag by hand, and says in comments
where the model came from.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from reasoner import __version__
from reasoner.bases import locate, templates
from reasoner.config import Config, public
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
        licence = locate.licence_text(made.model_dir)
        how = client.create(tag, made.gguf, made.sha256, config.data.system, made.pinned, licence)
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
    wanted = _as_shown(pinned)
    return [f"{key}: {want} became {shown.get(key)}" for key, want in wanted.items() if shown.get(key) != want]


def _as_shown(pinned: Mapping[str, object]) -> dict[str, list[str]]:
    return {key: list(map(str, one)) if isinstance(one, list) else [f"{one:g}"] for key, one in pinned.items()}


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


def left_behind(config: Config, client: Client, tag: str, made: Servable) -> list[str]:
    """Says what the Modelfile of a base's tag sets and what is made of it does not have; empty where that is nothing.

    The licence goes along, and so does the file with its own chat template.
    """
    if client.digest(tag) is None:  # gone since it was imported
        return []
    shown, found = client.show(tag), []
    if shown.system and shown.system != config.data.system:
        found.append(f"SYSTEM {' '.join(shown.system.split())[:60]!r} (train with it: --set data.system=TEXT)")
    ours = _as_shown(made.pinned)
    for key, values in shown.parameters.items():
        found += [f"PARAMETER {key} {one}" for one in values if one not in ours.get(key, ())]
    asked = messages("1 + 1", config.data.system or shown.system)
    tokenizer = locate.load_tokenizer(made.model_dir)
    think = {"think": templates.fixed(str(tokenizer.chat_template)) is not False} if shown.thinks else {}
    theirs, bos = client.render(tag, asked, None, keep_alive=0, **think), str(tokenizer.bos_token or "")
    trained = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
    if trained.removeprefix(bos) != theirs.removeprefix(bos):
        found.append("TEMPLATE (it renders otherwise than the chat template in its file, which is trained and served)")
    return found


def difference(trained: list[int], served: list[int], name: Callable[[int], object], asked: str = "the server") -> str:
    """Says where two id lists first part; `name` gives the token of an id, `asked` is who has the second list."""
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), None)
    at = min(len(trained), len(served)) if at is None else at
    ours = f"{trained[at]} ({name(trained[at])!r})" if at < len(trained) else "the end"
    theirs = f"{served[at]} ({name(served[at])!r})" if at < len(served) else "the end"
    return f"at token {at} the trainer has {ours}, {asked} {theirs} ({len(trained)} and {len(served)} tokens)"


# -- the Modelfile ---------------------------------------------------------------------------------


def template_path() -> Path:
    """`modelfiles/chat.Modelfile`: inside the installed package, else beside it in a checkout."""
    package = Path(str(resources.files("reasoner")))
    for folder in (package / "modelfiles", package.parent / "modelfiles"):
        if (folder / "chat.Modelfile").exists():
            return folder / "chat.Modelfile"
    raise ReasonerError("modelfiles/chat.Modelfile is missing", fix="install reasoner again")


def parameters(config: Config, model_dir: Path) -> Pinned:
    """What is pinned with the model, as Ollama's API takes it.

    The stops are the token with which the trained chat template ends a turn and every other end that the base declares:
    Ollama's own defaults (temperature 0.8, no end to an answer) would change what was trained and what is scored.
    """
    tokenizer, serve = locate.load_tokenizer(model_dir), config.serve
    stop = [str(tokenizer.convert_ids_to_tokens(one)) for one in locate.end_ids(model_dir, tokenizer)]
    pinned: Pinned = {"num_ctx": serve.num_ctx, "num_predict": serve.num_predict, "temperature": serve.temperature}
    return {**pinned, "stop": stop, **({} if serve.num_thread is None else {"num_thread": serve.num_thread})}


def modelfile(config: Config, gguf: Path, pinned: Pinned, facts: Mapping[str, object], licence: str = "") -> str:
    """The text; `ollama create NAME -f Modelfile` beside the GGUF makes the same model by hand.

    `licence` is the whole text of the base's; three quotation marks, which a Modelfile cannot hold, become single ones.
    `facts` fills the comment lines: name, run, step, base, base_sha256, license, llama_cpp, gguf_sha256,
    template_sha256, quant.
    """
    system = f"\nSYSTEM {quoted(config.data.system)}\n" if config.data.system else ""
    verifier, source = public(config.verifier.name), public(config.data.source)
    terms = quoted(licence.replace('"""', "'''") + "\n") if licence else ""
    values = {"verifier": verifier, "source": source, "steps": config.train.steps, "seed": config.train.seed, **facts}
    comments = {key: " ".join(str(value).split()) for key, value in values.items()}
    lines = [
        f"PARAMETER {name} {quoted(item) if isinstance(item, str) else item}"
        for name, value in pinned.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    text = string.Template(template_path().read_text(encoding="utf-8")).substitute(
        comments, version=__version__, gguf=f"./{gguf.name}", system=system, parameters="\n".join(lines)
    )
    return text + (f"\nLICENSE {terms}\n" if terms else "")


def quoted(text: str) -> str:
    """Text as one Modelfile value. Triple quotes have no escape, so text that holds them is refused."""
    if '"""' in text or text.endswith('"'):
        if '"' in text and "\n" not in text and '"""' not in text:
            return text
        raise ReasonerError("a Modelfile cannot hold this text", why=f"it has quotation marks: {text[:60]!r}")
    return f'"""{text}"""'
