"""Makes a quantized GGUF of a model folder, by llama.cpp's own converter, quantizer and importance matrix.

The programs run offline and without code from the model folder; a file appears under its name once it is whole.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reasoner.files import partial_file, read_json
from reasoner.llamacpp import header, install
from reasoner.machine import cpu, processes

TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
"""What `gguf.quant = "auto"` chooses among, smallest first."""
K_QUANTS = TYPES[:3]
"""The types that an importance matrix can change."""
CHUNK = 256
"""Tokens that the importance matrix reads at a time."""
CALIBRATION_TOKENS = 64 * CHUNK
"""Tokens that an importance matrix is computed from: a minute or two on two cores for 135 M parameters."""


@dataclass(frozen=True)
class Quantized(header.Described):
    """Says what `run` made: the type asked for, the file's size, and what the file says of itself."""

    quant: str
    bytes: int


def run(
    model_dir: Path,
    out: Path,
    quant: str,
    log: Path,
    say: Callable[[str], None],
    calibration: Path | None = None,
) -> Quantized:
    """Converts and quantizes a model folder to `out`, and removes the 16-bit file between.

    Raises with the converter's last lines where it does not know the architecture or the pre-tokenizer. With
    `calibration`, a text file, a K-quant is made with the importance matrix of this model on it.
    """
    if direct := {"F16": "f16", "BF16": "bf16"}.get(quant):
        convert(model_dir, out, log, say, direct)
    else:
        first = out.with_name(f"partial-16bit-{out.name}")
        matrix = importance_path(first) if calibration is not None and quant in K_QUANTS else None
        try:
            convert(model_dir, first, log, say)
            if matrix is not None and calibration is not None:
                importance(first, calibration, matrix, log, say)
            quantize(first, out, quant, log, say, matrix)
        finally:
            first.unlink(missing_ok=True)
            if matrix is not None:
                matrix.unlink(missing_ok=True)
    return Quantized(**vars(header.check(out)), quant=quant, bytes=out.stat().st_size)


def convert(model_dir: Path, out: Path, log: Path, say: Callable[[str], None], outtype: str = "auto") -> None:
    """Writes a model folder as a GGUF; `auto` is its own 16-bit type, so that every bit reaches the quantizer."""
    tools = install.llama_cpp(say)
    offline = {"PYTHONPATH": str(tools.gguf_py), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "NO_COLOR": "1"}
    with partial_file(out) as partial:
        argv: list[str | Path] = [
            sys.executable,
            tools.convert_script,
            model_dir,
            "--outfile",
            partial,
            "--outtype",
            outtype,
            *_left_out(model_dir),
        ]
        processes.run(argv, log=log, env={**os.environ, **offline})


def _left_out(model_dir: Path) -> list[str]:
    """Returns what the converter must not ask for: the layers of Qwen3.5 for further tokens, where a folder has none.

    A text model that transformers saved has none; the converter wants them there, unless told otherwise.
    """
    from safetensors import safe_open

    if not str((read_json(model_dir / "config.json") or {}).get("model_type")).startswith("qwen3_5"):
        return []
    for path in model_dir.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as opened:
            if any(name.startswith("mtp.") for name in opened.keys()):  # noqa: SIM118  (not a dictionary)
                return []
    return ["--no-mtp"]


def quantize(
    source: Path, out: Path, quant: str, log: Path, say: Callable[[str], None], matrix: Path | None = None
) -> None:
    """Writes one type of a GGUF that `convert` made; `matrix` is what `importance` wrote."""
    tools = install.llama_cpp(say)
    with partial_file(out) as partial:
        weighed = ["--imatrix", matrix.name] if matrix is not None else []
        # By its bare name: the file remembers it as it was given, and no machine's path belongs in there.
        processes.run(
            [tools.quantize, *weighed, source.absolute(), partial.absolute(), quant],
            log=log,
            cwd=matrix.parent if matrix is not None else None,
        )


def importance_path(source: Path) -> Path:
    """Returns where the importance matrix of a GGUF lies."""
    return source.with_suffix(".imatrix")


def importance(source: Path, calibration: Path, out: Path, log: Path, say: Callable[[str], None]) -> None:
    """Writes the mean squared activations of each weight column over a text (llama.cpp's `llama-imatrix`)."""
    tools = install.llama_cpp(say)
    with partial_file(out) as partial:
        processes.run(
            [
                tools.need("llama-imatrix"), "-m", source.absolute(), "-f", calibration.name, "-o", partial.absolute(),
                "--parse-special", "--no-escape", "--no-ppl", "-c", str(CHUNK), "-b", str(CHUNK),
                "--chunks", str(CALIBRATION_TOKENS // CHUNK), "-ngl", "0", "-t", str(cpu.free_cores()),
            ],
            log=log,
            cwd=calibration.parent,  # its bare name: the matrix remembers it
        )  # fmt: skip
