"""Where tools come from, in which order, and what happens when one way does not lead there."""

import dataclasses
import hashlib
import io
import os
import sys
import tarfile

import pytest
from fake_program import program

from reasoner.errors import MISSING, ReasonerError
from reasoner.llamacpp import install
from reasoner.machine import cache, programs

CLOSED = "http://127.0.0.1:9"
pytestmark = pytest.mark.usefixtures("bare_machine")


def test_a_folder_without_marker_is_not_whole():
    assert install.find_llama_cpp() is None
    program(install.build_dir() / "bin" / "llama-quantize")
    install.converter_dir().mkdir()
    assert install.find_llama_cpp() is None
    for folder in (install.build_dir(), install.converter_dir()):
        (folder / cache.MARKER).write_text('{"version"')  # cut short
    assert install.find_llama_cpp() is None
    for folder in (install.build_dir(), install.converter_dir()):
        (folder / cache.MARKER).write_text('{"version": "0.3.36"}')
    assert install.find_llama_cpp() is not None


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
    tools = install.LlamaCpp(tmp_path / "bin", tmp_path / "bin", tmp_path, "v", "built")
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    install.use_python_binding(tools)
    assert os.environ["LLAMA_CPP_LIB_PATH"] == str(tmp_path / "bin")
    monkeypatch.setitem(sys.modules, "llama_cpp", os)
    install.use_python_binding(tools)  # the same again is fine
    with pytest.raises(RuntimeError, match="before use_python_binding"):
        install.use_python_binding(dataclasses.replace(tools, lib_dir=tmp_path / "other"))


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
        install.unpacked_source(cache.quiet)
    assert not (install.work_dir() / "src").exists()


def test_unreachable_index_says_what_to_do(tmp_path, monkeypatch):
    fake_pip(tmp_path, monkeypatch, "raise SystemExit('no index here')")
    with pytest.raises(ReasonerError, match="could not be downloaded") as caught:
        install.unpacked_source(cache.quiet)
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
    source = install.unpacked_source(cache.quiet)
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
    source = install.work_dir() / "src"
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
    assert not install.work_dir().exists()
    again = []
    assert install.llama_cpp(again.append) == tools
    assert again == []


def test_failed_build_leaves_nothing_under_the_final_name(unpacked):
    unpacked("echo broken; exit 1")
    with pytest.raises(ReasonerError, match="did not build") as caught:
        install.llama_cpp()
    assert "broken" in caught.value.why and caught.value.log.exists()
    assert not install.build_dir().exists()
    unpacked()
    assert install.llama_cpp().quantize.exists()  # the next run goes on


def test_interrupted_build_that_cannot_go_on_starts_again(unpacked):
    (install.work_dir() / "build").mkdir()
    (install.work_dir() / "build" / "stale").touch()
    unpacked('if [ -e "$2/stale" ]; then echo stale; exit 1; fi')
    said = []
    assert install.llama_cpp(said.append).quantize.exists()
    assert any("from the start" in line for line in said)
