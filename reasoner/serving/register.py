"""GGUF + Modelfile -> a tag in Ollama that is proven to ask the model what training asked it.

A new model goes under a tag of its own (`reasoner:step-000150`, `reasoner:base`). The public tag
(`reasoner:latest`) is only ever copied from such a tag, in one step, by `publish`. What a person made is never lost:
a tag is deleted only where the ledger and the server agree that it is ours, and one that would be overwritten keeps
its model under another name.

Which model was public when stands in the run's `history.jsonl`, an event a line, only ever appended to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import USAGE, ReasonerError
from reasoner.machine import cache
from reasoner.problems import load
from reasoner.problems.problem import messages
from reasoner.serving import ollama

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
    before = client.digest(tag)
    if before is not None and not _is_ours(client, tag, before):
        say(f"{tag} was not made here: its model stays as {_spare(client, tag, before)}")
        before = None
    _note(client, tag, f"{_PENDING}{sha256} {before or ''}")
    how = client.create(tag, gguf, sha256, parameters=parameters, system=config.data.system)
    differing = other_parameters(client, tag, parameters)
    if differing:
        raise ReasonerError(f"Ollama registered {tag} with other parameters", why="\n".join(differing),
                            fix="upgrade Ollama, or remove the tag and run again")  # fmt: skip
    digest = _remember(client, tag)
    compared = compare_prompt_ids(config, client, tag, model_dir)
    file = {"linked": "hard link, no second copy", "present": "file already there", "uploaded": "uploaded"}[how]
    say(f"{tag} registered ({file}); {compared} prompts have the same token ids in trainer and server")
    return {"tag": tag, "digest": digest, "gguf_sha256": sha256, "file": how, "prompts_compared": compared}


def other_parameters(client: ollama.Client, tag: str, pinned: dict[str, Any]) -> list[str]:
    """Which of the parameters pinned with a tag it does not have; empty when it has all."""
    shown = ollama.shown_parameters(client.show(tag))
    wanted = {
        key: [str(v) for v in value] if isinstance(value, list) else [f"{value:g}"] for key, value in pinned.items()
    }
    return [f"{key}: {want} became {shown.get(key)}" for key, want in wanted.items() if shown.get(key) != want]


def _ledger() -> Path:
    """Every tag we made and is to be found again by `uninstall`, whatever became of its run folder."""
    return cache.cache_dir() / "registered.json"


_PENDING = "pending:"
"""In the ledger from just before a tag is made until its digest is known, then the GGUF's SHA-256 and the digest of our
model that the tag meant: what a kill leaves behind in between is found again."""


def _noted(client: ollama.Client, tag: str) -> str | None:
    found = (files.read_json(_ledger()) or {}).get(f"{client.host} {tag}")
    return None if found is None else str(found)


def _note(client: ollama.Client, tag: str, value: str | None) -> None:
    with cache.locked("registered", cache.quiet):
        known = files.read_json(_ledger()) or {}
        known.pop(f"{client.host} {tag}", None)
        if value is not None:
            known[f"{client.host} {tag}"] = value
        if known:
            files.write_json(_ledger(), known)
        else:
            _ledger().unlink(missing_ok=True)


def _remember(client: ollama.Client, tag: str) -> str | None:
    digest = client.digest(tag)
    _note(client, tag, digest)
    return digest


def _is_ours(client: ollama.Client, tag: str, digest: str) -> bool:
    """Whether what the tag means on the server is a model that we put there."""
    noted = _noted(client, tag) or ""
    if not noted.startswith(_PENDING):
        return noted == digest
    sha256, _, before = noted.removeprefix(_PENDING).partition(" ")
    return digest == before or f"sha256-{sha256}" in str(client.show(tag).get("modelfile"))


def _carriers(client: ollama.Client, digest: str) -> list[str]:
    """Every tag that means this model."""
    wanted = digest.removeprefix("sha256:")
    return [str(one["name"]) for one in client.list_tags() if str(one["digest"]).removeprefix("sha256:") == wanted]


def _spare(client: ollama.Client, tag: str, digest: str) -> str:
    """Another tag with the model of this one, which is about to mean another: one there is, or one made now."""
    others = [name for name in _carriers(client, digest) if name != tag]
    if others:
        return sorted(others, key=lambda name: "step-" not in name)[0]
    kept = f"{tag.rpartition(':')[0]}:kept-{digest.removeprefix('sha256:')[:12]}"
    client.copy(tag, kept)
    if _noted(client, tag) == digest:
        _note(client, kept, digest)
    return kept


def has_registered() -> bool:
    """Whether any tag of ours may still be in an Ollama."""
    return bool(files.read_json(_ledger()))


def drop(client: ollama.Client, tag: str) -> bool:
    """Delete a tag that is ours, with what a killed registration left of it; False where there was nothing of ours."""
    noted = _noted(client, tag)
    if noted is None:
        return False
    digest = client.digest(tag)
    deleted = digest is not None and _is_ours(client, tag, digest) and client.delete(tag)
    sha256 = noted.removeprefix(_PENDING).partition(" ")[0] if noted.startswith(_PENDING) else None
    if digest is None and sha256 and client.has_blob(sha256):
        # A blob in no manifest stays until the server starts again; one that a deleted tag leaves goes with it.
        client.create(tag, Path("model.gguf"), sha256)
        deleted = client.delete(tag)
    _note(client, tag, None)
    return deleted


def remove_all(client: ollama.Client) -> list[str]:
    """Delete the tags we made on this server, unless another model has taken their name since."""
    known = files.read_json(_ledger()) or {}
    ours = [tag for where, _, tag in (key.partition(" ") for key in known) if where == str(client.host)]
    return [tag for tag in ours if drop(client, tag)]


@contextlib.contextmanager
def without_system(client: ollama.Client, tag: str) -> Iterator[str]:
    """A passing tag of a tag's file and stops without its system message, which no request can take away.

    It is in the ledger before it is made: what a kill leaves of it goes with the next call, or with `uninstall`.
    """
    file, _ = client.model_file(tag)
    sha256 = file.name.removeprefix("sha256-")
    stops = ollama.shown_parameters(client.show(tag)).get("stop")
    bare = f"{tag}-no-system"
    before = client.digest(bare)
    if before is not None and not _is_ours(client, bare, before):
        _spare(client, bare, before)
    _note(client, bare, f"{_PENDING}{sha256} ")
    client.create(bare, file, sha256, parameters={"stop": stops} if stops else None)
    _remember(client, bare)
    try:
        yield bare
    finally:
        drop(client, bare)


def compare_prompt_ids(config: Config, client: ollama.Client, tag: str, model_dir: Path) -> int:
    """Number of prompts found equal; raises at the first whose ids differ between trainer and server."""
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


def difference(trained: list[int], served: list[int], name: Callable[[int], Any], asked: str = "the server") -> str:
    """Where two id lists first part, in words."""
    at = next(
        (i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b),
        min(len(trained), len(served)),
    )
    ours = f"{trained[at]} ({name(trained[at])!r})" if at < len(trained) else "the end"
    theirs = f"{served[at]} ({name(served[at])!r})" if at < len(served) else "the end"
    return f"at token {at} the trainer has {ours}, {asked} {theirs} ({len(trained)} and {len(served)} tokens)"


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


# -- the public tag ------------------------------------------------------------------------------


def public(config: Config, client: ollama.Client) -> dict[str, Any] | None:
    """Tag and digest of the model that people talk to now; None where there is none."""
    digest = client.digest(public_tag(config))
    return None if digest is None else {"tag": public_tag(config), "digest": digest}


def promote(
    config: Config, client: ollama.Client, run_: runs.Run, registered: dict[str, Any], scored: dict[str, Any], step: int
) -> dict[str, Any]:
    """Point the public tag at the scored model, unless a check of the served model forbids it.

    A model is refused for what it has lost, anywhere that was measured, never for having gained too little.
    """
    why = list(scored["problems_found"])
    if scored["lift"]["ci95"][1] < 0:
        why.append(f"it scores {-scored['lift']['points']:.1f} points below the base")
    why += lost(scored["below_base"], "the base")
    if config.train.control:
        return {
            "promoted": False,
            "why": [f"a {config.train.control} control is never promoted"],
            "is_control": True,
        }
    if why:
        return {"promoted": False, "why": why, "is_control": False}
    publish(config, client, run_, registered, step, by="reasoner run")
    return {
        "promoted": True,
        "why": [],
        "is_control": False,
        "tag": public_tag(config),
        "digest": registered["digest"],
    }


def lost(below: list[dict[str, Any]], what: str) -> list[str]:
    """Kinds and sets on which a model is worse, in words."""
    return [
        f"{one['name']}: {-one['points']:.1f} points below {what}, beyond noise (p = {one['p_holm']:.2g},"
        " adjusted for all kinds and sets)"
        for one in below
    ]


def verdict(config: Config, found: dict[str, Any], best: float | None, lost_: list[str]) -> list[str]:
    """Why a checkpoint may not become public; empty where it may.

    Not worse than the public model beyond the margin: the lower bound of the paired difference lies above minus the
    margin (non-inferiority). And no drift: its own score is not below the best promoted one by more than the margin, or
    many steps down, each within the margin, would add up.
    """
    gate, why = config.gate, list(lost_)
    if config.train.control:
        why.append(f"a {config.train.control} control is never promoted")
    if found["n"] < gate.min_problems:
        why.append(f"{found['n']} problems have a verdict on both sides, {gate.min_problems} are needed")
    if found["lower"] is not None and found["lower"] <= -gate.margin:
        why.append(
            f"{found['points']:+.1f} points against {found['against']['tag']}, and at {gate.confidence:.0%} it may be"
            f" {-found['lower']:.1f} worse (margin {gate.margin:g})"
        )
    if best is not None and found["score"] is not None:
        below = round(100 * (best - found["score"]), 6)
        if below > gate.margin:
            why.append(f"{below:.1f} points below the best that was promoted (margin {gate.margin:g})")
    return why


def publish(
    config: Config, client: ollama.Client, run_: runs.Run, model: dict[str, Any], step: int | None, **facts: Any
) -> dict[str, Any] | None:
    """Make the public tag mean a registered model; gives the history's event, None where it means this model already.

    `promoting` is written first: a kill between the copy and the last line must not lose what was public before.
    """
    told: dict[str, Any] = {}

    def before(previous: dict[str, Any] | None) -> None:
        told.update({"tag": public_tag(config), "digest": model["digest"], "from": model["tag"]})
        told.update({"previous": previous, **facts})
        tell(run_, step, "promoting", **told)

    return tell(run_, step, "promoted", **told) if point(config, client, model, before) else None


def point(
    config: Config,
    client: ollama.Client,
    model: dict[str, Any],
    before: Callable[[dict[str, Any] | None], None] = lambda previous: None,
) -> bool:
    """Copy a registered model to the public tag, once that answers; False where the tag means this model already.

    The model that was public keeps a tag of its own (`before` is told which), and is public again where the new one
    gives no answer under the public name.
    """
    tag = public_tag(config)
    digest = client.digest(model["tag"])
    if digest != model["digest"]:
        raise ReasonerError(
            f"{model['tag']} is not the model that was scored",
            why=f"its digest is {digest}, scored was {model['digest']}",
            fix="another program may be writing the same tag; run again",
        )
    old = client.digest(tag)
    if old == digest:
        _note(client, tag, digest)
        return False
    _answers(client, model["tag"])
    previous = None if old is None else {"tag": _spare(client, tag, old), "digest": old}
    before(previous)
    client.copy(model["tag"], tag)
    _note(client, tag, digest)
    try:
        if client.digest(tag) != digest:
            raise ReasonerError(
                f"{tag} is not the model that was scored",
                fix="another program may be writing the same tag; run again",
            )
        _answers(client, tag)
    except ReasonerError:
        if previous:
            client.copy(previous["tag"], tag)
            _note(client, tag, previous["digest"])
        else:
            drop(client, tag)
        raise
    return True


def _answers(client: ollama.Client, tag: str) -> None:
    """One token of an answer; raises where the server cannot load the model."""
    client.chat(tag, [{"role": "user", "content": "Hello"}], {"num_predict": 1})


def rollback(config: Config, client: ollama.Client, run_: runs.Run) -> dict[str, Any]:
    """Make the model public again that was so before the newest promotion; gives the history's event."""
    stack = promotions(run_)
    now = public(config, client)
    if not stack or stack[-1]["previous"] is None:
        raise ReasonerError(
            f"run {run_.name} has nothing to roll back to",
            why="no promotion of this run replaced another model",
            fix="reasoner history; reasoner promote STEP",
            code=USAGE,
        )
    newest = stack[-1]
    wanted = newest["previous"]["digest"]
    if now is not None and now["digest"] not in (newest["digest"], wanted):  # `wanted`: a roll-back that was cut off
        raise ReasonerError(
            f"{now['tag']} is not what run {run_.name} promoted last",
            why=f"its digest is {now['digest'][:19]}…, promoted was {newest['digest'][:19]}…",
            fix="name the run that promoted it, or choose a step: reasoner promote STEP",
            code=USAGE,
        )
    names = [name for name in _carriers(client, wanted) if name != public_tag(config)]
    if not names:
        raise ReasonerError(
            f"the model before step {newest['step']} is gone from Ollama",
            why=f"no tag has digest {wanted[:19]}…",
            fix="reasoner promote STEP, of a step that `reasoner history` shows as exported",
        )
    _answers(client, names[0])
    client.copy(names[0], public_tag(config))
    _note(client, public_tag(config), wanted)
    _answers(client, public_tag(config))
    return tell(run_, newest["step"], "rolled back", tag=public_tag(config), digest=wanted, **{"from": names[0]})


