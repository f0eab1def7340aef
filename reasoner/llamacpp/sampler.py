"""Draws completions from a GGUF in process, on the CPU, with llama.cpp: the engine that will serve the model.

Each prompt is evaluated once and its cache shared by its group. Weights are written straight into the file
that llama.cpp has mapped, so a new adapter is live without loading anything anew. Log-probabilities come from
the very logits that were sampled from. `complete` is for scoring: other samplers, a seed for each completion, and
text by the file's own tokenizer. What this module does not do: it knows no trainer, renders no chat and judges nothing.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from reasoner.errors import ReasonerError
from reasoner.llamacpp import install

if TYPE_CHECKING:
    import torch

Drawn = tuple[list[int], list[float]]
"""One completion: its token ids, and the log-probability of each at the sampling temperature."""


class Sampler:
    """A model of `path` (a GGUF that nobody else writes), ready for `width` sequences at once.

    `context` is the most tokens of prompt and completion together (fewer where the model has room for fewer). `repack`
    lets llama.cpp keep weights in the layout that its kernels like best, as a server does: faster for quantized types,
    but blind to `LiveWeights`. Not safe for several threads.
    """

    def __init__(self, path: Path, *, width: int, context: int, threads: int, repack: bool = False) -> None:
        install.use_python_binding()
        import llama_cpp

        self._lib = llama_cpp
        self.path, self.width = path, width
        llama_cpp.llama_log_set(_silent(llama_cpp), ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        wanted = llama_cpp.llama_model_default_params()
        wanted.n_gpu_layers = 0
        wanted.use_extra_bufts = repack
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), wanted)
        if not self._model:
            raise ReasonerError(f"llama.cpp cannot load {path}", fix="remove it and run again")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.num_vocab = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.context = context = min(context, int(llama_cpp.llama_model_n_ctx_train(self._model)))
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = context * width
        settings.n_seq_max = width
        settings.n_batch = settings.n_ubatch = max(512, width)
        settings.n_outputs_max = width
        settings.kv_unified = False  # a cache per sequence: attention over its own tokens only
        settings.n_threads = settings.n_threads_batch = threads
        settings.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise ReasonerError(
                f"llama.cpp has no room for {width} sequences of {context} tokens",
                fix="lower train.num_prompts, train.num_generations or train.max_completion_tokens,"
                " or --set train.loop=plain",
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(settings.n_batch, 0, 1)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._context:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = None

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
        """`num_generations` completions of each prompt, in the order of the prompts.

        A completion ends with the stop token that ended it, or has `max_tokens` tokens. Temperature 0 is greedy
        (log-probabilities then at temperature 1). Prompts wait for room where there are more than `width` allows.
        """
        found: list[list[Drawn]] = []
        per_round = self.width // num_generations
        if not per_round:
            raise ValueError(f"{num_generations} completions a prompt do not fit {self.width} sequences")
        for prompt in prompts:
            if len(prompt) + max_tokens > self.context:
                raise ReasonerError(
                    f"a prompt of {len(prompt)} tokens and {max_tokens} more do not fit {self.context}",
                    fix="raise serve.num_ctx or lower train.max_completion_tokens",
                )
        for start in range(0, len(prompts), per_round):
            part = prompts[start : start + per_round]
            flat = self._round(part, num_generations, max_tokens, temperature, frozenset(stops), generator)
            found += [flat[i : i + num_generations] for i in range(0, len(flat), num_generations)]
        return found

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        arrived: Callable[[int, list[int]], None],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        top_k: int,
        min_p: float,
        repeat_penalty: float,
        is_over: Callable[[list[int]], bool],
    ) -> None:
        """One completion of each prompt by llama.cpp's own samplers; `arrived(index, ids)` as each is done.

        A completion ends with an end token of the model (`is_end`), where `is_over` says so, or at `max_tokens` or the
        end of the context. A place that falls free is taken by the next prompt at once.
        """
        lib = self._lib

        def chain(prompt: Sequence[int], seed: int) -> Any:
            made = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
            if repeat_penalty != 1:
                penalty = lib.llama_sampler_init_penalties(self.num_vocab, self.context, repeat_penalty, 0.0, 0.0)
                lib.llama_sampler_chain_add(made, penalty)
            if not temperature:
                lib.llama_sampler_chain_add(made, lib.llama_sampler_init_greedy())
            else:
                if top_k:
                    lib.llama_sampler_chain_add(made, lib.llama_sampler_init_top_k(top_k))
                if top_p < 1:
                    lib.llama_sampler_chain_add(made, lib.llama_sampler_init_top_p(top_p, 1))
                if min_p > 0:
                    lib.llama_sampler_chain_add(made, lib.llama_sampler_init_min_p(min_p, 1))
                lib.llama_sampler_chain_add(made, lib.llama_sampler_init_temp(temperature))
                lib.llama_sampler_chain_add(made, lib.llama_sampler_init_dist(seed % 2**32))
            if repeat_penalty != 1:
                for token in prompt:
                    lib.llama_sampler_accept(made, token)
            return made

        drawn: dict[int, list[int]] = {}
        chains: dict[int, Any] = {}

        def goes_on(index: int, output: int) -> bool:
            ids = drawn[index]
            ids.append(int(lib.llama_sampler_sample(chains[index], self._context, output)))
            room = min(max_tokens, self.context - len(prompts[index]))
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
                    chains[index], drawn[index] = chain(prompts[index], seeds[index]), []
                    self._evaluate(prompts[index], len(running))
                    if goes_on(index, -1):
                        running.append(index)
                    else:
                        lib.llama_memory_seq_rm(self._memory, len(running), -1, -1)
                if not running:
                    continue
                last = [drawn[index][-1] for index in running]
                places = [len(prompts[index]) + len(drawn[index]) - 1 for index in running]
                self._fill(last, places, list(range(len(running))), [True] * len(running))
                self._decode()
                running = self._compact(running, [slot for slot, index in enumerate(running) if goes_on(index, slot)])
        finally:
            for made in chains.values():
                lib.llama_sampler_free(made)

    # -- the file's own tokenizer

    def is_end(self, token: int) -> bool:
        """Whether the file marks it as an end of generation: of a turn, or of the text."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    @property
    def chat_template(self) -> str | None:
        found = self._lib.llama_model_chat_template(self._model, None)
        return found.decode("utf-8", "replace") if found else None

    def special_token(self, kind: str) -> tuple[int, str] | None:
        """Id and text of the `bos` or `eos` token; None where the file has none."""
        token = int(getattr(self._lib, f"llama_vocab_{kind}")(self._vocab))
        return None if token < 0 else (token, self._lib.llama_vocab_get_text(self._vocab, token).decode("utf-8"))

    @property
    def adds_bos(self) -> bool:
        return bool(self._lib.llama_vocab_get_add_bos(self._vocab))

    def encode(self, text: str) -> list[int]:
        """Ids of a rendered prompt: special tokens are read as such, none is added."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        ids = (ctypes.c_int * room)()
        num = int(self._lib.llama_tokenize(self._vocab, raw, len(raw), ids, room, False, True))
        if num < 0:
            raise ReasonerError(f"llama.cpp cannot tokenize a prompt of {len(text)} characters", why=str(self.path))
        return list(ids[:num])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion; special tokens are not shown."""
        whole = b""
        for token in ids:
            room = 64
            while True:
                piece = ctypes.create_string_buffer(room)
                num = int(self._lib.llama_token_to_piece(self._vocab, token, piece, room, 0, False))
                if num >= 0:
                    break
                room = -num
            whole += piece.raw[:num]
        return whole.decode("utf-8", "replace")

    def _round(
        self,
        prompts: Sequence[Sequence[int]],
        num_generations: int,
        max_tokens: int,
        temperature: float,
        stops: frozenset[int],
        generator: torch.Generator | None,
    ) -> list[Drawn]:
        import torch

        lib = self._lib
        lib.llama_memory_clear(self._memory, True)
        total = len(prompts) * num_generations
        drawn: list[Drawn] = [([], []) for _ in range(total)]
        lengths = [len(prompt) for prompt in prompts for _ in range(num_generations)]
        first = self._prefill(prompts, num_generations)
        for leader in range(0, total, num_generations):
            for member in range(leader + 1, leader + num_generations):
                lib.llama_memory_seq_cp(self._memory, leader, member, -1, -1)
        logits = first.repeat_interleave(num_generations, dim=0)
        running = list(range(total))  # running[slot] is the completion in this slot; slots stay without gaps
        while True:
            tokens, logps = _draw(logits, temperature, generator)
            keep: list[int] = []
            for slot, (token, logp) in enumerate(zip(tokens, logps, strict=True)):
                ids, values = drawn[running[slot]]
                ids.append(token)
                values.append(logp)
                if token not in stops and len(ids) < max_tokens:
                    keep.append(slot)
            if not keep:
                return drawn
            running = self._compact(running, keep)
            tokens_by_slot = [drawn[item][0][-1] for item in running]
            positions = [lengths[item] + len(drawn[item][0]) - 1 for item in running]
            self._fill(tokens_by_slot, positions, list(range(len(running))), [True] * len(running))
            self._decode()
            logits = torch.from_numpy(self._logits(len(running)))

    def _compact(self, running: list[int], keep: list[int]) -> list[int]:
        """Move the caches of the last sequences into the gaps: llama.cpp batches neighbours only."""
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

    def _prefill(self, prompts: Sequence[Sequence[int]], num_generations: int) -> torch.Tensor:
        """Logits after each prompt; its cache stands in the first slot of its group."""
        import torch

        rows = []
        for index, prompt in enumerate(prompts):
            self._evaluate(prompt, index * num_generations)
            rows.append(torch.from_numpy(self._logits(1).copy()))
        return torch.cat(rows)

    def _evaluate(self, prompt: Sequence[int], slot: int) -> None:
        """Put a prompt into the cache of a slot; its last token gives the one output.

        Raises where that is not a number: what is drawn from it would be no answer, not a wrong one.
        """
        import numpy

        room = int(self._lib.llama_n_batch(self._context))
        for start in range(0, len(prompt), room):
            part = list(prompt[start : start + room])
            wanted = [False] * len(part)
            wanted[-1] = start + len(part) == len(prompt)
            self._fill(part, list(range(start, start + len(part))), [slot] * len(part), wanted)
            self._decode()
        if not numpy.isfinite(self._logits(1)).all():
            raise ReasonerError(
                "llama.cpp computes values that are not numbers",
                why=f"they exceed what the 16-bit floats of {self.path.name} hold, or training diverged",
                fix="another type of file; in training --set train.loop=plain, or lower train.learning_rate",
            )

    def _fill(self, tokens: list[int], positions: list[int], slots: list[int], wanted: list[bool]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, slot, want) in enumerate(zip(tokens, positions, slots, wanted, strict=True)):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = slot
            batch.logits[i] = want

    def _decode(self) -> None:
        code = self._lib.llama_decode(self._context, self._batch)
        if code != 0:
            raise ReasonerError(f"llama.cpp could not go on (code {code})", why=f"model {self.path}")

    def _logits(self, rows: int) -> Any:
        """A view of the newest logits, `(rows, vocabulary)`: gone at the next `_decode`."""
        import numpy

        pointer = self._lib.llama_get_logits(self._context)
        return numpy.ctypeslib.as_array(pointer, shape=(rows, self.num_vocab))


