"""Where tools come from, in which order, and what happens when one way does not lead there."""

import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import zstandard

from reasoner.errors import MISSING, ReasonerError
from reasoner.llamacpp import install
from reasoner.machine import cache, programs
from reasoner.serving import install as ollama_install

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """An empty cache, and a PATH with nothing of ours on it."""
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), "/usr/bin", "/bin"]))
    return tmp_path


def program(path: Path, text: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def served(tmp_path):
    """A folder and the address of a web server that serves it."""
    folder = tmp_path / "release"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_cache_folder(monkeypatch, tmp_path):
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("REASONER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "reasoner"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache" / "reasoner"


def test_a_folder_without_marker_is_not_whole():
    assert install.find_llama_cpp() is None
    program(install._build_dir() / "bin" / "llama-quantize")
    install._converter_dir().mkdir()
    assert install.find_llama_cpp() is None
    for folder in (install._build_dir(), install._converter_dir()):
        (folder / cache.MARKER).write_text('{"version"')  # cut short
    assert install.find_llama_cpp() is None
    for folder in (install._build_dir(), install._converter_dir()):
        (folder / cache.MARKER).write_text('{"version": "0.3.36"}')
    assert install.find_llama_cpp() is not None


def test_finish_replaces_a_broken_folder_and_writes_the_marker_last(tmp_path):
    new, final = tmp_path / "x.partial", tmp_path / "x"
    (new / "bin").mkdir(parents=True)
    (final / "old").mkdir(parents=True)
    cache.finish_folder(new, final, {"version": "1"})
    assert sorted(p.name for p in final.iterdir()) == ["bin", cache.MARKER]
    assert cache.is_installed(final) == {"version": "1"}


# -- LLAMA_CPP_DIR


@pytest.mark.parametrize("place", ["build/bin", "bin", "."])
def test_given_llama_cpp(place, tmp_path, monkeypatch):
    tree = tmp_path / "llama"
    quantize = program(tree / place / "llama-quantize")
    (tree / "gguf-py").mkdir()
    (tree / "convert_hf_to_gguf.py").touch()
    (quantize.parent / install.library("llama")).touch()
    said = []
    for given in (tree, quantize.parent, quantize):
        monkeypatch.setenv("LLAMA_CPP_DIR", str(given))
        found = install.llama_cpp(said.append)
        assert found.quantize.samefile(quantize)
        assert found.convert_script.samefile(tree / "convert_hf_to_gguf.py")
        assert found.lib_dir.samefile(quantize.parent)
        assert found.route == "LLAMA_CPP_DIR"
        assert found.version == "LLAMA_CPP_DIR " + hashlib.sha256(quantize.read_bytes()).hexdigest()[:12]
    assert "not in it: llama-server, llama-imatrix" in said[0]
    with pytest.raises(ReasonerError, match="no llama-imatrix") as caught:
        found.need("llama-imatrix")
    assert caught.value.code == MISSING


def test_given_folder_without_quantizer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    with pytest.raises(ReasonerError, match="no llama-quantize") as caught:
        install.llama_cpp()
    assert caught.value.code == MISSING
    assert str(tmp_path / "build" / "bin") in caught.value.why
    assert install.find_llama_cpp() is None


def test_python_binding_gets_the_same_library(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", "elsewhere")
    tools = install._ours(tmp_path, tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    install.use_python_binding(tools)
    assert os.environ["LLAMA_CPP_LIB_PATH"] == str(tmp_path / "bin")
    monkeypatch.setitem(sys.modules, "llama_cpp", os)
    install.use_python_binding(tools)  # the same again is fine
    with pytest.raises(RuntimeError, match="before use_python_binding"):
        install.use_python_binding(install._ours(tmp_path / "other", tmp_path))


# -- the sources


def fake_pip(tmp_path, monkeypatch, text: str) -> None:
    script = tmp_path / "pip.py"
    script.write_text(text)
    monkeypatch.setattr(programs, "pip_command", lambda: [sys.executable, str(script)])


def test_sources_with_a_wrong_checksum_are_refused(tmp_path, monkeypatch):
    fake_pip(
        tmp_path,
        monkeypatch,
        "import sys\nopen(sys.argv[sys.argv.index('-d') + 1] + '/llama_cpp_python-0.3.36.tar.gz', 'w').write('x')",
    )
    with pytest.raises(ReasonerError, match="wrong checksum"):
        install._source(cache.quiet)
    assert not (install._work_dir() / "src").exists()


def test_unreachable_index_says_what_to_do(tmp_path, monkeypatch):
    fake_pip(tmp_path, monkeypatch, "raise SystemExit('no index here')")
    with pytest.raises(ReasonerError, match="could not be downloaded") as caught:
        install._source(cache.quiet)
    assert caught.value.code == MISSING
    assert "no index here" in caught.value.why
    assert "LLAMA_CPP_DIR" in caught.value.fix


def test_only_the_llama_cpp_tree_is_unpacked(tmp_path, monkeypatch):
    archive = tmp_path / "sdist.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("x-1/setup.py", "x-1/vendor/llama.cpp/CMakeLists.txt", "x-1/vendor/llama.cpp/src/a.cpp"):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"hi"))
    fake_pip(
        tmp_path,
        monkeypatch,
        "import shutil, sys\n"
        f"shutil.copy({str(archive)!r}, sys.argv[sys.argv.index('-d') + 1] + '/llama_cpp_python-0.3.36.tar.gz')",
    )
    monkeypatch.setattr(install, "SDIST_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    source = install._source(cache.quiet)
    assert sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()) == [
        "CMakeLists.txt",
        "src/a.cpp",
    ]
    assert not (source.parent / "download").exists()


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ReasonerError, match=r"no C\+\+ compiler") as caught:
        install.llama_cpp()
    assert caught.value.code == MISSING and caught.value.fix


CMAKE = """
case "$1" in
  --version) echo cmake version 3.30.0; exit 0;;
  --build) mkdir -p "$2/bin"; {build}
    for p in llama-server llama-quantize llama-imatrix libllama.so.1; do echo x > "$2/bin/$p"; done
    ln -sf libllama.so.1 "$2/bin/libllama.so"; echo x > "$2/bin/test-other"; echo "[2/2] done";;
  *) mkdir -p "$4"; echo configured;;
esac
"""


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """The tree is there, and cmake is a stand-in whose build step the test chooses."""
    source = install._work_dir() / "src"
    for part in ("conversion", "gguf-py"):
        (source / part).mkdir(parents=True)
    for part in ("convert_hf_to_gguf.py", "LICENSE"):
        (source / part).touch()
    for name in ("c++", "ninja"):
        program(tmp_path / "bin" / name, "echo 13.0")
    return lambda build="": program(tmp_path / "bin" / "cmake", CMAKE.replace("{build}", build))


def test_build_keeps_programs_and_libraries_only_and_happens_once(unpacked):
    unpacked()
    said = []
    tools = install.llama_cpp(said.append)
    names = sorted(p.name for p in tools.bin_dir.iterdir())
    assert names == ["libllama.so", "libllama.so.1", "llama-imatrix", "llama-quantize", "llama-server"]
    assert (tools.bin_dir / "libllama.so").is_symlink()
    assert tools.convert_script.exists() and tools.gguf_py.is_dir()
    assert "building once" in said[0] and "minutes" in said[0]
    assert not install._work_dir().exists()
    again = []
    assert install.llama_cpp(again.append) == tools
    assert again == []


def test_failed_build_leaves_nothing_under_the_final_name(unpacked):
    unpacked("echo broken; exit 1")
    with pytest.raises(ReasonerError, match="did not build") as caught:
        install.llama_cpp()
    assert "broken" in caught.value.why and caught.value.log.exists()
    assert not install._build_dir().exists()
    unpacked()
    assert install.llama_cpp().quantize.exists()  # the next run goes on


def test_interrupted_build_that_cannot_go_on_starts_again(unpacked):
    (install._work_dir() / "build").mkdir()
    (install._work_dir() / "build" / "stale").touch()
    unpacked('if [ -e "$2/stale" ]; then echo stale; exit 1; fi')
    said = []
    assert install.llama_cpp(said.append).quantize.exists()
    assert any("from the start" in line for line in said)


def test_second_process_waits_and_says_so():
    said, order = [], []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with cache.locked("work", cache.quiet):
            inside.set()
            leave.wait(10)
            order.append("first")

    def second():
        with cache.locked("work", lambda line: (said.append(line), leave.set())):
            order.append("second")

    one = threading.Thread(target=first)
    one.start()
    assert inside.wait(10)
    two = threading.Thread(target=second)
    two.start()
    one.join(10)
    two.join(10)
    assert order == ["first", "second"]
    assert f"process {os.getpid()}" in said[0]


# -- Ollama's routes


def fake_ollama(base: Path, version: str = "0.34.4", engine: bool = True) -> Path:
    path = program(base / "bin" / "ollama", f"echo 'Warning: client version is {version}'")
    if engine:
        program(base / "lib" / "ollama" / "llama-server")
    return path


def make_release(folder: Path, wrong: bool = False) -> str:
    """A release folder as Ollama publishes it: a packed tree and a list of checksums."""
    name = ollama_install.release_archive()
    tree = folder / "tree"
    fake_ollama(tree)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz" if name.endswith("tgz") else "w") as tar:
        for part in ("bin", "lib"):
            tar.add(tree / part, part)
    data = plain.getvalue() if name.endswith("tgz") else zstandard.compress(plain.getvalue())
    (folder / name).write_bytes(data)
    digest = "0" * 64 if wrong else hashlib.sha256(data).hexdigest()
    (folder / "sha256sum.txt").write_text(f"{'1' * 64}  ./other.zip\n{digest}  ./{name}\n")
    return name


def test_ollama_on_the_path(tmp_path):
    fake_ollama(tmp_path, "0.30.0")
    found = ollama_install.ollama_binary()
    assert (found.route, found.version, found.is_ours) == ("PATH", "0.30.0", False)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda base: fake_ollama(base, "0.24.0"), "is version 0.24.0, needed is 0.30 or newer"),
        (lambda base: fake_ollama(base, engine=False), "has no engine"),
        (lambda base: program(base / "bin" / "ollama", "exit 1"), "does not run"),
    ],
)
def test_unfit_ollama_on_the_path_says_why(make, reason, tmp_path):
    make(tmp_path)
    why = []
    assert ollama_install.find_ollama(why) is None
    assert len(why) == 1 and reason in why[0]


