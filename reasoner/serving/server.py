"""Finds the Ollama server to work with, and starts one on loopback where none runs.

A server that already answers at `OLLAMA_HOST` is used and never stopped. One we start outlives our process, and is
remembered by port under `cache_dir()/servers`, so that only that very process is ever ended. What is asked of a server
stands in `client`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reasoner import files
from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.machine.cache import Progress, cache_dir, locked, quiet, remove_tools
from reasoner.serving import install
from reasoner.serving.client import Client, tail
from reasoner.serving.host import Host, current, free_port, models_dir, probe

if TYPE_CHECKING:
    import psutil

START_S = 60.0
"""Longest wait for a server of ours to answer; it takes 1-2 s on an idle machine."""
PARALLEL = "8"
"""Answers at once from a server of ours, where the environment does not say: 263 tokens/s instead of 161 (LOG.md)."""
CACHE_MIB = "0"
"""Memory for prompts that may come again, where the environment does not say. llama.cpp's own limit is 8 GiB for each
model, and an evaluation fills 4 MiB of it with every problem (135 M parameters); none of them comes again."""
LOG_BYTES = 10 << 20
"""A server log larger than this is set aside before the next start."""


@dataclass(frozen=True)
class Server:
    """Describes a server that answers.

    `models_dir` is where it keeps models, None when another started it and we cannot know. `route` is how this Ollama
    came here: `running` (it was answering already), `PATH`, `release` or `module`.
    """

    host: Host
    version: str
    is_ours: bool
    """We started this very process."""
    pid: int | None = None
    log: Path | None = None
    models_dir: Path | None = None
    route: str = "running"

    def client(self, timeout_s: float = 600.0) -> Client:
        return Client(self.host, self.models_dir, self.log, timeout_s)


@dataclass(frozen=True)
class Started:
    """Remembers a server we started, to know that very process again."""

    pid: int
    started: float
    """When, in seconds since 1970; 0 where the process was gone before it could be asked."""
    machine: str
    port: int
    route: str
    models_dir: str

    @staticmethod
    def load(port: int) -> Started | None:
        try:
            return files.parse(Started, files.read_json(_note_path(port)))
        except ValueError:
            return None

    def save(self) -> None:
        files.write_json(_note_path(self.port), asdict(self))

    def process(self) -> psutil.Process | None:
        """Returns the process itself while it lives; a later process with the same number is not it."""
        import psutil

        if self.machine != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            command = process.cmdline()[-1:] or ["serve"]  # empty for a moment while a program is loaded
            is_same = abs(process.create_time() - self.started) < 5 and command == ["serve"]
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def end(self) -> bool:
        """Ends this very process and the model runners it started, and forgets it; False when it is gone already."""
        import psutil

        process = self.process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                family = [process, *process.children(recursive=True)]
                process.terminate()
                _, left = psutil.wait_procs(family, timeout=10)
                for one in left:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                psutil.wait_procs(left, timeout=5)
        _note_path(self.port).unlink(missing_ok=True)
        return process is not None


def _note_path(port: int) -> Path:
    return cache_dir() / "servers" / f"{port}.json"


def server_log(port: int) -> Path:
    return cache_dir() / "servers" / f"{port}.log"


def find_server() -> Server | None:
    """Returns the server that answers at `OLLAMA_HOST`; None when nothing listens there."""
    where = current()
    version = probe(where)
    if version is None:
        return None
    note = Started.load(where.port) if where.is_local else None
    if note is None or note.process() is None:
        return Server(where, version, is_ours=False)
    return Server(where, version, True, note.pid, server_log(note.port), Path(note.models_dir), note.route)


def ensure_server(progress: Progress = quiet) -> Server:
    """Returns a server to work with: the one that answers at `OLLAMA_HOST`, else one started here on loopback."""
    where = current()
    if not (found := find_server()):
        if not where.is_local:
            why = "OLLAMA_HOST names another machine, and a server is started only on this one"
            fix = "start it there, or unset OLLAMA_HOST to have one started here"
            raise ReasonerError(f"no Ollama answers at {where}", why, fix, code=MISSING)
        program = install.ollama_binary(progress)
        with locked("ollama-server", progress):
            found = find_server() or _start(where, program, progress)
    _require_version(found)
    return found


def _require_version(server: Server) -> None:
    version = tuple(int(part) for part in server.version.split("-")[0].split(".") if part.isdigit())
    if version < install.OLLAMA_MIN and version != (0, 0, 0):
        wanted = ".".join(map(str, install.OLLAMA_MIN))
        port = free_port(server.host.port + 1)
        why = f"it is version {server.version}; {wanted} or newer is needed for a GGUF's own chat template"
        fix = f"update it, or let reasoner bring its own: OLLAMA_HOST=127.0.0.1:{port} make reasoner"
        raise ReasonerError(f"the Ollama at {server.host} is too old", why, fix, code=MISSING)


def _start(where: Host, program: install.OllamaInstall, progress: Progress) -> Server:
    import psutil

    log, models = server_log(where.port), models_dir()
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.rename(log.with_suffix(".log.1"))
    progress(f"ollama {program.version}: starting a server on {where} ({program.path}; log: {log})")
    offset = log.stat().st_size if log.exists() else 0
    ours = {"OLLAMA_NUM_PARALLEL": PARALLEL, "LLAMA_ARG_CACHE_RAM": CACHE_MIB}
    env = {**ours, **os.environ, "OLLAMA_HOST": where.env, "OLLAMA_MODELS": str(models)}
    pid, started = _spawn_detached([str(program.path), "serve"], log, env), 0.0
    with suppress(psutil.Error):
        started = psutil.Process(pid).create_time()
    note = Started(pid, started, socket.gethostname(), where.port, program.route, str(models))
    note.save()
    deadline = time.monotonic() + START_S
    while note.process() is not None and time.monotonic() < deadline:
        with suppress(ReasonerError):  # half up: it listens before it answers
            version = probe(where)
            if version and note.process() is not None:
                return Server(where, version, True, pid, log, models, program.route)
        time.sleep(0.05)
    why = [f"no answer within {START_S:.0f} s" if note.end() else "it ended at once", *tail(log, offset)]
    fix = "see the log; another port: OLLAMA_HOST=127.0.0.1:11435 make reasoner"
    raise ReasonerError(f"the Ollama server on {where} did not start", "\n".join(why), fix, log, MISSING)


_SPAWN = """
import subprocess, sys
log, none = open(sys.argv[1], "ab"), subprocess.DEVNULL
print(subprocess.Popen(sys.argv[2:], stdin=none, stdout=log, stderr=log, start_new_session=True).pid)
"""


def _spawn_detached(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """Starts a program in a session of its own whose parent has already ended; returns its process number.

    So it outlives us, hears no Ctrl-C of ours, and is no zombie of ours when it dies.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _SPAWN, str(log), *argv]
    try:
        done = subprocess.run(
            launcher, env=dict(env), cwd=log.parent, capture_output=True, text=True, check=True, timeout=30
        )
    except subprocess.CalledProcessError as error:
        reason = str(error.stderr).strip().splitlines()[-1:]
        raise ReasonerError(f"`{argv[0]}` could not be started", why="".join(reason), code=MISSING) from error
    return int(done.stdout)


