"""Base + adapter + an earlier checkpoint's GGUF -> this checkpoint's GGUF, byte for byte what the long route makes.

The long route (`merge`, `gguf`) is run for the first checkpoint of a base; its file is the reference. Only the tensors
that the adapter touches can differ after that, so all else is copied, and each of them is made a few rows at a time:
base weight + scaled B·A in 32 bits, rounded as `merge` rounds, rows permuted as the converter permutes, quantized by
ggml itself to the type that the reference has there. Nothing 16-bit is written to disk; memory is bounded by the
largest product B·A, and most often by a few chunks of rows.

What is not known is refused, never guessed, and `refuses` says why: then the long route is the one. The two places
where equal bytes rest on something outside are proven in every run: where a weight lies in the file and how its rows
are ordered (against the reference), and that a product made in parts is the product (against the whole, once a shape).
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import re
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner import files
from reasoner.errors import ReasonerError
from reasoner.export import merge
from reasoner.export.facts import GgufFacts
from reasoner.llamacpp import install
from reasoner.llamacpp.header import Header, read_header
from reasoner.machine import cpu

if TYPE_CHECKING:
    import torch

_CHUNK = 1 << 18
"""Weights that a thread takes at a time: few enough to stay in its cache, enough that handing them out costs little
(measured: LOG.md)."""
_COPY = 1 << 20
_AHEAD = 12
"""Parts a core may be ahead of the one that is written next: some take fifty times as long as others."""
_SAMPLE = 8
"""Rows of a tensor by which its place in the reference is proven."""
_MAX_CHANGE = 1.0
"""Largest relative difference of a sample, base against reference, that an adapter and a quantizer may have made; rows
in another order differ by about the square root of 2."""

_NEUTRAL = {
    "peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "target_modules",
    "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "megatron_core",
    "qalora_group_size", "init_lora_weights", "bias", "runtime_config",
}  # fmt: skip
"""What an adapter's config may say freely: it is in the tensors, or in the scaling, or only matters to training."""


class _Refused(Exception):
    """Why this route does not apply."""


def refuses(base_dir: Path, adapter_dir: Path, reference: Path, quant: str) -> str | None:
    """Why the fast route does not apply, in words; None where it does.

    `reference` is what `gguf.run` made, as `quant`, of this base and an adapter of the same training.
    """
    try:
        with ExitStack() as opened:
            _plan(base_dir, adapter_dir, reference, quant, opened)
    except _Refused as refused:
        return str(refused)
    return None


def run(
    base_dir: Path, adapter_dir: Path, reference: Path, out: Path, quant: str, say: Callable[[str], None]
) -> GgufFacts:
    """Writes `out`, and gives its facts: those of a quantized file, and what this route adds.

    Raises where the route does not apply (`refuses` says so beforehand), and where the adapter changes nothing or
    holds a value that is not a number. `out` is made under another name and appears whole.
    """
    started = time.monotonic()
    with ExitStack() as opened:
        try:
            plan = _plan(base_dir, adapter_dir, reference, quant, opened)
        except _Refused as refused:
            what = "this checkpoint cannot be exported by its changes alone"
            raise ReasonerError(what, str(refused), "merge and convert it") from None
        with files.partial_file(out) as partial:
            digest, peak = _write(plan, partial)
    files.hashed_while_written(out, digest)
    seconds = time.monotonic() - started
    bytes_ = out.stat().st_size
    say(f"{out.name}: {len(plan.touched)} tensors rewritten, {bytes_ / 2**20:.0f} MiB in {seconds:.1f} s")
    return GgufFacts(
        **vars(plan.header.describe()),  # the same to the byte
        quant=quant,
        bytes=bytes_,
        route="delta",
        sha256=digest,
        seconds=seconds,
        peak_memory_bytes=peak,
        rewritten=[item.name for item in plan.touched],
    )


# -- tensors on disk ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """A tensor in an open safetensors file, read by rows."""

    descriptor: int
    start: int
    kind: str
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        return self.shape[1] if len(self.shape) == 2 else 1

    def read(self, first: int, last: int) -> torch.Tensor:
        """Rows `first` to `last` (not with it), `(rows, width)`, as stored."""
        import torch

        dtype = getattr(torch, _FLOATS[self.kind])
        found = torch.empty((last - first, self.width), dtype=dtype)
        _fill(self.descriptor, found, self.start + first * self.width * dtype.itemsize)
        return found


