"""Which checkpoint is next, and what becomes of it; nothing here knows how to export or to score one.

A checkpoint counts when it is complete. Our trainer writes `DONE` last; in a folder of another trainer's, the adapter
must open, its tensors must fill the file to the byte, and nothing in the folder may have moved for a while of our own
clock: a modification time alone says nothing after a copy. The adapter is copied out first, so that pruning cannot hurt
an export; what is wrong with it (another base, missing tensors) is said once, and it is tried again only when its file
has changed.

Every step that was seen ends in one of `skipped`, `promoted`, `kept` or `failed`, in the run's `history.jsonl`. A
watcher that was killed finds there, and in `exports/`, what it had begun: it goes on with the newest and clears up the
others.
What this module does not do: it deletes nothing that its own history does not name, and no tag that a person made.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reasoner import runs
from reasoner.errors import ReasonerError
from reasoner.export import adapters
from reasoner.pipeline import checkpoint, outlets
from reasoner.pipeline.job import Job
from reasoner.serving import history, tags
from reasoner.serving.history import Event

ENDS = ("skipped", "promoted", "kept", "failed")
"""Events after which a step is done with; `failed` only where it says `final`."""
ATTEMPTS = 3
"""Times an export is tried before its step has failed for good, while the server is away not counted."""


class Watcher:
    """One watcher of one run.

    `make` gives a fresh job (a server that went away is then found, or started, again). Every event goes to `on_event`
    as it is appended to the history.
    """

    def __init__(
        self,
        make: Callable[[], Job],
        on_event: Callable[[Event], None],
        say: Callable[[str], None],
        every: int | None = None,
        keep: int | None = None,
    ) -> None:
        self.make, self.on_event, self.say, self.every, self.keep = make, on_event, say, every, keep
        self.job = make()
        self.run_, self.settings = self.job.run, self.job.config.watch
        self.folder = checkpoint.checkpoints_dir(self.job)
        self.pending: dict[int, Path] = {}
        self._seen: set[int] = set()
        self._known: set[int] = set()
        self._still: dict[int, tuple[object, float]] = {}
        self._refused: dict[int, str] = {}
        self._said: set[str] = set()
        self._lock, self._arrived = threading.RLock(), threading.Event()
        self._broken: BaseException | None = None
        self._hosts = outlets.Hosts(say, self.tell)

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Until `is_over`, and nothing is left to do. The caller holds the run's `watch` lock."""
        import peft  # noqa: F401  (seconds, in which a fast trainer saves and prunes: not while a checkpoint is taken)

        with outlets.sender(self.settings.notify, self._once) as self._sink:
            try:
                self._recover()
                with self._scouted():
                    self._until(is_over)
            except BrokenPipeError:
                raise  # nobody reads the events any more
            except OSError as error:
                self._check_folder()  # it may have been moved at any moment
                fix = "reasoner watch RUN goes on from the run's history"
                raise ReasonerError("the watch cannot go on", why=str(error), fix=fix) from None

    def _until(self, is_over: Callable[[], bool]) -> None:
        while True:
            ending = is_over()  # asked before the last look, so that nothing slips in between
            if ending:
                self.scan()
            if self._broken:
                raise self._broken
            self._check_folder()
            step = self._next()
            if step is not None:
                self._process(step)
                continue
            self._hosts.serve(self.job, is_last=ending)
            if ending:
                for step in sorted(self._seen - self._known):
                    self.say(f"step {step} is left for the next watch")
                return
            self._arrived.wait(self.settings.poll_s)
            self._arrived.clear()

    def _check_folder(self) -> None:
        if not self.run_.config_path.exists():
            why = f"{self.run_.path} was moved or removed"
            fix = "reasoner watch RUN, where it is now: it goes on from its history"
            raise ReasonerError(f"the folder of run {self.run_.name} is gone", why, fix)

    def tell(self, step: int | None, event: str, **facts: Any) -> None:
        self._check_folder()  # or the history would begin anew at the old place
        row = history.tell(self.run_, step, event, **facts)
        if event not in ("removed", "served"):  # the history's own: the stream has the contract's words
            self._pass_on(row)

    def _pass_on(self, row: Event) -> None:
        self.on_event(row)
        self._sink(row)

    # -- discovery

    @contextlib.contextmanager
    def _scouted(self) -> Iterator[None]:
        """Looks for checkpoints beside the exports, which take minutes: a trainer may prune in the meantime."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in ("created", "modified", "moved", "closed"):  # our own reading is not news
                    changed.set()

        def scout() -> None:
            try:
                while not over.is_set():
                    changed.wait(self.settings.poll_s)  # the poll: network file systems send no events
                    changed.clear()
                    if not over.is_set() and self.run_.config_path.exists():
                        self.scan()
            except BaseException as error:  # noqa: BLE001  (raised again where the watcher waits)
                self._broken = error
                self._arrived.set()

        changed, over, observer = threading.Event(), threading.Event(), Observer()
        try:
            if not self.settings.checkpoints:
                self.folder.mkdir(parents=True, exist_ok=True)
            observer.schedule(Handler(), str(self.folder), recursive=True)
            observer.start()
        except OSError as error:
            self.say(f"no file events from {self.folder} ({error}): looking every {self.settings.poll_s:g} s")
        thread = threading.Thread(target=scout, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            changed.set()
            if observer.is_alive():
                observer.stop()
                observer.join(5)
            thread.join(30)

    def scan(self) -> None:
        """Take every checkpoint that has become complete."""
        with self._lock:
            folders = checkpoint.by_step(self.folder)
            for step in self._refused.keys() & folders.keys():
                if _stamp(folders[step]) not in ("", self._refused[step]) and not self._is_fresh(step, folders[step]):
                    del self._refused[step]  # saved again: it is looked at as if it were new
                    self._known.discard(step)
                    self._seen.discard(step)
            ready = sorted(n for n, path in folders.items() if n not in self._known and self._is_complete(n, path))
            for step in ready:
                self._take(step, folders[step])
            newest = max((n for n in self._known if n in folders), default=-1)
            for step in sorted(n for n in folders if n not in self._seen and not self._is_fresh(n, folders[n])):
                if step < newest:
                    self._see(step)
                    self._skip(step, "never completed, and a newer one is")
                elif self.settings.checkpoints:
                    self._once(f"step {step} is still and not whole: it is passed over unless it completes")

    def _is_complete(self, step: int, folder: Path) -> bool:
        if (folder / "DONE").exists():
            return True
        if not self.settings.checkpoints and (self.run_.path / "metrics.jsonl").exists():
            return False  # our trainer writes metrics with its first step; from then on only its marker counts
        return not self._is_fresh(step, folder) and _is_decided(folder)

    def _is_fresh(self, step: int, folder: Path) -> bool:
        """Whether anything in the folder has moved within the last `settle_s` of our own clock."""
        found = []
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(OSError):
                stat = path.stat()
                found.append((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino))
        now = time.monotonic()
        before, since = self._still.get(step, (None, now))
        if before != found:
            self._still[step] = (found, now)
            return True
        return now - since < self.settings.settle_s

    def _see(self, step: int) -> None:
        if step not in self._seen:
            self._seen.add(step)
            self.tell(step, "seen")

    def _take(self, step: int, folder: Path) -> None:
        self._see(step)  # before anything is written: what a killed watcher leaves has a name
        if self.every and step % self.every:
            self._known.add(step)
            self._skip(step, f"not a multiple of {self.every}")
            return
        self._refused[step] = _stamp(folder)  # until it is admitted
        if why := adapters.not_an_adapter(folder):
            self._known.add(step)
            self._skip(step, why, file=self._refused[step])
            return
        try:
            checkpoint.take(self.job.at(step), folder)
        except (FileNotFoundError, PermissionError, IsADirectoryError, shutil.SpecialFileError) as error:
            self._known.add(step)
            self._skip(step, f"unreadable: {error}" if folder.exists() else "vanished before it could be copied")
        except OSError as error:  # no room: it is tried again at the next look
            self._once(f"step {step} cannot be copied: {error}")
        else:
            self._known.add(step)
            self._admit(step)

    def _admit(self, step: int) -> None:
        stamp = self._refused.setdefault(step, _stamp(self.folder / f"checkpoint-{step}"))
        try:
            checkpoint.admit(self.job.at(step))
        except ReasonerError as error:
            self._skip(step, error.why or error.what, file=stamp)
        except OSError as error:  # no room for the repaired one: it is tried again at the next look
            self._known.discard(step)
            self._once(f"step {step} cannot be repaired: {error}")
        else:
            self._refused.pop(step, None)
            self.pending[step] = self.job.at(step).adapter
            self._arrived.set()

    def _next(self) -> int | None:
        """The step to export now. Those that piled up give way to the newest, unless asked otherwise."""
        with self._lock:
            steps = sorted(self.pending)
            if self.every is None or self.keep is not None:
                for step in steps[: -(self.keep or 1)]:
                    del self.pending[step]
                    self._skip(step, f"superseded by step {steps[-1]}")
                steps = steps[-(self.keep or 1) :]
            return steps[0] if steps else None

    # -- what becomes of one

    def _process(self, step: int) -> None:
        with self._lock:
            self.pending.pop(step)
        attempt, is_away = 0, False
        while True:
            try:
                self.job = self.make()
                self._one(step)
                break
            except Exception as error:  # noqa: BLE001  (one bad export must not end the watch)
                known = isinstance(error, ReasonerError | OSError)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                was_away, is_away = is_away, not self._server_answers()
                attempt += not is_away
                is_final = attempt == ATTEMPTS
                self._sweep(step)
                if not (was_away and is_away):
                    self.tell(step, "failed", reason=reason[:2000], attempt=attempt, final=is_final)
                if is_final:
                    self._drop(step)
                    break
            if self._superseded_while(step, self.settings.retry_s * 2 ** max(attempt - 1, 0)):
                self._skip(step, f"superseded by step {max(self.pending)}")
                return
            self._check_folder()
        try:
            with runs.lock(self.run_, "export", self.say):
                self._retain(self.job)
        except ReasonerError as error:
            self._once(f"older exports stay for now: {error.what}")
        self._hosts.serve(self.job, is_last=True)

    def _server_answers(self) -> bool:
        """A server that is away is no fault of the checkpoint's: it is waited for."""
        try:
            return bool(self.job.client.version())
        except ReasonerError as error:
            self._once(f"waiting for Ollama: {error.what}")
            return False

    def _superseded_while(self, step: int, seconds: float) -> bool:
        """Wait before the next attempt; true as soon as a newer step makes it needless."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.run_.config_path.exists():
            if self.every is None and any(other > step for other in list(self.pending)):
                return True
            self._arrived.wait(min(1.0, seconds))
            self._arrived.clear()
        return False

    def _one(self, step: int) -> None:
        job = self.job.at(step)
        if not job.adapter.exists():
            raise ReasonerError(f"the adapter of step {step} is gone", why=f"{job.adapter} was removed")
        made = checkpoint.export(job)
        self.tell(step, "exported", by="reasoner watch", **made.event())
        started = time.monotonic()
        found = checkpoint.gate(job)
        figures = checkpoint.figures(found, "metric", "n", "score", "score_ci95", "against_score", "points", "lower")
        seconds = round(time.monotonic() - started, 2)
        self.tell(step, "scored", **figures, against=found.against.tag, seconds=seconds)
        event = checkpoint.promote_step(job, "reasoner watch", found) if found.passed else None
        if event is not None:
            self._pass_on(event)
        else:
            reason = "it is the public model" if found.passed else "; ".join(found.why)
            self.tell(step, "kept", tag=made.tag, reason=reason, score=found.score)

    def _skip(self, step: int, reason: str, **facts: Any) -> None:
        self._drop(step)
        self.tell(step, "skipped", reason=reason, **facts)

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    # -- clearing up

    def _sweep(self, step: int) -> None:
        """Half-written files of one export."""
        folder = self.job.at(step).export
        for path in [*folder.glob("partial-*"), *folder.glob("*.partial"), *folder.glob("gate/completions/partial-*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path in (self.run_.path / "base").glob("partial-reference.*"):
            path.unlink(missing_ok=True)

    def _drop(self, step: int) -> None:
        """Forget an export: its tag where it is ours, and its folder but for what was answered and scored."""
        job = self.job.at(step)
        if self._is_the_runs(step):
            return
        tag = tags.step_tag(job.config, step)
        try:
            tags.drop(job.client, tag)
        except ReasonerError as error:  # the next watcher drops it
            self._once(f"{tag} stays for now: {error.what}")
        for path in job.export.glob("*") if job.export.exists() else ():
            if path.name not in ("gate", "gate.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            job.export.rmdir()

    def _is_the_runs(self, step: int) -> bool:
        """What the training ended with belongs to `reasoner run`, from when that may begin to export it."""
        if (self.job.at(step).export / "evaluate.json").exists():
            return True
        return step == self.job.step and runs.is_locked(self.run_)

    def _retain(self, job: Job) -> None:
        """Keep the public model, the one before it, and the best others; of what the watch exported the rest goes."""
        mine: dict[int, Event] = {}
        scores: dict[int, float] = {}
        for one in history.events(self.run_):
            if one.step is None:
                continue
            if one.event == "exported":
                mine[one.step] = one
            elif one.event == "scored" and one.score is not None:
                scores[one.step] = one.score
            elif one.event == "removed":
                mine.pop(one.step, None)
        stack = history.promotions(self.run_)
        guarded = {one.digest for one in stack[-2:]} | {one.previous.digest for one in stack[-1:] if one.previous}
        public = tags.public(job.config, job.client)
        guarded.add(public.digest if public else None)
        others = [step for step, one in mine.items() if one.digest not in guarded]
        others.sort(key=lambda step: (scores.get(step, -math.inf), step), reverse=True)
        for step in others[self.settings.keep_best :]:
            is_ours = mine[step].by == "reasoner watch" and not self._is_the_runs(step)
            if step not in self.pending and is_ours:
                self._drop(step)
                self.tell(step, "removed", tag=mine[step].tag)

    def _recover(self) -> None:
        """Bring what a killed watcher left to an end."""
        with runs.lock(self.run_, "export", self.say):
            if settled := history.settle(self.job.config, self.job.client, self.run_):
                self._pass_on(settled)
            last: dict[int, Event] = {}
            for row in history.events(self.run_):
                is_persons = row.event == "exported" and row.by != "reasoner watch"
                is_end = row.event in ("seen", *ENDS, "removed") and row.final is not False
                if row.step is not None and (is_persons or is_end):
                    last[row.step] = row
            self._seen |= last.keys()
            for step, row in sorted(last.items()):
                self._sweep(step)
                if row.file is not None:
                    self._refused[step] = row.file
                if row.event in ("skipped", "failed", "removed"):
                    self._drop(step)
                elif row.event == "seen" and adapters.is_whole(self.job.at(step).adapter / adapters.WEIGHTS):
                    self._known.add(step)
                    self._admit(step)
                    continue
                elif row.event == "seen":
                    if (self.folder / f"checkpoint-{step}").exists():
                        continue
                    self._skip(step, "its checkpoint is gone since the last watch")
                self._known.add(step)
            self._retain(self.job)


def _is_decided(folder: Path) -> bool:
    """Whether a folder in which nothing moves holds a whole adapter, or will never hold one."""
    return adapters.is_whole(folder / adapters.WEIGHTS) or adapters.not_an_adapter(folder) is not None


def _stamp(folder: Path) -> str:
    """Size and time of an adapter's files; "" where there are none."""
    found = []
    for name in (adapters.SHAPE, adapters.WEIGHTS, "adapter_model.bin"):
        with contextlib.suppress(OSError):
            stat = (folder / name).stat()
            found.append(f"{stat.st_size}:{stat.st_mtime_ns}")
    return " ".join(found)


