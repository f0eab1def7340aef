"""Knows which tags in Ollama are ours, and moves the public one.

A new model goes under a tag of its own (`reasoner:step-000150`, `reasoner:base`). The public tag (`reasoner:latest`)
is only ever copied from such a tag, in one step. What a person made is never lost: a tag is deleted only where the
ledger and the server agree that it is ours, and one that would be overwritten keeps its model under another name.
Whether a model may become public is not decided here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner import files, runs
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.machine import cache
from reasoner.serving.client import Client


@dataclass(frozen=True)
class Tagged:
    """Names a model in Ollama: a tag, and the digest that it means."""

    tag: str
    digest: str


@dataclass(frozen=True)
class Registered(Tagged):
    """Records a tag that was registered: its file, and on how many prompts its token ids equal the trainer's."""

    gguf_sha256: str
    file: str
    """How the file came into the server's store: `linked`, `present` or `uploaded`."""
    prompts_compared: int


def base_tag(config: Config) -> str:
    return f"{config.serve.name}:base"


def step_tag(config: Config, step: int) -> str:
    prefix = f"{config.train.control}-" if config.train.control else ""
    return f"{config.serve.name}:{prefix}{runs.step_name(step)}"


def public_tag(config: Config) -> str:
    return f"{config.serve.name}:latest"


def public(config: Config, client: Client) -> Tagged | None:
    """Returns the model that people talk to now; None where there is none."""
    digest = client.digest(public_tag(config))
    return None if digest is None else Tagged(public_tag(config), digest)


def not_there(client: Client, recorded: Sequence[Tagged]) -> list[str]:
    """Says which of the recorded tags the server no longer has; empty when all are as recorded."""
    found, reasons = client.tags(), []
    for one in recorded:
        if one.tag not in found:
            reasons.append(f"{one.tag} is not in Ollama at {client.host}")
        elif found[one.tag] != one.digest:
            reasons.append(f"{one.tag} in Ollama is another model")
    return reasons


# -- the ledger ------------------------------------------------------------------------------------

_PENDING = "pending:"
"""In the ledger from just before a tag is made until its digest is known, then the GGUF's SHA-256 and the digest of our
model that the tag meant: what a kill leaves behind in between is found again."""


def _ledger() -> Path:
    """Lists every tag we made and is to be found again by `uninstall`, whatever became of its run folder."""
    return cache.cache_dir() / "registered.json"


def _noted(client: Client, tag: str) -> str:
    return str((files.read_json(_ledger()) or {}).get(f"{client.host} {tag}") or "")


def note(client: Client, tag: str, value: str | None) -> None:
    """Writes down that a tag is ours: its digest, or what is known of it while it is made; None forgets it."""
    with cache.locked("registered", cache.quiet):
        known = files.read_json(_ledger()) or {}
        known.pop(f"{client.host} {tag}", None)
        if value is not None:
            known[f"{client.host} {tag}"] = value
        if known:
            files.write_json(_ledger(), known)
        else:
            _ledger().unlink(missing_ok=True)


def has_registered() -> bool:
    """Tells whether any tag of ours may still be in an Ollama."""
    return bool(files.read_json(_ledger()))


def _is_ours(client: Client, tag: str, digest: str) -> bool:
    """Tells whether what the tag means on the server is a model that we put there."""
    noted = _noted(client, tag)
    if not noted.startswith(_PENDING):
        return noted == digest
    sha256, _, before = noted.removeprefix(_PENDING).partition(" ")
    return digest == before or f"sha256-{sha256}" in client.show(tag).modelfile


@contextlib.contextmanager
def making(client: Client, tag: str, sha256: str) -> Iterator[str | None]:
    """Writes down that a tag is ours before it is made of a file, and its digest afterwards.

    Gives the tag under which a model that a person had put there stays, None where there was none.
    """
    before = client.digest(tag)
    kept = None if before is None or _is_ours(client, tag, before) else _spare(client, tag, before)
    note(client, tag, f"{_PENDING}{sha256} {before if before and not kept else ''}")
    yield kept
    remember(client, tag)


def remember(client: Client, tag: str) -> str | None:
    """Writes down that what a tag means now is ours; returns its digest."""
    digest = client.digest(tag)
    note(client, tag, digest)
    return digest


# -- tags that come and go -------------------------------------------------------------------------


