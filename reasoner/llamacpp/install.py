"""Brings one pinned llama.cpp into the cache, built once, or takes the user's own from `LLAMA_CPP_DIR`.

It comes from the source distribution of `llama-cpp-python`: converter, quantizer, importance matrix, server and the
library that the Python binding loads are then one commit.

What it does not do: nothing is installed system-wide, and there is no GPU build (point `LLAMA_CPP_DIR` at yours).
"""

from __future__ import annotations

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

Part = Literal["llama-imatrix", "llama-server", "libllama"]


@dataclass(frozen=True)
class LlamaCpp:
    """Says where the parts of one llama.cpp are.

    `LLAMA_CPP_DIR` may lack all but the quantizer and the converter: `server` and `lib_dir` are then None, and `need`
    raises.
    """

    bin_dir: Path
    lib_dir: Path | None
    converter: Path
    version: str
    route: Literal["built", "LLAMA_CPP_DIR"]

    @property
    def quantize(self) -> Path:
        return self.bin_dir / "llama-quantize"

    @property
    def server(self) -> Path | None:
        return self.program("llama-server")

    @property
    def convert_script(self) -> Path:
        return self.converter / "convert_hf_to_gguf.py"

    @property
    def gguf_py(self) -> Path:
        return self.converter / "gguf-py"

    def program(self, name: str) -> Path | None:
        return self.bin_dir / name if (self.bin_dir / name).is_file() else None

    def need(self, part: Part) -> Path:
        """Returns a program or the folder of the library, or raises where the user's folder lacks it."""
        found = self.lib_dir if part == "libllama" else self.program(part)
        if found is None:
            raise ReasonerError(
                f"LLAMA_CPP_DIR has no {'the shared libllama' if part == 'libllama' else part}",
                why=f"{os.environ.get('LLAMA_CPP_DIR')} gave {self.quantize}",
                fix="build that target there, or unset LLAMA_CPP_DIR: reasoner then builds its own",
                code=MISSING,
            )
        return found


def llama_cpp(progress: cache.Progress = cache.quiet) -> LlamaCpp:
    """Returns the llama.cpp to use: the user's `LLAMA_CPP_DIR`, else the pinned one, built once."""
    if user := os.environ.get("LLAMA_CPP_DIR"):
        return _given(Path(user).expanduser().absolute(), progress)
    return built(progress)


def find_llama_cpp() -> LlamaCpp | None:
    """Returns the llama.cpp that `llama_cpp` would give without building or downloading anything."""
    if user := os.environ.get("LLAMA_CPP_DIR"):
        try:
            return _given(Path(user).expanduser().absolute(), None)
        except ReasonerError:
            return None
    folder, converter = build_dir(), converter_dir()
    return _ours(folder, converter) if cache.is_installed(folder) and cache.is_installed(converter) else None


def use_python_binding(tools: LlamaCpp | None = None) -> None:
    """Makes `import llama_cpp` load the same library that the programs use.

    Call before the first import: the package is installed without a library of its own.
    """
    folder = str((tools or llama_cpp()).need("libllama"))
    if "llama_cpp" in sys.modules and os.environ.get("LLAMA_CPP_LIB_PATH") != folder:
        raise RuntimeError("llama_cpp was imported before use_python_binding()")
    os.environ["LLAMA_CPP_LIB_PATH"] = folder


def build_dir() -> Path:
    """Returns the folder of the programs and libraries, for this kind of processor."""
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{cache.machine_key()}"


def converter_dir() -> Path:
    """Returns the folder of the converter, which is Python and the same for every machine."""
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-converter"


def _ours(folder: Path, converter: Path) -> LlamaCpp:
    version = f"llama-cpp-python {LLAMA_CPP_PYTHON} ({LLAMA_CPP_COMMIT[:9]})"
    return LlamaCpp(folder / "bin", folder / "bin", converter, version, "built")


