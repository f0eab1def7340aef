"""`watch.notify`: a command of the person's that gets each event as JSON on its standard input, without a shell."""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator

from reasoner.errors import USAGE, ReasonerError
from reasoner.serving.history import Event


@contextlib.contextmanager
def sender(command: str | None, once: Callable[[str], None]) -> Iterator[Callable[[Event], None]]:
    """Gives what passes an event to the command, one at a time, without holding the watch up.

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
