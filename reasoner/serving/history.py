"""Keeps which model was public when, and why: the run's `history.jsonl`, an event a line, only ever appended to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reasoner import files, runs
from reasoner.config import Config
from reasoner.errors import USAGE, ReasonerError
from reasoner.serving import tags
from reasoner.serving.client import Client
from reasoner.serving.tags import Tagged

_NULLS: Mapping[str, tuple[str, ...]] = {
    "promoting": ("previous",), "promoted": ("previous",),
    "scored": ("score", "score_ci95", "lower"), "kept": ("score",),
}  # fmt: skip
"""What a kind of event writes down even where it is not known. Everything else that is None is left out."""


@dataclass(frozen=True)
class Event:
    """Tells one thing that happened, mostly to a step.

    `seen`, `skipped`, `exported`, `scored`, `kept`, `failed`, `promoting`, `promoted`, `rolled back`, `removed` or
    `served`; each sets only some of the fields. Scores are shares from 0 to 1, points are percentage points.
    """

    time: str
    step: int | None
    event: str
    by: str | None = None
    host: str | None = None
    route: str | None = None
    why: str | None = None
    tag: str | None = None
    digest: str | None = None
    source: str | None = None
    """`from` in the file: the tag that the public one was copied from."""
    previous: Tagged | None = None
    """What was public before."""
    metric: str | None = None
    n: int | None = None
    split_sha256: str | None = None
    score: float | None = None
    score_ci95: tuple[float, float] | None = None
    against_score: float | None = None
    points: float | None = None
    lower: float | None = None
    against: str | None = None
    reason: str | None = None
    file: str | None = None
    """Size and time of the files of an adapter that was passed over for what is in them."""
    attempt: int | None = None
    final: bool | None = None
    stage_seconds: dict[str, float] | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the event as it stands in the history, and as `watch --json` prints it."""
        kept = ("step", *_NULLS.get(self.event, ()))
        found = {key: value for key, value in files.as_json(self).items() if value is not None or key in kept}
        return {"from" if key == "source" else key: value for key, value in found.items()}


def events(run: runs.Run) -> list[Event]:
    """Returns every event of the run, oldest first."""
    path = run.path / "history.jsonl"
    try:
        return [files.parse(Event, {**row, "source": row.get("from")}) for row in files.read_jsonl(path)]
    except (ValueError, TypeError, AttributeError) as error:
        what = f"the history of run {run.name} cannot be read"
        raise ReasonerError(what, why=f"{path}: {error}", fix=f"move {path} away") from error


def tell(run: runs.Run, step: int | None, event: str, **facts: Any) -> Event:
    """Appends one event to the history; returns it. `facts` are fields of `Event`."""
    return _append(run, Event("", step, event, **facts))


def _append(run: runs.Run, event: Event) -> Event:
    told = replace(event, time=datetime.now(UTC).isoformat(timespec="milliseconds"))
    files.append_jsonl(run.path / "history.jsonl", [told.as_json()])
    return told


def promotions(run: runs.Run) -> list[Event]:
    """Returns the promotions that stand, oldest first: a roll-back takes the newest away."""
    stack: list[Event] = []
    for one in events(run):
        if one.event == "promoted":
            stack.append(one)
        elif one.event == "rolled back" and stack:
            stack.pop()
    return stack


def publish(
    config: Config, client: Client, run: runs.Run, model: Tagged, step: int | None, **facts: Any
) -> Event | None:
    """Makes the public tag mean a registered model; returns the event, None where it means this model already.

    `promoting` is written first: a kill between the copy and the last line must not lose what was public before.
    """
    told: list[Event] = []

    def before(previous: Tagged | None) -> None:
        where = {"tag": tags.public_tag(config), "digest": model.digest, "source": model.tag}
        told.append(tell(run, step, "promoting", **where, previous=previous, **facts))

    if not tags.point(config, client, model, before):
        return None
    return _append(run, replace(told[0], event="promoted"))


def settle(config: Config, client: Client, run: runs.Run) -> Event | None:
    """Finishes in the history a promotion that a kill cut off after the tag had moved; returns its event, else None."""
    found = [one for one in events(run) if one.event in ("promoting", "promoted")]
    if not found or found[-1].event == "promoted":
        return None
    cut, now = found[-1], tags.public(config, client)
    if now is None or now.digest != cut.digest:
        return None
    tags.note(client, now.tag, now.digest)
    return _append(run, replace(cut, event="promoted"))


def rollback(config: Config, client: Client, run: runs.Run) -> Event:
    """Makes the model public again that was so before the newest promotion; returns the event."""
    stack, now = promotions(run), tags.public(config, client)
    if not stack or stack[-1].previous is None:
        why, fix = "no promotion of this run replaced another model", "reasoner history; reasoner promote STEP"
        raise ReasonerError(f"run {run.name} has nothing to roll back to", why, fix, code=USAGE)
    newest, wanted = stack[-1], stack[-1].previous.digest
    if now is not None and now.digest not in (newest.digest, wanted):  # `wanted`: a roll-back that was cut off
        why = f"its digest is {now.digest[:19]}…, promoted was {str(newest.digest)[:19]}…"
        fix = "name the run that promoted it, or choose a step: reasoner promote STEP"
        raise ReasonerError(f"{now.tag} is not what run {run.name} promoted last", why, fix, code=USAGE)
    source = tags.restore(config, client, wanted)
    if source is None:
        why = f"no tag has digest {wanted[:19]}…"
        fix = "reasoner promote STEP, of a step that `reasoner history` shows as exported"
        raise ReasonerError(f"the model before step {newest.step} is gone from Ollama", why, fix)
    return tell(run, newest.step, "rolled back", tag=tags.public_tag(config), digest=wanted, source=source)