def _given(folder: Path, progress: cache.Progress | None) -> LlamaCpp:
    """Returns the user's llama.cpp: a source tree, a build or bin folder, or a quantizer program itself.

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
    trees = [folder, *bin_dir.parents[:3]]
    wanted = ("convert_hf_to_gguf.py", "gguf-py")
    tree = next((t for t in trees if all((t / part).exists() for part in wanted)), None)
    libraries = [bin_dir, bin_dir.parent / "lib", bin_dir.parent]
    lib_dir = next((p for p in libraries if (p / library("llama")).exists()), None)
    if tree is None and progress is None and not cache.is_installed(converter_dir()):
        raise ReasonerError("LLAMA_CPP_DIR has no convert_hf_to_gguf.py", fix="make setup", code=MISSING)
    converter = tree or _converter(progress or cache.quiet)
    digest = files.sha256_file(bin_dir / "llama-quantize")[:12]
    found = LlamaCpp(bin_dir, lib_dir, converter, f"LLAMA_CPP_DIR {digest}", "LLAMA_CPP_DIR")
    lacking = [name for name in PROGRAMS[::2] if found.program(name) is None]
    if lib_dir is None:
        lacking.append(library("llama"))
    if tree is None:
        lacking.append("convert_hf_to_gguf.py (taken from the pinned version)")
    if lacking and progress:
        progress(f"llama.cpp: from LLAMA_CPP_DIR ({bin_dir}); not in it: {', '.join(lacking)}")
    return found


def library(name: str) -> str:
    """Returns the file name of a shared library on this system."""
    return f"lib{name}.dylib" if sys.platform == "darwin" else f"lib{name}.so"


def _converter(progress: cache.Progress) -> Path:
    """Returns the pinned converter alone: for a user who brings the programs."""
    final = converter_dir()
    if cache.is_installed(final):
        return final
    with cache.locked("llama.cpp", progress):
        if not cache.is_installed(final):
            source = unpacked_source(progress)
            _keep_converter(source, final)
            shutil.rmtree(source.parent)
    return final


def built(progress: cache.Progress) -> LlamaCpp:
    """Returns the pinned llama.cpp, whatever `LLAMA_CPP_DIR` says, and builds it where it is not there yet."""
    final, converter = build_dir(), converter_dir()
    if not (cache.is_installed(final) and cache.is_installed(converter)):
        with cache.locked("llama.cpp", progress):
            if not (cache.is_installed(final) and cache.is_installed(converter)):
                _build(final, converter, progress)
    return _ours(final, converter)


def work_dir() -> Path:
    """Returns the folder of sources and of what is being compiled; it goes when a build has ended well."""
    return cache.tools_dir() / f"llama.cpp-{LLAMA_CPP_PYTHON}-{cache.machine_key()}.build"


def unpacked_source(progress: cache.Progress) -> Path:
    """Returns the unpacked llama.cpp tree; an interrupted download or unpacking starts again."""
    source = work_dir() / "src"
    if source.exists():
        return source
    with files.partial_dir(source) as partial:
        archive = _sdist(progress)
        prefix = re.compile(r"[^/]+/vendor/llama\.cpp/(.+)")
        with tarfile.open(archive) as tar:
            for member in tar:
                if inside := prefix.fullmatch(member.name):
                    member.name = inside[1]
                    tar.extract(member, partial, filter="data")
        shutil.rmtree(archive.parent)
    return source


def _sdist(progress: cache.Progress) -> Path:
    """Downloads the source distribution as pip is configured to; its hash is checked twice."""
    folder = work_dir() / "download"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    progress(f"llama.cpp: downloading the sources of llama-cpp-python {LLAMA_CPP_PYTHON} (73 MiB)")
    wanted = folder / "requirements.txt"
    pin = f"llama-cpp-python=={LLAMA_CPP_PYTHON} --hash=sha256:{SDIST_SHA256}"
    wanted.write_text(pin + "\n", encoding="utf-8")
    log = cache.log_path("llama.cpp")
    only = ["--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
    programs.pip(
        ["download", *only, "-d", folder, "-r", wanted],
        log=log,
        timeout_s=1800,
        what="the source of llama.cpp could not be downloaded",
        fix="check that pip reaches your package index, then run `make setup` again; "
        "or set LLAMA_CPP_DIR to a llama.cpp build of your own",
    )
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"), None)
    if archive is None or files.sha256_file(archive) != SDIST_SHA256:
        why = f"wanted {SDIST_SHA256}"
        raise ReasonerError("the source of llama.cpp has the wrong checksum", why=why, log=log)
    return archive


def _keep_converter(source: Path, final: Path) -> None:
    with cache.installing(final) as (partial, facts):
        for part in CONVERTER:
            if (source / part).is_dir():
                shutil.copytree(source / part, partial / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source / part, partial / part)
        facts |= {"version": LLAMA_CPP_PYTHON, "commit": LLAMA_CPP_COMMIT}


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
    source, work, log = unpacked_source(progress), work_dir(), cache.log_path("llama.cpp")
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
    with cache.installing(final) as (partial, facts):
        (partial / "bin").mkdir()
        for item in sorted((build / "bin").iterdir()):
            if item.name in PROGRAMS or item.name.startswith("lib"):
                shutil.copy2(item, partial / "bin" / item.name, follow_symlinks=False)
        seconds = round(time.monotonic() - started, 1)
        facts |= {"version": LLAMA_CPP_PYTHON, "commit": LLAMA_CPP_COMMIT, "seconds": seconds}
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
