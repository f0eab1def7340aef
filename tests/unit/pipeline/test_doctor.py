"""Each requirement has a verdict and, where something is missing, the exact fix."""

import subprocess
import sys
from importlib import metadata

import pytest

from reasoner.pipeline import doctor
from reasoner.serving import host, server


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No tools, no server, an empty PATH."""
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    for name in ("CXX", "LLAMA_CPP_DIR"):
        monkeypatch.delenv(name, raising=False)


def by_name(checks):
    return {one.name: one for one in checks}


def test_bare_machine_names_what_is_missing_and_the_fix(bare):
    found = by_name(doctor.check())
    assert {n for n, one in found.items() if one.verdict == "missing"} >= {"C++ compiler", "llama.cpp", "Ollama"}
    assert found["llama.cpp"].fix == found["Ollama"].fix == "make setup"
    assert found["cmake"].verdict == found["Go"].verdict == "ok"  # set-up brings them
    assert found["CUDA"].verdict == "ok"
    assert found["Ollama server"].found == "none runs"
    assert found["Python"].found == ".".join(map(str, sys.version_info[:3]))
    assert not doctor.is_ready(doctor.check())
    assert all(one.fix for one in found.values() if one.verdict != "ok")


def test_checking_changes_nothing(bare, tmp_path):
    doctor.check()
    assert list(tmp_path.iterdir()) == []


def test_packages_are_held_to_our_own_pins(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["pytest==0.0.1", "httpx>=0.1", "x ; extra == 'dev'"])
    one = by_name(doctor.check())["packages"]
    assert one.verdict == "warn" and one.found.startswith("pytest ") and one.found.endswith("instead of 0.0.1")
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package-here==1"])
    one = by_name(doctor.check())["packages"]
    assert (one.verdict, one.fix) == ("missing", "make setup")


def test_port_taken_by_something_else_is_missing(monkeypatch):
    def taken():
        raise host.taken(host.parse("127.0.0.1:9"), "why")

    monkeypatch.setattr(server, "find_server", taken)
    one = by_name(doctor.check())["Ollama server"]
    assert one.verdict == "missing" and "OLLAMA_HOST=127.0.0.1:" in one.fix


def test_no_heavy_package_is_loaded():
    code = "import sys; from reasoner.pipeline import doctor; doctor.check(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
