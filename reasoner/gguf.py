"""Model folder -> quantized GGUF, by llama.cpp's own converter and quantizer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasoner import proc, runs, toolchain
from reasoner.errors import ReasonerError


def run(
    model_dir: Path, out: Path, quant: str, log: Path, say: Callable[[str], None]
) -> tuple[list[Path], dict[str, Any]]:
    """Convert and quantize one model folder to `out`; the 16-bit intermediate is removed.

    The converter runs offline and without code from the model folder. Raises with the converter's
    last lines where it does not know the architecture or the pre-tokenizer.
    """
    tools = toolchain.llama_cpp(say)
    direct = {"F16": "f16", "BF16": "bf16"}.get(quant)
    # `auto` is the model's own 16-bit type: every bit of it reaches the quantizer.
    with runs.partial_file(out) as partial:
        first = partial if direct else out.with_name(f"partial-16bit-{out.name}")
        try:
            _convert(tools, model_dir, first, direct or "auto", log)
            if not direct:
                proc.run([str(tools.quantize), str(first), str(partial), quant], log=log)
        finally:
            if first != partial:
                first.unlink(missing_ok=True)
    check(out)
    return [out], {"quant": quant, "bytes": out.stat().st_size, **described(out)}


def _convert(tools: toolchain.LlamaCpp, model_dir: Path, out: Path, outtype: str, log: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(tools.gguf_py),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    argv = [
        sys.executable,
        str(tools.convert_script),
        str(model_dir),
        "--outfile",
        str(out),
        "--outtype",
        outtype,
    ]
    proc.run(argv, log=log, env=env)


def check(path: Path) -> None:
    """Refuse a file that is not a whole GGUF: magic, tensors inside the file, a chat template."""
    try:
        facts = described(path)
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise ReasonerError(f"{path.name} is not a whole GGUF", why=str(error), fix="remove it and run again") from None
    if not facts["chat_template_sha256"]:
        raise ReasonerError(
            f"{path.name} has no chat template",
            why="the converter found none in the model folder",
            fix="give the base a chat_template and run again",
        )


def described(path: Path) -> dict[str, Any]:
    """What the file says of itself: architecture, tokenizer, end token, template hash, tensor types."""
    import hashlib

    from gguf import GGUFReader

    reader = GGUFReader(path)

    def text(key: str) -> Any:
        found = reader.get_field(key)
        return found.contents() if found is not None else None

    template = text("tokenizer.chat_template")
    types: dict[str, int] = {}
    for tensor in reader.tensors:
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    return {
        "architecture": text("general.architecture"),
        "tokenizer": text("tokenizer.ggml.model"),
        "pre_tokenizer": text("tokenizer.ggml.pre"),
        "eos_token_id": text("tokenizer.ggml.eos_token_id"),
        "bos_token_id": text("tokenizer.ggml.bos_token_id"),
        "context_length": text(f"{text('general.architecture')}.context_length"),
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "tensor_types": types,
    }
