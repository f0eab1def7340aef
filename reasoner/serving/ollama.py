"""Speaks HTTP to Ollama, and starts the server where none runs; nothing else here does either.

A server that already answers at `OLLAMA_HOST` is used and never stopped. One we start listens on
loopback only, outlives our process, and is remembered by port under `cache_dir()/servers`, so that
only that very process is ever ended. What this module does not do: it decides no tag names, renders
no templates and judges no completions.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasoner import files
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError, nearest
from reasoner.machine import cache
from reasoner.machine.cache import Progress, cache_dir, locked, quiet, tools_dir
from reasoner.serving import install as ollama_install
from reasoner.serving.install import OllamaInstall

if TYPE_CHECKING:
    import httpx
    import psutil

Message = Mapping[str, Any]

DEFAULT_PORT = 11434
START_S = 60.0
"""Longest wait for a server of ours to answer; it takes 1-2 s on an idle machine."""
PROBE_S = 5.0
PARALLEL = "8"
"""Answers at once from a server of ours, where the environment does not say: 263 tokens/s instead of 161 (LOG.md)."""
CACHE_MIB = "0"
"""Memory for prompts that may come again, where the environment does not say. llama.cpp's own limit is 8 GiB for each
model, and an evaluation fills 4 MiB of it with every problem (135 M parameters); none of them comes again."""
LOG_BYTES = 10 << 20
"""A server log larger than this is set aside before the next start."""


# --------------------------------------------------------------------------- where the server is


@dataclass(frozen=True)
class Host:
    """Where to reach a server; an address that means "all interfaces" is reached on loopback."""

    scheme: str = "http"
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self}" + (f"/{self.path}" if self.path else "")

    @property
    def is_local(self) -> bool:
        if self.address == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.address).is_loopback
        return False

    @property
    def is_default(self) -> bool:
        return self == Host()

    @property
    def env(self) -> str:
        """The value of OLLAMA_HOST that means this host."""
        return str(self) if self.scheme == "http" and not self.path else self.url


def host(value: str | None = None) -> Host:
    """The server meant by `OLLAMA_HOST`, read as Ollama reads it (`envconfig.ConnectableHost`).

    >>> str(host("")), str(host(":1234")), str(host("0.0.0.0"))
    ('127.0.0.1:11434', '127.0.0.1:1234', '127.0.0.1:11434')
    >>> host("https://gpu.example/ollama").url
    'https://gpu.example:443/ollama'
    """
    text = os.environ.get("OLLAMA_HOST", "") if value is None else value
    text = text.strip().strip("\"'").strip()
    scheme, mark, rest = text.partition("://")
    default_port = DEFAULT_PORT
    if not mark:
        scheme, rest = "http", text
        if text == "ollama.com":
            scheme, rest = "https", "ollama.com:443"
    elif scheme in ("http", "https"):
        default_port = 80 if scheme == "http" else 443
    where, _, path = rest.partition("/")
    address, port_text = _split(where, str(default_port))
    port = int(port_text) if port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535 else default_port
    with suppress(ValueError):
        ip = ipaddress.ip_address(address)
        address = ("127.0.0.1" if ip.version == 4 else "::1") if ip.is_unspecified else str(ip)
    return Host(scheme, address or "127.0.0.1", port, path)


def _split(text: str, default_port: str) -> tuple[str, str]:
    """Go's `net.SplitHostPort`, with Ollama's fallback for text that has no port."""
    if text.startswith("[") and "]:" in text:
        address, _, port = text[1:].partition("]:")
        return address, port
    if text.count(":") == 1 and not text.startswith("["):
        address, _, port = text.partition(":")
        return address, port
    return text.strip("[]") or "127.0.0.1", default_port


@dataclass(frozen=True)
class ServerInfo:
    """What answered: an Ollama of this version."""

    host: Host
    version: str


def probe(where: Host | None = None) -> ServerInfo | None:
    """The Ollama at a host, None when nothing listens there, an error when something else does."""
    import httpx

    where = where or host()
    try:
        with _http(where, PROBE_S) as http:
            answer = http.get("/api/version")
    except httpx.ConnectError:
        return None
    except httpx.ConnectTimeout as error:
        if where.is_local:
            raise _taken(where, "it accepts no connection") from error
        return None
    except httpx.TransportError as error:  # connected, and then no HTTP
        raise _taken(where, f"it does not speak HTTP ({error or type(error).__name__})") from error
    try:
        found = answer.json()
        version = found["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _taken(where, f"GET /api/version gave HTTP {answer.status_code} and no version") from error
    return ServerInfo(where, str(version))


def _taken(where: Host, why: str) -> ReasonerError:
    owner = _owner(where.port) if where.is_local else None
    if owner:
        why = f"{why}; it is {owner}"
    free = _free_port(where.port + 1)
    fix = f"stop it, or use another port: OLLAMA_HOST=127.0.0.1:{free} make reasoner"
    if not where.is_local:
        fix = "set OLLAMA_HOST to your Ollama server, or unset it to have one started here"
    return ReasonerError(f"{where} is taken by something that is not Ollama", why=why, fix=fix, code=MISSING)


def _owner(port: int) -> str | None:
    """The process that listens on a local port, where this user may see it."""
    import psutil

    with suppress(psutil.Error, OSError):
        for link in psutil.net_connections("tcp"):
            if link.status == psutil.CONN_LISTEN and link.laddr and link.laddr.port == port and link.pid:
                return f"process {link.pid} ({psutil.Process(link.pid).name()})"
    return None


def _free_port(first: int) -> int:
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return first


def _http(where: Host, timeout_s: float) -> httpx.Client:
    """A client for one host. Proxy settings are for other machines: loopback never goes through one."""
    import httpx

    timeout = httpx.Timeout(timeout_s, connect=PROBE_S)
    limits = httpx.Limits(max_connections=64)
    return httpx.Client(base_url=where.url, timeout=timeout, limits=limits, trust_env=not where.is_local)


# --------------------------------------------------------------------------- the server we start


@dataclass(frozen=True)
class Server:
    """A server that answers, and what is known of it."""

    host: Host
    version: str
    is_ours: bool
    """We started this very process."""
    pid: int | None = None
    log: Path | None = None
    models_dir: Path | None = None
    """Where it keeps models; None when another started it and we cannot know."""
    route: str = "running"
    """How this Ollama came here: `running` (was answering already), `PATH`, `release` or `module`."""

    def client(self, timeout_s: float = 600.0) -> Client:
        return Client(self.host, self.models_dir, self.log, timeout_s)


def models_dir() -> Path:
    """Where a server started from this environment keeps models: `OLLAMA_MODELS`, else its default."""
    own = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    return Path(own).expanduser().absolute() if own else Path.home() / ".ollama" / "models"


@dataclass(frozen=True)
class _Record:
    """What is remembered of a server we started, to know that very process again."""

    pid: int
    started: float
    machine: str
    port: int
    binary: str
    route: str
    models_dir: str

    @staticmethod
    def path(port: int) -> Path:
        return cache_dir() / "servers" / f"{port}.json"

    @classmethod
    def load(cls, port: int) -> _Record | None:
        try:
            return cls(**json.loads(cls.path(port).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def save(self) -> None:
        path = self.path(self.port)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        partial.rename(path)

    def process(self) -> psutil.Process | None:
        """The process itself while it lives; a later process with the same number is not it."""
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


def server_log(port: int) -> Path:
    return cache_dir() / "servers" / f"{port}.log"


def find_server() -> Server | None:
    """The server that answers at `OLLAMA_HOST`; None when nothing listens there."""
    info = probe()
    return _describe(info) if info else None


def _describe(info: ServerInfo) -> Server:
    record = _Record.load(info.host.port) if info.host.is_local else None
    process = record.process() if record else None
    if record is None or process is None:
        return Server(info.host, info.version, is_ours=False)
    return Server(
        info.host,
        info.version,
        True,
        record.pid,
        server_log(record.port),
        Path(record.models_dir),
        record.route,
    )


def ensure_server(progress: Progress = quiet) -> Server:
    """A server to work with: the one that answers at `OLLAMA_HOST`, else one started here on loopback."""
    where = host()
    if not (found := find_server()):
        if not where.is_local:
            raise ReasonerError(
                f"no Ollama answers at {where}",
                why="OLLAMA_HOST names another machine, and a server is started only on this one",
                fix="start it there, or unset OLLAMA_HOST to have one started here",
                code=MISSING,
            )
        install = ollama_install.ollama_binary(progress)
        with locked("ollama-server", progress):
            found = find_server() or _start(where, install, progress)
    _require_version(found)
    return found


def _require_version(server: Server) -> None:
    version = tuple(int(part) for part in server.version.split("-")[0].split(".") if part.isdigit())
    if version < ollama_install.OLLAMA_MIN and version != (0, 0, 0):
        wanted = ".".join(map(str, ollama_install.OLLAMA_MIN))
        port = _free_port(server.host.port + 1)
        raise ReasonerError(
            f"the Ollama at {server.host} is too old",
            why=f"it is version {server.version}; {wanted} or newer is needed for a GGUF's own chat template",
            fix=f"update it, or let reasoner bring its own: OLLAMA_HOST=127.0.0.1:{port} make reasoner",
            code=MISSING,
        )


def _start(where: Host, install: OllamaInstall, progress: Progress) -> Server:
    log, models = server_log(where.port), models_dir()
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.rename(log.with_suffix(".log.1"))
    progress(f"ollama {install.version}: starting a server on {where} ({install.path}; log: {log})")
    offset = log.stat().st_size if log.exists() else 0
    ours = {"OLLAMA_NUM_PARALLEL": PARALLEL, "LLAMA_ARG_CACHE_RAM": CACHE_MIB}
    env = {**ours, **os.environ, "OLLAMA_HOST": where.env, "OLLAMA_MODELS": str(models)}
    pid = _spawn_detached([str(install.path), "serve"], log, env)
    record = _Record(
        pid, _started(pid), socket.gethostname(), where.port, str(install.path), install.route, str(models)
    )
    record.save()
    deadline = time.monotonic() + START_S
    while record.process() is not None and time.monotonic() < deadline:
        try:
            info = probe(where)
        except ReasonerError:
            info = None  # half up: it listens before it answers
        if info and record.process() is not None:
            return Server(where, info.version, True, pid, log, models, install.route)
        time.sleep(0.05)
    is_alive = record.process() is not None
    _end(record)
    _Record.path(where.port).unlink(missing_ok=True)
    why = f"no answer within {START_S:.0f} s" if is_alive else "it ended at once"
    tail = _tail(log, offset)
    raise ReasonerError(
        f"the Ollama server on {where} did not start",
        why="\n".join([why, *tail]),
        fix="see the log; another port: OLLAMA_HOST=127.0.0.1:11435 make reasoner",
        log=log,
        code=MISSING,
    )


_SPAWN = """
import subprocess, sys
log, none = open(sys.argv[1], "ab"), subprocess.DEVNULL
print(subprocess.Popen(sys.argv[2:], stdin=none, stdout=log, stderr=log, start_new_session=True).pid)
"""


def _spawn_detached(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """Starts a program in a session of its own whose parent has already ended.

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


