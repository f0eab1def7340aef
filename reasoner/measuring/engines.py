"""One way to ask a model, whatever runs it: transformers, vLLM, llama.cpp in process, Ollama, an OpenAI-compatible URL.

Every engine gets the same sampler settings, all of them, and where it takes token ids, the ids of the model's own
tokenizer and chat template; a BOS is there once, or not at all. What an engine cannot do as asked is refused, or
stands in its `facts`. What this module does not do: it knows no problems and judges no completion.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from reasoner import files
from reasoner.bases import locate
from reasoner.config import Model
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError, nearest
from reasoner.llamacpp import install, sampler
from reasoner.serving import ollama

if TYPE_CHECKING:
    import httpx
    import torch

NAMES = ("transformers", "vllm", "llama.cpp", "ollama", "openai")
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Sampling(sampler.Sampling):
    """Sampler settings, sent in full to every engine. `stops` are texts besides the model's own end tokens."""

    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One completion to be made."""

    messages: Messages
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """One completion as the engine gave it.

    `finish_reason` is `stop`, `length`, or `unanswered` where the engine gave none (a prompt longer than its
    context, a filter): then `text` is empty and `why` says so.
    """

    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    why: str = ""


def ended(text: str, reason: object, tokens: int, prompt_tokens: int) -> Answer:
    """What a server or library of others gave, which may end in ways of its own: those are no completion to judge."""
    if reason in ("stop", "length"):
        return Answer(text, str(reason), tokens, prompt_tokens)
    why = "the server's content filter" if reason == "content_filter" else f"the engine ended it with {reason!r}"
    return Answer("", "unanswered", tokens, prompt_tokens, why[:300])


Arrived = Callable[[int, Answer], None]


class EngineFacts(TypedDict, total=False):
    """What is known of a model as it is asked: each engine says what it knows; `digest` None: the URL does not tell."""

    versions: dict[str, str]
    digest: str | None
    dtype: str | None
    device: str
    host: str
    bytes: int
    num_ctx: int
    """Most tokens of prompt and completion together."""
    threads: int
    end_tokens: list[int]
    padding: dict[str, float]
    """By how much padding moved a logit, as a share of their spread, and over how many tokens of it."""
    tag_parameters: dict[str, list[str]]
    tag_system: str | None
    differences: list[str]
    """What differs from the other engines, in words."""


class Engine(Protocol):
    """A model ready to be asked. `facts` are versions, digest, numeric type, device, and differences that remain."""

    name: str
    model: str
    facts: EngineFacts

    def prompt_ids(self, messages: Messages) -> list[int] | None:
        """Token ids that the model will really see; None where that cannot be known."""

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        """Calls `arrived(index, answer)` in this thread as each is done, in any order. An interrupt ends it at once."""

    def close(self) -> None: ...


def differ(engine: Engine, what: str) -> None:
    """Record a difference from the other engines in the facts, once."""
    known = engine.facts.setdefault("differences", [])
    if what not in known:
        known.append(what)


def open_engine(
    model: str,
    engine: str | None = None,
    *,
    concurrency: int = 8,
    num_ctx: int = 2048,
    adapter: Path | None = None,
    num_thread: int | None = None,
    client: ollama.Client | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Engine:
    """The engine for a model: a tag in Ollama, a GGUF file, a model folder (with an adapter or not), `URL#MODEL`.

    `num_ctx` is the most tokens of prompt and completion together (fewer where the model was made for fewer),
    `concurrency` how many completions are on their way at once. Raises with code 2 where model and engine do not fit,
    with code 3 where the engine is not installed.
    """
    kind = kind_of(model)
    name = engine or {"folder": "transformers", "gguf": "llama.cpp", "url": "openai", "tag": "ollama"}[kind]
    if name not in NAMES:
        raise ReasonerError(f"no engine named {name!r}", fix=nearest(name, NAMES), code=USAGE)
    takes = {"transformers": "folder", "vllm": "folder", "llama.cpp": "gguf", "ollama": "tag", "openai": "url"}[name]
    if kind != takes:
        words = {"folder": "a model folder", "gguf": "a GGUF file", "tag": "a tag in Ollama", "url": "a URL"}
        raise ReasonerError(
            f"the engine {name} takes {words[takes]}, and {model} is {words[kind]}",
            fix="leave --engine out, or name another model (a tag through /v1: http://127.0.0.1:11434/v1#TAG)",
            code=USAGE,
        )
    if adapter is not None and kind != "folder":
        raise ReasonerError("an adapter goes with a model folder", why=f"{model} is none", code=USAGE)
    if kind == "folder":
        folder = Path(model).expanduser().absolute()
        if name == "vllm":
            return Vllm(folder, adapter, num_ctx=num_ctx, concurrency=concurrency)
        return Transformers(folder, adapter, num_ctx=num_ctx, concurrency=concurrency, num_thread=num_thread)
    if kind == "gguf":
        path = Path(model).expanduser().absolute()
        return LlamaCpp(path, num_ctx=num_ctx, concurrency=concurrency, num_thread=num_thread)
    if kind == "url":
        return OpenAI(model, concurrency=concurrency)
    asked = client or ollama.ensure_server(say).client()
    return Ollama(asked, model, num_ctx=num_ctx, concurrency=concurrency, num_thread=num_thread)


def kind_of(model: str) -> str:
    """What a model's name names: `url`, `folder`, `gguf` or `tag`. Raises for a path that is not there."""
    if model.startswith(("http://", "https://")):
        return "url"
    path = Path(model).expanduser()
    if path.is_dir():
        return "folder"
    if path.is_file():
        if path.suffix != ".gguf":
            raise ReasonerError(f"{model} is no GGUF", fix="name a file that ends in .gguf", code=USAGE)
        return "gguf"
    if path.suffix == ".gguf" or model.startswith(("/", "./", "../", "~")):
        raise ReasonerError(f"there is no model at {model}", fix="check the path", code=USAGE)
    return "tag"


