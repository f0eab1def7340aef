"""The environment of a checkout, by the real uv from two indexes of this test's own: the default one, and a CPU one."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.prefix) / "bin" / "uv"


def wheel(folder, name, version):
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    parts = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    parts[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in [*parts, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in parts.items():
            archive.writestr(one, text)
    return path


@pytest.fixture
def indexes(tmp_path):
    """Two simple indexes on loopback; gives their URLs and the hash of each wheel."""
    hashes = {}
    for index, packages in (
        ("default", [("torch", "9.9"), ("nvidia_fake", "1"), ("small", "1"), ("tester", "1")]),
        ("cpu", [("torch", "9.9+cpu"), ("small", "1")]),
    ):
        for name, version in packages:
            folder = tmp_path / index / name.replace("_", "-")
            folder.mkdir(parents=True)
            found = wheel(folder, name, version)
            hashes[index, name] = hashlib.sha256(found.read_bytes()).hexdigest()
            link = found.name.replace("+", "%2B")
            (folder / "index.html").write_text(f'<a href="{link}#sha256={hashes[index, name]}">{found.name}</a>')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        yield f"{where}/default", f"{where}/cpu", hashes
        server.shutdown()


@pytest.fixture
def install(tmp_path, indexes):
    """`install(torch_index, *argv)`: a checkout with small locks, installed into a new environment."""
    default, _, hashes = indexes
    checkout, venv = tmp_path / "checkout", tmp_path / "venv"
    checkout.mkdir()
    thing = wheel(tmp_path, "thing", "1")
    (checkout / "backend.py").write_text(
        "import shutil\ndef build_editable(folder, settings=None, metadata=None):\n"
        f"    return shutil.copy({str(thing)!r}, folder).rpartition('/')[2]\n"
    )
    (checkout / "pyproject.toml").write_text(
        '[project]\nname = "thing"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )

    def lock(name, *packages):
        rows = [f"{n.replace('_', '-')}=={v} \\\n    --hash=sha256:{hashes['default', n]}\n" for n, v in packages]
        (checkout / name).write_text("# made by\n" + "".join(rows))

    lock("requirements.lock", ("nvidia_fake", "1"), ("small", "1"), ("torch", "9.9"))
    lock("requirements-dev.lock", ("tester", "1"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (venv / "bin" / "uv").symlink_to(UV)
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "UV_DEFAULT_INDEX": default, "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PATH": os.defpath,
    }  # fmt: skip
    env.pop("VIRTUAL_ENV", None)

    def call(torch_index, *argv):
        done = subprocess.run(
            [str(venv / "bin" / "python"), "-m", "reasoner.machine.environment", *argv],
            cwd=checkout, env={**env, "REASONER_TORCH_INDEX": torch_index}, capture_output=True, text=True,
        )  # fmt: skip
        names = ("torch", "small", "nvidia_fake", "tester")
        code = (
            "import importlib.util as u, sys\n"
            f"print({{n: __import__(n).VERSION if u.find_spec(n) else None for n in {names!r}}})"
        )
        found = subprocess.run([str(venv / "bin" / "python"), "-c", code], capture_output=True, text=True, cwd=tmp_path)
        return done, eval(found.stdout)

    return call


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default torch is the CPU build")
def test_without_a_card_torch_is_the_cpu_build_and_nothing_of_cuda_comes(install, indexes):
    done, found = install(indexes[1])
    assert done.returncode == 0, done.stderr
    assert (found["torch"], found["small"], found["nvidia_fake"]) == ("9.9+cpu", "1", None)
    assert "about 1.3 GB: torch's CPU build from" in done.stderr and "2 pinned packages" in done.stderr


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("http://127.0.0.1:9/cpu", "does not answer"),
        ("default", "has no torch 9.9+cpu with a hash"),
        ("none", "REASONER_TORCH_INDEX is none"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default torch is the CPU build")
def test_where_that_index_has_nothing_the_default_one_serves_and_why_is_said(install, indexes, index, why):
    done, found = install(indexes[0] if index == "default" else index)
    assert done.returncode == 0, done.stderr
    assert (found["torch"], found["nvidia_fake"], found["tester"]) == ("9.9", "1", None)
    assert why in done.stderr and "about 5 GB" in done.stderr


def test_the_tests_tools_come_only_when_asked_for(install):
    done, found = install("none", "--tests")
    assert (done.returncode, found["tester"], found["torch"]) == (0, "1", None), done.stderr


def test_a_torch_of_another_hash_is_refused(install, indexes, tmp_path):
    page = tmp_path / "cpu" / "torch" / "index.html"
    page.write_text(page.read_text().split("#sha256=")[0] + f'#sha256={"0" * 64}">torch</a>')
    done, found = install(indexes[1])
    assert done.returncode == 1 and found["torch"] is None
    assert "the packages could not be installed" in done.stderr
