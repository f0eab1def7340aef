"""Draws completions from the model that is trained, as it is at this moment: the same weights, the same attention.

Each prompt is evaluated once for its group, and all completions go on together, one token at a time. Keys and values
lie in one piece of memory a layer, and the prompts end at one column, so that a token's keys are written for all rows
at once. A completion that ends leaves a gap, which the last row fills: every product is over rows that still run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasoner.errors import ReasonerError
from reasoner.training import packed

if TYPE_CHECKING:
    import torch

Drawn = tuple[list[int], list[float]]
"""One completion: its token ids, and the log-probability of each at the sampling temperature."""


class Cache:
    """Keys and values of rows that run together, one row a completion, `(rows, heads, columns, size)` a layer.

    `lengths` are those of the prompts, `copies` the rows of each, `room` the most tokens of a completion.
    """

    def __init__(self, lengths: Sequence[int], copies: int, room: int) -> None:
        import torch

        self.start = self.at = max(lengths)
        """Column at which the prompts end; and the column that the next token takes."""
        self._copies, self._columns = copies, self.start + room
        self._layers: dict[int, list[torch.Tensor]] = {}
        self.num_rows = len(lengths) * copies
        self._lengths = torch.tensor([length for length in lengths for _ in range(copies)])
        seen = torch.arange(self._columns) >= self.start - self._lengths[:, None]
        self._mask = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[:, None, None]

    @property
    def positions(self) -> torch.Tensor:
        """Position of the next token of each row, `(rows, 1)`."""
        return (self._lengths + self.at - self.start)[:, None]

    def fill(self, layer: int, prompt: int, *pair: torch.Tensor) -> None:
        """Puts keys and values of a prompt, `(heads, tokens, size)`, into the rows of its group."""
        rows = slice(prompt * self._copies, (prompt + 1) * self._copies)
        if layer not in self._layers:
            heads, _, size = pair[0].shape
            self._layers[layer] = [pair[0].new_zeros(self.num_rows, heads, self._columns, size) for _ in pair]
        for kept, new in zip(self._layers[layer], pair, strict=True):
            kept[rows, :, self.start - new.shape[1] : self.start] = new

    def attend(self, layer: int, query: torch.Tensor, *pair: torch.Tensor, scale: float | None) -> torch.Tensor:
        """Adds the newest key and value, and lets the newest query see its own row; `(rows, 1, heads, size)`."""
        from torch.nn.functional import scaled_dot_product_attention

        rows, heads, upto = len(query), pair[0].shape[1], self.at + 1
        kept = self._layers[layer]
        for all_of, new in zip(kept, pair, strict=True):
            all_of[:rows, :, self.at] = new[:, :, 0]
        keys, values = (one[:rows, :, :upto] for one in kept)
        asked = query.to(keys.dtype).view(rows, heads, -1, query.shape[-1])  # queries that share a key are its rows
        mask = self._mask[:rows, :, :, :upto].to(keys.dtype)
        out = scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scale)
        return out.reshape(rows, 1, -1, query.shape[-1])

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Leaves only some rows, in ascending order; returns which of them stands where now."""
        num, kept = len(rows), set(rows)
        order = list(range(num))
        gaps = [row for row in order if row not in kept]
        movers = [row for row in rows if row >= num]
        for gap, mover in zip(gaps, movers, strict=True):
            order[gap] = mover
        if gaps:
            for one in (pair for layer in self._layers.values() for pair in layer):
                one[gaps, :, : self.at] = one[movers, :, : self.at]
            self._lengths[gaps], self._mask[gaps] = self._lengths[movers], self._mask[movers]
        self._lengths, self._mask = self._lengths[:num], self._mask[:num]
        return order


@dataclass(frozen=True)
class Decoder:
    """Draws from one model, as its weights are when it is asked.

    `model` went through `packed.prepare`, `head` is its output matrix, `(vocabulary, hidden)`. `stops` are the tokens
    that end a completion, `width` the most completions that go on together.
    """

    model: Any
    head: torch.Tensor
    stops: frozenset[int]
    width: int

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        num_generations: int,
        *,
        max_tokens: int,
        temperature: float,
        generator: torch.Generator | None = None,
    ) -> list[list[Drawn]]:
        """Returns `num_generations` completions of each prompt, in the order of the prompts.

        A completion ends with the stop token that ended it, or has `max_tokens` tokens. Temperature 0 is greedy
        (log-probabilities then at temperature 1).
        """
        import torch

        per_round = self.width // num_generations
        if not per_round:
            raise ValueError(f"{num_generations} completions a prompt do not fit {self.width} rows")
        longest, context = max(map(len, prompts)), packed.inner(self.model).config.max_position_embeddings
        if longest + max_tokens > context:
            raise ReasonerError(
                f"a prompt of {longest} tokens and {max_tokens} more do not fit the base's {context}",
                fix="lower train.max_completion_tokens, or leave long problems out",
            )
        found: list[list[Drawn]] = []
        for start in range(0, len(prompts), per_round):
            part = prompts[start : start + per_round]
            cache = Cache([len(prompt) for prompt in part], num_generations, max_tokens)
            with torch.inference_mode():
                states = packed.last_states(self.model, part, cache).repeat_interleave(num_generations, dim=0)
                flat = self._go_on(states, cache, max_tokens, temperature, generator)
            found += [flat[at : at + num_generations] for at in range(0, len(flat), num_generations)]
        return found

    def _go_on(
        self,
        states: torch.Tensor,
        cache: Cache,
        max_tokens: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[Drawn]:
        found: list[Drawn] = [([], []) for _ in states]
        running = list(range(len(states)))  # running[row] is the completion in this row
        while True:
            keep = []
            tokens, logps = draw(packed.logits_of(states, self.head), temperature, generator)
            for row, (token, logp) in enumerate(zip(tokens, logps, strict=True)):
                ids, values = found[running[row]]
                ids.append(token)
                values.append(logp)
                if token not in self.stops and len(ids) < max_tokens:
                    keep.append(row)
            if not keep:
                return found
            running = [running[row] for row in cache.keep(keep)]
            states = packed.next_states(self.model, [found[one][0][-1] for one in running], cache)


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> tuple[list[int], list[float]]:
    """Draws a token from each row, by inverse transform, with its log-probability; overwrites the logits.

    Raises where they are not numbers.
    """
    import torch

    if temperature:
        shares = torch.softmax(logits.div_(temperature), dim=-1)
        upto = shares.cumsum(dim=-1)  # torch adds in 64 bits, and rounds to 32
        point = torch.rand(len(upto), 1, generator=generator) * upto[:, -1:]
        drawn = torch.searchsorted(upto, point, right=True).clamp_(max=upto.shape[1] - 1)
        values = shares.gather(1, drawn).log_()
    else:
        drawn = logits.argmax(dim=-1, keepdim=True)
        values = torch.log_softmax(logits, dim=-1).gather(1, drawn)
    if not torch.isfinite(values).all():
        raise ReasonerError("the model computes values that are not numbers", fix="lower train.learning_rate")
    return drawn[:, 0].tolist(), values[:, 0].tolist()