def _started(pid: int) -> float:
    import psutil

    with suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return 0.0


def _tail(log: Path, offset: int = 0, lines: int = 6) -> list[str]:
    try:
        with log.open("rb") as handle:
            handle.seek(offset)
            return handle.read()[-8192:].decode("utf-8", "replace").strip().splitlines()[-lines:]
    except OSError:
        return []


def _end(record: _Record) -> bool:
    """Ends the very process of a record and the model runners it started; False when it is gone already."""
    import psutil

    process = record.process()
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=10)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=5)
    return True


def stop_server(progress: Progress = quiet) -> bool:
    """Stops the server we started at `OLLAMA_HOST`; False when none of ours runs there.

    A server that another started is an error, and is left alone.
    """
    where = host()
    record = _Record.load(where.port) if where.is_local else None
    with locked("ollama-server", progress):
        was_ours = record is not None and _end(record)
        if record is not None:
            _Record.path(record.port).unlink(missing_ok=True)
    if was_ours:
        return True
    if probe(where):
        raise ReasonerError(
            f"the Ollama at {where} was not started by reasoner",
            why="only a server we started is stopped by us",
            fix="stop it the way it was started (for example: systemctl stop ollama)",
            code=USAGE,
        )
    return False


@dataclass(frozen=True)
class ServeReport:
    """What `reasoner serve` did and what runs now."""

    action: Literal["started", "running", "stopped", "nothing"]
    """`running`: one answered already; `nothing`: asked to stop, and none of ours ran."""
    host: str
    server: Server | None

    def as_json(self) -> dict[str, Any]:
        server = self.server
        return {
            "action": self.action,
            "host": self.host,
            "running": server is not None,
            "ours": bool(server and server.is_ours),
            "version": server.version if server else None,
            "pid": server.pid if server else None,
            "log": str(server.log) if server and server.log else None,
            "models": str(server.models_dir) if server and server.models_dir else None,
            "route": server.route if server else None,
        }


