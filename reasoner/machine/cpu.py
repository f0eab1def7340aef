"""The processor: how many cores this process may use, how many of them others leave it, and what they can do."""

from __future__ import annotations

import os
import time
from pathlib import Path


def free_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_fast_bf16() -> bool:
    """Whether the processor has instructions for bfloat16 (AVX512-BF16, AMX); False where Linux does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Threads:
    """Says how many cores other programs leave us: two OpenMP threads on one busy core are far slower than one."""

    def __init__(self) -> None:
        self._seen = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: the clock, processor time spent on the cores that we may use, and what of it was ours."""
        import psutil

        each, we = psutil.cpu_times(percpu=True), psutil.Process().cpu_times()
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
        busy = [sum(one) - one.idle - getattr(one, "iowait", 0.0) for at, one in enumerate(each) if at in allowed]
        return time.monotonic(), sum(busy), we.user + we.system

    def free(self) -> int:
        """Returns the cores that others did not keep busy since the last call (or since the start), at least 1."""
        before, self._seen = self._seen, self._now()
        seconds, all_busy, ours = (b - a for a, b in zip(before, self._seen, strict=True))
        return max(1, round(free_cores() - max(0.0, all_busy - ours) / max(seconds, 1e-3)))
