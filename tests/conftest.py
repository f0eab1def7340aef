"""Fixtures that more than one tier uses."""

import shutil
import time

import pytest

from reasoner.bases import locate


@pytest.fixture
def model_folder(tmp_path):
    """A copy of the shipped base, to be spoiled."""
    target = tmp_path / "model"
    shutil.copytree(locate.shipped()["pocket"], target)
    return target


@pytest.fixture(scope="session")
def quick():
    """`quick(limit, call, *args)`: what the call returns; fails where it takes its thread longer than `limit` seconds.

    For algorithms that could blow up, which then do so every time. A garbage collection or a busy machine falls into
    one try: the best of three counts.
    """

    def measured(limit, call, *args):
        tries = []
        while len(tries) < 3:
            started = time.thread_time()
            found = call(*args)
            tries.append(time.thread_time() - started)
            if tries[-1] < limit:
                return found
        raise AssertionError(f"{tries} s of {limit} s: {str(args)[:60]}")

    return measured
