"""Log-probabilities of completions without padding, each prompt once, the output head on real tokens only.

The completions of a group follow their one prompt in one row, and positions start over after the prompt. Everything but
attention works on that row; in attention, which is ours (`prepare`), each completion sees the prompt and itself. It is
the same function as one padded row a completion, in a fraction of the tokens. This module knows no loss and no trainer;
`fast` puts it in the place of TRL's own computation, and a test holds the two together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reasoner.errors import ReasonerError

if TYPE_CHECKING:
    import torch

CHUNK_16, CHUNK_32 = 64, 512
"""Tokens whose logits exist at once, by the bits of the head: with 16-bit instructions they must stay in the cache, in
32 bits it counts more how often the head is read (scripts/LOG.md)."""


Group = tuple[Sequence[int], Sequence[Sequence[int]]]
"""Token ids of a prompt, and of its completions."""

ATTENTION = "reasoner-groups"
"""Name of our attention in transformers' registry."""


def unfit(why: str) -> ReasonerError:
    """Returns the error that refuses the fast loop for a model."""
    return ReasonerError("the fast loop does not fit this architecture", why, "--set train.loop=plain")


def refuse_layers(config: Any, tokens: int) -> None:
    """Refuses a model with layers in which a completion would meet its neighbours, or that see fewer tokens back.

    `tokens` is the longest prompt with a completion. A convolution or a recurrence runs over the whole row: what it
    takes from the completion before may be too small for a comparison of probabilities to show.
    """
    kinds = {*(getattr(config, "layer_types", None) or ("sliding_attention",))}
    if others := kinds - {"full_attention", "sliding_attention"}:
        raise unfit(f"its layers of the kind {', '.join(sorted(others))} read across the completions of a row")
    window = getattr(config, "sliding_window", None)
    if window and window < tokens and "sliding_attention" in kinds:
        raise unfit(f"its attention sees {window} tokens back, a prompt with its completion may have {tokens}")


def prepare(model: Any) -> bool:
    """Gives the model our attention, so that several groups fit one row; False where its class cannot change it."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    causal = inner(model)
    causal.set_attn_implementation(ATTENTION)
    return bool(causal.config._attn_implementation == ATTENTION)


def inner(model: Any) -> Any:
    """Returns the causal model itself, without PEFT around it; its layers keep their adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def hidden_states(model: Any, groups: Sequence[Group]) -> torch.Tensor:
    """Computes the states that completion tokens are predicted from, `(tokens of all completions, hidden)`, in order.

    `model` is a causal model as transformers builds it, with or without PEFT around it. All groups stand in one row
    after `prepare`; without it, each completion in one of its own.
    """
    import torch

    if inner(model).config._attn_implementation != ATTENTION:
        alone = [(prompt, [one]) for prompt, completions in groups for one in completions]
        return torch.cat([_row(model, *group) for group in alone])
    parts: list[Sequence[int]] = []
    positions: list[int] = []
    wanted: list[int] = []
    for prompt, completions in groups:
        last = len(positions) + len(prompt) - 1
        parts.append(prompt)
        positions += range(len(prompt))
        for one in completions:  # the first token is predicted at the prompt's end, the others at their predecessor
            wanted += [last, *range(len(positions), len(positions) + len(one) - 1)]
            parts.append(one)
            positions += range(len(prompt), len(prompt) + len(one))
    layout = [(len(prompt), [len(one) for one in texts]) for prompt, texts in groups]
    ids = [token for part in parts for token in part]
    return _states(model, [ids], [positions], layout=layout)[0, wanted]


def _row(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> torch.Tensor:
    ids = [*prompt, *completions[0]]
    return _states(model, [ids], [list(range(len(ids)))])[0, len(prompt) - 1 : -1]


def _states(model: Any, ids: list[list[int]], positions: list[list[int]], **attention: Any) -> torch.Tensor:
    """Computes the last hidden states, `(rows, tokens, hidden)`; `attention` goes to our function."""
    import torch

    causal = inner(model)
    if attention:  # a mask of four dimensions is taken as it is: none is made for us to ignore
        attention["attention_mask"] = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=causal.device)
    found: torch.Tensor = causal.base_model(
        input_ids=torch.tensor(ids, device=causal.device),
        position_ids=torch.tensor(positions, device=causal.device),
        use_cache=False,
        **attention,
    ).last_hidden_state
    return found


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **settings: Any
) -> tuple[torch.Tensor, None]:
    """Is transformers' attention function; queries `(rows, heads, tokens, size)`, keys and values with fewer heads.

    With a layout, there is one row: prompts attend to themselves, and the completions of a group, padded to the
    longest, are a batch that attends to [prompt, own]; nothing is computed between two completions only to be masked.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layout, scale = settings.pop("layout", None), settings.get("scaling")
    if layout is None:
        plain: torch.Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)[0]
        return plain, None
    longest = max(start + max(lengths) for start, lengths in layout)
    if (settings.get("sliding_window") or longest) < longest or settings.get("softcap") is not None:
        raise unfit("its attention has a sliding window that is shorter than a completion, or caps its scores")
    found = []
    at = 0
    for start, lengths in layout:
        end = at + start + sum(lengths)
        q, k, v = (one[0, :, at:end].to(value.dtype) for one in (query, key, value))
        found.append(_attend_group(q, k, v, start, lengths, scale))
        at = end
    return torch.cat(found, dim=1).transpose(0, 1)[None], None


def _attend_group(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, start: int, lengths: list[int], scale: float | None
) -> torch.Tensor:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    shared = len(q) // len(k)
    k, v = k.repeat_interleave(shared, dim=0), v.repeat_interleave(shared, dim=0)
    first = scaled_dot_product_attention(q[:, :start], k[:, :start], v[:, :start], is_causal=True, scale=scale)
    keys, values = (
        torch.cat([one[:, :start].expand(len(lengths), -1, -1, -1), _padded(one[:, start:], lengths)], dim=2)
        for one in (k, v)
    )
    seen = torch.ones(max(lengths), keys.shape[2], dtype=torch.bool, device=q.device).tril(start)
    own = scaled_dot_product_attention(_padded(q[:, start:], lengths), keys, values, attn_mask=seen, scale=scale)
    return torch.cat([first, *(one[:, :length] for one, length in zip(own, lengths, strict=True))], dim=1)


def _padded(rows: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Makes `(heads, sum of lengths, size)` a batch, `(lengths, heads, longest, size)`, with zeros at the ends."""
    import torch
    from torch.nn.functional import pad

    longest = max(lengths)
    return torch.stack([pad(one, (0, 0, 0, longest - one.shape[1])) for one in rows.split(list(lengths), dim=1)])


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