def serve(stop: bool = False, progress: Progress = quiet) -> ServeReport:
    """Starts the server (or says which one runs), or stops the one we started."""
    where = str(host())
    if stop:
        return ServeReport("stopped" if stop_server(progress) else "nothing", where, None)
    before = find_server()
    return ServeReport("running" if before else "started", where, before or ensure_server(progress))


# --------------------------------------------------------------------------- `ollama` for the person


def install_link(name: str = "reasoner") -> str:
    """Exactly what the person types to talk to the model in their next shell.

    Where we brought Ollama, a link to it goes into `~/.local/bin` if that is on the PATH; a file
    there that is not ours stays, and the line then names our program in full.
    """
    where, install = host(), ollama_install.find_ollama()
    if install is None:
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "stream": False})
        return f"curl {where.url}/api/chat -d {shlex.quote(body)}"
    command = "ollama" if install.route == "PATH" or _link(install) else shlex.quote(str(install.path))
    prefix = "" if where.is_default else f"OLLAMA_HOST={shlex.quote(where.env)} "
    return f"{prefix}{command} run {name}"


def link_path() -> Path:
    return Path.home() / ".local" / "bin" / "ollama"


def _is_our_link(link: Path) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(tools_dir())


def _link(install: OllamaInstall) -> bool:
    """True when `ollama` as typed is our program afterwards."""
    link = link_path()
    on_path = {Path(entry).expanduser() for entry in os.environ.get("PATH", "").split(os.pathsep) if entry}
    if link.parent not in on_path or (os.path.lexists(link) and not _is_our_link(link)):
        return False
    if not (link.is_symlink() and link.readlink() == install.path):
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            partial = link.with_name(f".ollama-{os.getpid()}")
            partial.symlink_to(install.path)
            partial.replace(link)
        except OSError:
            return False
    found = shutil.which("ollama")
    return found is not None and Path(found).resolve() == install.path.resolve()


