"""Which kind of device this machine trains on, asked without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Literal

Device = Literal["cuda", "cpu"]


def kind() -> Device:
    """Returns `cuda` where NVIDIA's driver lists a card that this process may see, else `cpu`."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not shutil.which("nvidia-smi"):
        return "cpu"
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if listed.returncode == 0 and "GPU" in listed.stdout else "cpu"
