"""Moves the public tag to a scored model, where the gate allows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasoner import runs
from reasoner.config import Config
from reasoner.measuring import gate
from reasoner.serving import history, tags
from reasoner.serving.client import Client


def promote(
    config: Config, client: Client, run: runs.Run, model: tags.Tagged, scored: Mapping[str, Any], step: int
) -> dict[str, object]:
    """Points the public tag at the scored model unless the gate forbids it; returns what the stage writes down."""
    why = gate.control(config) or gate.refusals(scored)
    facts: dict[str, object] = {"promoted": not why, "why": why, "is_control": bool(config.train.control)}
    if why:
        return facts
    history.publish(config, client, run, model, step, by="reasoner run")
    return {**facts, "tag": tags.public_tag(config), "digest": model.digest}