_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def _fill(descriptor: int, into: torch.Tensor, start: int) -> None:
    view = (ctypes.c_char * into.nbytes).from_address(into.data_ptr())
    if os.preadv(descriptor, [view], start) != into.nbytes:
        raise ReasonerError("a model file is shorter than it says", fix="another program may be writing it; run again")


def _stored(path: Path, opened: ExitStack) -> dict[str, _Stored]:
    """Every tensor of a safetensors file, which stays open as long as `opened`."""
    try:
        handle = opened.enter_context(path.open("rb"))
        size = os.fstat(handle.fileno()).st_size
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > size:
            raise _Refused(f"{path.name} is not whole")
        header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        found = {}
        for name, item in header.items():
            start, end = item["data_offsets"]
            kind, shape = str(item["dtype"]), tuple(int(n) for n in item["shape"])
            fits = kind not in _FLOATS or (_BYTES[kind] * math.prod(shape) == end - start and min(shape, default=0) > 0)
            if not 0 <= start <= end <= size - 8 - length or not fits:
                raise _Refused(f"{path.name} is not whole: {name} lies outside of it or has another size")
            found[name] = _Stored(handle.fileno(), 8 + length + start, kind, shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _Refused(f"{path.name} cannot be read: {error}") from None
    return found


def _base(folder: Path, opened: ExitStack) -> dict[str, _Stored]:
    index = files.read_json(folder / "model.safetensors.index.json")
    names = sorted(set(index["weight_map"].values())) if index else ["model.safetensors"]
    return {tensor: stored for name in names for tensor, stored in _stored(folder / name, opened).items()}


# -- the adapter -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Change:
    """What an adapter does to one weight: another in its place, or scaled B·A on top, or both."""

    instead: _Stored | None = None
    a: _Stored | None = None
    b: _Stored | None = None
    scale: float = 1.0
    is_embedding: bool = False
    """The product is the transpose of B·A."""


def _changes(folder: Path, opened: ExitStack) -> dict[str, _Change]:
    """Changes by the name that the weight has in the base."""
    config = files.read_json(folder / "adapter_config.json")
    if not isinstance(config, dict):
        raise _Refused("the adapter has no readable adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise _Refused(f"the adapter is {config.get('peft_type')}, not LoRA")
    if config.get("use_dora"):
        raise _Refused("the adapter is DoRA, which scales each row by the norm of the merged row")
    if config.get("bias", "none") != "none":
        raise _Refused(f"the adapter trains biases (bias = {config['bias']!r})")
    if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
        raise _Refused(f"init_lora_weights = {config['init_lora_weights']!r} changes the base as well")
    if odd := [key for key, value in config.items() if key not in _NEUTRAL and value not in (None, False, [], {}, "")]:
        raise _Refused(f"the adapter's config says {', '.join(f'{key} = {config[key]!r}' for key in odd)}")
    parts: dict[str, dict[str, _Stored]] = {}
    for key, stored in _stored(folder / "adapter_model.safetensors", opened).items():
        kinds = r"(lora_[AB]\.weight|lora_embedding_[AB]|base_layer\.weight|weight)"
        match = re.fullmatch(rf"base_model\.model\.(.+?)\.{kinds}", key)
        if match is None or stored.kind not in _FLOATS:
            raise _Refused(f"the adapter holds {key} ({stored.kind}), which is not known here")
        parts.setdefault(match[1], {})[match[2]] = stored
    return {f"{module}.weight": _change(module, found, config) for module, found in parts.items()}


def _change(module: str, found: dict[str, _Stored], config: dict[str, Any]) -> _Change:
    instead = found.get("weight") or found.get("base_layer.weight")
    for suffix, is_embedding in ((".weight", False), ("", True)):
        prefix = "lora_embedding_" if is_embedding else "lora_"
        a, b = found.get(f"{prefix}A{suffix}"), found.get(f"{prefix}B{suffix}")
        if a is not None and b is not None and "weight" not in found:
            rank = a.rows
            if len(a.shape) != 2 or len(b.shape) != 2 or b.width != rank:
                raise _Refused(f"the adapter's parts of {module} do not fit each other")
            alpha = _of_pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8))
            scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
            return _Change(instead, a, b, scale, is_embedding)
    if instead is None or len(found) != 1:
        raise _Refused(f"the adapter holds {', '.join(sorted(found))} of {module}, which is not known here")
    return _Change(instead)