class LiveWeights:
    """The linear weights inside a 16-bit GGUF, open for writing while a `Sampler` reads them.

    Which bytes belong to which weight of the model is not assumed but proven: the file's tensor must equal the
    model's own, as it is or with the rows of each attention head interleaved as the converter does for some
    architectures. Raises `ReasonerError` where one does not.
    """

    def __init__(
        self, path: Path, weights: Mapping[str, torch.Tensor], *, num_blocks: int, heads: Collection[int]
    ) -> None:
        import gguf
        import numpy
        import torch

        reader = gguf.GGUFReader(path)
        architecture = str(reader.get_field("general.architecture").contents())
        known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(known[architecture], num_blocks)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._bytes = numpy.memmap(path, dtype=numpy.uint8, mode="r+")
        self._places: dict[str, tuple[int, int, torch.dtype, Callable[[torch.Tensor], torch.Tensor]]] = {}
        types = {gguf.GGMLQuantizationType.BF16: torch.bfloat16, gguf.GGMLQuantizationType.F16: torch.float16}
        for name, weight in weights.items():
            tensor = tensors.get(names.get_name(name, try_suffixes=(".weight",)) or "")
            dtype = types.get(tensor.tensor_type) if tensor is not None else None
            if tensor is None or dtype is None:
                raise ReasonerError(f"{path.name} has no 16-bit tensor for {name}")
            start, size = int(tensor.data_offset), int(tensor.n_bytes)
            stored = torch.from_numpy(self._bytes[start : start + size].copy())
            for layout in [_as_is, *(_interleaved(n) for n in sorted(heads))]:
                if len(weight) % 2 == 0 and torch.equal(_raw(layout(weight.to(dtype))), stored):
                    self._places[name] = (start, size, dtype, layout)
                    break
            else:
                raise ReasonerError(f"{path.name} stores {name} in a layout that is not known here")

    def write(self, name: str, weight: torch.Tensor) -> None:
        """Put a weight, `(out, in)` in any float type, in its place, rounded to the file's 16-bit type."""
        start, size, dtype, layout = self._places[name]
        self._bytes[start : start + size] = _raw(layout(weight.to(dtype))).numpy()