def uninstall_tools(progress: Progress = quiet) -> list[str]:
    """Stops every server we started, removes our link and the tools; models and foreign files stay.

    Registered tags are the caller's to delete first, while a server still answers.
    """
    done: list[str] = []
    for path in sorted((cache_dir() / "servers").glob("*.json")):
        record = _Record.load(int(path.stem)) if path.stem.isdigit() else None
        if record and _end(record):
            done.append(f"stopped the server on port {record.port}")
    if _is_our_link(link_path()):
        link_path().unlink()
        done.append(f"removed {link_path()}")
    if (cache_dir() / "servers").exists():
        shutil.rmtree(cache_dir() / "servers")
    done += [f"removed {path}" for path in cache.remove_tools()]
    with suppress(OSError):
        cache_dir().rmdir()  # only when nothing else is in it
    for line in done:
        progress(line)
    return done


# --------------------------------------------------------------------------- the API


def full_tag(tag: str) -> str:
    """A tag as Ollama lists it.

    >>> full_tag("reasoner"), full_tag("reasoner:run-1")
    ('reasoner:latest', 'reasoner:run-1')
    """
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def shown_parameters(shown: Mapping[str, Any]) -> dict[str, list[str]]:
    """Parameters of a tag as `/api/show` prints them, a name and a value a line.

    >>> shown_parameters({"parameters": 'num_ctx                512\\nstop                   "<|end|>"'})
    {'num_ctx': ['512'], 'stop': ['<|end|>']}
    """
    found: dict[str, list[str]] = {}
    for line in str(shown.get("parameters") or "").splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        with suppress(ValueError):
            value = f"{float(value):g}"
        if value.startswith('"'):
            value = str(json.loads(value))
        found.setdefault(name, []).append(value)
    return found


