"""Model folder -> quantized GGUF, by llama.cpp's own converter, quantizer and importance matrix."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasoner import files, runs
from reasoner.bases import from_gguf, locate
from reasoner.errors import ReasonerError
from reasoner.llamacpp import install
from reasoner.machine import cpu, processes
from reasoner.problems.problem import messages

TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
"""What `gguf.quant = "auto"` chooses among, smallest first."""
K_QUANTS = TYPES[:3]
"""The types that an importance matrix can change."""
CALIBRATION_TOKENS = 16_384
"""Text an importance matrix is computed from: 64 chunks, a minute or two on two cores for 135 M parameters."""
_CHUNK = 256


def run(
    model_dir: Path,
    out: Path,
    quant: str,
    log: Path,
    say: Callable[[str], None],
    calibration: Path | None = None,
) -> tuple[list[Path], dict[str, Any]]:
    """Convert and quantize one model folder to `out`; the 16-bit intermediate is removed.

    The converter runs offline and without code from the model folder. Raises with the converter's
    last lines where it does not know the architecture or the pre-tokenizer. With `calibration`, a text file, a
    K-quant is made with the importance matrix of this model on it.
    """
    tools = install.llama_cpp(say)
    direct = {"F16": "f16", "BF16": "bf16"}.get(quant)
    if direct:
        with files.partial_file(out) as partial:
            _convert(tools, model_dir, partial, direct, log)
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
    check(out)
    return [out], {"quant": quant, "bytes": out.stat().st_size, **described(out)}


def convert(model_dir: Path, out: Path, log: Path, say: Callable[[str], None]) -> None:
    """The model folder as a GGUF in its own 16-bit type: every bit of it reaches the quantizer."""
    with files.partial_file(out) as partial:
        _convert(install.llama_cpp(say), model_dir, partial, "auto", log)


def quantize(
    source: Path, out: Path, quant: str, log: Path, say: Callable[[str], None], matrix: Path | None = None
) -> None:
    """One type of a GGUF that `convert` made; `matrix` is what `importance` wrote."""
    tools = install.llama_cpp(say)
    with files.partial_file(out) as partial:
        weighed = ["--imatrix", matrix.name] if matrix is not None else []
        # By its bare name: the file remembers it as it was given, and no machine's path belongs in there.
        processes.run(
            [tools.quantize, *weighed, source.absolute(), partial.absolute(), quant],
            log=log,
            cwd=matrix.parent if matrix is not None else None,
        )


def importance_path(source: Path) -> Path:
    return source.with_suffix(".imatrix")


def importance(source: Path, calibration: Path, out: Path, log: Path, say: Callable[[str], None]) -> None:
    """Mean squared activations of each weight column over a text (llama.cpp's `llama-imatrix`)."""
    tools = install.llama_cpp(say)
    with files.partial_file(out) as partial:
        processes.run(
            [
                tools.need("imatrix"), "-m", source.absolute(), "-f", calibration.name, "-o", partial.absolute(),
                "--parse-special", "--no-escape", "--no-ppl", "-c", str(_CHUNK), "-b", str(_CHUNK),
                "--chunks", str(CALIBRATION_TOKENS // _CHUNK), "-ngl", "0", "-t", str(cpu.free_cores()),
            ],
            log=log,
            cwd=calibration.parent,  # its bare name: the matrix remembers it
        )  # fmt: skip


def write_calibration(run_: runs.Run, model_dir: Path, system: str | None, out: Path) -> int:
    """Prompts and completions of the run's own training, newest first, one completion a problem, as the chat template
    puts them; gives the number of tokens, 0 where there are too few for a matrix (nothing is written then).

    Only completions the verifier took: the text that the tuned model writes, not what training drove out.
    """
    tokenizer = locate.load_tokenizer(model_dir)
    texts: dict[str, str] = {}
    tokens = 0
    for path in sorted((run_.path / "rollouts").glob("step-*.jsonl"), reverse=True):
        if tokens >= CALIBRATION_TOKENS:
            break
        for row in files.read_jsonl(path):
            if row["verdict"] != "right" or row["problem_id"] in texts or tokens >= CALIBRATION_TOKENS:
                continue
            chat = [*messages(row["question"], system), {"role": "assistant", "content": row["completion"]}]
            texts[row["problem_id"]] = str(tokenizer.apply_chat_template(chat, tokenize=False))
            tokens += len(tokenizer(texts[row["problem_id"]], add_special_tokens=False)["input_ids"])
    if tokens < 8 * _CHUNK:
        return 0
    files.write_text(out, "".join(texts.values()))
    return tokens


def _convert(tools: install.LlamaCpp, model_dir: Path, out: Path, outtype: str, log: Path) -> None:
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
    processes.run(argv, log=log, env=env)


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
    return of_header(from_gguf.read_header(path))


def of_header(header: from_gguf.Header) -> dict[str, Any]:
    template = header.fields.get("tokenizer.chat_template")
    return {
        "architecture": header.architecture,
        "tokenizer": header.vocab("model"),
        "pre_tokenizer": header.vocab("pre"),
        "eos_token_id": header.vocab("eos_token_id"),
        "bos_token_id": header.vocab("bos_token_id"),
        "context_length": header.own("context_length"),
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "tensor_types": dict(Counter(tensor.type for tensor in header.tensors.values())),
    }
