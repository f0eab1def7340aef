"""Further Ollama servers (`serve.hosts`): each gets what a watch has made public, when it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from reasoner import files, runs
from reasoner.errors import ReasonerError
from reasoner.export import register
from reasoner.export.facts import MODELFILE, REGISTER
from reasoner.pipeline.job import Job
from reasoner.serving import history, host, tags
from reasoner.serving.client import Client


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


def load(run: runs.Run) -> dict[str, HostState]:
    """The states of a run's further servers, by name."""
    stored = files.read_json(run.path / "hosts.json") or {}
    return {name: files.parse(HostState, state) for name, state in stored.items()}


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
        states = load(job.run)
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
