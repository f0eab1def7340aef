"""Keeps what is known of a base that was made of a GGUF, and writes the model card that says so.

The record is `provenance.json` in the model folder, and `imported` in the record of a run's base. It describes; what
it says is proven in `proof`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Says how near the rebuilt weights come to llama.cpp on the original file, over `tokens_compared` positions.

    `kl` and `max_kl` are the mean and the largest KL divergence of the next-token probabilities, in nats;
    `top_token_agreement` is the share of positions with the same most likely token.
    """

    tokens_compared: int
    kl: float
    max_kl: float
    top_token_agreement: float
    max_logit_difference: float
    largest_logit: float


@dataclass(frozen=True)
class Provenance(Agreement):
    """Says where an imported base came from, what its GGUF held, and what was proven of the folder.

    `sha256` is that of the GGUF. `eos_claimed` is the end token of the file's metadata; where the chat template ends a
    turn with another one, `eos_token` is the template's and `eos_repaired` is true.
    """

    spec: str
    file: str
    sha256: str
    architecture: str
    weights: int
    quantization: str
    bits_per_weight: float
    tensor_types: dict[str, int]
    licence: str
    name: str
    tokenizer: str
    pre_tokenizer: str | None
    eos_token: str
    eos_token_id: int
    eos_claimed: str | None
    eos_repaired: bool
    strings_compared: int

    def card(self) -> str:
        """Renders README.md: the licence, where the model came from, what was rebuilt and how that was proven."""
        eos = json.dumps(self.eos_token)
        if self.eos_repaired:
            eos += f" (the metadata said {json.dumps(self.eos_claimed)}; the chat template decides)"
        rows = {
            "from": f"`{self.spec}`, file `{self.file}`",
            "SHA-256 of the file": f"`{self.sha256}`",
            "architecture": f"{self.architecture}, {self.weights / 1e6:.1f} M weights",
            "quantization": f"{self.quantization}, {self.bits_per_weight} bits a weight; here bfloat16",
            "tokenizer": f"{self.tokenizer}, pre-tokenizer {self.pre_tokenizer}; rebuilt from the file's",
            "end token": eos,
            "token ids": f"equal to llama.cpp's on {self.strings_compared} strings",
            "weights": f"against llama.cpp on the file, {self.tokens_compared} tokens: the same most likely token on "
            f"{self.top_token_agreement:.1%}, mean KL {self.kl:.2g} nats",
            "licence": self.licence,
        }
        clean = {key: re.sub(r"[\r\n]+", " ", value).replace("|", "\\|") for key, value in rows.items()}
        table = "\n".join(f"| {key} | {value} |" for key, value in clean.items())
        title, licence = re.sub(r"\s+", " ", self.name), self.licence
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
            licence = json.dumps(licence)
        return (
            f"---\nname: {json.dumps(title)}\nlicense: {licence}\n"
            f"pipeline_tag: text-generation\n---\n\n# {title}\n\n"
            "A GGUF turned back into a 16-bit model folder by `reasoner`, to be fine-tuned. What the quantization lost"
            f" stays lost.\n\n| | |\n|---|---|\n{table}\n"
        )
