"""What this machine trains with: TRL or Unsloth, processor or GPU, the base loaded frozen, and where logs go."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasoner import runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.machine import cpu
from reasoner.problems.problem import Problem, messages

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

TRACKERS = {"tensorboard": "TENSORBOARD_LOGGING_DIR", "trackio": "TRACKIO_DIR", "wandb": "WANDB_DIR"}
"""By which variable each tracker learns where its files go."""


def check_trackers(config: Config) -> None:
    """Raises `ReasonerError` where a tracker of `train.report_to` is not installed."""
    missing = [name for name in config.train.report_to or () if importlib.util.find_spec(name) is None]
    if missing:
        raise ReasonerError(
            f"a tracker of train.report_to is not installed: {', '.join(missing)}",
            fix=f"{sys.executable} -m pip install {' '.join(missing)}, or --set train.report_to=none",
            code=MISSING,
        )


@contextlib.contextmanager
def tracked(config: Config, run: runs.Run) -> Iterator[None]:
    """Lets trackers write into the run folder while the block runs; a variable that the person has set is left alone.

    What they print goes to standard error: standard output is for results.
    """
    wanted = {TRACKERS[name]: str(run.path / "trackers" / name) for name in config.train.report_to or ()}
    if "WANDB_DIR" in wanted:
        wanted["WANDB_PROJECT"] = "reasoner"
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    for name in ours.keys() & set(TRACKERS.values()):
        Path(ours[name]).mkdir(parents=True, exist_ok=True)  # wandb falls back to /tmp where it is missing
    os.environ.update(ours)
    try:
        with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
            yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextlib.contextmanager
def logged(log: Path) -> Iterator[None]:
    """Sends what the libraries log and warn to one file while the block runs, not to the screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


@dataclass(frozen=True)
class Engine:
    """The library that trains, and the device that it trains on."""

    name: Literal["trl", "unsloth"]
    on_cuda: bool

    @property
    def has_fast_bf16(self) -> bool:
        """Whether 16-bit autocast pays."""
        import torch

        return bool(torch.cuda.is_bf16_supported()) if self.on_cuda else cpu.has_fast_bf16()

    @property
    def device(self) -> str:
        """The GPU's name, or `cpu`."""
        import torch

        return str(torch.cuda.get_device_name(0)) if self.on_cuda else "cpu"

    @property
    def threads(self) -> int | None:
        """Threads that torch uses now, where it trains on the CPU."""
        import torch

        return None if self.on_cuda else int(torch.get_num_threads())


def choose(config: Config) -> Engine:
    """Returns what the config asks for, else what the machine has; raises `ReasonerError` where it lacks the former."""
    import torch

    on_cuda, asked = bool(torch.cuda.is_available()), config.train.engine
    has_unsloth = on_cuda and asked != "trl" and importlib.util.find_spec("unsloth") is not None
    if asked == "unsloth" and not has_unsloth:
        raise ReasonerError(
            "train.engine = unsloth needs CUDA and the unsloth package",
            fix="pip install 'reasoner[gpu]' on a CUDA machine, or --set train.engine=trl",
            code=MISSING,
        )
    return Engine("unsloth" if has_unsloth else "trl", on_cuda)


def prepare(config: Config, say: Callable[[str], None]) -> Engine:
    """Chooses the engine, quiets the libraries, sets threads and seed, and says what will be slow."""
    settings, chosen = config.train, choose(config)
    if chosen.name == "unsloth":
        import unsloth  # noqa: F401  (patches trl; must come before it)
    import torch
    import transformers

    _quiet(transformers)
    if chosen.on_cuda and settings.loop == "fast":
        raise ReasonerError("train.loop = fast is for the CPU", fix="--set train.loop=plain", code=USAGE)
    if chosen.on_cuda and settings.engine == "auto" and chosen.name == "trl":
        say("Unsloth is not installed: training with plain TRL, which is slower and needs more memory")
    if settings.vllm and not chosen.on_cuda:
        say("vLLM needs CUDA: sampling rollouts on the CPU, which is slower")
    if not chosen.on_cuda:
        watch = cpu.Threads()
        time.sleep(0.5)
        torch.set_num_threads(threads := watch.free())
        bits = "bfloat16" if chosen.has_fast_bf16 else "32 bits"
        say(f"training on the CPU with {threads} threads, in {bits}, which is the faster here")
    transformers.set_seed(settings.seed)
    return chosen


def _quiet(transformers: Any) -> None:
    transformers.utils.logging.disable_progress_bar()
    for name in ("transformers", "trl", "peft", "accelerate", "datasets"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


@dataclass(frozen=True)
class Loaded:
    """The frozen base with its tokenizer, and the adapter's shape where it is not on the model yet."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    peft_config: Any


def load(config: Config, path: Path, engine: Engine) -> Loaded:
    """Loads the base in 32 bits (16 under Unsloth); raises `ReasonerError` where tokenizer and weights do not fit."""
    tokenizer = locate.load_tokenizer(path, config.data.think)
    locate.check_embeddings(path, tokenizer)
    if engine.name == "unsloth":
        model, peft_config = _unsloth(config, path), None
    else:
        model, peft_config = _plain(config, path)
    model.generation_config.eos_token_id = sorted(locate.end_ids(path, tokenizer))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return Loaded(model.cuda() if engine.on_cuda and engine.name == "trl" else model, tokenizer, peft_config)


def _unsloth(config: Config, path: Path) -> Any:
    from unsloth import FastLanguageModel

    settings = config.train
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(path),
        max_seq_length=config.serve.num_ctx,
        load_in_4bit=False,
        fast_inference=settings.vllm,
        max_lora_rank=settings.lora_r,
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth",
        random_state=settings.seed,
    )


def _plain(config: Config, path: Path) -> tuple[Any, Any]:
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    # 32 bits: TRL merges and unmerges the adapter for vLLM at every step, which corrupts a bf16 base.
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return model, LoraConfig(
        r=config.train.lora_r,
        lora_alpha=config.train.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def prompt_room(config: Config) -> int:
    """Returns the tokens that a training prompt may have: what is trained must fit what is served."""
    return config.serve.num_ctx - config.train.max_completion_tokens


def too_long(
    config: Config, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], room: int
) -> dict[int, int]:
    """Returns how many tokens the prompts have that have more than `room`, by the place of the problem."""
    frame = len((config.data.system or "").encode()) + 500  # more than a template adds; no token is shorter than a byte
    long = (i for i, problem in enumerate(problems) if len(problem.question.encode()) + frame > room)
    sizes = ((i, len(prompt_ids(config, tokenizer, problems[i].question))) for i in long)
    return {i: size for i, size in sizes if size > room}


def prompt_ids(config: Config, tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Returns the token ids of a question as training asks it, ready for the assistant's turn."""
    return locate.prompt_ids(tokenizer, messages(question, config.data.system))


def weights_sha256(model: torch.nn.Module) -> str:
    """Hashes the base's own parameters as 32-bit values: the same whatever PEFT wraps, or 16 bits hold exactly."""
    import torch

    digest = hashlib.sha256()
    named = {
        name.replace("base_model.model.", "", 1).replace(".base_layer", ""): tensor
        for name, tensor in model.named_parameters()
        if "lora_" not in name
    }
    for name in sorted(named):
        tensor = named[name].detach().cpu().float().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
