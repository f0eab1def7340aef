"""Finds the Ollama program, or brings it: its release, else built from its Go module. It starts no server.

The command `ollama` is a person's own: a link of ours is the only thing put into their folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from reasoner.errors import MISSING, ReasonerError
from reasoner.llamacpp import install
from reasoner.machine import cache, processes, programs
from reasoner.serving import host

OLLAMA = "0.34.4"
OLLAMA_MIN = (0, 30)
"""Since 0.30 the server starts `llama-server` per model and renders a GGUF's own chat template."""
OLLAMA_MODULE = "github.com/ollama/ollama"
OLLAMA_MODULE_SUM = "h1:o7So45nFInmKbWj8O8I5NWuoeRYxoupkLA0hnQ+N60s="
OLLAMA_RELEASES = "https://github.com/ollama/ollama/releases/download"

Route = Literal["PATH", "release", "module"]


@dataclass(frozen=True)
class OllamaInstall:
    """Describes one Ollama program: where it is, which route it came by, and why earlier routes did not do."""

    path: Path
    route: Route
    version: str
    why: list[str] = field(default_factory=list)


class _NotThisWay(Exception):
    """Is raised by a route that does not lead to an Ollama here; its text says why."""


def ollama_binary(progress: cache.Progress = cache.quiet) -> OllamaInstall:
    """Returns an Ollama that runs: on the PATH, brought earlier, its release, or built from its Go module."""
    why: list[str] = []
    if found := find_ollama(why):
        return found
    with cache.locked("ollama", progress):
        if found := find_ollama(why := []):
            return found
        for route, bring in (("release", _release), ("module", _module)):
            try:
                bring(progress, why)
            except _NotThisWay as reason:
                why.append(f"{route}: {reason}")
                progress(f"ollama: {why[-1]}")
                continue
            if found := _cached(why):
                progress(f"ollama {OLLAMA}: installed by the route `{route}` into {found.path.parents[1]}")
                return found
            why.append(f"{route}: the installed program does not run")
    fix = "install Ollama (https://ollama.com/download) so that `ollama` is on the PATH"
    fix += ", or start a server and set OLLAMA_HOST"
    raise ReasonerError("no Ollama could be had", "\n".join(why), fix, code=MISSING)


def find_ollama(why: list[str] | None = None) -> OllamaInstall | None:
    """Returns the Ollama that is here already, without network or build; `why` collects what does not do."""
    why = [] if why is None else why
    return _from_path(why) or _cached(why)


def _ollama_dir() -> Path:
    return cache.tools_dir() / f"ollama-{OLLAMA}-{cache.machine_key()}"


def _from_path(why: list[str]) -> OllamaInstall | None:
    if not (found := shutil.which("ollama")):
        why.append("PATH: no `ollama` on it")
        return None
    path = Path(found)
    if path.resolve().is_relative_to(cache.tools_dir().resolve()):
        return None  # our own link
    # with a host where no server can answer in the program's place
    version = programs.program_version(path, "--version", env={**os.environ, "OLLAMA_HOST": "127.0.0.1:1"})
    shown, wanted = (".".join(map(str, one or ())) for one in (version, OLLAMA_MIN))
    if version is None:
        why.append(f"PATH: {path} does not run")
    elif version < OLLAMA_MIN:
        why.append(f"PATH: {path} is version {shown}, needed is {wanted} or newer")
    elif not _has_engine(path):
        why.append(f"PATH: {path} has no engine (lib/ollama/llama-server) beside it")
    else:
        return OllamaInstall(path, "PATH", shown, list(why))
    return None


def _has_engine(path: Path) -> bool:
    """Looks for `llama-server` where Ollama >= 0.30 does (`llm/llama_binary.go`)."""
    base = path.resolve().parent
    return any((base / place / "llama-server").is_file() for place in ("../lib/ollama", "lib/ollama", "."))


def _cached(why: list[str]) -> OllamaInstall | None:
    folder = _ollama_dir()
    if not (facts := cache.is_installed(folder)):
        return None
    path = folder / "bin" / "ollama"
    if not (os.access(path, os.X_OK) and _has_engine(path)):
        why.append(f"cache: {folder} is no longer whole")
        return None
    return OllamaInstall(path, facts["route"], facts["version"], list(facts.get("why", why)))