def test_release_is_verified_unpacked_and_then_needs_no_network(served, monkeypatch):
    folder, url = served
    (folder / "v0.34.4").mkdir()
    make_release(folder / "v0.34.4")
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", url)
    found = ollama_install.ollama_binary()
    assert found.route == "release" and found.is_ours
    assert found.path.stat().st_mode & 0o111
    assert found.why == ["PATH: no `ollama` on it"]
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", CLOSED)
    assert ollama_install.ollama_binary() == found


def test_release_with_a_wrong_checksum_is_not_used(served):
    folder, url = served
    make_release(folder, wrong=True)
    with pytest.raises(ollama_install._NotThisWay, match="has checksum"):
        ollama_install._release(cache.quiet, [], url)
    assert ollama_install.find_ollama() is None
    assert not list(cache.tools_dir().glob("ollama*"))


def test_release_without_our_archive(served):
    folder, url = served
    (folder / "sha256sum.txt").write_text(f"{'1' * 64}  ./other.zip\n")
    with pytest.raises(ollama_install._NotThisWay, match="does not list"):
        ollama_install._release(cache.quiet, [], url)
    with pytest.raises(ollama_install._NotThisWay, match="404"):
        ollama_install._release(cache.quiet, [], f"{url}/nowhere")


def test_unreachable_release_goes_to_the_next_route_fast(monkeypatch):
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", CLOSED)

    def build(progress, why):
        folder = ollama_install._ollama_dir()
        fake_ollama(folder)
        (folder / cache.MARKER).write_text('{"route": "module", "version": "0.34.4"}')
        return "0.34.4"

    monkeypatch.setattr(ollama_install, "_module", build)
    said, started = [], time.monotonic()
    found = ollama_install.ollama_binary(said.append)
    assert time.monotonic() - started < 5
    assert found.route == "module"
    assert any(line.startswith(f"ollama: release: {CLOSED}") for line in said)


