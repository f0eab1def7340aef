"""Says what an engine is asked and what it answers, and holds what all of them do alike."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

from reasoner.llamacpp import sampler

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Limits:
    """Bounds what an engine may use."""

    concurrency: int = 8  # completions on their way at once
    num_ctx: int = 2048  # most tokens of prompt and completion together; fewer where the model was made for fewer
    num_thread: int | None = None  # CPU threads; None leaves it to the engine


@dataclass(frozen=True)
class Sampling(sampler.Sampling):
    """Holds the sampler settings, which go to every engine in full."""

    stops: tuple[str, ...] = ()  # texts besides the model's own end tokens

    @property
    def is_plain(self) -> bool:
        """Whether the most likely token is always taken, as the model gives it."""
        return not self.temperature and self.repeat_penalty == 1


@dataclass(frozen=True)
class Prompt:
    """Asks for one completion."""

    messages: Messages
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """Is one completion as the engine gave it.

    `finish_reason` is `stop`, `length`, or `unanswered` where the engine gave none (a prompt longer than its
    context, a filter): then `text` is empty and `why` says so.
    """

    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    why: str = ""


Arrived = Callable[[int, Answer], None]


class EngineFacts(TypedDict, total=False):
    """Says what is known of a model as it is asked; each engine says what it knows."""

    versions: dict[str, str]
    digest: str | None  # identity of the model; None where a URL does not tell
    dtype: str | None
    device: str
    host: str
    bytes: int
    num_ctx: int
    threads: int
    end_tokens: list[int]
    padding: dict[str, float]  # share of their spread by which padding moved a logit, and over how many tokens of it
    tag_parameters: dict[str, list[str]]
    tag_system: str | None
    think: bool  # what was sent with each request; not there where the server takes none
    differences: list[str]  # what differs from the other engines, in words


class Engine(Protocol):
    """Is a model ready to be asked."""

    name: str
    model: str
    facts: EngineFacts

    def prompt_ids(self, messages: Messages) -> list[int] | None:
        """Returns the token ids that the model will really see; None where that cannot be known."""

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling, arrived: Arrived) -> None:
        """Calls `arrived(index, answer)` in this thread as each is done, in any order. An interrupt ends it at once."""

    def close(self) -> None: ...


def differ(engine: Engine, what: str) -> None:
    """Records a difference from the other engines in the facts, once."""
    known = engine.facts.setdefault("differences", [])
    if what not in known:
        known.append(what)


def whole(thinking: str | None, content: str) -> str:
    r"""Returns a completion that a server has taken apart, as the model wrote it but for white space.

    A thought without an answer was never closed.

    >>> whole("2 + 3 = 5\n", "#### 5")
    '<think>\n2 + 3 = 5\n</think>\n\n#### 5'
    >>> whole("2 + 3 =", "")
    '<think>\n2 + 3 ='
    """
    if not thinking:
        return content
    return f"<think>\n{thinking.strip()}" + (f"\n</think>\n\n{content}" if content else "")


def ended(text: str, reason: object, tokens: int, prompt_tokens: int) -> Answer:
    """Returns what a server or library of others gave; one that ended in a way of its own is no completion to judge."""
    if reason in ("stop", "length"):
        return Answer(text, str(reason), tokens, prompt_tokens)
    why = "the server's content filter" if reason == "content_filter" else f"the engine ended it with {reason!r}"
    return Answer("", "unanswered", tokens, prompt_tokens, why[:300])


def finished(text: str, is_ended: bool, num_tokens: int, ids: Sequence[int], sampling: Sampling) -> Answer:
    """Returns what an engine in this process made of a prompt's ids."""
    text, is_cut = cut(text, sampling.stops)
    return Answer(text, "stop" if is_ended or is_cut else "length", num_tokens, len(ids))


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Returns the text up to the first stop, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def fitting(ids: list[list[int]], num_ctx: int, arrived: Arrived) -> dict[int, list[int]]:
    """Returns the prompts that leave room for an answer, by index; the others are answered with a refusal."""
    for index, prompt in enumerate(ids):
        if len(prompt) >= num_ctx:
            why = f"a prompt of {len(prompt)} tokens does not fit a context of {num_ctx}"
            arrived(index, Answer("", "unanswered", 0, len(prompt), why))
    return {index: prompt for index, prompt in enumerate(ids) if len(prompt) < num_ctx}


def in_threads(prompts: Sequence[Prompt], one: Callable[[Prompt], Answer], concurrency: int, arrived: Arrived) -> None:
    """Asks `one` of every prompt from several threads, and hands over the answers in this one."""
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
