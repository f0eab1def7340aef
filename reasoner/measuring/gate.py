"""Says whether a model may become public. Pure functions over what was measured: nothing is asked or moved here.

A model is refused for what it has lost, anywhere that was measured, never for having gained too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner.config import Config


def refusals(scored: Mapping[str, Any]) -> list[str]:
    """Says why a scored model may not take the base's place; empty where it may. `scored`: facts of an evaluation."""
    why = list(scored["problems_found"])
    if scored["lift"]["ci95"][1] < 0:
        why.append(f"it scores {-scored['lift']['points']:.1f} points below the base")
    return why + lost(scored["below_base"], "the base")


def control(config: Config) -> list[str]:
    """Says that a control is never promoted; empty for any other run."""
    return [f"a {config.train.control} control is never promoted"] if config.train.control else []


def lost(below: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    """Names the kinds and sets on which a model is worse than `what`."""
    return [
        f"{one['name']}: {-one['points']:.1f} points below {what}, beyond noise (p = {one['p_holm']:.2g},"
        " adjusted for all kinds and sets)"
        for one in below
    ]


def verdict(config: Config, found: Mapping[str, Any], best: float | None, lost_: Sequence[str]) -> list[str]:
    """Says why a checkpoint may not become public; empty where it may.

    Not worse than the public model beyond the margin: the lower bound of the paired difference lies above minus the
    margin (non-inferiority). And no drift: its own score is not below the best promoted one by more than the margin, or
    many steps down, each within the margin, would add up.
    """
    settings, why = config.gate, [*lost_, *control(config)]
    if found["n"] < settings.min_problems:
        why.append(f"{found['n']} problems have a verdict on both sides, {settings.min_problems} are needed")
    if found["lower"] is not None and found["lower"] <= -settings.margin:
        why.append(
            f"{found['points']:+.1f} points against {found['against']['tag']}, and at {settings.confidence:.0%} it may"
            f" be {-found['lower']:.1f} worse (margin {settings.margin:g})"
        )
    if best is not None and found["score"] is not None:
        below = round(100 * (best - found["score"]), 6)
        if below > settings.margin:
            why.append(f"{below:.1f} points below the best that was promoted (margin {settings.margin:g})")
    return why
