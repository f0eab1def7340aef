"""The processor: how many cores this process may use, how many of them others leave it, and what they can do."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def free_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SPINS = {"quiet": 10_000, "crowded": 1_000}
"""Turns that a waiting OpenMP thread spins before it sleeps; 10,000 are an eighth of a millisecond on a CPU of 2023.
libgomp's own value is 300,000: a thread that waits for one that lost its core keeps that one off the other core
meanwhile. 10,000 cost a quiet machine nothing that was seen beyond noise (scripts/LOG.md), and serve for programs that
come later."""


def share_cores() -> None:
    """Lets waiting OpenMP threads sleep early, for other programs' sake; call it before anything loads libgomp.

    Earlier still where such programs are at work now: a load of more than a quarter of our cores in the last minute.
    Where the person has said how threads wait, nothing changes. Programs that this one starts inherit it.
    """
    if os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} or not hasattr(os, "getloadavg"):
        return
    now = "crowded" if os.getloadavg()[0] > free_cores() / 4 else "quiet"
    os.environ["GOMP_SPINCOUNT"] = str(SPINS[now])


@functools.cache
def has_fast_bf16() -> bool:
    """Measures, in a fiftieth of a second, whether products in bfloat16 are faster here than in 32 bits.

    Instructions for them are not enough: on an Intel Xeon of 2023 without AMX they are half as fast (scripts/LOG.md).
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        return False
    import torch

    return matmul_speed(torch.bfloat16) > matmul_speed(torch.float32)


def matmul_speed(dtype: torch.dtype) -> float:
    """Measures how fast torch multiplies matrices at the shapes of a small model's layer, in FLOP/s: best of a few."""
    import torch

    rows, size = 256, 1024
    left, right = torch.ones(rows, size, dtype=dtype), torch.ones(size, size, dtype=dtype).T
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * rows * size**2 / best


class Threads:
    """Says how many cores other programs leave us: two OpenMP threads on one busy core are far slower than one.

    What runs with a raised `nice` gives way, and does not count; unless we are nice ourselves.
    """

    def __init__(self) -> None:
        self._seen = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: the clock, processor time spent on the cores that we may use, and what of it was ours."""
        import psutil

        each, we = psutil.cpu_times(percpu=True), psutil.Process().cpu_times()
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
        ignored = ("idle", "iowait") if os.nice(0) > 0 else ("idle", "iowait", "nice")
        busy = [
            sum(one) - sum(getattr(one, name, 0.0) for name in ignored) for at, one in enumerate(each) if at in allowed
        ]
        return time.monotonic(), sum(busy), we.user + we.system

    def free(self) -> int:
        """Returns the cores that others did not keep busy since the last call (or since the start), at least 1."""
        before, self._seen = self._seen, self._now()
        seconds, all_busy, ours = (b - a for a, b in zip(before, self._seen, strict=True))
        return max(1, round(free_cores() - max(0.0, all_busy - ours) / max(seconds, 1e-3)))