# -- the history -------------------------------------------------------------------------------


def history(run_: runs.Run) -> list[dict[str, Any]]:
    """Every event of the run, oldest first."""
    return files.read_jsonl(run_.path / "history.jsonl")


def tell(run_: runs.Run, step: int | None, event: str, **facts: Any) -> dict[str, Any]:
    """Append one event to the history; gives it."""
    row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "step": step, "event": event, **facts}
    files.append_jsonl(run_.path / "history.jsonl", [row])
    return row


def promotions(run_: runs.Run) -> list[dict[str, Any]]:
    """Promotions that stand, oldest first: a roll-back takes the newest away."""
    stack: list[dict[str, Any]] = []
    for row in history(run_):
        if row["event"] == "promoted":
            stack.append(row)
        elif row["event"] == "rolled back" and stack:
            stack.pop()
    return stack


def settle(config: Config, client: ollama.Client, run_: runs.Run) -> dict[str, Any] | None:
    """Finish in the history a promotion that a kill cut off after the tag had moved; its event, else None."""
    rows = [row for row in history(run_) if row["event"] in ("promoting", "promoted")]
    if not rows or rows[-1]["event"] == "promoted":
        return None
    cut = rows[-1]
    if client.digest(public_tag(config)) != cut["digest"]:
        return None
    _note(client, public_tag(config), cut["digest"])
    return tell(run_, cut["step"], "promoted", **{k: v for k, v in cut.items() if k not in ("time", "step", "event")})
