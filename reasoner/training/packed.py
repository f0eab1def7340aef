"""Log-probabilities of completions without padding, each prompt once, the output head on real tokens only.

The completions of a group follow their one prompt in one row; a mask lets each see the prompt and itself, and
positions start over after the prompt. That is the same function as one padded row a completion, in a fraction of the
tokens. This module knows no loss and no trainer; `fast` puts it in the place of TRL's own computation, and a test holds
the two together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CHUNK_16, CHUNK_32 = 64, 512
"""Tokens whose logits exist at once, by the bits of the head: with 16-bit instructions they must stay in the cache, in
32 bits it counts more how often the head is read (scripts/LOG.md)."""


def hidden_states(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Computes the states that completion tokens are predicted from, `(tokens of all completions, hidden)`, in order.

    `model` is a causal model as transformers builds it, with or without PEFT around it.
    """
    import torch

    start = len(prompt)
    ids = [*prompt, *(token for completion in completions for token in completion)]
    positions = [*range(start), *(start + i for completion in completions for i in range(len(completion)))]
    owner = [0] * start + [n for n, completion in enumerate(completions, 1) for _ in completion]
    device = model.device
    block = torch.tensor(owner, device=device)
    seen = (block[:, None] == block[None, :]) | (block[None, :] == 0)
    mask = torch.tril(seen)[None, None]
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = inner.base_model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask=mask,
        use_cache=False,
    ).last_hidden_state[0]
    rows, at = [], start
    for completion in completions:  # the first token is predicted at the prompt's end, the others at their predecessor
        rows += [start - 1, *range(at, at + len(completion) - 1)]
        at += len(completion)
    return states[torch.tensor(rows, device=device)]


def token_logps(
    states: torch.Tensor, head: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the log-probability of each token and the entropy of its distribution, both `(tokens,)`, in nats.

    Logits are 32-bit and live a chunk at a time. The gradient with respect to the states is taken on the way
    forward, so that backward needs neither logits nor a second product with the head. The head is frozen, and the
    entropy carries no gradient.
    """
    return _function().apply(states, head, tokens, temperature)  # type: ignore[no-any-return]


@functools.cache
def _function() -> Any:
    import torch

    class TokenLogps(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, states: Any, head: Any, tokens: Any, temperature: float) -> Any:
            logps = torch.empty(len(tokens), dtype=torch.float32)
            entropies = torch.empty_like(logps)
            slopes = torch.empty_like(states, dtype=torch.float32) if ctx.needs_input_grad[0] else None
            for part in _chunks(len(tokens), head):
                wanted = tokens[part, None]
                logits = logits_of(states[part], head).div_(temperature)
                all_logps = torch.log_softmax(logits, dim=-1)
                logps[part] = all_logps.gather(1, wanted)[:, 0]
                shares = torch.exp(all_logps, out=logits)
                entropies[part] = -(all_logps.mul_(shares)).sum(-1)
                if slopes is not None:  # d logp / d state = (head[token] - shares @ head) / temperature
                    shares.neg_().scatter_add_(1, wanted, torch.ones_like(wanted, dtype=shares.dtype))
                    slopes[part] = (shares.to(head.dtype) @ head).float() / temperature
            ctx.save_for_backward(slopes)
            ctx.mark_non_differentiable(entropies)
            return logps, entropies

        @staticmethod
        def backward(ctx: Any, grad: Any, _: Any) -> Any:
            (slopes,) = ctx.saved_tensors
            return (slopes * grad[:, None]).to(torch.float32), None, None, None

    return TokenLogps


def _chunks(num: int, head: torch.Tensor) -> list[slice]:
    size = CHUNK_16 if head.element_size() == 2 else CHUNK_32
    return [slice(start, start + size) for start in range(0, num, size)]


def logits_of(states: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Computes 32-bit logits, `(tokens, vocabulary)`."""
    return (states.to(head.dtype) @ head.T).float()


def kl(states: torch.Tensor, base_states: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Computes KL(tuned || base) = sum p log(p / q) over the whole vocabulary, nats, `(tokens,)`.

    p is from `states`, q from `base_states`; both `(tokens, hidden)`.
    """
    import torch

    found = []
    for part in _chunks(len(states), head):
        ours = torch.log_softmax(logits_of(states[part], head), dim=-1)
        theirs = torch.log_softmax(logits_of(base_states[part], head), dim=-1)
        found.append((ours.exp() * (ours - theirs)).sum(-1))
    return torch.cat(found)
