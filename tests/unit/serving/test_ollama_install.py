"""Where an Ollama comes from, in which order, and what happens when one way does not lead there."""

import hashlib
import http.server
import io
import tarfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import zstandard
from fake_program import program

from reasoner.errors import MISSING, ReasonerError
from reasoner.llamacpp import install
from reasoner.machine import cache
from reasoner.serving import install as ollama_install

CLOSED = "http://127.0.0.1:9"
pytestmark = pytest.mark.usefixtures("bare_machine")


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
    assert (found.route, found.version) == ("PATH", "0.30.0")


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
    assert found.route == "release"
    assert found.path.stat().st_mode & 0o111
    assert found.why == ["PATH: no `ollama` on it"]
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", CLOSED)
    assert ollama_install.ollama_binary() == found


@pytest.fixture
def refused(served, tmp_path, monkeypatch):
    """Why a release in the folder that is given is not the way, where no other way leads to an Ollama."""
    monkeypatch.setattr(ollama_install, "OLLAMA_RELEASES", served[1])
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "none"))

    def call():
        with pytest.raises(ReasonerError) as caught:
            ollama_install.ollama_binary()
        assert ollama_install.find_ollama() is None
        return next(line for line in caught.value.why.splitlines() if line.startswith("release: "))

    return served[0] / "v0.34.4", call


def test_release_with_a_wrong_checksum_is_not_used(refused):
    folder, why = refused
    folder.mkdir()
    make_release(folder, wrong=True)
    assert "has checksum" in why()
    assert not list(cache.tools_dir().glob("ollama*"))


def test_release_without_our_archive(refused):
    folder, why = refused
    assert "404" in why()
    folder.mkdir()
    (folder / "sha256sum.txt").write_text(f"{'1' * 64}  ./other.zip\n")
    assert "does not list" in why()


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
