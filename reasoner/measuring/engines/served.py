"""Asks a tag in Ollama."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner.errors import ReasonerError
from reasoner.measuring.engines import base
from reasoner.serving.client import Client


class Ollama:
    """Asks a tag by `/api/chat`: the server renders the prompt. The tag's own stops hold too."""

    name = "ollama"

    def __init__(self, client: Client, tag: str, limits: base.Limits) -> None:
        digest, shown = client.require(tag), client.show(tag)
        self._client, self.model, self._concurrency = client, tag, limits.concurrency
        self._own_stops = tuple(shown.parameters.get("stop", ()))
        num_ctx = min(limits.num_ctx, shown.context_length or limits.num_ctx)
        self._options = {"num_ctx": num_ctx} | ({"num_thread": limits.num_thread} if limits.num_thread else {})
        self.facts: base.EngineFacts = {
            "versions": {"ollama": client.version()},
            "digest": digest,
            "host": str(client.host),
            "dtype": shown.quantization,
            "num_ctx": num_ctx,
            "tag_parameters": shown.parameters,
            "tag_system": shown.system,
        }

    def prompt_ids(self, messages: base.Messages) -> list[int]:
        try:
            return self._client.prompt_ids(self.model, messages, self._options)
        except ReasonerError as error:
            if not _is_beyond_context(error):
                raise
            return self._client.prompt_ids(self.model, messages)

    def complete(self, prompts: Sequence[base.Prompt], sampling: base.Sampling, arrived: base.Arrived) -> None:
        options = {
            **self._options,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "repeat_last_n": self._options["num_ctx"],
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "num_predict": sampling.max_tokens,
            **({"stop": [*self._own_stops, *sampling.stops]} if sampling.stops else {}),
        }  # a list of stops in a request takes the place of the tag's own

        def one(prompt: base.Prompt) -> base.Answer:
            try:
                given = {**options, "seed": prompt.seed}
                found = self._client.chat(self.model, prompt.messages, given, truncate=False, shift=False)
            except ReasonerError as error:
                if not _is_beyond_context(error):
                    raise
                return base.Answer("", "unanswered", 0, 0, why=str(error.why))
            if found.message.thinking:
                base.differ(self, base.THINKING)
            counts = found.eval_count or 0, found.prompt_eval_count or 0
            return base.ended(found.message.content or "", found.done_reason, *counts)

        base.in_threads(prompts, one, self._concurrency, arrived)

    def close(self) -> None:
        return  # the client is the caller's, and a server of ours serves on


def _is_beyond_context(error: ReasonerError) -> bool:
    return "exceed_context_size" in str(error.why)