def _carriers(client: Client, digest: str) -> list[str]:
    return [name for name, found in client.tags().items() if found == digest]


def _spare(client: Client, tag: str, digest: str) -> str:
    """Returns another tag with the model of this one, which is about to mean another: one there is, or one made now."""
    if others := [name for name in _carriers(client, digest) if name != tag]:
        return min(others, key=lambda name: "step-" not in name)
    kept = f"{tag.rpartition(':')[0]}:kept-{digest.removeprefix('sha256:')[:12]}"
    client.copy(tag, kept)
    if _noted(client, tag) == digest:
        note(client, kept, digest)
    return kept


def drop(client: Client, tag: str) -> bool:
    """Deletes a tag that is ours, with what a killed registration left of it; False where nothing of ours was there."""
    noted = _noted(client, tag)
    if not noted:
        return False
    digest = client.digest(tag)
    deleted = digest is not None and _is_ours(client, tag, digest) and client.delete(tag)
    sha256 = noted.removeprefix(_PENDING).partition(" ")[0] if noted.startswith(_PENDING) else None
    if digest is None and sha256 and client.has_blob(sha256):
        # A blob in no manifest stays until the server starts again; one that a deleted tag leaves goes with it.
        client.create(tag, Path("model.gguf"), sha256)
        deleted = client.delete(tag)
    note(client, tag, None)
    return deleted


def remove_all(client: Client) -> list[str]:
    """Deletes the tags we made on this server, unless another model has taken their name since; returns them."""
    known = files.read_json(_ledger()) or {}
    ours = [tag for where, _, tag in (key.partition(" ") for key in known) if where == str(client.host)]
    return [tag for tag in ours if drop(client, tag)]


@contextlib.contextmanager
def without_system(client: Client, tag: str) -> Iterator[str]:
    """Gives a passing tag of a tag's file and stops without its system message, which no request can take away.

    It is in the ledger before it is made: what a kill leaves of it goes with the next call, or with `uninstall`.
    """
    file, _ = client.model_file(tag)
    sha256, bare = file.name.removeprefix("sha256-"), f"{tag}-no-system"
    stops = client.show(tag).parameters.get("stop")
    with making(client, bare, sha256):
        client.create(bare, file, sha256, parameters={"stop": stops} if stops else None)
    try:
        yield bare
    finally:
        drop(client, bare)


# -- the public tag --------------------------------------------------------------------------------


def point(
    config: Config, client: Client, model: Tagged, before: Callable[[Tagged | None], None] = lambda previous: None
) -> bool:
    """Copies a registered model to the public tag, once that answers; False where the tag means this model already.

    The model that was public keeps a tag of its own (`before` is told which), and is public again where the new one
    gives no answer under the public name.
    """
    tag = public_tag(config)
    if (digest := client.digest(model.tag)) != model.digest:
        raise _another(model.tag, f"its digest is {digest}, scored was {model.digest}")
    old = client.digest(tag)
    if old == model.digest:
        note(client, tag, model.digest)
        return False
    _require_answer(client, model.tag)
    previous = None if old is None else Tagged(_spare(client, tag, old), old)
    before(previous)
    client.copy(model.tag, tag)
    note(client, tag, model.digest)
    try:
        if client.digest(tag) != model.digest:
            raise _another(tag)
        _require_answer(client, tag)
    except ReasonerError:
        if previous:
            client.copy(previous.tag, tag)
            note(client, tag, previous.digest)
        else:
            drop(client, tag)
        raise
    return True


def restore(config: Config, client: Client, digest: str) -> str | None:
    """Makes a model public again; returns the tag it was copied from, None where the server has it no more."""
    public_ = public_tag(config)
    source = next((name for name in _carriers(client, digest) if name != public_), None)
    if source is not None:
        _require_answer(client, source)
        client.copy(source, public_)
        note(client, public_, digest)
        _require_answer(client, public_)
    return source


def _another(tag: str, why: str | None = None) -> ReasonerError:
    fix = "another program may be writing the same tag; run again"
    return ReasonerError(f"{tag} is not the model that was scored", why=why, fix=fix)


def _require_answer(client: Client, tag: str) -> None:
    """Has one token answered; raises where the server cannot load the model."""
    client.chat(tag, [{"role": "user", "content": "Hello"}], {"num_predict": 1})
