"""The fast loop of a CPU: completions from llama.cpp with the live adapter, log-probabilities on real tokens only.

It takes the place of two of TRL's parts and of no mathematics. It is proven before it is used: packed
log-probabilities against padded ones, and the layout of the file that llama.cpp reads against the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reasoner import runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import ReasonerError
from reasoner.llamacpp import sampler
from reasoner.llamacpp.live import LiveWeights
from reasoner.machine import cpu
from reasoner.problems.problem import Problem
from reasoner.training import chat, engine, packed

if TYPE_CHECKING:
    import torch

MAX_DIFFERENCE = 0.25
"""Largest difference of packed and padded log-probabilities that 16 bits explain, in nats."""


class FastLoop:
    """Sampling and log-probabilities for one trainer; a context, at whose end sampler and file are gone.

    Raises `ReasonerError` for an architecture that it does not fit.
    """

    def __init__(
        self,
        config: Config,
        run: runs.Run,
        trainer: Any,
        problems: Sequence[Problem],
        to_gguf: Callable[[Any, str], object],
    ) -> None:
        import torch

        self._settings, self._trainer = config.train, trainer
        self.layers = {
            name.replace("base_model.model.", "", 1) + ".weight": module
            for name, module in trainer.model.named_modules()
            if hasattr(module, "get_delta_weight")
        }
        is_mixed = trainer.accelerator.mixed_precision == "bf16"
        is_brain = all(torch.equal(m.weight.bfloat16().float(), m.weight.float()) for m in self.layers.values())
        head = trainer.model.get_base_model().get_output_embeddings().weight.detach()
        self.head = head.to(torch.bfloat16) if is_mixed else head
        questions = [problem.question for problem in problems] + chat.prompts(config)
        prompts = [engine.prompt_ids(config, trainer.processing_class, text) for text in questions]
        self._context = max(map(len, prompts)) + max(self._settings.max_completion_tokens, chat.MAX_TOKENS)
        packed.refuse_layers(trainer.model.get_base_model().config, self._context)
        self._prove()
        # F16 for a bfloat16 base too: as fast, and in bfloat16 the sampler would see half of a young adapter (LOG.md).
        self.path = run.path / "base" / "live.F16.gguf"
        try:
            to_gguf(self.path, "F16")
            self._open(prompts, to_brain=is_brain and is_mixed)
        except ReasonerError:
            self.path.unlink(missing_ok=True)
            raise
        self.newest: torch.Tensor | None = None
        """Log-probabilities that the trainer computed last, `(B, T)`."""
        self._threads = cpu.Threads()

    def _prove(self) -> None:
        """Refuses an architecture for which a packed row is not the same function as padded ones."""
        import torch

        groups = [([5, 6, 7, 8, 9], [[10, 11, 12, 13], [14, 15, 16]]), ([17, 18, 19], [[20, 21]])]
        model = self._trainer.model
        if not packed.prepare(model):
            raise packed.unfit("its attention cannot be changed")
        with torch.no_grad(), self._trainer.accelerator.autocast():
            tokens = torch.tensor([t for _, completions in groups for c in completions for t in c])
            ours, _ = packed.token_logps(packed.hidden_states(model, groups), self.head, tokens, 1.0)
            rows = [
                model(input_ids=torch.tensor([[*prompt, *c]])).logits[0, len(prompt) - 1 : -1]
                for prompt, completions in groups
                for c in completions
            ]
            theirs = torch.log_softmax(torch.cat(rows).float(), dim=-1).gather(1, tokens[:, None])[:, 0]
        worst = float((ours - theirs).abs().max())
        if not worst < MAX_DIFFERENCE:
            raise packed.unfit(f"packed and padded log-probabilities differ by {worst:.2g}")

    def _open(self, prompts: Sequence[Sequence[int]], to_brain: bool) -> None:
        """Ties the file to the layers and loads it into llama.cpp; `to_brain` halves the trainer's frozen weights."""
        import torch

        shape = self._trainer.model.get_base_model().config
        heads = {shape.num_attention_heads, getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads}
        weights = {name: module.weight.data for name, module in self.layers.items()}
        self.live = LiveWeights(self.path, weights, num_blocks=shape.num_hidden_layers, heads=heads)
        if to_brain:
            for module in self.layers.values():  # exact, and what autocast would make of them at every step
                module.get_base_layer().weight.data = module.get_base_layer().weight.data.to(torch.bfloat16)
        settings = self._settings
        self._start(settings.num_prompts * settings.num_generations, self._context)
        try:
            self.sampler.check(prompts[0])
        except ReasonerError:
            self.sampler.close()
            raise

    def _start(self, width: int, context: int) -> None:
        import torch

        self.sampler = sampler.Sampler(self.path, width=width, context=context, threads=torch.get_num_threads())

    def reopen(self, width: int, context: int) -> int:
        """Makes room for `width` completions, each with its prompt of `context` tokens or what the model has room for.

        Returns that number of tokens.
        """
        self.sampler.close()
        self._start(width, context)
        return self.sampler.context

    def __enter__(self) -> FastLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.sampler.close()
        self.path.unlink(missing_ok=True)

    def complete(
        self, prompts: Sequence[Sequence[int]], num_generations: int, *, temperature: float, max_tokens: int, seed: int
    ) -> list[list[sampler.Drawn]]:
        """Draws completions of the policy as it is now, `num_generations` of each prompt."""
        import torch

        for name, module in self.layers.items():
            self.live.write(name, module.get_base_layer().weight.data.float() + module.get_delta_weight("default"))
        return self.sampler.sample(
            prompts,
            num_generations,
            max_tokens=max_tokens,
            temperature=temperature,
            stops=self._trainer.eos_token_ids,
            generator=torch.Generator().manual_seed(seed),
        )

    def rollout(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        """Is TRL's `rollout_func`: every prompt stands `num_generations` times in a row."""
        import torch

        settings = self._settings
        started = time.perf_counter()
        threads = self._threads.free()
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
            self.sampler.set_threads(threads)
        chats = prompts[:: settings.num_generations]
        asked = [locate.prompt_ids(trainer.processing_class, one) for one in chats]
        with torch.no_grad():
            drawn = self.complete(
                asked,
                settings.num_generations,
                temperature=settings.temperature,
                max_tokens=settings.max_completion_tokens,
                seed=settings.seed * 1_000_003 + trainer.state.global_step,
            )
        trainer._metrics["train"]["sample_time"].append(time.perf_counter() - started)
        return {
            "prompt_ids": [ids for ids in asked for _ in range(settings.num_generations)],
            "completion_ids": [ids for group in drawn for ids, _ in group],
            "logprobs": [logps for group in drawn for _, logps in group],
        }

    def logps(
        self, model: Any, input_ids: Any, attention_mask: Any, num_completion: int, rows: Any, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes TRL's log-probabilities and entropies of each token, both `(B, T)`, for some rows.

        `rows` are their indices. The values are 0 in the other rows and where masked.
        """
        import torch

        shape = (len(input_ids), num_completion)
        logps, entropies = torch.zeros(shape), torch.zeros(shape)
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in rows.tolist():
            prompt = input_ids[row, :-num_completion][attention_mask[row, :-num_completion].bool()]
            groups.setdefault(tuple(prompt.tolist()), []).append(row)
        mask = attention_mask[:, -num_completion:].bool()
        completion_ids = input_ids[:, -num_completion:]
        if groups:
            members = [row for of in groups.values() for row in of]
            where = torch.tensor([(row, at) for row in members for at in mask[row].nonzero()[:, 0].tolist()]).T
            tokens = completion_ids[where[0], where[1]]
            asked = [(prompt, [completion_ids[row][mask[row]].tolist() for row in of]) for prompt, of in groups.items()]
            values, spread = packed.token_logps(packed.hidden_states(model, asked), self.head, tokens, temperature)
            logps = logps.index_put((where[0], where[1]), values)
            entropies[where[0], where[1]] = spread
        elif torch.is_grad_enabled():
            logps = logps + 0 * next(p for p in model.parameters() if p.requires_grad).sum()
        self.newest = logps.detach()
        return logps, entropies
