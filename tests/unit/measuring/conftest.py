"""Runs and caches of a test are its own."""

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
