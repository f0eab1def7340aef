"""What the stages from base to register write down, each with the one name by which the others read it.

Optional fields are those that a route or an option adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reasoner.bases.locate import Provenance
from reasoner.files import LEFT_OUT
from reasoner.llamacpp.quantize import Quantized
from reasoner.runs import Kind, Output
from reasoner.serving.tags import Registered, Tagged

Pinned = dict[str, int | float | list[str]]
"""Parameters of a Modelfile as Ollama's API takes them: num_ctx, num_predict, temperature, stop, num_thread."""


@dataclass(frozen=True)
class GgufFacts(Quantized):
    """A quantized file: what it says of itself, and how it came about.

    `chosen` says what `gguf.quant = auto` came to and why; what stands behind it only the delta route has.
    """

    chosen: Mapping[str, object] | None = field(default=None, metadata=LEFT_OUT)
    route: str | None = field(default=None, metadata=LEFT_OUT)
    sha256: str | None = field(default=None, metadata=LEFT_OUT)
    seconds: float | None = field(default=None, metadata=LEFT_OUT)
    peak_memory_bytes: int | None = field(default=None, metadata=LEFT_OUT)
    rewritten: list[str] | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class BaseFacts:
    """The untouched base, as it went through the whole path before training."""

    spec: str
    path: str
    architecture: str
    weights_bytes: int
    files: dict[str, Output]
    sha256: str
    special_tokens: list[str]
    license: str
    imported: Provenance | None
    gguf: GgufFacts
    pinned: Pinned
    tag: Registered
    think: bool | None = None
    """Whether the model thinks first; None where its template has no switch for it."""
    left_behind: list[str] = field(default_factory=list)
    """What the Modelfile of a base in Ollama sets and its tuned model does not have."""


def origin(spec: str, imported: Provenance | None) -> str:
    """Where a base came from, in a line; for one made of a GGUF, what it was quantized to."""
    if not imported:
        return spec
    return (
        f"{spec}, a GGUF of {imported.quantization} ({imported.bits_per_weight:.2f} bits a weight, sha256"
        f" {imported.sha256}): the adapter was fitted to the de-quantized weights"
    )


@dataclass(frozen=True)
class MergeFacts:
    """Proof that the adapter is in the merged model: logits compared in 32 bits and after rounding to 16."""

    dtype: str
    changed_tensors: int
    tensors: int
    delta_norm_over_base_norm: float
    max_logit_difference: float
    tolerance: float
    max_logit_difference_16_bit: float
    top_token_agreement_16_bit: float


@dataclass(frozen=True)
class ModelfileFacts:
    """The parameters that the Modelfile pins."""

    pinned: Pinned


@dataclass(frozen=True)
class RegisterFacts:
    """Base and tuned under their own tags; `identity` are their digests."""

    base: Registered
    tuned: Registered
    identity: list[str]


@dataclass(frozen=True)
class ReferenceFacts:
    """The step whose file the delta route starts from."""

    step: int


@dataclass(frozen=True, kw_only=True)
class PromoteFacts:
    """Whether the scored model became public, or why not."""

    promoted: bool
    why: list[str]
    is_control: bool = False
    tag: str | None = field(default=None, metadata=LEFT_OUT)
    digest: str | None = field(default=None, metadata=LEFT_OUT)
    against: str | None = None
    """Digest of what was public before; None: nothing was."""

    @property
    def model(self) -> Tagged | None:
        """The public model, where this one became it."""
        return Tagged(self.tag, self.digest) if self.tag and self.digest else None


@dataclass(frozen=True)
class ReportFacts:
    """Nothing: a report's files are all there is of it."""


BASE = Kind("base", BaseFacts, is_of_run=True)
REFERENCE = Kind("reference", ReferenceFacts, is_of_run=True)
MERGE = Kind("merge", MergeFacts)
GGUF = Kind("gguf", GgufFacts)
MODELFILE = Kind("modelfile", ModelfileFacts)
REGISTER = Kind("register", RegisterFacts)
PROMOTE = Kind("promote", PromoteFacts)
REPORT = Kind("report", ReportFacts)
