"""Which kind of device a machine has."""

import os
import stat

import pytest

from reasoner.machine import device


@pytest.mark.parametrize(
    ("script", "visible", "expected"),
    [
        ("echo 'GPU 0: a card'", None, "cuda"),
        ("echo 'GPU 0: a card'", "", "cpu"),
        ("echo 'GPU 0: a card'", "-1", "cpu"),
        ("echo 'No devices were found'", None, "cpu"),
        ("echo 'GPU 0: a card'; exit 9", None, "cpu"),
        (None, None, "cpu"),
    ],
)
def test_a_card_counts_where_its_driver_lists_it_and_it_is_not_hidden(tmp_path, monkeypatch, script, visible, expected):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert device.kind() == expected
