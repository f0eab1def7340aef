"""One folder holds what we bring; what is in it is whole, and one process at a time writes it."""

import os
import threading

import pytest

from reasoner.machine import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))


def test_cache_folder(monkeypatch, tmp_path):
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("REASONER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "reasoner"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache" / "reasoner"


def test_an_install_replaces_a_broken_folder_and_writes_the_marker_last(tmp_path):
    final = tmp_path / "x"
    (final / "old").mkdir(parents=True)
    with cache.installing(final) as (new, facts):
        (new / "bin").mkdir()
        facts["version"] = "1"
        assert not (new / cache.MARKER).exists() and (final / "old").exists()
    assert sorted(p.name for p in final.iterdir()) == ["bin", cache.MARKER]
    assert cache.is_installed(final) == {"version": "1"}


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


def test_remove_tools_takes_only_our_folders(tmp_path):
    for name in ("tools", "logs", "locks", "someone-elses"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    removed = cache.remove_tools()
    assert sorted(p.name for p in removed) == ["locks", "logs", "tools"]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["someone-elses"]
