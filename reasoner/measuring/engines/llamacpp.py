"""Asks a GGUF in llama.cpp, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reasoner import files
from reasoner.bases import templates
from reasoner.errors import USAGE, ReasonerError
from reasoner.llamacpp import install, sampler
from reasoner.measuring.engines import base


class LlamaCpp:
    """Asks a file by its own chat template and tokenizer, on the CPU."""

    name = "llama.cpp"

    def __init__(self, path: Path, limits: base.Limits) -> None:
        threads = limits.num_thread or os.cpu_count() or 1
        self._sampler = sampler.Sampler(
            path, width=limits.concurrency, context=limits.num_ctx, threads=threads, repack=True
        )
        template = self._sampler.chat_template
        if not template:
            self._sampler.close()
            fix = "convert it from a folder with one"
            raise ReasonerError(f"{path.name} has no chat template", fix=fix, code=USAGE)
        self._template = template
        self.model = str(path)
        self.facts: base.EngineFacts = {
            "versions": {"llama.cpp": install.llama_cpp().version},
            "digest": "sha256:" + files.sha256_file(path),
            "bytes": path.stat().st_size,
            "device": "cpu",
            "num_ctx": self._sampler.context,
            "threads": threads,
        }

    def _rendered(self, messages: base.Messages) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        bos, eos = (self._sampler.special_token(name) for name in ("bos", "eos"))
        names = {"bos_token": bos[1] if bos else "", "eos_token": eos[1] if eos else ""}
        asked = {"chat_template": self._template, "add_generation_prompt": True, **names}
        return str(render_jinja_template([messages], **asked)[0][0])

    def prompt_ids(self, messages: base.Messages) -> list[int]:
        bos, ids = self._sampler.special_token("bos"), self._sampler.encode(self._rendered(messages))
        # As llama.cpp's server does: the BOS that the file asks for, unless the template has put it there.
        if bos and self._sampler.adds_bos and ids[:1] != [bos[0]]:
            ids = [bos[0], *ids]
        return ids

    def complete(self, prompts: Sequence[base.Prompt], sampling: base.Sampling, arrived: base.Arrived) -> None:
        ids = base.fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self._sampler.context, arrived)
        order, own = list(ids), self._sampler
        begun = templates.begun(self._rendered([{"role": "user", "content": "1 + 1"}]))

        def done(place: int, tokens: list[int]) -> None:
            index = order[place]
            text = begun + own.decode(tokens)
            arrived(index, base.finished(text, own.is_end(tokens[-1]), len(tokens), ids[index], sampling))

        own.complete(
            [ids[index] for index in order],
            [prompts[index].seed for index in order],
            done,
            sampling,
            is_over=lambda tokens: bool(sampling.stops) and base.cut(own.decode(tokens), sampling.stops)[1],
        )

    def close(self) -> None:
        self._sampler.close()