class Client:
    """Requests to one server. Safe to share between threads; close it, or use it in a `with`.

    Every failure is a `ReasonerError`: a server that went away, one that refuses, one that is slow.
    """

    def __init__(
        self,
        where: Host | None = None,
        models: Path | None = None,
        log: Path | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self.host = where or host()
        self.models = models
        self.log = log
        self.timeout_s = timeout_s

    @cached_property
    def _client(self) -> httpx.Client:
        return _http(self.host, self.timeout_s)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what is there

    def version(self) -> str:
        return str(self._ask("GET", "/api/version", "its version")["version"])

    def list_tags(self) -> list[dict[str, Any]]:
        """Every model the server has: `name`, `digest`, `size` and more, as Ollama gives them."""
        return list(self._ask("GET", "/api/tags", "the list of models").get("models") or [])

    def digest(self, tag: str) -> str | None:
        """`sha256:...` of a tag's manifest, new with any change of the model; None: no such tag."""
        for model in self.list_tags():
            if model.get("name") == full_tag(tag):
                return "sha256:" + str(model["digest"]).removeprefix("sha256:")
        return None

    def show(self, tag: str) -> dict[str, Any]:
        """Template, parameters, details and GGUF metadata (`model_info`) of a tag."""
        return self._ask("POST", "/api/show", f"the description of {tag}", {"model": tag})

    def template(self, tag: str) -> str:
        """The chat template the server renders with; one wants it to be the GGUF's own, to the letter.

        Ollama puts a Go template in front unasked when the GGUF's is within 100 edits of one it knows
        (`server/model.go`, `detectChatTemplate`), which short templates are; a Jinja comment of more
        than 100 characters in the chat template keeps it away.
        """
        return str(self.show(tag).get("template") or "")

    def model_file(self, tag: str) -> tuple[Path, str]:
        """The GGUF behind a tag, where this process can read it, and the text of its licence.

        Raises for a tag that is not there, one that is more than one file (projector, adapter), and
        a server whose store is not readable here.
        """
        if self.digest(tag) is None:
            names = [str(model["name"]).removesuffix(":latest") for model in self.list_tags()]
            fix = nearest(tag, names) if names else f"ollama pull {tag}"
            raise ReasonerError(f"the Ollama at {self.host} has no model {tag!r}", fix=fix, code=USAGE)
        shown = self.show(tag)
        sources = _sources(str(shown.get("modelfile") or ""))
        blobs = [value for key, value in sources if key == "FROM" and re.search(r"sha256-[0-9a-f]{64}$", value)]
        if len(sources) != 1 or len(blobs) != 1:
            more = ", ".join(f"{key} {value}" for key, value in sources) or "no file on this server"
            raise ReasonerError(
                f"{tag} is not one plain model file",
                why=f"it is made of: {more}" + ("; a projector makes it see images" if len(blobs) > 1 else ""),
                fix="name a model of text only, without adapters",
                code=USAGE,
            )
        given = Path(blobs[0])
        places = [given, *(models / "blobs" / given.name for models in {self.models or models_dir(), models_dir()})]
        for path in places if self.host.is_local else ():
            if path.is_file() and os.access(path, os.R_OK):
                return path, str(shown.get("license") or "")
        raise ReasonerError(
            f"the file of {tag} cannot be read here",
            why=f"the Ollama at {self.host} keeps it at {given}",
            fix="set OLLAMA_MODELS to the server's folder and make it readable,"
            " or copy the file here and use gguf:PATH",
            code=MISSING,
        )

    def has_blob(self, sha256: str) -> bool:
        answer = self._send("HEAD", f"/api/blobs/sha256:{_hex(sha256)}", "a blob")
        return bool(answer.status_code == 200)

    # -- registering

    def create(
        self,
        tag: str,
        gguf: Path,
        sha256: str,
        *,
        template: str | None = None,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        license: str | None = None,
    ) -> Literal["present", "linked", "uploaded"]:
        """Registers a GGUF file under a tag; gives how its bytes got there.

        The file is hard-linked into the server's store where that is possible (no second copy on disk; the file is
        made read-only and must never be changed again), else uploaded. Either way a file that is not `sha256` is
        refused. The tag appears whole or not at all.
        """
        how = self._bring_blob(gguf, sha256)
        body: dict[str, Any] = {
            "model": tag,
            "files": {gguf.name: f"sha256:{_hex(sha256)}"},
            "template": template,
            "system": system,
            "parameters": dict(parameters) if parameters else None,
            "license": license,
        }
        body = {key: value for key, value in body.items() if value is not None}
        answer = self._ask("POST", "/api/create", f"registering {tag}", {**body, "stream": False})
        if answer.get("status") != "success":
            raise ReasonerError(f"Ollama did not register {tag}", why=json.dumps(answer), log=self.log)
        return how

    def would_copy(self, folder: Path) -> bool:
        """A file of this folder would be copied when registered: count it twice in a disk check."""
        device = next((p.stat().st_dev for p in (folder, *folder.parents) if p.exists()), None)
        stats = [store.stat() for store in self._stores()]
        return not any(stat.st_dev == device and stat.st_uid == os.geteuid() for stat in stats)

    def _stores(self) -> Iterator[Path]:
        """Folders that may be the server's blob store; only a link that the server then sees proves it."""
        if not self.host.is_local:
            return
        if self.models:
            (self.models / "blobs").mkdir(parents=True, exist_ok=True)
        for models in dict.fromkeys([self.models or models_dir(), models_dir()]):
            if os.access(models / "blobs", os.W_OK | os.X_OK):
                yield models / "blobs"

    def _bring_blob(self, gguf: Path, sha256: str) -> Literal["present", "linked", "uploaded"]:
        if self.has_blob(sha256):
            return "present"
        for store in self._stores():
            blob = store / f"sha256-{_hex(sha256)}"
            if self._link_blob(gguf.resolve(), blob):
                if self.has_blob(sha256):
                    return "linked"
                blob.unlink()
        self._upload(gguf, sha256)
        return "uploaded"

    def _link_blob(self, gguf: Path, blob: Path) -> bool:
        """Give the file a second name in a store; False where it has another owner or lies on another file system.

        The name under which a server would take the bytes for right appears only once they were hashed, and in one
        step. What a kill leaves under the name before that is taken up by the next try, or cleared away by Ollama
        when it starts (not within an hour). The file is read-only from then on.
        """
        if not gguf.stat().st_uid == blob.parent.stat().st_uid == os.geteuid():
            return False
        partial = blob.with_name(f"{blob.name}-partial-reasoner")
        try:
            partial.unlink(missing_ok=True)
            os.link(gguf, partial)
            found = files.sha256_file(partial)
            if found != blob.name.removeprefix("sha256-"):
                raise ReasonerError(
                    f"{gguf.name} changed after it was made",
                    why=f"its SHA-256 is {found}, recorded was {blob.name.removeprefix('sha256-')}",
                    fix=f"remove {gguf} and run again",
                )
            partial.chmod(0o444)
            os.link(partial, blob)
        except OSError:  # no such link here, or another process has put the blob there meanwhile
            return False
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return True

    def _upload(self, gguf: Path, sha256: str) -> None:
        with gguf.open("rb") as handle:
            chunks = iter(lambda: handle.read(1 << 20), b"")
            path = f"/api/blobs/sha256:{_hex(sha256)}"
            self._checked(self._send("POST", path, f"the upload of {gguf.name}", content=chunks), "the upload")

    def copy(self, source: str, destination: str) -> None:
        """A second name for a model; an existing one then means the new model. No bytes are copied."""
        body = {"source": source, "destination": destination}
        self._checked(self._send("POST", "/api/copy", f"naming {destination}", body), f"naming {destination}")

    def delete(self, tag: str) -> bool:
        """Removes a tag, and the server's own link to files no other tag uses. False: no such tag."""
        answer = self._send("DELETE", "/api/delete", f"deleting {tag}", {"model": tag})
        if answer.status_code == 404:
            return False
        self._checked(answer, f"deleting {tag}")
        return True

    def unload(self, tag: str) -> None:
        """Frees the memory of a loaded model."""
        self._ask("POST", "/api/generate", f"unloading {tag}", {"model": tag, "keep_alive": 0, "stream": False})

    # -- asking a model

    def chat(
        self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None, **extra: Any
    ) -> dict[str, Any]:
        """One answer by `/api/chat`: `message.content`, `done_reason` (`stop`, `length`), counts."""
        body = {
            "model": tag,
            "messages": list(messages),
            "options": dict(options or {}),
            "stream": False,
            **extra,
        }
        return self._ask("POST", "/api/chat", f"an answer of {tag}", body)

    def generate(self, tag: str, prompt: str, options: Mapping[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
        """One completion by `/api/generate`: `response`, `done_reason`, `eval_count`, ..."""
        body = {"model": tag, "prompt": prompt, "options": dict(options or {}), "stream": False, **extra}
        return self._ask("POST", "/api/generate", f"a completion of {tag}", body)

    def openai_chat(self, tag: str, messages: Sequence[Message], **sampling: Any) -> dict[str, Any]:
        """One answer by the OpenAI-compatible endpoint.

        It ignores the Modelfile's temperature (1.0 when the request names none): pass every option.
        """
        body = {"model": tag, "messages": list(messages), **sampling}
        return self._ask("POST", "/v1/chat/completions", f"an answer of {tag}", body)

    def render(self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> str:
        """The prompt text the server makes of messages (without a BOS the tokenizer adds itself)."""
        answer = self.chat(tag, messages, options, _debug_render_only=True)
        try:
            return str(answer["_debug_info"]["rendered_template"])
        except (KeyError, TypeError) as error:
            raise ReasonerError(f"the server did not return the rendered prompt of {tag}") from error

    def prompt_ids(self, tag: str, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> list[int]:
        """Token ids of the prompt as the model sees them in a chat, BOS included where one is added.

        `options` are those of the chat: others (`num_ctx`) make the server load the model anew.

        The server gives ids only with `/api/generate` outside raw mode, for prompt and answer as one
        text and without BOS; so the rendered prompt goes through a template that passes it on as it
        is, and the evaluated count, which `/api/chat` must confirm, says where the prompt ends.
        """
        text = self.render(tag, messages, options)
        through = "{{ .Prompt }}"
        debug = self.generate(tag, text, options, template=through, _debug_render_only=True)
        shown = debug["_debug_info"]["rendered_template"]
        one = {**(options or {}), "num_predict": 1, "temperature": 0}
        answer = self.generate(tag, text, one, template=through)
        in_chat = self.chat(tag, messages, one)["prompt_eval_count"]
        facts = self.show(tag).get("model_info") or {}
        bos = [int(facts["tokenizer.ggml.bos_token_id"])] if facts.get("tokenizer.ggml.add_bos_token") else []
        count = int(answer["prompt_eval_count"])
        if shown != text or count != in_chat:
            raise ReasonerError(
                f"the prompt ids of {tag} cannot be read from the server",
                why=f"the chat evaluates {in_chat} prompt tokens, its rendered text {count}"
                if shown == text
                else "the server changes a rendered prompt passed to /api/generate",
                log=self.log,
            )
        return [*bos, *map(int, answer["context"][: count - len(bos)])]

    # -- one request

    def _send(self, method: str, path: str, what: str, body: Any = None, content: Any = None) -> httpx.Response:
        import httpx

        try:
            return self._client.request(method, path, json=body, content=content)
        except httpx.ConnectTimeout as error:
            raise self._gone(what, error) from error
        except httpx.TimeoutException as error:
            raise ReasonerError(
                f"the Ollama server at {self.host} gave no answer within {self.timeout_s:.0f} s",
                why=f"asked for {what}",
                fix="run the command again; what is done stays done",
                log=self.log,
                code=FAILED,
            ) from error
        except httpx.TransportError as error:
            raise self._gone(what, error) from error

    def _gone(self, what: str, error: Exception) -> ReasonerError:
        tail = _tail(self.log) if self.log else []
        return ReasonerError(
            f"the Ollama server at {self.host} went away during {what}",
            why="\n".join([str(error) or type(error).__name__, *tail]),
            fix="run the command again: nothing is half registered, and what is done stays done",
            log=self.log,
            code=FAILED,
        )

    def _checked(self, answer: httpx.Response, what: str) -> httpx.Response:
        if answer.status_code >= 400:
            try:
                found = answer.json()
                why = str(found["error"])
            except (ValueError, KeyError, TypeError):
                why = answer.text[:500] or "no reason given"
            raise ReasonerError(
                f"Ollama refused {what} (HTTP {answer.status_code})", why=why, log=self.log, code=FAILED
            )
        return answer

    def _ask(self, method: str, path: str, what: str, body: Any = None) -> dict[str, Any]:
        answer = self._checked(self._send(method, path, what, body), what)
        try:
            found = answer.json()
        except ValueError as error:
            raise ReasonerError(f"Ollama's answer to {what} is not JSON", why=answer.text[:500]) from error
        if not isinstance(found, dict):
            raise ReasonerError(f"Ollama's answer to {what} is not an object", why=answer.text[:500])
        return found


def _sources(modelfile: str) -> list[tuple[str, str]]:
    """The files a Modelfile, as the server shows it, begins with; later lines may be anyone's text."""
    found = []
    for line in modelfile.splitlines():
        key, _, value = line.strip().partition(" ")
        if key in ("FROM", "ADAPTER", "PROJECTOR"):
            found.append((key, value.strip()))
        elif key and not key.startswith("#"):
            break
    return found


def _hex(sha256: str) -> str:
    return sha256.removeprefix("sha256:")
