"""How many threads fit beside other programs, and how they wait for each other."""

import os

import pytest

from reasoner.machine import cpu


def test_threads_are_the_cores_that_others_leave(monkeypatch):
    """Seconds of processor time since the last look: all of the machine, ours, and the time that went by."""
    seen = iter([(0.0, 0.0, 0.0), (10.0, 19.0, 19.0), (20.0, 38.0, 28.0), (30.0, 58.0, 28.0)])
    monkeypatch.setattr(cpu.Threads, "_now", staticmethod(lambda: next(seen)))
    monkeypatch.setattr(cpu, "free_cores", lambda: 2)
    watch = cpu.Threads()
    assert watch.free() == 2  # busy with ourselves alone
    assert watch.free() == 1  # another program takes one core
    assert watch.free() == 1  # and two: we still need one


@pytest.mark.parametrize(
    ("load", "said", "expected"), [(0.4, {}, "10000"), (0.6, {}, "1000"), (9.0, {"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_waiting_threads_sleep_early_beside_other_programs(monkeypatch, load, said, expected):
    monkeypatch.setattr(os, "environ", dict(said))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(cpu, "free_cores", lambda: 2)
    cpu.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_a_policy_that_the_person_set_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": "ACTIVE"})
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 0.0, 0.0))
    cpu.share_cores()
    assert os.environ == {"OMP_WAIT_POLICY": "ACTIVE"}
