"""Asks a model folder in transformers, in this process, with llama.cpp's samplers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from reasoner.errors import USAGE, ReasonerError
from reasoner.measuring.engines import base
from reasoner.measuring.engines import folder as folders

_PADDING_TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""Share of the logits' spread by which padding may move one of them, by numeric type."""


class Transformers:
    """Asks a folder, with a PEFT adapter or not: in 32 bits on a CPU, in its own type on a GPU."""

    name = "transformers"

    def __init__(self, path: Path, adapter: Path | None, limits: base.Limits) -> None:
        folder = folders.read(path, adapter, limits.num_ctx)
        transformers.utils.logging.disable_progress_bar()
        if limits.num_thread is not None:
            torch.set_num_threads(limits.num_thread)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "auto" if device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(
            folder.path, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        if folder.adapter is not None:
            import peft

            try:
                model = peft.PeftModel.from_pretrained(model, folder.adapter)
            except (RuntimeError, ValueError, OSError) as error:
                what, why = "the adapter does not fit the model", str(error)[:300]
                raise ReasonerError(what, why=why, fix="name its own base", code=USAGE) from None
            versions["peft"] = peft.__version__
        self._model, self._folder, self._pad = model.eval().to(device), folder, folder.tokenizer.pad_token_id
        self.model, self._concurrency = folder.shown, limits.concurrency
        self._is_checked = False
        self.facts: base.EngineFacts = {
            "versions": versions,
            "digest": folder.digest,
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            "device": device,
            "num_ctx": folder.num_ctx,
            "end_tokens": folder.end_ids,
        }

    def prompt_ids(self, messages: base.Messages) -> list[int]:
        return self._folder.prompt_ids(messages)

    def complete(self, prompts: Sequence[base.Prompt], sampling: base.Sampling, arrived: base.Arrived) -> None:
        ids = base.fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self._folder.num_ctx, arrived)
        order = sorted(ids, key=lambda index: len(ids[index]))  # neighbours of like length: little padding
        for start in range(0, len(order), self._concurrency):
            batch = order[start : start + self._concurrency]
            if not self._is_checked and len(ids[batch[0]]) < len(ids[batch[-1]]):
                self._check_padding(ids[batch[0]], ids[batch[-1]])
                self._is_checked = True
            drawn = self._generate([ids[i] for i in batch], [prompts[i].seed for i in batch], sampling)
            for index, tokens in zip(batch, drawn, strict=True):
                arrived(index, self._answer(ids[index], tokens, sampling))

    def _generate(self, ids: list[list[int]], seeds: list[int], sampling: base.Sampling) -> list[list[int]]:
        tokens, mask = self._padded(ids)
        # All of it from here: a folder's generation_config.json would bring penalties and temperatures of its own.
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=min(sampling.max_tokens, max(self._folder.num_ctx - min(map(len, ids)), 1)),
            eos_token_id=self._folder.end_ids,
            pad_token_id=self._pad,
            stop_strings=list(sampling.stops) or None,
        )
        chain = [] if sampling.is_plain else [_Chain(sampling, seeds, mask)]
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=tokens, attention_mask=mask, logits_processor=chain, tokenizer=self._folder.tokenizer
            )
        return [row.tolist() for row in out[:, tokens.shape[1] :].cpu()]

    def _padded(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, ids))
        tokens = torch.tensor([[self._pad] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        return tokens.to(self._model.device), mask.to(self._model.device)

    def _answer(self, ids: list[int], tokens: list[int], sampling: base.Sampling) -> base.Answer:
        tokens = tokens[: min(sampling.max_tokens, self._folder.num_ctx - len(ids))]
        end = next((place for place, token in enumerate(tokens) if token in self._folder.end_ids), None)
        used = tokens if end is None else tokens[: end + 1]
        return base.finished(self._folder.text(used), end is not None, len(used), ids, sampling)

    def _check_padding(self, short: list[int], long: list[int]) -> None:
        """Refuses a model that cares how much padding stands to the left of a prompt."""

        def first(ids: list[list[int]]) -> torch.Tensor:
            tokens, mask = self._padded(ids)
            with torch.inference_mode():
                out = self._model.generate(
                    input_ids=tokens, attention_mask=mask, max_new_tokens=1, do_sample=False,
                    pad_token_id=self._pad, output_logits=True, return_dict_in_generate=True,
                )  # fmt: skip
            return out.logits[0][0].float()

        alone, padded = first([short]), first([short, long])
        differ, spread = float((alone - padded).abs().max()), float(alone.max() - alone.min())
        limit = _PADDING_TOLERANCE[str(self.facts["dtype"])]
        self.facts["padding"] = {"checked_tokens": len(long) - len(short), "largest_difference": differ / spread}
        if differ > limit * spread:
            raise ReasonerError(
                f"{self.model} gives other logits where its prompt is padded on the left",
                why=f"they differ by {differ / spread:.2%} of their spread, {limit:.1%} is rounding",
                fix="score it one at a time (--concurrency 1), or with --engine vllm",
            )

    def close(self) -> None:
        del self._model


class _Chain:
    """Samples as llama.cpp does, in its order, for a batch of transformers; each row draws with its own seed.

    Drawing is by Gumbel noise on the logits that are left (the largest is a sample of their softmax), so `generate`
    stays greedy, and a row's draws do not depend on its neighbours.
    """

    def __init__(self, sampling: base.Sampling, seeds: Sequence[int], mask: torch.Tensor) -> None:
        self._sampling, self._mask = sampling, mask
        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        asked, logits = self._sampling, logits.float()
        if asked.repeat_penalty != 1:
            seen = torch.zeros_like(logits)
            drawn = torch.ones(ids.shape[0], ids.shape[1] - self._mask.shape[1], device=ids.device)
            seen.scatter_add_(1, ids, torch.cat([self._mask, drawn], dim=1).to(seen.dtype))
            lower = torch.where(logits > 0, logits / asked.repeat_penalty, logits * asked.repeat_penalty)
            logits = torch.where(seen > 0, lower, logits)
        if not asked.temperature:
            return logits
        off = float("-inf")
        if asked.top_k:
            least = logits.topk(min(asked.top_k, logits.shape[1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, off)
        if asked.top_p < 1:
            ranked, order = logits.sort(descending=True)
            share = ranked.softmax(dim=-1)
            beyond = (share.cumsum(dim=-1) - share) >= asked.top_p
            logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), off)
        if asked.min_p:
            share = logits.softmax(dim=-1)
            logits = logits.masked_fill(share < asked.min_p * share.max(dim=-1, keepdim=True).values, off)
        uniform = torch.stack([torch.rand(logits.shape[1], generator=one, dtype=torch.float64) for one in self._random])
        noise = -(-uniform.clamp_min(1e-300).log()).log()
        return logits / asked.temperature + noise.to(logits.device, torch.float32)