def stop_server(progress: Progress = quiet) -> bool:
    """Stops the server we started at `OLLAMA_HOST`; False when none of ours runs there.

    A server that another started is an error, and is left alone.
    """
    where = current()
    note = Started.load(where.port) if where.is_local else None
    with locked("ollama-server", progress):
        if note is not None and note.end():
            return True
    if probe(where):
        why = "only a server we started is stopped by us"
        fix = "stop it the way it was started (for example: systemctl stop ollama)"
        raise ReasonerError(f"the Ollama at {where} was not started by reasoner", why, fix, code=USAGE)
    return False


def stop_all() -> list[str]:
    """Stops every server we started and removes what was remembered of them; says which they were, a line each."""
    done, folder = [], cache_dir() / "servers"
    for path in sorted(folder.glob("*.json")):
        note = Started.load(int(path.stem)) if path.stem.isdigit() else None
        if note and note.end():
            done.append(f"stopped the server on port {note.port}")
    if folder.exists():
        shutil.rmtree(folder)
    return done


def uninstall_tools(progress: Progress = quiet) -> list[str]:
    """Stops every server we started, removes our link and the tools; models and foreign files stay.

    Registered tags are the caller's to delete first, while a server still answers.
    """
    done, link = stop_all(), install.link_path()
    if install.is_our_link(link):
        link.unlink()
        done.append(f"removed {link}")
    done += [f"removed {path}" for path in remove_tools()]
    with suppress(OSError):
        cache_dir().rmdir()  # only when nothing else is in it
    for line in done:
        progress(line)
    return done


@dataclass(frozen=True)
class ServeReport:
    """Says what `reasoner serve` did and what runs now."""

    action: Literal["started", "running", "stopped", "nothing"]
    """`running`: one answered already; `nothing`: asked to stop, and none of ours ran."""
    host: str
    server: Server | None

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"action": self.action, "host": self.host, "running": self.server is not None}
        if (server := self.server) is None:
            return found | {"ours": False} | dict.fromkeys(("version", "pid", "log", "models", "route"))
        log, models = (str(path) if path else None for path in (server.log, server.models_dir))
        found |= {"ours": server.is_ours, "version": server.version, "pid": server.pid}
        return found | {"log": log, "models": models, "route": server.route}


def serve(stop: bool = False, progress: Progress = quiet) -> ServeReport:
    """Starts the server (or says which one runs), or stops the one we started."""
    where = str(current())
    if stop:
        return ServeReport("stopped" if stop_server(progress) else "nothing", where, None)
    before = find_server()
    return ServeReport("running" if before else "started", where, before or ensure_server(progress))
