"""Asks one Ollama server, by the package `ollama`; every failure becomes an error that says what to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasoner import files
from reasoner.errors import MISSING, USAGE, ReasonerError, nearest
from reasoner.serving.host import Host, current, models_dir

if TYPE_CHECKING:
    import ollama

Message = Mapping[str, Any]
THROUGH = "{{ .Prompt }}"
"""A template that passes a rendered prompt on as it is."""


@dataclass(frozen=True)
class Shown:
    """Describes a tag and the file behind it; `info` is the metadata of the GGUF, by its names for them."""

    modelfile: str
    license: str
    system: str | None
    quantization: str | None
    parameters: dict[str, list[str]]
    info: Mapping[str, Any]
    template: str = ""
    thinks: bool = False  # whether the server takes `think` for it, and turns it on where a chat says nothing

    @property
    def context_length(self) -> int | None:
        found = self.info.get(f"{self.info.get('general.architecture')}.context_length")
        return found if isinstance(found, int) and found > 0 else None


def full_tag(tag: str) -> str:
    """Returns a tag as Ollama lists it.

    >>> full_tag("reasoner"), full_tag("reasoner:run-1")
    ('reasoner:latest', 'reasoner:run-1')
    """
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def parse_parameters(text: str) -> dict[str, list[str]]:
    """Reads the parameters of a tag as `/api/show` prints them.

    >>> parse_parameters('num_ctx                512\\nstop                   "<|end|>"')
    {'num_ctx': ['512'], 'stop': ['<|end|>']}
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        with suppress(ValueError):
            value = f"{float(value):g}"
        if value.startswith('"'):
            value = str(json.loads(value))
        found.setdefault(name, []).append(value)
    return found


