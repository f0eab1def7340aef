"""Fixtures that more than one tier uses."""

import shutil

import pytest

from reasoner import base


@pytest.fixture
def model_folder(tmp_path):
    """A copy of the shipped base, to be spoiled."""
    target = tmp_path / "model"
    shutil.copytree(base.shipped()["pocket"], target)
    return target
