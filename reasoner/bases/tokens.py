"""Loads a folder's tokenizer as its own tokenizer.json says it.

transformers chooses a class by the kind of model or by a name in `tokenizer_config.json`, and many classes build the
tokenizer anew, from the vocabulary alone: with the class's own rules for splitting, digits and accents, whatever the
file says. The file is what the model was trained with and what servers read. So both are held against each other on a
few hundred texts on which tokenizers are known to differ, and where they do, the file is taken as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.bases.specs import unfit

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase

SCRIPTS = (
    "Größe, Straße, naïve café, façade, Łódź, İstanbul, smørrebrød",
    "Привет, как дела? Съешь же ещё этих мягких булок",
    "Ελληνικά: ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "日本語の文章です。東京で会いましょう！ 我想在北京工作1314天 ～",
    "한국어 문장을 하나 더 써 봅시다",
    "नमस्ते दुनिया, यह एक परीक्षण है। १२३४५",
    "السلام عليكم ورحمة الله ١٢٣ שלום עולם",
    "កាន់តែពិសេសអាច ภาษาไทยไม่มีช่องว่าง",
    "🚀 😶‍🌫️ ✅ 🦙🦙 👩‍👩‍👧‍👦 🇫🇷🇯🇵 👍🏽",
    "½ + ¼ = ¾, x² ≤ √2, ∑ᵢ aᵢ ≠ ∞, 5 €, 7 £, 30 °C, “quoted” – ‘dash’ — …",
    "e\u0301 a\u0308 n\u0303 \u200b\u200d\ufeff zero width; soft\u00adhyphen; nb\u00a0space; em\u2003space",
)

PARTS = (
    "a", "I", "word", "Word", "WORDS", "n't", "'s", "'LL", "'re", "’s", "1", "42", "007", "3.14", "1,234", "-5", "+7",
    "x2", "2x", "#", "####", "$", "%", "==", "!=", "->", "<", ">", "<|", "|>", "</s>", "{", "}", "()", "[0]", "...",
    "?!", ":", ";", "\\", "/", "_", "__init__", "@", "é", "ß", "Ж", "中", "🙂", " ", "  ", "   ", "\n", "\n\n", "\t",
    "\r\n",
)  # fmt: skip


_found: dict[tuple[object, ...], str] = {}


def load(path: Path) -> PreTrainedTokenizerBase:
    """Returns the tokenizer; raises where it cannot be loaded, or no way of loading gives the ids of its file."""
    import transformers

    if (key := _key(path)) not in _found:
        _found[key], tokenizer = _compare(path)
        return tokenizer
    chosen = transformers.PreTrainedTokenizerFast if _found[key] else transformers.AutoTokenizer
    return chosen.from_pretrained(path, trust_remote_code=False)


def strays(path: Path) -> str:
    """Says how the tokenizer that transformers chooses differs from the folder's tokenizer.json; "" where it is it."""
    if not (path / "tokenizer.json").exists():
        return ""
    if (key := _key(path)) not in _found:
        load(path)
    return _found[key]


def _key(path: Path) -> tuple[object, ...]:
    """What the answer depends on: the files as they are now."""
    files = [path / name for name in ("tokenizer.json", "tokenizer_config.json", "config.json")]
    stats = [file.stat() for file in files if file.exists()]
    return (path, *((stat.st_size, stat.st_mtime_ns) for stat in stats))


def _compare(path: Path) -> tuple[str, PreTrainedTokenizerBase]:
    """How the library's choice differs from the file, and the tokenizer as the file has it."""
    import tokenizers
    import transformers

    if not (path / "tokenizer.json").exists():
        return "", transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    try:
        file = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001  (the library raises no other kind)
        raise unfit(path, f"its tokenizer.json cannot be read: {str(error)[:200]}", "fetch it again") from None
    try:
        chosen = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    else:
        found = _differing(chosen, file)
        if not found:
            return "", chosen
        found = f"as a {type(chosen).__name__}, {found}"
    plain = transformers.PreTrainedTokenizerFast.from_pretrained(path)
    if still := _differing(plain, file):
        why = f"transformers {transformers.__version__} does not load its tokenizer as its tokenizer.json says: {still}"
        raise unfit(path, why, "save the tokenizer with this version, or choose another base")
    return found, plain


def _differing(loaded: PreTrainedTokenizerBase, file: tokenizers.Tokenizer) -> str:
    """On how many texts the ids differ, and the first; texts with tokens that only other files add are left out."""
    known = {token.content for token in file.get_added_tokens_decoder().values()}
    added = set(loaded.get_added_vocab()) - known
    texts = [text for text in dict.fromkeys(_texts()) if not any(token in text for token in added)]
    ours = loaded(texts, add_special_tokens=False)["input_ids"]
    theirs = [one.ids for one in file.encode_batch(texts, add_special_tokens=False)]
    wrong = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    return f"{len(wrong)} of {len(texts)} texts have other token ids, first {wrong[0][:40]!r}" if wrong else ""


def _texts() -> Iterator[str]:
    yield from (*PARTS, *SCRIPTS, *(f"a{one} {other}b" for one, other in itertools.pairwise(PARTS)))
    yield from (str(7**power) for power in range(1, 40))
    yield from (blank * count + tail for blank in " \n\t" for count in range(1, 9) for tail in ("", "x", " 7"))
    yield from (text[start : start + 7] for text in SCRIPTS for start in range(0, len(text), 5))