def _as_is(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _interleaved(num_heads: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Rows of a head from halves to pairs (`permute` of llama.cpp's converter for rotary embeddings)."""

    def layout(weight: torch.Tensor) -> torch.Tensor:
        rows = len(weight)
        if rows % (2 * num_heads):
            return weight
        return weight.reshape(num_heads, 2, rows // num_heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)

    return layout


def _raw(weight: torch.Tensor) -> torch.Tensor:
    import torch

    return weight.contiguous().view(torch.uint8).flatten()


def _draw(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> tuple[list[int], list[float]]:
    """One token a row and its log-probability, by inverse transform on the exact distribution."""
    import torch

    tokens: list[int] = []
    values: list[float] = []
    for part in logits.split(16):  # as much as is kept between calls: larger pieces of memory are asked for anew
        scaled = part / temperature if temperature else part
        logps = torch.log_softmax(scaled, dim=-1)
        if temperature:
            upto = logps.double().exp_().cumsum_(dim=-1)
            point = torch.rand(len(part), 1, generator=generator, dtype=torch.float64) * upto[:, -1:]
            drawn = torch.searchsorted(upto, point, right=True).clamp_(max=part.shape[1] - 1)
        else:
            drawn = logps.argmax(dim=-1, keepdim=True)
        tokens += drawn[:, 0].tolist()
        values += logps.gather(1, drawn)[:, 0].tolist()
    return tokens, values


def _silent(lib: Any) -> Any:
    """A log callback that says nothing.

    llama.cpp calls it while it computes. One written in Python would meet a Ctrl-C that came meanwhile and lose it:
    ctypes only prints what is raised in a callback. C's `abs` does nothing with the level, and reads no more.
    """
    return ctypes.cast(ctypes.CDLL(None).abs, lib.llama_log_callback)