def release_archive() -> str:
    """Returns the name of this platform's release archive; the release's `sha256sum.txt` lists it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    if sys.platform == "darwin":
        return "ollama-darwin.tgz"
    if not sys.platform.startswith("linux") or machine is None:
        raise _NotThisWay(f"none is published for {sys.platform} {platform.machine()}")
    return f"ollama-linux-{machine}.tar.zst"


def _release(progress: cache.Progress, why: list[str]) -> None:
    import httpx

    name, base = release_archive(), f"{OLLAMA_RELEASES}/v{OLLAMA}"
    progress(f"ollama: trying the official release {OLLAMA} ({name})")
    with cache.installing(_ollama_dir()) as (folder, facts):
        archive = folder / name
        try:
            with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=5)) as client:
                wanted = _listed_sha256(client.get(f"{base}/sha256sum.txt").raise_for_status().text, name)
                with client.stream("GET", f"{base}/{name}") as answer, archive.open("wb") as out:
                    total = int(answer.raise_for_status().headers.get("content-length", 0))
                    got = _save(answer.iter_bytes(1 << 20), total, out, progress)
        except httpx.HTTPError as error:
            raise _NotThisWay(f"{base}: {error or type(error).__name__}") from error
        if got != wanted:
            raise _NotThisWay(f"{name} has checksum {got}, the release says {wanted}")
        try:
            _unpack(archive, folder)
        except (OSError, tarfile.TarError) as error:
            raise _NotThisWay(f"{name} could not be unpacked: {error}") from error
        archive.unlink()
        if not (folder / "bin" / "ollama").exists():  # macOS: everything lies beside the program
            beside = list(folder.iterdir())
            (folder / "bin").mkdir()
            for path in beside:
                path.rename(folder / "bin" / path.name)
        facts |= {"route": "release", "version": OLLAMA, "sha256": got, "why": why}


def _listed_sha256(listing: str, name: str) -> str:
    """Finds the archive's checksum in the release's list; its lines read `<sha256>  ./<name>`."""
    for line in listing.splitlines():
        digest, _, listed = line.strip().partition(" ")
        if listed.strip().lstrip("*").removeprefix("./") == name and re.fullmatch(r"[0-9a-f]{64}", digest):
            return digest
    raise _NotThisWay(f"the release's sha256sum.txt does not list {name}")


def _save(chunks: Iterator[bytes], total: int, out: IO[bytes], progress: cache.Progress) -> str:
    """Writes a download and says every tenth of it; returns its SHA-256."""
    digest, done, shown = hashlib.sha256(), 0, 0
    if total:
        progress(f"ollama: downloading {total / 2**20:.0f} MiB")
    for chunk in chunks:
        out.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        if total and done * 10 // total > shown:
            shown = done * 10 // total
            progress(f"ollama: {shown * 10} % downloaded")
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    import zstandard

    with archive.open("rb") as packed:
        plain = zstandard.ZstdDecompressor().stream_reader(packed) if archive.suffix == ".zst" else packed
        with tarfile.open(fileobj=plain, mode="r|*") as tar:
            tar.extractall(folder, filter="data")


def _module(progress: cache.Progress, why: list[str]) -> None:
    """Builds server and command from the pinned Go module; the engine is a link to our llama.cpp."""
    try:
        engine = install.llama_cpp(progress)
        if engine.server is None:
            engine = install.built(progress)
        go = programs.bring_go(progress)
    except ReasonerError as error:
        raise _NotThisWay(f"{error.what}{f': {error.why}' if error.why else ''}") from error
    final, log, pin = _ollama_dir(), cache.log_path("ollama-build"), f"{OLLAMA_MODULE}@v{OLLAMA}"
    work = final.with_name(final.name + ".build")
    work.mkdir(parents=True, exist_ok=True)
    progress(f"ollama: building {pin} with {go}; usually 1-2 minutes (log: {log})")
    started = time.monotonic()
    with cache.installing(final) as (folder, facts):
        env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw", "GOWORK": "off"}
        # the person's own Go folders stay as they are
        env |= {"GOPATH": str(work), "GOMODCACHE": str(work / "mod"), "GOCACHE": str(work / "cache")}
        env["GOBIN"] = str(folder / "bin")
        (folder / "bin").mkdir()
        try:
            lines: list[str] = []
            fetch: list[str | Path] = [go, "mod", "download", "-json", pin]
            processes.run(fetch, log=log, env=env, cwd=work, timeout_s=600, on_line=lines.append)
            if f'"Sum": "{OLLAMA_MODULE_SUM}"' not in " ".join(lines):
                raise _NotThisWay(f"{pin} does not have the pinned checksum {OLLAMA_MODULE_SUM}")
            stamp = f"-ldflags=-X={OLLAMA_MODULE}/version.Version={OLLAMA}"
            processes.run([go, "install", stamp, pin], log=log, env=env, cwd=work, timeout_s=3600)
        except ReasonerError as error:
            raise _NotThisWay(f"{error.what}: {error.why or ''} (log: {log})") from error
        link, target = folder / "lib" / "ollama", engine.need("llama-server").parent
        link.parent.mkdir()
        inside = target.is_relative_to(cache.tools_dir())
        link.symlink_to(os.path.relpath(target, link.parent) if inside else target, target_is_directory=True)
        seconds = round(time.monotonic() - started, 1)
        facts |= {"route": "module", "version": OLLAMA, "engine": engine.version, "seconds": seconds, "why": why}
    shutil.rmtree(work, ignore_errors=True)
    progress(f"ollama: built in {seconds:.0f} s")


# -- the command `ollama` --------------------------------------------------------------------------


def install_link(name: str = "reasoner") -> str:
    """Returns exactly what the person types to talk to the model in their next shell.

    Where we brought Ollama, a link to it goes into `~/.local/bin` if that is on the PATH; a file there that is not ours
    stays, and the line then names our program in full.
    """
    where, found = host.current(), find_ollama()
    if found is None:
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "stream": False})
        return f"curl {where.url}/api/chat -d {shlex.quote(body)}"
    command = "ollama" if found.route == "PATH" or _link(found) else shlex.quote(str(found.path))
    prefix = "" if where == host.Host() else f"OLLAMA_HOST={shlex.quote(where.env)} "
    return f"{prefix}{command} run {name}"


def link_path() -> Path:
    return Path.home() / ".local" / "bin" / "ollama"


def is_our_link(link: Path) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(cache.tools_dir())


def _link(found: OllamaInstall) -> bool:
    """Links our program where that is allowed; True when `ollama` as typed is our program afterwards."""
    link = link_path()
    on_path = {Path(entry).expanduser() for entry in os.environ.get("PATH", "").split(os.pathsep) if entry}
    if link.parent not in on_path or (os.path.lexists(link) and not is_our_link(link)):
        return False
    if not (link.is_symlink() and link.readlink() == found.path):
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            partial = link.with_name(f".ollama-{os.getpid()}")
            partial.symlink_to(found.path)
            partial.replace(link)
        except OSError:
            return False
    typed = shutil.which("ollama")
    return typed is not None and Path(typed).resolve() == found.path.resolve()
