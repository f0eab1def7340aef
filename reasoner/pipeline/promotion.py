"""Moves the public tag to a scored model, where the gate allows it."""

from __future__ import annotations

from reasoner import runs
from reasoner.config import Config
from reasoner.export.facts import PromoteFacts
from reasoner.measuring import gate
from reasoner.measuring.figures import Evaluation
from reasoner.serving import history, tags
from reasoner.serving.client import Client


def promote(
    config: Config, client: Client, run: runs.Run, model: tags.Tagged, scored: Evaluation, step: int
) -> PromoteFacts:
    """Points the public tag at the scored model unless the gate forbids it; `step` is the model's."""
    why = gate.control(config) or gate.refusals(scored)
    if why:
        return PromoteFacts(promoted=False, why=why, is_control=bool(config.train.control))
    history.publish(config, client, run, model, step, by="reasoner run")
    return PromoteFacts(promoted=True, why=[], tag=tags.public_tag(config), digest=model.digest)
