"""Asks a model folder in vLLM, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reasoner import files
from reasoner.errors import MISSING, ReasonerError
from reasoner.measuring.engines import base
from reasoner.measuring.engines import folder as folders


class Vllm:
    """Asks a folder, with a LoRA adapter or not, on a CUDA GPU.

    vLLM applies the temperature before top_p and min_p; where that matters, `facts` says so.
    """

    name = "vllm"

    def __init__(self, path: Path, adapter: Path | None, limits: base.Limits) -> None:
        try:
            import vllm
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise ReasonerError(
                "vLLM is not installed",
                why=str(error),
                fix="pip install -e '.[gpu]' (Linux with CUDA), or --engine transformers",
                code=MISSING,
            ) from None
        folder = folders.read(path, adapter, limits.num_ctx)
        self._vllm, self._folder, self._ends = vllm, folder, folder.end_ids
        adapter = folder.adapter
        rank = files.read_json(adapter / "adapter_config.json")["r"] if adapter else 0
        lora = {"enable_lora": True, "max_lora_rank": _lora_rank(int(rank))} if adapter else {}
        self._lora = LoRARequest("adapter", 1, str(adapter)) if adapter else None
        self._llm = vllm.LLM(
            model=str(folder.path),
            dtype="auto",
            max_model_len=folder.num_ctx,
            max_num_seqs=limits.concurrency,
            generation_config="vllm",  # the folder's own would bring samplers of its own
            trust_remote_code=False,
            **lora,
        )
        self.model, self._concurrency = folder.shown, limits.concurrency
        self.facts: base.EngineFacts = {
            "versions": {"vllm": vllm.__version__},
            "digest": folder.digest,
            "dtype": str(self._llm.llm_engine.model_config.dtype).removeprefix("torch."),
            "device": "cuda",
            "num_ctx": folder.num_ctx,
            "end_tokens": self._ends,
            "differences": ["temperature is applied before top_p and min_p"],
        }

    def prompt_ids(self, messages: base.Messages) -> list[int]:
        return self._folder.prompt_ids(messages)

    def complete(self, prompts: Sequence[base.Prompt], sampling: base.Sampling, arrived: base.Arrived) -> None:
        ids = base.fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self._folder.num_ctx, arrived)
        order = list(ids)
        some = 8 * self._concurrency  # `generate` gives nothing before all are done
        for start in range(0, len(order), some):
            part = order[start : start + some]
            settings = [
                self._vllm.SamplingParams(
                    max_tokens=min(sampling.max_tokens, self._folder.num_ctx - len(ids[index])),
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=sampling.top_k or -1,
                    min_p=sampling.min_p,
                    repetition_penalty=sampling.repeat_penalty,
                    seed=prompts[index].seed,
                    stop_token_ids=self._ends,
                    stop=list(sampling.stops) or None,
                )
                for index in part
            ]
            asked = [{"prompt_token_ids": ids[index]} for index in part]
            made = self._llm.generate(asked, settings, lora_request=self._lora, use_tqdm=False)
            for index, one in zip(part, made, strict=True):
                out = one.outputs[0]
                text = base.cut(self._folder.text(out.token_ids), sampling.stops)[0]
                arrived(index, base.ended(text, out.finish_reason, len(out.token_ids), len(ids[index])))

    def close(self) -> None:
        del self._llm


def _lora_rank(rank: int) -> int:
    """Returns the least of the ranks that vLLM has kernels for."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), rank)
