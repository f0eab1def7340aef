"""Asks a model behind an OpenAI-compatible URL."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx

from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError, nearest
from reasoner.measuring.engines import base
from reasoner.serving import host
from reasoner.serving.client import Client

_ERRORS = (httpx.HTTPError, ValueError, LookupError, TypeError)
"""What asking, and reading the answer, may raise where a server is none of this kind."""


class OpenAI:
    """Asks `http://host:port/v1#MODEL` by chat completions.

    Every sampling option goes with every request, since servers have defaults of their own there (Ollama takes
    temperature 1 whatever the Modelfile says). Options outside the published interface are sent too until the server
    refuses them; Ollama's passes over them in silence, so there they are refused here. The key is `OPENAI_API_KEY`.
    """

    name = "openai"

    def __init__(self, model: str, concurrency: int) -> None:
        url, _, name = model.partition("#")
        self.url, self._concurrency = url.rstrip("/").removesuffix("/chat/completions"), concurrency
        where = host.parse(self.url.removesuffix("/v1"))
        key = os.environ.get("OPENAI_API_KEY")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(600.0, connect=10.0),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=not where.is_local,
        )
        served = self._served()
        self._name = name or (served[0] if len(served) == 1 else "")
        if not self._name or (served and self._name not in served and f"{self._name}:latest" not in served):
            self._http.close()
            what = f"{self.url} has no model {self._name!r}" if self._name else f"which model of {self.url}?"
            raise ReasonerError(what, fix=f"{self.url}#MODEL; " + nearest(self._name, served), code=USAGE)
        self.model = f"{self.url}#{self._name}"
        self._takes_more = True
        self.facts: base.EngineFacts = {"versions": {}, "digest": None, "host": str(where), "differences": []}
        self._is_ollama = False
        with suppress(ReasonerError):  # something else answers there
            version = host.probe(where)
            if version is not None:
                self._is_ollama = True
                self._describe_ollama(Client(where), version)

    def _describe_ollama(self, client: Client, version: str) -> None:
        with client:
            shown = client.show(self._name)
            self.facts |= {
                "versions": {"ollama": version},
                "digest": client.digest(self._name),
                "dtype": shown.quantization,
                "tag_parameters": shown.parameters,
                "tag_system": shown.system,
            }
        self.facts["differences"].append(
            "num_ctx, top_k, min_p and repeat_penalty are those of the tag: Ollama takes none of them through /v1"
        )

    def _served(self) -> list[str]:
        try:
            found = self._http.get(f"{self.url}/models")
            found.raise_for_status()
            return [str(one["id"]) for one in found.json()["data"]]
        except _ERRORS as error:
            raise ReasonerError(
                f"{self.url} does not answer as an OpenAI-compatible server",
                why=f"GET {self.url}/models: {str(error)[:300] or type(error).__name__}",
                fix="the URL ends before /chat/completions, mostly in /v1; a key goes into OPENAI_API_KEY",
                code=MISSING,
            ) from None

    def prompt_ids(self, messages: base.Messages) -> list[int] | None:
        if not self._is_ollama:
            return None
        with Client(host.parse(self.url.removesuffix("/v1"))) as client:
            return client.prompt_ids(self._name, messages)

    def complete(self, prompts: Sequence[base.Prompt], sampling: base.Sampling, arrived: base.Arrived) -> None:
        more = {
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repeat_penalty,  # vLLM's name
            "repeat_penalty": sampling.repeat_penalty,  # llama.cpp's
        }
        needs_more = bool(sampling.top_k or sampling.min_p or sampling.repeat_penalty != 1)
        if needs_more and self._is_ollama:
            fix = f"leave them off, or name the tag itself: {self._name}"
            raise ReasonerError("Ollama takes no top_k, min_p or repeat_penalty through /v1", fix=fix, code=USAGE)
        body = {
            "model": self._name,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "n": 1,
            "stream": False,
            **({"stop": list(sampling.stops)} if sampling.stops else {}),
        }

        def one(prompt: base.Prompt) -> base.Answer:
            asked = {**body, "messages": prompt.messages, "seed": prompt.seed}
            sent = {**asked, **more} if self._takes_more else asked
            found = self._post(sent)
            if found.status_code in (400, 422) and sent is not asked and not needs_more and not _is_too_long(found):
                found = self._post(asked)
                if found.is_success and self._takes_more:
                    self._takes_more = False
                    self.facts["differences"].append(
                        "the server takes no top_k, min_p or repeat_penalty: whatever it has of them is its own"
                    )
            return self._read(found)

        base.in_threads(prompts, one, self._concurrency, arrived)

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """Sends one request; a server that says to wait is asked again."""
        for wait_s in (1.0, 4.0, 15.0, 60.0, None):
            try:
                found = self._http.post(f"{self.url}/chat/completions", json=body)
            except httpx.TransportError as error:
                why, fix = str(error) or type(error).__name__, "run the command again; what is done stays done"
                raise ReasonerError(f"{self.url} went away", why=why, fix=fix, code=FAILED) from None
            if found.status_code not in (429, 502, 503, 504) or wait_s is None:
                break
            asked = found.headers.get("retry-after", "")
            time.sleep(min(float(asked), 120.0) if asked.isdigit() else wait_s)
        return found

    def _read(self, found: httpx.Response) -> base.Answer:
        if _is_too_long(found):
            return base.Answer("", "unanswered", 0, 0, why=found.text[:300])
        try:
            found.raise_for_status()
            value = found.json()
            choice, usage = value["choices"][0], value.get("usage") or {}
            message, reason = choice["message"], choice["finish_reason"]
            thinking = message.get("reasoning") or message.get("reasoning_content")
            text = base.whole(thinking and str(thinking), str(message.get("content") or ""))
        except _ERRORS as error:
            what = f"{self.url} refused a request (HTTP {found.status_code})"
            raise ReasonerError(what, why=found.text[:500] or str(error), code=FAILED) from None
        counts = int(usage.get("completion_tokens") or 0), int(usage.get("prompt_tokens") or 0)
        return base.ended(text, reason, *counts)

    def close(self) -> None:
        self._http.close()


def _is_too_long(found: httpx.Response) -> bool:
    said = found.text.lower() if found.status_code == 400 else ""
    return any(sign in said for sign in ("exceed_context_size", "context_length_exceeded", "maximum context length"))
