"""Proves that a rebuilt model folder is the model of its GGUF: llama.cpp on the original file is the reference.

Token ids must be equal on thousands of strings, next-token probabilities nearly so; what differs is a `ReasonerError`.
It proves neither the quality of the model nor what it was trained on.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.bases import locate
from reasoner.bases.locate import Agreement, Provenance
from reasoner.bases.shape import PRE_TOKENIZERS
from reasoner.bases.tokens import PARTS, SCRIPTS
from reasoner.errors import ReasonerError
from reasoner.llamacpp.header import Described
from reasoner.llamacpp.loaded import LoadedModel
from reasoner.problems import stories

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MIN_STRINGS = 2000
MIN_AGREEMENT, MAX_KL = 0.95, 0.02
"""What the rebuilt weights must reach against llama.cpp on the original file: share of positions with
the same most likely token, and mean KL divergence in nats a token. Measured: 98.6 % and 0.004 for SmolLM2 in
Q4_1 (of which 0.0001 is the rounding to bfloat16, the rest llama.cpp's rounding of activations to 8 bits);
99.8 % and 0.0001 for `pocket` in Q8_0, 100 % and 2e-7 in F16."""
_BUG = "this is a bug worth reporting, with the name of the model"


def prove_ids(spec: str, tokenizer: PreTrainedTokenizerBase, reference: LoadedModel) -> int:
    """Compares token ids with llama.cpp's and returns on how many strings; raises at the first that differs."""
    texts = list(dict.fromkeys(_strings(tokenizer)))
    if len(texts) < MIN_STRINGS:
        raise AssertionError(f"only {len(texts)} strings to compare")
    ours = tokenizer(texts, add_special_tokens=False)["input_ids"]
    pairs = [(text, ids, reference.encode(text)) for text, ids in zip(texts, ours, strict=True)]
    text = "A text."
    pairs.append((text, tokenizer(text)["input_ids"], reference.encode(text, add_special=True)))
    for text, ids, theirs in pairs:
        if ids != theirs:
            why = f"{text[:80]!r} gives {ids[:24]}, in llama.cpp {theirs[:24]}"
            raise ReasonerError(f"the tokenizer rebuilt from {spec} is not that of the original", why, _BUG)
    return len(texts)


def prove_weights(spec: str, path: Path, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Agreement:
    """Compares next-token probabilities of the saved folder, computed in 32 bits, with llama.cpp on the original.

    llama.cpp quantizes activations too where weights are quantized, so the two cannot be equal.
    """
    import llama_cpp
    import numpy
    import torch
    from transformers import AutoModelForCausalLM

    texts = []
    for question, answer in zip(_CHATS, _ANSWERS, strict=True):
        ids = locate.prompt_ids(tokenizer, [{"role": "user", "content": question}])
        texts.append((ids + tokenizer(answer, add_special_tokens=False)["input_ids"])[-192:])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True).float().eval()
    how = {"n_ctx": 256, "n_batch": 256, "n_threads": torch.get_num_threads(), "logits_all": True, "verbose": False}
    engine = llama_cpp.Llama(str(path), **how)
    divergence: list[float] = []
    same, worst, largest = 0, 0.0, 0.0
    with closing(engine):
        for ids in texts:
            with torch.inference_mode():
                ours = model(input_ids=torch.tensor([ids])).logits[0].double()
            engine.reset()
            engine.eval(ids)
            theirs = torch.from_numpy(numpy.array(engine.scores[: len(ids)])).double()
            ours_log, theirs_log = ours.log_softmax(-1), theirs.log_softmax(-1)
            divergence += (theirs_log.exp() * (theirs_log - ours_log)).sum(-1).tolist()
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            worst = max(worst, float((ours - theirs).abs().max()))
            largest = max(largest, float(theirs.abs().max()))
    total = len(divergence)
    kl, agreement = sum(divergence) / total, same / total
    if not (kl <= MAX_KL and agreement >= MIN_AGREEMENT):
        why = f"over {total} tokens: mean KL {kl:.3g} (at most {MAX_KL}), the same most likely token on"
        why += f" {agreement:.1%} (at least {MIN_AGREEMENT:.0%})"
        raise ReasonerError(f"the weights rebuilt from {spec} are not those of the original", why, _BUG)
    return Agreement(total, kl, max(divergence), agreement, worst, largest)


def check_reexport(made_from: Provenance, described: Described) -> None:
    """Refuses the GGUF that a base was turned into again, where the converter took its tokenizer for another one.

    The converter knows a pre-tokenizer by what it does to a text.
    """
    keys = ["architecture", "tokenizer", "eos_token_id"]
    if made_from.tokenizer == "gpt2":  # a SentencePiece vocabulary has none: older files leave the name out
        keys.insert(2, "pre_tokenizer")

    def plain(facts: Provenance | Described, key: str) -> object:
        value = getattr(facts, key)
        return PRE_TOKENIZERS.get(value, value) if key == "pre_tokenizer" else value

    pairs = [(key, plain(described, key), plain(made_from, key)) for key in keys]
    wrong = [f"{key} is {found!r}, was {wanted!r}" for key, found, wanted in pairs if found != wanted]
    if wrong:
        raise ReasonerError(f"{made_from.spec} does not survive the way back to a GGUF", why="; ".join(wrong), fix=_BUG)


_CHATS = (
    "Nina has 4 boxes with 6 pens each. She gives 9 pens to Tom. How many pens does Nina have left?",
    "What is the capital of France, and which river flows through it?",
    "Write two sentences about the sea at night.",
    "Write a Python function that returns the sum of the even numbers in a list.",
    "Name three fruits, three colours and three animals.",
)

_ANSWERS = (
    "4 * 6 = 24\n24 - 9 = 15\nNina has 15 pens left. The answer is 15.",
    "The capital of France is Paris. The river Seine flows through the city.",
    "The sea at night is calm and dark. The moon shines on the waves, and the stars look very far away.",
    "def sum_even(numbers):\n    return sum(n for n in numbers if n % 2 == 0)\n",
    "Apple, banana and cherry; red, green and blue; a cat, a dog and a horse.",
)


def _strings(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yields texts on which tokenizers are known to differ, this project's own among them; always the same ones."""
    rng = random.Random(0)
    yield from ("", *PARTS, *SCRIPTS, *_CHATS, *_ANSWERS)
    for number in range(0, 1200, 7):
        yield from (str(number), f"-{number}", f" {number} + {number * 37}", f"{number:,}.{number % 10}%")
    for size in (1, 2, 3):
        yield from ("a" + "".join(mix) + "b" for mix in itertools.product(" \n\t", repeat=size))
    yield from (blank * count + tail for blank in " \n\t\r" for count in range(1, 17) for tail in ("", "x", " 7"))
    for text in SCRIPTS:
        yield from (text[start : start + length] for start in range(0, len(text), 3) for length in (1, 4, 11))
    for path in sorted(Path(__file__).parent.glob("*.py")):  # code, of which we have some
        yield from path.read_text(encoding="utf-8").splitlines()
    for token in sorted(set(tokenizer.get_added_vocab()))[:64]:
        yield from (token, f"a{token}b", f" {token} {token}\n", f"{token}{token}7")
    for problem in stories.generate("train", 150):
        question, answer = problem["question"], problem["answer"]
        yield from (question, answer)
        chat = [{"role": "user", "content": question}]
        yield str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)) + answer
    for _ in range(600):
        yield "".join(rng.choices(PARTS, k=rng.randint(2, 12)))