# -- model folders -----------------------------------------------------------------------------


class Transformers:
    """A model folder in transformers, with a PEFT adapter or not: in 32 bits on a CPU, in its own type on a GPU."""

    name = "transformers"

    def __init__(
        self, folder: Path, adapter: Path | None, *, num_ctx: int, concurrency: int, num_thread: int | None
    ) -> None:
        folder, adapter = _adapter_of(folder, adapter)
        found = locate.resolve(Model(base=str(folder)))
        self._tokenizer = locate.load_tokenizer(folder)
        locate.check_embeddings(folder, self._tokenizer)
        import torch
        import transformers
        from transformers import AutoModelForCausalLM

        transformers.utils.logging.disable_progress_bar()
        if num_thread is not None:
            torch.set_num_threads(num_thread)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if device == "cuda" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
        versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        if adapter is not None:
            import peft

            try:
                model = peft.PeftModel.from_pretrained(model, adapter)
            except (RuntimeError, ValueError, OSError) as error:
                raise ReasonerError(
                    "the adapter does not fit the model", why=str(error)[:300], fix="name its own base", code=USAGE
                ) from None
            versions["peft"] = peft.__version__
        self._model = model.eval().to(device)
        self._ends = _end_ids(folder, self._tokenizer)
        self.model = str(folder) if adapter is None else f"{folder} + {adapter}"
        num_ctx = min(num_ctx, _trained_context(folder) or num_ctx)
        self.num_ctx, self.concurrency = num_ctx, concurrency
        self._is_checked = False
        self.facts: EngineFacts = {
            "versions": versions,
            "digest": _folder_digest(found, adapter),
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            "device": device,
            "num_ctx": num_ctx,
            "end_tokens": self._ends,
        }

    def prompt_ids(self, messages: Messages) -> list[int]:
        return locate.prompt_ids(self._tokenizer, messages)

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        ids = _fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self.num_ctx, arrived)
        order = sorted(ids, key=lambda index: len(ids[index]))  # neighbours of like length: little padding
        for start in range(0, len(order), self.concurrency):
            batch = order[start : start + self.concurrency]
            if not self._is_checked and len(ids[batch[0]]) < len(ids[batch[-1]]):
                self._check_padding(ids[batch[0]], ids[batch[-1]])
                self._is_checked = True
            drawn = self._generate([ids[i] for i in batch], [prompts[i].seed for i in batch], sampling)
            for index, tokens in zip(batch, drawn, strict=True):
                arrived(index, self._answer(ids[index], tokens, sampling))

    def _generate(self, ids: list[list[int]], seeds: list[int], sampling: Sampling) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        tokens, mask = self._padded(ids)
        longest = tokens.shape[1]
        # All of it from here: a folder's generation_config.json would bring penalties and temperatures of its own.
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=min(sampling.max_tokens, max(self.num_ctx - min(map(len, ids)), 1)),
            eos_token_id=self._ends,
            pad_token_id=self._tokenizer.pad_token_id,
            stop_strings=list(sampling.stops) or None,
        )
        chain = [] if _is_plain(sampling) else [_Chain(sampling, seeds, mask)]
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=tokens, attention_mask=mask, logits_processor=chain, tokenizer=self._tokenizer
            )
        return [row.tolist() for row in out[:, longest:].cpu()]

    def _padded(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        longest = max(map(len, ids))
        pad = self._tokenizer.pad_token_id
        tokens = torch.tensor([[pad] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        return tokens.to(self._model.device), mask.to(self._model.device)

    def _answer(self, ids: list[int], tokens: list[int], sampling: Sampling) -> Answer:
        room = min(sampling.max_tokens, self.num_ctx - len(ids))
        tokens = tokens[:room]
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        used = tokens if end is None else tokens[: end + 1]
        text = str(self._tokenizer.decode(used, skip_special_tokens=True))
        return _finished(text, end is not None, len(used), ids, sampling)

    def _check_padding(self, short: list[int], long: list[int]) -> None:
        """The model must not care how much padding stands to the left of a prompt."""
        import torch

        def first(ids: list[list[int]]) -> torch.Tensor:
            tokens, mask = self._padded(ids)
            with torch.inference_mode():
                out = self._model.generate(
                    input_ids=tokens, attention_mask=mask, max_new_tokens=1, do_sample=False,
                    pad_token_id=self._tokenizer.pad_token_id, output_logits=True, return_dict_in_generate=True,
                )  # fmt: skip
            return out.logits[0][0].float()

        alone, padded = first([short]), first([short, long])
        differ, spread = float((alone - padded).abs().max()), float(alone.max() - alone.min())
        limit = PADDING_TOLERANCE[str(self.facts["dtype"])]
        self.facts["padding"] = {"checked_tokens": len(long) - len(short), "largest_difference": differ / spread}
        if differ > limit * spread:
            raise ReasonerError(
                f"{self.model} gives other logits where its prompt is padded on the left",
                why=f"they differ by {differ / spread:.2%} of their spread, {limit:.1%} is rounding",
                fix="score it one at a time (--concurrency 1), or with --engine vllm",
            )

    def close(self) -> None:
        del self._model


PADDING_TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""Share of the logits' spread by which padding may move one of them, by numeric type."""


class _Chain:
    """llama.cpp's samplers in its order, for a batch of transformers; each row draws with its own seed.

    Drawing is by Gumbel noise on the logits that are left (the largest is a sample of their softmax), so `generate`
    stays greedy, and a row's draws do not depend on its neighbours.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int], mask: torch.Tensor) -> None:
        import torch

        self._sampling, self._mask = sampling, mask
        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        import torch

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


def _is_plain(sampling: Sampling) -> bool:
    return not sampling.temperature and sampling.repeat_penalty == 1


class Vllm:
    """A model folder in vLLM in this process, with a LoRA adapter or not.

    vLLM applies the temperature before top_p and min_p; where that matters, `facts` says so.
    """

    name = "vllm"

    def __init__(self, folder: Path, adapter: Path | None, *, num_ctx: int, concurrency: int) -> None:
        folder, adapter = _adapter_of(folder, adapter)
        found = locate.resolve(Model(base=str(folder)))
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
        self._vllm = vllm
        self._tokenizer = locate.load_tokenizer(folder)
        rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"] if adapter else 0
        lora = {"enable_lora": True, "max_lora_rank": _lora_rank(int(rank))} if adapter else {}
        self._lora = LoRARequest("adapter", 1, str(adapter)) if adapter else None
        num_ctx = min(num_ctx, _trained_context(folder) or num_ctx)
        self._llm = vllm.LLM(
            model=str(folder),
            dtype="auto",
            max_model_len=num_ctx,
            max_num_seqs=concurrency,
            generation_config="vllm",  # the folder's own would bring samplers of its own
            trust_remote_code=False,
            **lora,
        )
        self._ends = _end_ids(folder, self._tokenizer)
        self.model = str(folder) if adapter is None else f"{folder} + {adapter}"
        self.num_ctx, self.concurrency = num_ctx, concurrency
        self.facts: EngineFacts = {
            "versions": {"vllm": vllm.__version__},
            "digest": _folder_digest(found, adapter),
            "dtype": str(self._llm.llm_engine.model_config.dtype).removeprefix("torch."),
            "device": "cuda",
            "num_ctx": num_ctx,
            "end_tokens": self._ends,
            "differences": ["temperature is applied before top_p and min_p"],
        }

    def prompt_ids(self, messages: Messages) -> list[int]:
        return locate.prompt_ids(self._tokenizer, messages)

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        ids = _fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self.num_ctx, arrived)
        order = list(ids)
        some = 8 * self.concurrency  # `generate` gives nothing before all are done
        for start in range(0, len(order), some):
            part = order[start : start + some]
            settings = [
                self._vllm.SamplingParams(
                    max_tokens=min(sampling.max_tokens, self.num_ctx - len(ids[index])),
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
                text = str(self._tokenizer.decode(out.token_ids, skip_special_tokens=True))
                text = _cut(text, sampling.stops)[0]
                arrived(index, ended(text, out.finish_reason, len(out.token_ids), len(ids[index])))

    def close(self) -> None:
        del self._llm


def _lora_rank(rank: int) -> int:
    """The least of the ranks that vLLM has kernels for."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), rank)


def _adapter_of(folder: Path, adapter: Path | None) -> tuple[Path, Path | None]:
    """Base and adapter; a folder that is itself an adapter names its base."""
    settings = files.read_json(folder / "adapter_config.json")
    if adapter is not None or settings is None or (folder / "config.json").exists():
        if adapter is not None and not (adapter / "adapter_config.json").exists():
            raise ReasonerError(f"{adapter} is no adapter", why="it has no adapter_config.json", code=USAGE)
        return folder, adapter
    named = str(settings.get("base_model_name_or_path") or "")
    return locate.locate(Model(base=named)), folder


def _trained_context(folder: Path) -> int | None:
    found = (files.read_json(folder / "config.json") or {}).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else None


def _end_ids(folder: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a completion: the template's end of turn, and what the folder itself names."""
    found = [int(tokenizer.eos_token_id)]
    for name in ("generation_config.json", "config.json"):
        named = (files.read_json(folder / name) or {}).get("eos_token_id")
        found += [named] if isinstance(named, int) else named or []
    return sorted(set(found))


def _folder_digest(found: locate.Base, adapter: Path | None) -> str:
    """Identity of a folder: weights, config and tokenizer, and the adapter's."""
    parts = {name: output.sha256 for name, output in found.files.items()}
    if adapter is not None:
        names = ("adapter_config.json", "adapter_model.safetensors")
        parts |= {f"adapter {name}": files.sha256_file(adapter / name) for name in names if (adapter / name).exists()}
    return "sha256:" + files.sha256_json(parts)


def _fitting(ids: list[list[int]], num_ctx: int, arrived: Arrived) -> dict[int, list[int]]:
    """The prompts that leave room for an answer; the others are refused."""
    for index, prompt in enumerate(ids):
        if len(prompt) >= num_ctx:
            why = f"a prompt of {len(prompt)} tokens does not fit a context of {num_ctx}"
            arrived(index, Answer("", "unanswered", 0, len(prompt), why))
    return {index: prompt for index, prompt in enumerate(ids) if len(prompt) < num_ctx}


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Text up to the first stop, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _finished(text: str, is_ended: bool, num_tokens: int, ids: Sequence[int], sampling: Sampling) -> Answer:
    text, is_cut = _cut(text, sampling.stops)
    return Answer(text, "stop" if is_ended or is_cut else "length", num_tokens, len(ids))


# -- GGUF files --------------------------------------------------------------------------------


class LlamaCpp:
    """A GGUF in llama.cpp in this process, on the CPU: asked by the file's own chat template and tokenizer."""

    name = "llama.cpp"

    def __init__(self, path: Path, *, num_ctx: int, concurrency: int, num_thread: int | None) -> None:
        threads = num_thread or os.cpu_count() or 1
        self._sampler = sampler.Sampler(path, width=concurrency, context=num_ctx, threads=threads, repack=True)
        template = self._sampler.chat_template
        if not template:
            self._sampler.close()
            raise ReasonerError(
                f"{path.name} has no chat template", fix="convert it from a folder with one", code=USAGE
            )
        self._template = template
        num_ctx = self._sampler.context
        self.model, self.num_ctx = str(path), num_ctx
        self.facts: EngineFacts = {
            "versions": {"llama.cpp": install.llama_cpp().version},
            "digest": "sha256:" + files.sha256_file(path),
            "bytes": path.stat().st_size,
            "device": "cpu",
            "num_ctx": num_ctx,
            "threads": threads,
        }

    def prompt_ids(self, messages: Messages) -> list[int]:
        from transformers.utils.chat_template_utils import render_jinja_template

        bos, eos = self._sampler.special_token("bos"), self._sampler.special_token("eos")
        names = {"bos_token": bos[1] if bos else "", "eos_token": eos[1] if eos else ""}
        rendered, _ = render_jinja_template(
            [messages], chat_template=self._template, add_generation_prompt=True, **names
        )
        ids = self._sampler.encode(rendered[0])
        # As llama.cpp's server does: the BOS that the file asks for, unless the template has put it there.
        if bos and self._sampler.adds_bos and ids[:1] != [bos[0]]:
            ids = [bos[0], *ids]
        return ids

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        ids = _fitting([self.prompt_ids(prompt.messages) for prompt in prompts], self.num_ctx, arrived)
        order = list(ids)
        own = self._sampler

        def done(place: int, tokens: list[int]) -> None:
            index = order[place]
            arrived(index, _finished(own.decode(tokens), own.is_end(tokens[-1]), len(tokens), ids[index], sampling))

        own.complete(
            [ids[index] for index in order],
            [prompts[index].seed for index in order],
            done,
            sampling,
            is_over=lambda tokens: bool(sampling.stops) and _cut(own.decode(tokens), sampling.stops)[1],
        )

    def close(self) -> None:
        self._sampler.close()


# -- servers -----------------------------------------------------------------------------------


THINKING = "the server takes the thinking out of completions: its tokens are counted, its text is not there"


class Ollama:
    """A tag in Ollama, asked by `/api/chat`: the server renders the prompt. The tag's own stops hold too."""

    name = "ollama"

    def __init__(
        self, client: ollama.Client, tag: str, *, num_ctx: int, concurrency: int, num_thread: int | None
    ) -> None:
        digest = client.digest(tag)
        if digest is None:
            names = [str(found["name"]).removesuffix(":latest") for found in client.list_tags()]
            fix = nearest(tag, names) if names else f"ollama pull {tag}"
            raise ReasonerError(f"the Ollama at {client.host} has no model {tag!r}", fix=fix, code=USAGE)
        shown = client.show(tag)
        self._client, self.model, self.concurrency = client, tag, concurrency
        pinned = ollama.shown_parameters(shown)
        self._own_stops = tuple(map(str, pinned.get("stop", ())))
        info = shown.get("model_info") or {}
        trained = info.get(f"{info.get('general.architecture')}.context_length")
        num_ctx = min(num_ctx, trained) if isinstance(trained, int) and trained > 0 else num_ctx
        self._options = {"num_ctx": num_ctx, **({} if num_thread is None else {"num_thread": num_thread})}
        self.facts: EngineFacts = {
            "versions": {"ollama": client.version()},
            "digest": digest,
            "host": str(client.host),
            "dtype": (shown.get("details") or {}).get("quantization_level"),
            "num_ctx": num_ctx,
            "tag_parameters": pinned,
            "tag_system": shown.get("system") or None,
        }

    def prompt_ids(self, messages: Messages) -> list[int]:
        try:
            return self._client.prompt_ids(self.model, messages, self._options)
        except ReasonerError as error:
            if not _is_beyond_context(error):
                raise
            return self._client.prompt_ids(self.model, messages)

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
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
            # A list in a request takes the place of the tag's own.
            **({"stop": [*self._own_stops, *sampling.stops]} if sampling.stops else {}),
        }

        def one(prompt: Prompt) -> Answer:
            try:
                found = self._client.chat(
                    self.model, prompt.messages, {**options, "seed": prompt.seed}, truncate=False, shift=False
                )
            except ReasonerError as error:
                if not _is_beyond_context(error):
                    raise
                return Answer("", "unanswered", 0, 0, why=str(error.why))
            message = found.get("message") or {}
            if message.get("thinking"):
                differ(self, THINKING)
            return ended(
                str(message.get("content") or ""),
                found.get("done_reason"),
                int(found.get("eval_count") or 0),
                int(found.get("prompt_eval_count") or 0),
            )

        _in_threads(prompts, one, self.concurrency, arrived)

    def close(self) -> None:
        return  # the client is the caller's, and a server of ours serves on


def _is_beyond_context(error: ReasonerError) -> bool:
    return "exceed_context_size" in str(error.why)


class OpenAI:
    """A model behind an OpenAI-compatible URL, asked by chat completions: `http://host:port/v1#MODEL`.

    Every sampling option goes with every request, since servers have defaults of their own there (Ollama takes
    temperature 1 whatever the Modelfile says). Options outside the published interface are sent too until the server
    refuses them; Ollama's passes over them in silence, so there they are refused here. The key is `OPENAI_API_KEY`.
    """

    name = "openai"

    def __init__(self, model: str, *, concurrency: int) -> None:
        import httpx

        url, _, name = model.partition("#")
        self.url, self.concurrency = url.rstrip("/").removesuffix("/chat/completions"), concurrency
        where = ollama.host(self.url.removesuffix("/v1"))
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
            raise ReasonerError(
                f"{self.url} has no model {self._name!r}" if self._name else f"which model of {self.url}?",
                fix=f"{self.url}#MODEL; " + nearest(self._name, served),
                code=USAGE,
            )
        self.model = f"{self.url}#{self._name}"
        self._takes_more = True
        self.facts: EngineFacts = {"versions": {}, "digest": None, "host": str(where), "differences": []}
        self._is_ollama = False
        with suppress(ReasonerError):  # something else answers there
            info = ollama.probe(where)
            if info is not None:
                self._is_ollama = True
                self._describe_ollama(ollama.Client(where), info.version)

    def _describe_ollama(self, client: ollama.Client, version: str) -> None:
        with client:
            shown = client.show(self._name)
            pinned = ollama.shown_parameters(shown)
            self.facts |= {
                "versions": {"ollama": version},
                "digest": client.digest(self._name),
                "dtype": (shown.get("details") or {}).get("quantization_level"),
                "tag_parameters": pinned,
                "tag_system": shown.get("system") or None,
            }
        self.facts["differences"].append(
            "num_ctx, top_k, min_p and repeat_penalty are those of the tag: Ollama takes none of them through /v1"
        )

    def _served(self) -> list[str]:
        try:
            found = self._http.get(f"{self.url}/models")
            found.raise_for_status()
            return [str(one["id"]) for one in found.json()["data"]]
        except self._http_error() as error:
            raise ReasonerError(
                f"{self.url} does not answer as an OpenAI-compatible server",
                why=f"GET {self.url}/models: {str(error)[:300] or type(error).__name__}",
                fix="the URL ends before /chat/completions, mostly in /v1; a key goes into OPENAI_API_KEY",
                code=MISSING,
            ) from None

    @staticmethod
    def _http_error() -> tuple[type[Exception], ...]:
        import httpx

        return (httpx.HTTPError, ValueError, LookupError, TypeError)

    def prompt_ids(self, messages: Messages) -> list[int] | None:
        if not self._is_ollama:
            return None
        with ollama.Client(ollama.host(self.url.removesuffix("/v1"))) as client:
            return client.prompt_ids(self._name, messages)

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        more = {
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repeat_penalty,  # vLLM's name
            "repeat_penalty": sampling.repeat_penalty,  # llama.cpp's
        }
        needs_more = bool(sampling.top_k or sampling.min_p or sampling.repeat_penalty != 1)
        if needs_more and self._is_ollama:
            raise ReasonerError(
                "Ollama takes no top_k, min_p or repeat_penalty through /v1",
                fix=f"leave them off, or name the tag itself: {self._name}",
                code=USAGE,
            )
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

        def one(prompt: Prompt) -> Answer:
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

        _in_threads(prompts, one, self.concurrency, arrived)

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """One request; a server that says to wait is asked again."""
        import httpx

        for wait_s in (1.0, 4.0, 15.0, 60.0, None):
            try:
                found = self._http.post(f"{self.url}/chat/completions", json=body)
            except httpx.TransportError as error:
                raise ReasonerError(
                    f"{self.url} went away",
                    why=str(error) or type(error).__name__,
                    fix="run the command again; what is done stays done",
                    code=FAILED,
                ) from None
            if found.status_code not in (429, 502, 503, 504) or wait_s is None:
                break
            asked = found.headers.get("retry-after", "")
            time.sleep(min(float(asked), 120.0) if asked.isdigit() else wait_s)
        return found

    def _read(self, found: httpx.Response) -> Answer:
        if _is_too_long(found):
            return Answer("", "unanswered", 0, 0, why=found.text[:300])
        try:
            found.raise_for_status()
            value = found.json()
            choice, usage = value["choices"][0], value.get("usage") or {}
            message, reason = choice["message"], choice["finish_reason"]
            if message.get("reasoning") or message.get("reasoning_content"):
                differ(self, THINKING)
            text = str(message.get("content") or "")
        except self._http_error() as error:
            raise ReasonerError(
                f"{self.url} refused a request (HTTP {found.status_code})",
                why=found.text[:500] or str(error),
                code=FAILED,
            ) from None
        counts = int(usage.get("completion_tokens") or 0), int(usage.get("prompt_tokens") or 0)
        return ended(text, reason, *counts)

    def close(self) -> None:
        self._http.close()


def _is_too_long(found: httpx.Response) -> bool:
    said = found.text.lower() if found.status_code == 400 else ""
    return any(sign in said for sign in ("exceed_context_size", "context_length_exceeded", "maximum context length"))


def _in_threads(prompts: Sequence[Prompt], one: Callable[[Prompt], Answer], concurrency: int, arrived: Arrived) -> None:
    """Ask `one` of every prompt from several threads, and hand over the answers in this one."""
    # Daemon threads and not an executor: the interpreter would wait for its threads, and so an interrupt for a server.
    waiting: queue.SimpleQueue[tuple[int, Prompt]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Answer | BaseException]] = queue.SimpleQueue()
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            try:
                index, prompt = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, one(prompt)))
            except BaseException as error:  # noqa: BLE001  (raised again where the answers are collected)
                done.put((index, error))

    for item in enumerate(prompts):
        waiting.put(item)
    for _ in range(min(concurrency, len(prompts))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in prompts:
            index, answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            arrived(index, answer)
    finally:
        is_over.set()
