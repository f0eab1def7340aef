"""One pinned llama.cpp and one pinned Ollama, brought once into a versioned cache.

llama.cpp comes from the source distribution of `llama-cpp-python`: converter, quantizer,
importance matrix, server and the library the Python binding loads are then one commit. Ollama is
taken from the PATH, else from its release archive, else built from its Go module with our
llama.cpp as engine. Everything goes under `cache_dir()/tools`; a folder there is whole when it
holds `installed.json`, which is written last.

What it does not do: nothing is installed system-wide, no GPU build of llama.cpp (point
`LLAMA_CPP_DIR` at yours), no server is started (see `serving.server`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reasoner import files
from reasoner.errors import MISSING, ReasonerError
from reasoner.machine import cache, processes, programs

LLAMA_CPP_PYTHON = "0.3.36"
LLAMA_CPP_COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
"""The llama.cpp that source distribution carries (its `.git/modules/vendor/llama.cpp/HEAD`)."""
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

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


# --------------------------------------------------------------------------- where things are


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


def llama_cpp(progress: cache.Progress = cache.quiet) -> LlamaCpp:
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
    return _ours(folder, converter) if cache.is_installed(folder) and cache.is_installed(converter) else None


def use_python_binding(tools: LlamaCpp | None = None) -> None:
    """Makes `import llama_cpp` load the same library the programs use.

    Call before the first import: the package is installed without a library of its own.
    """
    folder = str((tools or llama_cpp()).need("lib_dir"))
    if "llama_cpp" in sys.modules and os.environ.get("LLAMA_CPP_LIB_PATH") != folder:
        raise RuntimeError("llama_cpp was imported before use_python_binding()")
    os.environ["LLAMA_CPP_LIB_PATH"] = folder


def _build_dir() -> Path:
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{cache.machine_key()}"


def _converter_dir() -> Path:
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-converter"


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


def _given(folder: Path, progress: cache.Progress | None) -> LlamaCpp:
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
    if tree is None and progress is None and not cache.is_installed(_converter_dir()):
        raise ReasonerError("LLAMA_CPP_DIR has no convert_hf_to_gguf.py", fix="make setup", code=MISSING)
    converter = tree or _converter(progress or cache.quiet)
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


def _converter(progress: cache.Progress) -> Path:
    """The pinned converter alone: for a user who brings the programs."""
    final = _converter_dir()
    if cache.is_installed(final):
        return final
    with cache.locked("llama.cpp", progress):
        if not cache.is_installed(final):
            source = _source(progress)
            _keep_converter(source, final)
            shutil.rmtree(source.parent)
    return final


def _built(progress: cache.Progress) -> LlamaCpp:
    final, converter = _build_dir(), _converter_dir()
    if not (cache.is_installed(final) and cache.is_installed(converter)):
        with cache.locked("llama.cpp", progress):
            if not (cache.is_installed(final) and cache.is_installed(converter)):
                _build(final, converter, progress)
    return _ours(final, converter)


def _work_dir() -> Path:
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{cache.machine_key()}.build"


def _source(progress: cache.Progress) -> Path:
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


def _sdist(progress: cache.Progress) -> Path:
    """Downloads the source distribution as pip is configured to; its hash is checked twice."""
    folder = _work_dir() / "download"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    progress(f"llama.cpp: downloading the sources of llama-cpp-python {LLAMA_CPP_PYTHON} (73 MiB)")
    wanted = folder / "requirements.txt"
    pin = f"llama-cpp-python=={LLAMA_CPP_PYTHON} --hash=sha256:{SDIST_SHA256}"
    wanted.write_text(pin + "\n", encoding="utf-8")
    log = cache.log_path("llama.cpp")
    only = ["--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
    try:
        processes.run([*programs.pip_command(), "download", *only, "-d", folder, "-r", wanted], log=log, timeout_s=1800)
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
    if archive is None or files.sha256_file(archive) != SDIST_SHA256:
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
    cache.finish_folder(partial, final, {"version": LLAMA_CPP_PYTHON, "commit": LLAMA_CPP_COMMIT})


def _build(final: Path, converter: Path, progress: cache.Progress) -> None:
    compiler = programs.find_compiler()
    if compiler is None:
        raise ReasonerError(
            "no C++ compiler",
            why="llama.cpp is compiled here once; looked for $CXX, c++, g++ and clang++",
            fix="xcode-select --install"
            if sys.platform == "darwin"
            else "sudo apt-get install g++ (or your system's package for it)",
            code=MISSING,
        )
    source, work, log = _source(progress), _work_dir(), cache.log_path("llama.cpp")
    if not cache.is_installed(converter):
        _keep_converter(source, converter)
    cmake, ninja = programs.bring_cmake(progress), programs.bring_ninja(progress)
    jobs = programs.compile_jobs()
    progress(
        f"llama.cpp {LLAMA_CPP_COMMIT[:9]}: building once into {final} with {jobs} jobs; "
        f"usually {programs.build_minutes(jobs)} (log: {log})"
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
    cache.finish_folder(partial, final, facts)
    shutil.rmtree(work, ignore_errors=True)
    progress(f"llama.cpp: built in {seconds:.0f} s")


def _compile(configure: Sequence[str | Path], make: Sequence[str | Path], log: Path, progress: cache.Progress) -> None:
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


# --------------------------------------------------------------------------- compilers and wheels


# --------------------------------------------------------------------------- Ollama

Route = Literal["PATH", "release", "module"]


# -- the official release


# -- the Go module
