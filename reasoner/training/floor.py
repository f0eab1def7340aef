"""What a training costs at least: the arithmetic of its tokens at the speed of this machine's products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reasoner.config import Train
from reasoner.machine import cpu

if TYPE_CHECKING:
    import torch

USUAL_LENGTH, USUAL_SIGNAL = 0.6, 0.7
"""What is assumed before the first step: mean length of a completion as a share of the most, groups with signal."""


def num_weights(model: torch.nn.Module) -> int:
    """Counts the weights that each token meets: those of linear layers, without adapters, and the output head's."""
    import torch

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    return sum(layer.weight.numel() for name, layer in layers.items() if "lora_" not in name)


def flops(weights: int, sampled: float, trained: float) -> float:
    """Counts the operations of so many tokens: 2 a weight to sample, 4 to train (frozen weights have no gradient)."""
    return weights * (2 * sampled + 4 * trained)


def seconds_a_step(settings: Train, model: torch.nn.Module) -> float:
    """Estimates the least seconds of a step on this CPU, before anything is known of the completions' lengths."""
    import torch

    dtype = torch.bfloat16 if cpu.has_fast_bf16() else torch.float32
    tokens = settings.num_prompts * settings.num_generations * settings.max_completion_tokens * USUAL_LENGTH
    return flops(num_weights(model), tokens, USUAL_SIGNAL * tokens) / cpu.matmul_speed(dtype)
