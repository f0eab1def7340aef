"""Draws completions from a GGUF in process, on the CPU, with llama.cpp: the engine that will serve the model.

`sample` is for training: each prompt is evaluated once and its cache shared by its group, and log-probabilities come
from the very logits that were sampled from. `complete` is for scoring: llama.cpp's own samplers, a seed for each
completion. What this module does not do: it knows no trainer, renders no chat and judges nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.errors import ReasonerError
from reasoner.llamacpp.loaded import LoadedModel

if TYPE_CHECKING:
    import torch

Drawn = tuple[list[int], list[float]]
"""One completion: its token ids, and the log-probability of each at the sampling temperature."""


@dataclass(frozen=True)
class Sampling:
    """Holds the settings of a sampler; `max_tokens` is the most tokens of a completion.

    The order is llama.cpp's: repeat penalty (over prompt and completion), top_k, top_p, min_p, temperature.
    """

    max_tokens: int
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is off."""
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    """1 is off."""


class Sampler(LoadedModel):
    """Makes a model of `path` (a GGUF that nobody else writes) ready for `width` sequences at once.

    `context` is the most tokens of prompt and completion together (fewer where the model has room for fewer). `repack`
    lets llama.cpp keep weights in the layout that its kernels like best, as a server does: faster for quantized types,
    but blind to `LiveWeights`. Not safe for several threads.
    """

    def __init__(self, path: Path, *, width: int, context: int, threads: int, repack: bool = False) -> None:
        super().__init__(path, n_gpu_layers=0, use_extra_bufts=repack)
        lib, self.width = self._lib, width
        self.num_vocab = int(lib.llama_vocab_n_tokens(self._vocab))
        self.context = context = min(context, int(lib.llama_model_n_ctx_train(self._model)))
        settings = lib.llama_context_default_params()
        settings.n_ctx = context * width
        settings.n_seq_max = settings.n_outputs_max = width
        settings.n_batch = settings.n_ubatch = max(512, width)
        settings.kv_unified = False  # a cache per sequence: attention over its own tokens only
        settings.n_threads = settings.n_threads_batch = threads
        settings.no_perf = True
        self._context = lib.llama_init_from_model(self._model, settings)
        if not self._context:
            super().close()
            raise ReasonerError(
                f"llama.cpp has no room for {width} sequences of {context} tokens",
                fix="lower train.num_prompts, train.num_generations or train.max_completion_tokens,"
                " or --set train.loop=plain",
            )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(settings.n_batch, 0, 1)

    def close(self) -> None:
        if self._context:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._context = None
        super().close()

    def set_threads(self, threads: int) -> None:
        self._lib.llama_set_n_threads(self._context, threads, threads)

    def check(self, prompt: Sequence[int]) -> None:
        """Raises where the model's values do not fit the file's floats."""
        self._lib.llama_memory_clear(self._memory, True)
        self._evaluate(prompt, 0)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        num_generations: int,
        *,
        max_tokens: int,
        temperature: float,
        stops: Collection[int],
        generator: torch.Generator | None = None,
    ) -> list[list[Drawn]]:
        """Returns `num_generations` completions of each prompt, in the order of the prompts.

        A completion ends with the stop token that ended it, or has `max_tokens` tokens. Temperature 0 is greedy
        (log-probabilities then at temperature 1). Prompts wait for room where there are more than `width` allows.
        """
        import torch

        per_round = self.width // num_generations
        if not per_round:
            raise ValueError(f"{num_generations} completions a prompt do not fit {self.width} sequences")
        for prompt in prompts:
            if len(prompt) + max_tokens > self.context:
                raise ReasonerError(
                    f"a prompt of {len(prompt)} tokens and {max_tokens} more do not fit {self.context}",
                    fix="raise serve.num_ctx or lower train.max_completion_tokens",
                )
        found: list[list[Drawn]] = []
        for start in range(0, len(prompts), per_round):
            part = prompts[start : start + per_round]
            logits = self._prefilled(part, num_generations)
            flat: list[Drawn] = [([], []) for _ in range(len(part) * num_generations)]
            lengths = [len(prompt) for prompt in part for _ in range(num_generations)]
            running = list(range(len(flat)))  # running[slot] is the completion in this slot; slots stay without gaps
            while True:
                keep: list[int] = []
                for slot, (token, logp) in enumerate(zip(*draw(logits, temperature, generator), strict=True)):
                    ids, logps = flat[running[slot]]
                    ids.append(token)
                    logps.append(logp)
                    if token not in stops and len(ids) < max_tokens:
                        keep.append(slot)
                if not keep:
                    break
                running = self._compact(running, keep)
                self._next([flat[item][0] for item in running], [lengths[item] for item in running])
                logits = torch.from_numpy(self._logits(len(running)))
            found += [flat[i : i + num_generations] for i in range(0, len(flat), num_generations)]
        return found

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        arrived: Callable[[int, list[int]], None],
        sampling: Sampling,
        is_over: Callable[[list[int]], bool],
    ) -> None:
        """Draws one completion of each prompt and calls `arrived(index, ids)` as each is done.

        A completion ends with an end token of the model (`is_end`), where `is_over` says so, or at `max_tokens` or the
        end of the context. A place that falls free is taken by the next prompt at once.
        """
        lib = self._lib
        drawn: dict[int, list[int]] = {}
        chains: dict[int, Any] = {}

        def goes_on(index: int, output: int) -> bool:
            ids = drawn[index]
            ids.append(int(lib.llama_sampler_sample(chains[index], self._context, output)))
            room = min(sampling.max_tokens, self.context - len(prompts[index]))
            if len(ids) < room and not self.is_end(ids[-1]) and not is_over(ids):
                return True
            lib.llama_sampler_free(chains.pop(index))
            arrived(index, ids)
            return False

        lib.llama_memory_clear(self._memory, True)
        waiting = deque(range(len(prompts)))
        running: list[int] = []  # running[slot] is the completion in this slot; slots stay without gaps
        try:
            while waiting or running:
                while waiting and len(running) < self.width:
                    index = waiting.popleft()
                    chains[index], drawn[index] = self._chain(sampling, prompts[index], seeds[index]), []
                    self._evaluate(prompts[index], len(running))
                    if goes_on(index, -1):
                        running.append(index)
                    else:
                        lib.llama_memory_seq_rm(self._memory, len(running), -1, -1)
                if running:
                    self._next([drawn[index] for index in running], [len(prompts[index]) for index in running])
                    kept = [slot for slot, index in enumerate(running) if goes_on(index, slot)]
                    running = self._compact(running, kept)
        finally:
            for chain in chains.values():
                lib.llama_sampler_free(chain)

    def _chain(self, sampling: Sampling, prompt: Sequence[int], seed: int) -> Any:
        """Builds llama.cpp's samplers for one completion; `llama_sampler_free` frees them all."""
        lib = self._lib
        penalty = sampling.repeat_penalty
        parts = []
        if penalty != 1:
            parts.append(lib.llama_sampler_init_penalties(self.num_vocab, self.context, penalty, 0.0, 0.0))
        if sampling.temperature:
            if sampling.top_k:
                parts.append(lib.llama_sampler_init_top_k(sampling.top_k))
            if sampling.top_p < 1:
                parts.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
            if sampling.min_p > 0:
                parts.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
            parts.append(lib.llama_sampler_init_temp(sampling.temperature))
            parts.append(lib.llama_sampler_init_dist(seed % 2**32))
        else:
            parts.append(lib.llama_sampler_init_greedy())
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for part in parts:
            lib.llama_sampler_chain_add(chain, part)
        if penalty != 1:
            for token in prompt:
                lib.llama_sampler_accept(chain, token)
        return chain

    def _compact(self, running: list[int], keep: list[int]) -> list[int]:
        """Moves the caches of the last sequences into the gaps: llama.cpp batches neighbours only."""
        lib, memory = self._lib, self._memory
        kept = set(keep)
        gaps = [slot for slot in range(len(keep)) if slot not in kept]
        movers = [slot for slot in keep if slot >= len(keep)]
        after = list(running)
        for gap, mover in zip(gaps, movers, strict=True):
            lib.llama_memory_seq_rm(memory, gap, -1, -1)
            lib.llama_memory_seq_cp(memory, mover, gap, -1, -1)
            after[gap] = running[mover]
        for slot in range(len(keep), len(running)):
            lib.llama_memory_seq_rm(memory, slot, -1, -1)
        return after[: len(keep)]

    def _prefilled(self, prompts: Sequence[Sequence[int]], num_generations: int) -> torch.Tensor:
        """Evaluates each prompt once and shares its cache with its group; returns the logits after it, for each."""
        import torch

        lib = self._lib
        lib.llama_memory_clear(self._memory, True)
        rows = []
        for index, prompt in enumerate(prompts):
            self._evaluate(prompt, index * num_generations)
            rows.append(torch.from_numpy(self._logits(1).copy()))
        for leader in range(0, len(prompts) * num_generations, num_generations):
            for member in range(leader + 1, leader + num_generations):
                lib.llama_memory_seq_cp(self._memory, leader, member, -1, -1)
        return torch.cat(rows).repeat_interleave(num_generations, dim=0)

    def _next(self, drawn: Sequence[list[int]], lengths: Sequence[int]) -> None:
        """Evaluates the newest token of each running completion, given the length of its prompt."""
        positions = [length + len(ids) - 1 for ids, length in zip(drawn, lengths, strict=True)]
        self._decode([ids[-1] for ids in drawn], positions, list(range(len(drawn))), [True] * len(drawn))

    def _evaluate(self, prompt: Sequence[int], slot: int) -> None:
        """Puts a prompt into the cache of a slot; its last token gives the one output.

        Raises where that is not a number: what is drawn from it would be no answer, not a wrong one.
        """
        import numpy

        room = int(self._lib.llama_n_batch(self._context))
        for start in range(0, len(prompt), room):
            part = list(prompt[start : start + room])
            wanted = [False] * len(part)
            wanted[-1] = start + len(part) == len(prompt)
            self._decode(part, list(range(start, start + len(part))), [slot] * len(part), wanted)
        if not numpy.isfinite(self._logits(1)).all():
            raise ReasonerError(
                "llama.cpp computes values that are not numbers",
                why=f"they exceed what the 16-bit floats of {self.path.name} hold, or training diverged",
                fix="another type of file; in training --set train.loop=plain, or lower train.learning_rate",
            )

    def _decode(self, tokens: list[int], positions: list[int], slots: list[int], wanted: list[bool]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, slot, want) in enumerate(zip(tokens, positions, slots, wanted, strict=True)):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = slot
            batch.logits[i] = want
        code = self._lib.llama_decode(self._context, batch)
        if code != 0:
            raise ReasonerError(f"llama.cpp could not go on (code {code})", why=f"model {self.path}")

    def _logits(self, rows: int) -> Any:
        """Returns a view of the newest logits, `(rows, vocabulary)`: gone when more is evaluated."""
        import numpy

        pointer = self._lib.llama_get_logits(self._context)
        return numpy.ctypeslib.as_array(pointer, shape=(rows, self.num_vocab))


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> tuple[list[int], list[float]]:
    """Draws a token from each row, by inverse transform on the exact distribution, with its log-probability."""
    import torch

    tokens: list[int] = []
    values: list[float] = []
    for part in logits.split(16):  # as much as is kept between calls: larger pieces of memory are asked for anew
        if temperature:
            shares = torch.softmax(part / temperature, dim=-1)
            upto = shares.cumsum(dim=-1)  # torch adds in 64 bits, and rounds to 32
            point = torch.rand(len(part), 1, generator=generator) * upto[:, -1:]
            drawn = torch.searchsorted(upto, point, right=True).clamp_(max=part.shape[1] - 1)
            logps = shares.gather(1, drawn).log_()
        else:
            drawn = part.argmax(dim=-1, keepdim=True)
            logps = torch.log_softmax(part, dim=-1).gather(1, drawn)
        tokens += drawn[:, 0].tolist()
        values += logps[:, 0].tolist()
    return tokens, values