def test_last_failure_lists_every_route(monkeypatch, tmp_path):
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", CLOSED)
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "none"))
    with pytest.raises(ReasonerError) as caught:
        ollama_install.ollama_binary()
    assert caught.value.code == MISSING
    assert [line.partition(":")[0] for line in caught.value.why.splitlines()] == ["PATH", "release", "module"]


GO = """
case "$1" in
  version) echo go version go1.26.1 linux/amd64;;
  mod) echo '{ "Sum": "{sum}" }';;
  install) printf '#!/bin/sh\\necho 0.34.4\\n' > "$GOBIN/ollama"; chmod +x "$GOBIN/ollama"; echo "$@";;
esac
"""


@pytest.mark.parametrize("is_right", [True, False])
def test_module_route_checks_the_sum_and_links_our_engine(is_right, tmp_path, monkeypatch):
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", CLOSED)
    engine = tmp_path / "engine"
    for name in install.PROGRAMS:
        program(engine / name)
    (engine / "gguf-py").mkdir()
    (engine / "convert_hf_to_gguf.py").touch()
    monkeypatch.setenv("LLAMA_CPP_DIR", str(engine))
    program(tmp_path / "bin" / "go", GO.replace("{sum}", ollama_install.OLLAMA_MODULE_SUM if is_right else "h1:other"))
    if not is_right:
        with pytest.raises(ReasonerError) as caught:
            ollama_install.ollama_binary()
        assert "does not have the pinned checksum" in caught.value.why
        return
    found = ollama_install.ollama_binary()
    assert found.route == "module"
    assert (found.path.parents[1] / "lib" / "ollama").resolve() == engine
    assert found.why[1].startswith("release: ")
    (engine / "llama-server").unlink()
    why = []
    assert ollama_install.find_ollama(why) is None
    assert "no longer whole" in why[-1]


def test_our_own_link_on_the_path_is_the_cached_install(tmp_path):
    folder = ollama_install._ollama_dir()
    path = fake_ollama(folder)
    (folder / cache.MARKER).write_text('{"route": "release", "version": "0.34.4"}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ollama").symlink_to(path)
    found = ollama_install.find_ollama()
    assert (found.route, found.path) == ("release", path)


def test_remove_tools_takes_only_our_folders(tmp_path):
    for name in ("tools", "logs", "locks", "someone-elses"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    removed = cache.remove_tools()
    assert sorted(p.name for p in removed) == ["locks", "logs", "tools"]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["someone-elses"]
