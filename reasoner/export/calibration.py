"""Chooses the text that an importance matrix is computed from: what the tuned model wrote in its own training."""

from __future__ import annotations

from pathlib import Path

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.llamacpp import quantize
from reasoner.problems.problem import messages


def write(run: runs.Run, model_dir: Path, system: str | None, out: Path) -> int:
    """Writes prompts and completions of the run's training, newest first, one completion a problem, and counts tokens.

    The chat template renders them. Only completions that the verifier took count: the text that the tuned model
    writes, not what training drove out. Writes nothing and returns 0 where there are too few for a matrix.
    """
    tokenizer = locate.load_tokenizer(model_dir)
    texts: dict[str, str] = {}
    tokens = 0
    for path in sorted((run.path / "rollouts").glob("step-*.jsonl"), reverse=True):
        for row in files.read_jsonl(path):
            if tokens >= quantize.CALIBRATION_TOKENS:
                break
            if row["verdict"] != "right" or row["problem_id"] in texts:
                continue
            chat = [*messages(row["question"], system), {"role": "assistant", "content": row["completion"]}]
            text = texts[row["problem_id"]] = str(tokenizer.apply_chat_template(chat, tokenize=False))
            tokens += len(tokenizer(text, add_special_tokens=False)["input_ids"])
    if tokens < 8 * quantize.CHUNK:
        return 0
    files.write_text(out, "".join(texts.values()))
    return tokens
