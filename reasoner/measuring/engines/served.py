"""Asks a tag in Ollama.

A thought that the server takes out of an answer is put back: the verifier judges what follows it, and its working and
its tokens count.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasoner.bases import templates
from reasoner.errors import ReasonerError
from reasoner.measuring.engines import base
from reasoner.serving.client import Client

CHAT: base.Messages = [{"role": "user", "content": "1 + 1"}]


class Ollama:
    """Asks a tag by `/api/chat`: the server renders the prompt. The tag's own stops hold too."""

    name = "ollama"

    def __init__(self, client: Client, tag: str, limits: base.Limits) -> None:
        digest, shown = client.require(tag), client.show(tag)
        self._client, self.model, self._concurrency = client, tag, limits.concurrency
        self._may_begin = "<think>" in shown.template  # a thought, in the prompt
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
        if shown.thinks:  # what our training fixed, else what the server would take where nothing is sent
            self.facts["think"] = templates.fixed(shown.template) is not False

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

        think = {"think": self.facts["think"]} if "think" in self.facts else {}
        more, begun = {"truncate": False, "shift": False, **think}, ""
        if self._may_begin:
            begun = templates.begun(self._client.render(self.model, CHAT, self._options, **think))

        def one(prompt: base.Prompt) -> base.Answer:
            given = {**options, "seed": prompt.seed}
            try:
                found = self._client.chat(self.model, prompt.messages, given, **more)
            except ReasonerError as error:
                if not _is_beyond_context(error):
                    raise
                return base.Answer("", "unanswered", 0, 0, why=str(error.why))
            thinking, text = found.message.thinking, found.message.content or ""
            if begun and not thinking:
                if "</think>" not in text and found.done_reason == "stop":
                    # An empty thought that the server took out? Where it does not know of thoughts, the first token of
                    # an open one comes as content.
                    first = self._client.chat(self.model, prompt.messages, {**given, "num_predict": 1}, **more)
                    text = text if first.message.content else f"</think>\n\n{text}"
                text = begun + text
            counts = found.eval_count or 0, found.prompt_eval_count or 0
            return base.ended(base.whole(thinking, text), found.done_reason, *counts)

        base.in_threads(prompts, one, self._concurrency, arrived)

    def close(self) -> None:
        return  # the client is the caller's, and a server of ours serves on


def _is_beyond_context(error: ReasonerError) -> bool:
    return "exceed_context_size" in str(error.why)
