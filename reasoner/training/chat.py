"""How far training moves the model from its base on everyday text: measured, and held by a term of the loss.

The text is the base's own greedy answers to prompts that no evaluation asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from reasoner.config import Config
from reasoner.problems.everyday import everyday_prompts
from reasoner.training import engine, packed

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 96
"""Longest answer of the base that is compared."""


def is_watched(config: Config) -> bool:
    """Whether a limit or a weight asks for the measurement."""
    return config.alarms.max_chat_kl is not None or config.train.chat_kl > 0


def prompts(config: Config) -> list[str]:
    """Returns the everyday prompts that training asks: those that measure drift, then those of the loss term."""
    if not is_watched(config):
        return []
    uses: tuple[Literal["probe", "keep"], ...] = ("probe", "keep") if config.train.chat_kl else ("probe",)
    return [one.prompt for use in uses for one in everyday_prompts(use)]


class ChatKL:
    """KL of the tuned model to its base, nats a token.

    What is measured (`probe`) is never what the loss term holds on to (`keep`). The term has many texts, because what
    matters is the chat that it does not see.
    """

    def __init__(self, config: Config, trainer: Any) -> None:
        import torch

        self._trainer, self.weight = trainer, config.train.chat_kl
        head = trainer.model.get_base_model().get_output_embeddings().weight.detach()
        self._head = head.to(torch.bfloat16) if trainer.accelerator.mixed_precision == "bf16" else head
        asked = [engine.prompt_ids(config, trainer.processing_class, text) for text in prompts(config)]
        with trainer.model.disable_adapter():
            answers = trainer.sample(asked, 1, temperature=0.0, max_tokens=MAX_TOKENS, seed=0)
            self._texts = [(prompt, group[0]) for prompt, group in zip(asked, answers, strict=True)]
            with torch.no_grad():
                self._base = [self._states([text]) for text in self._texts]
        probes = len(everyday_prompts("probe"))
        self._held_out, self._kept = range(probes), itertools.cycle(range(probes, len(self._texts)))
        self.last: float | None = None

    def _kl(self, chosen: Sequence[int]) -> torch.Tensor:
        import torch

        states = self._states([self._texts[i] for i in chosen])
        return packed.kl(states, torch.cat([self._base[i] for i in chosen]), self._head).mean()

    def _states(self, texts: list[tuple[list[int], list[int]]]) -> torch.Tensor:
        with self._trainer.accelerator.autocast():
            return packed.hidden_states(self._trainer.model, [(prompt, [text]) for prompt, text in texts])

    def measure(self) -> float:
        """Measures the KL over the held-out texts, and keeps it as `last`."""
        import torch

        with torch.no_grad():
            self.last = round(float(self._kl(self._held_out)), 5)
        return self.last

    def term(self) -> torch.Tensor:
        """Returns the KL on two of the texts to keep, in turn, with its gradient."""
        return self._kl([next(self._kept), next(self._kept)])
