"""Where a watch passes on what it made public: further servers (`serve.hosts`), and a command (`watch.notify`)."""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace

from reasoner import files, runs
from reasoner.errors import USAGE, ReasonerError
from reasoner.export import register
from reasoner.export.facts import MODELFILE, REGISTER
from reasoner.pipeline.job import Job
from reasoner.serving import history, host, tags
from reasoner.serving.client import Client
from reasoner.serving.history import Event


@dataclass(frozen=True)
class HostState:
    """Is what a further server has, and when it was last tried (seconds since 1970); a line of `hosts.json`."""

    tried: float = 0.0
    of: str | None = None
    """Digest of the public model that it was brought to."""
    digest: str | None = None
    """Digest of that model on the further server."""
    tag: str | None = None
    error: str | None = None


@dataclass
class Hosts:
    """Brings further servers to what is public; says once what keeps one behind."""

    say: Callable[[str], None]
    tell: Callable[..., None]
    """`tell(step, event, **facts)` appends an event to the history."""
    _behind: dict[str, str] = field(default_factory=dict)

    def serve(self, job: Job, *, is_last: bool = False) -> None:
        """Brings each server that lacks the public model to it; one that was silent is asked again after `retry_s`."""
        stack = history.promotions(job.run)
        public = tags.public(job.config, job.client) if job.config.serve.hosts and stack else None
        wanted = next((one for one in reversed(stack) if public and one.digest == public.digest), None)
        if public is None or wanted is None or wanted.step is None:
            return
        stored = files.read_json(job.run.path / "hosts.json") or {}
        states = {name: files.parse(HostState, state) for name, state in stored.items()}
        for name in job.config.serve.hosts:
            state = states.get(name, HostState())
            is_due = is_last or time.time() - state.tried >= job.config.watch.retry_s
            if state.of == public.digest or not is_due:
                continue
            states[name] = self._serve_one(name, job.at(wanted.step), replace(state, tried=time.time()), public.digest)
            files.write_json(job.run.path / "hosts.json", {key: asdict(value) for key, value in states.items()})

    def _serve_one(self, name: str, job: Job, state: HostState, wanted: str) -> HostState:
        try:
            made, pinned = job.need(REGISTER).facts.tuned, job.need(MODELFILE).facts.pinned
            file = register.Servable(job.tuned_gguf, made.gguf_sha256, pinned, job.base_model)
            with Client(host.parse(name)) as client:
                model = register.put(job.config, client, made.tag, file, self.say)
                tags.point(job.config, client, model)
                _retain(job.run, name, client, made.tag)
        except ReasonerError as error:
            if self._behind.get(name) != error.what:
                self._behind[name] = error.what
                self.say(f"{name} is behind: {error.what}")
            return replace(state, error=error.what)
        self._behind.pop(name, None)
        self.tell(job.step, "served", host=name, digest=model.digest, tag=model.tag)
        self.say(f"{name} serves {made.tag} too")
        return replace(state, of=wanted, digest=model.digest, tag=model.tag, error=None)


def _retain(run: runs.Run, name: str, client: Client, newest: str) -> None:
    """Of the steps that this run brought to a further server, the newest and the one before stay."""
    brought = [one.tag for one in history.events(run) if one.event == "served" and one.host == name]
    for tag in list(dict.fromkeys(tag for tag in brought if tag and tag != newest))[:-1]:
        tags.drop(client, tag)


# -- a command of the person's ---------------------------------------------------------------------


@contextlib.contextmanager
def sender(command: str | None, once: Callable[[str], None]) -> Iterator[Callable[[Event], None]]:
    """Gives what passes an event to the command, as JSON on its input and without a shell, one at a time.

    `once` is told what goes wrong with it. Raises where the command cannot be split into words.
    """
    try:
        argv = shlex.split(command or "")
    except ValueError as error:
        raise ReasonerError("watch.notify is no command", why=str(error), code=USAGE) from None
    if not argv:
        yield lambda event: None
        return
    waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def work() -> None:
        while (event := waiting.get()) is not None:
            try:
                done = subprocess.run(
                    argv, input=json.dumps(event.as_json()), text=True, timeout=30, check=False,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                once(f"watch.notify: {error}")
                continue
            if done.returncode:
                once(f"watch.notify: `{argv[0]}` ended with {done.returncode}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        thread.join(35)