class Client(AbstractContextManager["Client"]):
    """Sends requests to one server. Safe to share between threads; close it, or use it in a `with`.

    Every failure is a `ReasonerError`: a server that went away, one that refuses, one that is slow. `models` is where
    the server keeps models, where that is known, and `log` its log.
    """

    def __init__(
        self, where: Host | None = None, models: Path | None = None, log: Path | None = None, timeout_s: float = 600.0
    ) -> None:
        import ollama

        self.host, self.models, self.log, self.timeout_s = where or current(), models, log, timeout_s
        self.api = ollama.Client(self.host.url, **self.host.connection(timeout_s))

    def close(self) -> None:
        self.api.close()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Says each failure of a request for `what` in our words, and what to do about it."""
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            why = str(error.error)[:2000] or "no reason given"
            raise ReasonerError(f"Ollama refused {what} (HTTP {error.status_code})", why, log=self.log) from error
        except (httpx.TransportError, ConnectionError) as error:  # the package's word for httpx.ConnectError
            happened, why = f"went away during {what}", str(error) or type(error).__name__
            if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
                happened, why = f"gave no answer within {self.timeout_s:.0f} s", f"asked for {what}"
            why = "\n".join([why, *(tail(self.log) if self.log else [])])
            fix = "run the command again: nothing is half registered, and what is done stays done"
            raise ReasonerError(f"the Ollama server at {self.host} {happened}", why, fix, self.log) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            why, fix = f"{type(error).__name__}: {error}"[:500], f"is {self.host} an Ollama? see `reasoner doctor`"
            raise ReasonerError(f"Ollama's answer to {what} cannot be read", why, fix, self.log) from error

    def _send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Sends a request for which the package has no call, or whose answer it cuts, over its own connection."""
        return self.api._request_raw(method, path, json=body)  # type: ignore[no-untyped-call]

    def _rendered(self, path: str, request: Mapping[str, object]) -> str:
        """Returns the prompt that the server makes of a request to `/api/chat` or `/api/generate`; asks no model."""
        body = {**request, "stream": False, "_debug_render_only": True}
        return str(self._send("POST", path, body).json()["_debug_info"]["rendered_template"])

    # -- what is there

    def version(self) -> str:
        with self._asking("its version"):
            return str(self._send("GET", "/api/version").json()["version"])

    def tags(self) -> dict[str, str]:
        """Returns every tag the server has, with its digest."""
        with self._asking("the list of models"):
            found = self.api.list().models
            return {str(one.model): "sha256:" + str(one.digest).removeprefix("sha256:") for one in found}

    def digest(self, tag: str) -> str | None:
        """Returns `sha256:…` of a tag's manifest, new with any change of the model; None: no such tag."""
        return self.tags().get(full_tag(tag))

    def require(self, tag: str) -> str:
        """Returns the digest of a tag; raises with the nearest name where there is no such tag."""
        found = self.tags()
        if full_tag(tag) not in found:
            names = [name.removesuffix(":latest") for name in found]
            fix = nearest(tag, names) if names else f"ollama pull {tag}"
            raise ReasonerError(f"the Ollama at {self.host} has no model {tag!r}", fix=fix, code=USAGE)
        return found[full_tag(tag)]

    def show(self, tag: str) -> Shown:
        with self._asking(f"the description of {tag}"):
            found = self._send("POST", "/api/show", {"model": tag}).json()
            return Shown(
                modelfile=str(found.get("modelfile") or ""),
                license=str(found.get("license") or ""),
                system=found.get("system") or None,
                quantization=(found.get("details") or {}).get("quantization_level"),
                parameters=parse_parameters(str(found.get("parameters") or "")),
                info=found.get("model_info") or {},
                template=str(found.get("template") or ""),
                thinks="thinking" in (found.get("capabilities") or ()),
            )

    def model_file(self, tag: str) -> tuple[Path, str]:
        """Returns the GGUF behind a tag, where this process can read it, and the text of its licence.

        Raises for a tag that is not there, one that is more than one file (projector, adapter), and a server whose
        store is not readable here.
        """
        self.require(tag)
        shown = self.show(tag)
        sources = _sources(shown.modelfile)
        found = [Path(value) for key, value in sources if key == "FROM" and re.search(r"sha256-[0-9a-f]{64}$", value)]
        if len(sources) != 1 or len(found) != 1:
            more = ", ".join(f"{key} {value}" for key, value in sources) or "no file on this server"
            why = f"it is made of: {more}" + ("; a projector makes it see images" if len(found) > 1 else "")
            fix = "name a model of text only, without adapters"
            raise ReasonerError(f"{tag} is not one plain model file", why, fix, code=USAGE)
        given = found[0]
        there = (given, *(folder / "blobs" / given.name for folder in self._folders()))
        for path in there if self.host.is_local else ():
            if path.is_file() and os.access(path, os.R_OK):
                return path, shown.license
        why = f"the Ollama at {self.host} keeps it at {given}"
        fix = "set OLLAMA_MODELS to the server's folder and make it readable, or copy the file here and use gguf:PATH"
        raise ReasonerError(f"the file of {tag} cannot be read here", why, fix, code=MISSING)

    # -- registering

    def has_blob(self, sha256: str) -> bool:
        with self._asking("a blob"):
            return _is_there(lambda: self._send("HEAD", f"/api/blobs/{_digest(sha256)}"))

    def _folders(self) -> Iterable[Path]:
        """Lists where the server may keep models."""
        return dict.fromkeys([self.models or models_dir(), models_dir()])

    def _stores(self) -> Iterator[Path]:
        """Yields folders that may be the server's blob store; only a link that the server then sees proves it."""
        if self.models and self.host.is_local:
            (self.models / "blobs").mkdir(parents=True, exist_ok=True)
        for folder in self._folders() if self.host.is_local else ():
            if os.access(folder / "blobs", os.W_OK | os.X_OK):
                yield folder / "blobs"

    def would_copy(self, folder: Path) -> bool:
        """Tells whether a file of this folder would be copied when registered: count it twice in a disk check."""
        device = next((p.stat().st_dev for p in (folder, *folder.parents) if p.exists()), None)
        stats = [store.stat() for store in self._stores()]
        return not any(stat.st_dev == device and stat.st_uid == os.geteuid() for stat in stats)

    def create(
        self,
        tag: str,
        gguf: Path,
        sha256: str,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        licence: str | None = None,
    ) -> Literal["present", "linked", "uploaded"]:
        """Registers a GGUF file under a tag; returns how its bytes got there.

        The file is hard-linked into the server's store where that is possible (no second copy on disk; the file is
        made read-only and must never be changed again), else uploaded. Either way a file that is not `sha256` is
        refused. The tag appears whole or not at all.
        """
        how = self._bring(gguf, sha256)
        with self._asking(f"registering {tag}"):
            found = {gguf.name: _digest(sha256)}
            answer = self.api.create(
                tag, files=found, system=system, parameters=parameters or None, license=licence or None, stream=False
            )
        if answer.status != "success":
            raise ReasonerError(f"Ollama did not register {tag}", why=answer.model_dump_json(), log=self.log)
        return how

    def _bring(self, gguf: Path, sha256: str) -> Literal["present", "linked", "uploaded"]:
        if self.has_blob(sha256):
            return "present"
        for store in self._stores():
            blob = store / _digest(sha256).replace(":", "-")
            if _link(gguf.resolve(), blob):
                if self.has_blob(sha256):
                    return "linked"
                blob.unlink()
        with self._asking(f"the upload of {gguf.name}"):
            sent = self.api.create_blob(gguf)
        if sent != _digest(sha256):
            raise _changed(gguf, sent.removeprefix("sha256:"), sha256.removeprefix("sha256:"))
        return "uploaded"

    def copy(self, source: str, destination: str) -> None:
        """Gives a model a second name; an existing one then means the new model. No bytes are copied."""
        with self._asking(f"naming {destination}"):
            self.api.copy(source, destination)

    def delete(self, tag: str) -> bool:
        """Removes a tag, and the server's own link to files no other tag uses. False: no such tag."""
        with self._asking(f"deleting {tag}"):
            return _is_there(lambda: self.api.delete(tag))

    # -- asking a model

    def chat(
        self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None, **more: Any
    ) -> ollama.ChatResponse:
        """Returns one answer: `message.content`, `done_reason` (`stop`, `length`), counts.

        `more` are fields of the request that the package does not know, such as `truncate`.
        """
        import ollama

        with self._asking(f"an answer of {tag}"):
            if not more:
                return self.api.chat(tag, messages, options=options)
            request = {**_chat(tag, messages, options), **more, "stream": False}
            return ollama.ChatResponse(**self._send("POST", "/api/chat", request).json())

    def render(
        self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None, **more: Any
    ) -> str:
        """Returns the prompt text the server makes of messages (without a BOS the tokenizer adds itself)."""
        with self._asking(f"the rendered prompt of {tag}"):
            return self._rendered("/api/chat", {**_chat(tag, messages, options), **more})

    def prompt_ids(self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> list[int]:
        """Returns token ids of the prompt as the model sees them in a chat, BOS included where one is added.

        `options` are those of the chat: others (`num_ctx`) make the server load the model anew.

        The server gives ids only with `/api/generate` outside raw mode, for prompt and answer as one text and without
        BOS; so the rendered prompt goes through a template that passes it on as it is, and the evaluated count, which
        `/api/chat` must confirm, says where the prompt ends.
        """
        text = self.render(tag, messages, options)
        one = {**(options or {}), "num_predict": 1, "temperature": 0}
        with self._asking(f"the prompt of {tag}"):
            request = {"model": tag, "prompt": text, "options": dict(options or {}), "template": THROUGH}
            shown = self._rendered("/api/generate", request)
            answer = self.api.generate(tag, text, template=THROUGH, options=one)
        count, in_chat = answer.prompt_eval_count, self.chat(tag, messages, one).prompt_eval_count
        if shown != text or count is None or count != in_chat:
            why = f"the chat evaluates {in_chat} prompt tokens, its rendered text {count}"
            if shown != text:
                why = "the server changes a rendered prompt passed to /api/generate"
            raise ReasonerError(f"the prompt ids of {tag} cannot be read from the server", why, log=self.log)
        facts = self.show(tag).info
        bos = [int(facts["tokenizer.ggml.bos_token_id"])] if facts.get("tokenizer.ggml.add_bos_token") else []
        return [*bos, *(answer.context or ())[: count - len(bos)]]


def _chat(tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None) -> dict[str, object]:
    return {"model": tag, "messages": list(messages), "options": dict(options or {})}


def _link(gguf: Path, blob: Path) -> bool:
    """Gives the file a second name in a store; False where it has another owner or lies on another file system.

    The store is a folder that another program owns, so a link is made only beside files of the same owner. The name
    under which a server would take the bytes for right appears only once they were hashed, and in one step. What a kill
    leaves under the name before that is taken up by the next try, or cleared away by Ollama when it starts (not within
    an hour). The file is read-only from then on.
    """
    if not gguf.stat().st_uid == blob.parent.stat().st_uid == os.geteuid():
        return False
    partial = blob.with_name(f"{blob.name}-partial-reasoner")
    try:
        partial.unlink(missing_ok=True)
        os.link(gguf, partial)
        found, recorded = files.sha256_file(partial), blob.name.removeprefix("sha256-")
        if found != recorded:
            raise _changed(gguf, found, recorded)
        partial.chmod(0o444)
        os.link(partial, blob)
    except OSError:  # no such link here, or another process has put the blob there meanwhile
        return False
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return True


def _changed(gguf: Path, found: str, recorded: str) -> ReasonerError:
    """Returns the error that a file has another SHA-256 than was recorded of it."""
    why, fix = f"its SHA-256 is {found}, recorded was {recorded}", f"remove {gguf} and run again"
    return ReasonerError(f"{gguf.name} changed after it was made", why, fix)


def _is_there(ask: Callable[[], object]) -> bool:
    """Sends a request; False where the server answers that it has no such thing."""
    import ollama

    try:
        ask()
    except ollama.ResponseError as error:
        if error.status_code != 404:
            raise
        return False
    return True


def _digest(sha256: str) -> str:
    return f"sha256:{sha256.removeprefix('sha256:')}"


def _sources(modelfile: str) -> list[tuple[str, str]]:
    """Lists the files a Modelfile, as the server shows it, begins with; later lines may be anyone's text."""
    found = []
    for line in modelfile.splitlines():
        key, _, value = line.strip().partition(" ")
        if key in ("FROM", "ADAPTER", "PROJECTOR"):
            found.append((key, value.strip()))
        elif key and not key.startswith("#"):
            break
    return found


def tail(log: Path, offset: int = 0, lines: int = 6) -> list[str]:
    """Returns the last lines of a server's log, of what came after `offset` bytes."""
    try:
        with log.open("rb") as handle:
            handle.seek(offset)
            return handle.read()[-8192:].decode("utf-8", "replace").strip().splitlines()[-lines:]
    except OSError:
        return []