# -- the whole command -------------------------------------------------------------------------


def run(
    run_: runs.Run,
    make: Callable[[], Job],
    on_event: Callable[[Event], None],
    say: Callable[[str], None],
    *,
    train: list[str] | None = None,
    every: int | None = None,
    keep: int | None = None,
) -> None:
    """Watch a run until its training has finished; with `train`, a command, start that as well.

    Without our trainer it goes on until it is interrupted. The training is a process of its own, and is ended with the
    watch: it goes on from its newest checkpoint.
    """
    with runs.lock(run_, "watch"), contextlib.ExitStack() as until_done:
        child, log = None, run_.log_path("watch-train")
        if train is not None and runs.is_locked(run_):
            say(f"run {run_.name} is being trained already")
        elif train is not None:
            say(f"training beside the watch (log: {log})")
            child = until_done.enter_context(_training(train, log))
            while not (run_.path / "base.json").exists() and child.poll() is None:
                time.sleep(0.2)
        if not run_.config_path.exists():
            raise ReasonerError(f"run {run_.name} did not start", log=log)

        def is_over() -> bool:
            if child is not None:
                return child.poll() is not None
            trained = (run_.path / "train.json").exists() and not runs.is_locked(run_)
            return trained and not watcher.settings.checkpoints

        watcher = Watcher(make, on_event, say, every, keep)
        watcher.watch(is_over)
        if child is not None and child.returncode:
            fix = "the same command goes on from the newest checkpoint"
            raise ReasonerError("the training beside the watch failed", f"exit {child.returncode}", fix, log)


@contextlib.contextmanager
def _training(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:  # a step longer than that: it goes on from its newest checkpoint
                child.kill()
                child.wait()
