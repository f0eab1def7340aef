"""Everyday prompts: what a model could answer before it was trained to reason, and still should."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Use = Literal["eval", "probe", "keep"]


@dataclass(frozen=True)
class EverydayPrompt:
    """Holds one prompt; `expect` is a pattern where there is a fact to get right."""

    id: str
    use: str
    kind: str
    prompt: str
    expect: str | None = None
    number_ok: bool = False  # whether a bare number answers it

    def row(self) -> dict[str, str | bool]:
        """Returns the prompt as its line of the file has it: what hashes are taken of."""
        return {key: value for key, value in asdict(self).items() if value not in (None, False)}


def everyday_prompts(use: Use) -> list[EverydayPrompt]:
    """Returns the fixed prompts of one use: `eval` is asked in evaluation, `probe` watched for drift while training,
    and `keep` is in the KL term."""
    text = (Path(__file__).parent / "everyday.jsonl").read_text(encoding="utf-8")
    return [prompt for line in text.splitlines() if (prompt := EverydayPrompt(**json.loads(line))).use == use]