def _of_pattern(patterns: dict[str, Any], module: str, otherwise: Any) -> Any:
    """As PEFT looks names up in `alpha_pattern` (`get_pattern_key`): the first that the name ends with."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


# -- the plan ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Touched:
    """One tensor of the GGUF that is to be made anew."""

    name: str
    start: int
    bytes: int
    kind: str
    stored: _Stored
    change: _Change
    heads: int
    """Heads whose rows the converter interleaves; 0 where it leaves rows where they are."""

    @property
    def step(self) -> int:
        """Rows made at once: whole heads where they are interleaved."""
        step = max(1, _CHUNK // self.stored.width)
        head = self.stored.rows // self.heads if self.heads else 1
        return max(1, step // head) * head


@dataclass(frozen=True)
class _Plan:
    header: Header
    reference: int
    size: int
    touched: list[_Touched]
    """In the order of the file."""


def _plan(base_dir: Path, adapter_dir: Path, reference: Path, quant: str, opened: ExitStack) -> _Plan:
    """What to copy and what to make; raises `_Refused` where the bytes could differ from the long route's."""
    import gguf as ggml

    changes, weights = _changes(adapter_dir, opened), _base(base_dir, opened)
    try:
        header = read_header(reference)
        handle = opened.enter_context(reference.open("rb"))
    except (ValueError, OSError) as error:
        raise _Refused(f"{reference.name} cannot be read: {error}") from None
    kinds = {int(kind): kind.name.removeprefix("MOSTLY_") for kind in ggml.LlamaFileType}
    made_as = kinds.get(header.fields.get("general.file_type", -1), "of no known type")
    if made_as != quant:
        raise _Refused(f"{reference.name} is {made_as}, not {quant}")
    if "quantize.imatrix.file" in header.fields:
        raise _Refused(f"{reference.name} was quantized by an importance matrix, which every checkpoint has of its own")
    known = {name: arch for arch, name in ggml.MODEL_ARCH_NAMES.items()}
    if header.architecture not in known:
        raise _Refused(f"the architecture {header.architecture} has no table of names here")
    names = ggml.get_tensor_name_map(known[header.architecture], int(header.own("block_count", 0)))
    if "lm_head.weight" not in weights and "model.embed_tokens.weight" in weights and "output.weight" in header.tensors:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied in the base, not after the merge
    head_counts = {header.own("attention.head_count"), header.own("attention.head_count_kv")}
    heads = sorted(n for n in head_counts if isinstance(n, int) and n > 1)
    for name in changes.keys() - weights.keys():
        raise _Refused(f"the adapter changes {name}, which the base's files do not have under that name")
    touched: list[_Touched] = []
    for name, stored in weights.items():
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        tensor = header.tensors.get(there or "")
        if tensor is None or there is None:
            if name in changes:
                raise _Refused(f"{reference.name} has no tensor of its own for {name}, which the adapter changes")
            continue  # tied, or not in the file at all: nothing of it is written
        if stored.kind not in _FLOATS or len(stored.shape) > 2 or stored.shape != tuple(reversed(tensor.shape)):
            raise _Refused(f"{name} is {stored.kind} {list(stored.shape)}, in {reference.name} {list(tensor.shape)}")
        item = _Touched(there, tensor.start, tensor.bytes, tensor.type, stored, _Change(), 0)
        if name in changes:
            item = _placed(handle.fileno(), item, heads, changes[name])
            touched.append(item)
        else:
            _equal(handle.fileno(), item, heads)
    if "output.weight" not in header.tensors and any(item.name == "token_embd.weight" for item in touched):
        raise _Refused("the adapter changes embeddings that are the output as well")
    touched.sort(key=lambda item: item.start)
    return _Plan(header, handle.fileno(), os.fstat(handle.fileno()).st_size, touched)


