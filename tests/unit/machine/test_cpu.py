"""How many threads fit beside other programs, and how they wait for each other."""

import os
import time
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from reasoner.machine import cpu

Times = namedtuple("Times", "user nice system idle")
Looks = list[tuple[float, Times, float]]
"""What each look sees: the clock, the times of both cores together, and the processor time that was ours; seconds."""


def threads_seen(monkeypatch, looks: Looks, nice: int = 0) -> list[int]:
    """What `Threads.free` says at each look after the first."""
    now = iter(looks)
    current: list = []

    def clock() -> float:
        return current[0]

    def times(percpu: bool) -> list[Times]:
        current[:] = next(now)
        return [current[1], Times(0, 0, 0, 0)]

    monkeypatch.setattr(psutil, "cpu_times", times)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: Times(current[2], 0, 0, 0)))
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(os, "nice", lambda step: nice)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    watch = cpu.Threads()
    return [watch.free() for _ in looks[1:]]


def test_threads_are_the_cores_that_others_leave(monkeypatch):
    looks: Looks = [
        (0.0, Times(0, 0, 0, 0), 0.0),
        (10.0, Times(19, 0, 0, 1), 19.0),  # busy with ourselves alone
        (20.0, Times(38, 0, 0, 2), 28.0),  # another program takes one core
        (30.0, Times(58, 0, 0, 2), 28.0),  # and two: we still need one
    ]
    assert threads_seen(monkeypatch, looks) == [2, 1, 1]


@pytest.mark.parametrize(("ours", "expected"), [(0, 2), (10, 1)])
def test_a_nice_program_gives_way_unless_we_are_nice_too(monkeypatch, ours, expected):
    looks: Looks = [(0.0, Times(0, 0, 0, 0), 0.0), (10.0, Times(10, 10, 0, 0), 10.0)]
    assert threads_seen(monkeypatch, looks, nice=ours) == [expected]


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
