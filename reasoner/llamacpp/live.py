"""Writes weights straight into the file that llama.cpp has mapped, so that a new adapter is live without a reload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.errors import ReasonerError

if TYPE_CHECKING:
    import torch


class LiveWeights:
    """Opens the linear weights inside a 16-bit GGUF for writing while a `Sampler` reads them.

    Which bytes belong to which weight of the model is not assumed but proven: the file's tensor must equal the
    model's own, as it is or with the rows of each attention head interleaved as the converter does for some
    architectures. Raises `ReasonerError` where one does not.
    """

    def __init__(
        self, path: Path, weights: Mapping[str, torch.Tensor], *, num_blocks: int, heads: Collection[int]
    ) -> None:
        import gguf
        import numpy
        import torch

        reader = gguf.GGUFReader(path)
        architecture = str(reader.get_field("general.architecture").contents())
        known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(known[architecture], num_blocks)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._bytes = numpy.memmap(path, dtype=numpy.uint8, mode="r+")
        self._places: dict[str, tuple[int, int, torch.dtype, Callable[[torch.Tensor], torch.Tensor]]] = {}
        types = {gguf.GGMLQuantizationType.BF16: torch.bfloat16, gguf.GGMLQuantizationType.F16: torch.float16}
        for name, weight in weights.items():
            tensor = tensors.get(names.get_name(name, try_suffixes=(".weight",)) or "")
            dtype = types.get(tensor.tensor_type) if tensor is not None else None
            if tensor is None or dtype is None:
                raise ReasonerError(f"{path.name} has no 16-bit tensor for {name}")
            start, size = int(tensor.data_offset), int(tensor.n_bytes)
            stored = torch.from_numpy(self._bytes[start : start + size].copy())
            for layout in [_as_is, *(_interleaved(n) for n in sorted(heads))]:
                if len(weight) % 2 == 0 and torch.equal(_raw(layout(weight.to(dtype))), stored):
                    self._places[name] = (start, size, dtype, layout)
                    break
            else:
                raise ReasonerError(f"{path.name} stores {name} in a layout that is not known here")

    def write(self, name: str, weight: torch.Tensor) -> None:
        """Puts a weight, `(out, in)` in any float type, in its place, rounded to the file's 16-bit type."""
        start, size, dtype, layout = self._places[name]
        self._bytes[start : start + size] = _raw(layout(weight.to(dtype))).numpy()


def _as_is(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _interleaved(num_heads: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Reorders the rows of a head from halves to pairs, as llama.cpp's converter does for rotary embeddings."""

    def layout(weight: torch.Tensor) -> torch.Tensor:
        rows = len(weight)
        if rows % (2 * num_heads):
            return weight
        return weight.reshape(num_heads, 2, rows // num_heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)

    return layout


def _raw(weight: torch.Tensor) -> torch.Tensor:
    import torch

    return weight.contiguous().view(torch.uint8).flatten()