def _rows(rows: int) -> list[int]:
    """A few rows from all over, the same every time."""
    return sorted({i * (rows - 1) // max(1, _SAMPLE - 1) for i in range(min(rows, _SAMPLE))})


def _source(row: int, rows: int, heads: int) -> int:
    """The row of a weight that the converter puts at `row`.

    For rotary embeddings it turns the two halves of a head into pairs (`permute` in `conversion/llama.py`).
    """
    if not heads:
        return row
    half = rows // heads // 2
    head, within = divmod(row, 2 * half)
    pair, part = divmod(within, 2)
    return head * 2 * half + part * half + pair


def _layouts(rows: int, heads: list[int]) -> list[int]:
    return [0, *(n for n in heads if rows % (2 * n) == 0)]


def _reference_rows(reference: int, item: _Touched, rows: list[int]) -> Any:
    import numpy

    size = item.bytes // item.stored.rows
    found = [numpy.frombuffer(os.pread(reference, size, item.start + row * size), numpy.uint8) for row in rows]
    return numpy.stack(found)


def _sample(item: _Touched, heads: int, rows: list[int]) -> torch.Tensor:
    import torch

    places = [_source(row, item.stored.rows, heads) for row in rows]
    if len(rows) > item.stored.rows // 2:
        return item.stored.read(0, item.stored.rows).float()[places]
    return torch.cat([item.stored.read(place, place + 1) for place in places]).float()


def _placed(reference: int, item: _Touched, heads: list[int], change: _Change) -> _Touched:
    """The tensor with its layout, which is the one in which the reference is the base, nearly."""
    import gguf as ggml
    import torch

    rows, kind = _rows(item.stored.rows), ggml.GGMLQuantizationType[item.kind]
    theirs = torch.from_numpy(ggml.dequantize(_reference_rows(reference, item, rows), kind).astype("float32"))
    found: list[tuple[float, int]] = []
    for layout in _layouts(item.stored.rows, heads):
        ours = _sample(item, layout, rows)
        found.append((float((theirs.reshape(ours.shape) - ours).norm() / ours.norm().clamp_min(1e-30)), layout))
    found.sort()
    if not found[0][0] < _MAX_CHANGE or (len(found) > 1 and not found[0][0] < found[1][0]):
        raise _Refused(f"{item.name} of the reference is not the base's weight in an order of rows that is known here")
    shape = change.instead.shape if change.instead is not None else item.stored.shape
    if change.a is not None and change.b is not None:
        across = (change.a.width, change.b.rows) if change.is_embedding else (change.b.rows, change.a.width)
        shape = shape if across == item.stored.shape else across
    if shape != item.stored.shape:
        raise _Refused(f"the adapter's part of {item.name} is {list(shape)}, the base's {list(item.stored.shape)}")
    return dataclasses.replace(item, change=change, heads=found[0][1])


def _equal(reference: int, item: _Touched, heads: list[int]) -> None:
    """Refuse a reference in which a tensor that this adapter leaves alone is not the base's own."""
    rows = _rows(item.stored.rows) if len(item.stored.shape) == 2 else list(range(item.stored.rows))
    theirs = _reference_rows(reference, item, rows).tobytes()
    ours = (_sample(item, layout, rows).half().float() for layout in _layouts(item.stored.rows, heads))
    if not any(_encode(item.kind, sample, item.stored.width) == theirs for sample in ours):
        raise _Refused(f"{item.name} of the reference is not the base's, and this adapter leaves it alone")


# -- the work ----------------------------------------------------------------------------------


@functools.cache
def _ggml() -> Callable[..., int]:
    """ggml's quantizer: type, weights, room for the result, first, rows, width, importances. Threads may share it."""
    folder = install.llama_cpp().need("libllama")
    quantize = ctypes.CDLL(str(folder / install.library("ggml-base"))).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return quantize


def _encode(kind: str, weights: torch.Tensor, width: int) -> bytearray:
    """The bytes of 32-bit weights in a type of ggml's."""
    import gguf as ggml
    import torch

    block, size = ggml.GGML_QUANT_SIZES[ggml.GGMLQuantizationType[kind]]
    weights = weights.contiguous()
    made = bytearray(weights.numel() // block * size)
    into = torch.frombuffer(made, dtype=torch.uint8)
    if kind in _FLOATS:
        into.view(getattr(torch, _FLOATS[kind])).copy_(weights.flatten())
    else:
        number = int(ggml.GGMLQuantizationType[kind])
        _ggml()(number, weights.data_ptr(), into.data_ptr(), 0, weights.numel() // width, width, None)
    return made


def _write(plan: _Plan, out: Path) -> tuple[str, int]:
    """The file, a part at a time in its order; gives its SHA-256 and the most memory this process held."""
    import psutil
    import torch

    process, peak, digest = psutil.Process(), 0, hashlib.sha256()
    threads, cores = torch.get_num_threads(), cpu.free_cores()
    with ThreadPoolExecutor(cores, "delta", initializer=lambda: torch.set_num_threads(1)) as pool, out.open("wb") as to:
        waiting: deque[Future[bytearray]] = deque()
        tasks = _tasks(plan)
        try:
            for number in itertools.count():
                waiting += [pool.submit(task) for task in itertools.islice(tasks, _AHEAD * cores - len(waiting))]
                if not waiting:
                    break
                part = waiting.popleft().result()
                digest.update(part)
                to.write(part)
                if number % 16 == 0:
                    peak = max(peak, process.memory_info().rss)
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)
    return digest.hexdigest(), peak


def _tasks(plan: _Plan) -> Iterator[Callable[[], bytearray]]:
    proven: dict[tuple[int, ...], bool] = {}
    at, is_changed = 0, False
    for item in plan.touched:
        yield from _copies(plan.reference, at, item.start)
        product = _product(item, proven)
        is_changed |= item.change.instead is not None or product is not None
        for first in range(0, item.stored.rows, item.step):
            last = min(first + item.step, item.stored.rows)
            yield functools.partial(_made, item, product, first, last)
        at = item.start + item.bytes
    if not is_changed:
        raise merge.changes_nothing()
    yield from _copies(plan.reference, at, plan.size)


def _copies(reference: int, start: int, end: int) -> Iterator[Callable[[], bytearray]]:
    for at in range(start, end, _COPY):
        yield functools.partial(_copied, reference, at, min(_COPY, end - at))


def _copied(reference: int, start: int, size: int) -> bytearray:
    found = bytearray(size)
    if os.preadv(reference, [found], start) != size:
        raise ReasonerError("the reference became shorter while it was read", fix="run again")
    return found


Product = Callable[[int, int], "torch.Tensor"]
"""Rows `first` to `last` of scaled B·A."""


def _product(item: _Touched, proven: dict[tuple[int, ...], bool]) -> Product | None:
    """B·A by parts where that gives the very bits of the whole, which PEFT computes; None where it is nothing."""
    import torch

    change = item.change
    if change.a is None or change.b is None:
        return None
    a, b = change.a.read(0, change.a.rows).float(), change.b.read(0, change.b.rows).float()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise merge.not_numbers(item.name)
    if not bool(a.any()) or not bool(b.any()):
        return None

    def by_parts(first: int, last: int) -> torch.Tensor:
        return (b @ a[:, first:last]).T if change.is_embedding else b[first:last] @ a

    shape = (*a.shape, *b.shape, item.step, change.is_embedding)
    if proven.get(shape):
        return lambda first, last: by_parts(first, last).mul_(change.scale)
    whole = (b @ a).T if change.is_embedding else b @ a
    rows, step, threads = item.stored.rows, item.step, torch.get_num_threads()
    torch.set_num_threads(1)  # as the parts are made; the whole has all of them, as in `merge`
    proven[shape] = all(
        torch.equal(by_parts(first, min(first + step, rows)), whole[first : first + step])
        for first in range(0, rows, step)
    )
    torch.set_num_threads(threads)
    whole.mul_(change.scale)
    return lambda first, last: whole[first:last]


def _made(item: _Touched, product: Product | None, first: int, last: int) -> bytearray:
    """Rows `first` to `last` of the file's tensor; whole heads where rows are permuted."""
    import torch

    weights = (item.change.instead or item.stored).read(first, last).float()
    if product is not None:
        weights += product(first, last)
    rounded = weights.half().float()
    if not math.isfinite(float(rounded.sum())) and not bool(torch.isfinite(rounded).all()):
        raise merge.too_large(item.name) if bool(torch.isfinite(weights).all()) else merge.not_numbers(item.name)
    if item.heads:
        heads = item.heads * (last - first) // item.stored.rows
        rounded = rounded.reshape(heads, 2, -1, item.stored.width).swapaxes(1, 2)
    return _encode(item.kind, rounded, item.stored.width)
