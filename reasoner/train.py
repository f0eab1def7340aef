"""GRPO + LoRA against the verifier, and nothing else: the only importer of the trainer library.

The reward of a completion is its verifier's verdict (1 right, 0 wrong, None unscored). No prompt, reward
or loss term asks for worked steps. The base stays frozen: its weights are hashed before and after.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner import base, data, runs, verifiers
from reasoner.config import Config
from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.verifiers.number import reference_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOTrainer


def check(config: Config) -> None:
    """Refuse what cannot be trained, before anything is."""
    total = config.train.num_prompts * config.train.num_generations
    micro = config.train.micro_batch or total
    if total % micro:
        raise ReasonerError(
            "train.micro_batch does not divide the step",
            why=f"{config.train.num_prompts} problems x {config.train.num_generations} completions = {total},"
            f" micro_batch {micro}",
            fix="choose a divisor",
            code=USAGE,
        )
    data.check(config.data, "train")


def engine(config: Config) -> str:
    """`unsloth` or `trl`: what the config asks for, or what the machine has."""
    import torch

    if config.train.engine == "trl" or (config.train.engine == "auto" and not torch.cuda.is_available()):
        return "trl"
    import importlib.util

    if importlib.util.find_spec("unsloth") is None or not torch.cuda.is_available():
        if config.train.engine == "unsloth":
            raise ReasonerError(
                "train.engine = unsloth needs CUDA and the unsloth package",
                fix="pip install 'reasoner[gpu]' on a CUDA machine, or --set train.engine=trl",
                code=MISSING,
            )
        return "trl"
    return "unsloth"


def free_threads() -> int:
    """Cores that are idle right now: two OpenMP threads on a busy core are slower than one."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.5) / 100
    return max(1, round(cores * (1 - busy)))


@contextlib.contextmanager
def _logged(log: Path) -> Iterator[None]:
    """What the libraries log and warn goes into one file, not onto the screen."""
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


def run(
    config: Config,
    run_: runs.Run,
    base_path: Path,
    say: Callable[[str], None],
    progress: Callable[[dict[str, Any]], None],
) -> tuple[list[Path], dict[str, Any]]:
    """Train, or go on from the newest whole checkpoint; write `adapter/`.

    `progress` gets one row a step: `step`, `steps`, `reward`, `signal` (share of groups whose
    completions differ in reward), `length` (tokens), `shows_working`, `step_seconds`.
    """
    with _logged(run_.log_path("train")):
        return _run(config, run_, base_path, say, progress)


def _run(config: Config, run_: runs.Run, base_path: Path, say: Any, progress: Any) -> tuple[list[Path], dict[str, Any]]:
    settings = config.train
    chosen = engine(config)
    if chosen == "unsloth":
        import unsloth  # noqa: F401  (patches trl; must come before it)
    import torch
    import transformers
    from datasets import Dataset

    _quiet(transformers)
    on_cuda = torch.cuda.is_available()
    if on_cuda and settings.engine == "auto" and chosen == "trl":
        say("Unsloth is not installed: training with plain TRL, which is slower and needs more memory")
    if settings.vllm and not on_cuda:
        say("vLLM needs CUDA: sampling rollouts with transformers' own generate, which is slower")
    if not on_cuda:
        threads = free_threads()
        torch.set_num_threads(threads)
        say(f"training on the CPU with {threads} threads")
    transformers.set_seed(settings.seed)

    problems = data.load(config.data, "train", config.data.num_train)
    if settings.control == "shuffled":
        problems = data.shuffle_references(problems, settings.seed, reference_of)
        say("control run: every training reference belongs to another problem")
    tokenizer = base.load_tokenizer(base_path)
    base.check_embeddings(base_path, tokenizer)
    model, peft_config = _load(config, base_path, chosen, on_cuda, tokenizer)
    before = weights_sha256(model)

    checker = verifiers.load(config.verifier.name)
    reward = Reward(config, checker, tokenizer, run_.path / "rollouts")
    trainer = _trainer(config, run_, model, peft_config, tokenizer, reward, problems, on_cuda, Dataset)
    reward.eos_ids = set(trainer.eos_token_ids)
    trainer.add_callback(_callback(transformers, run_, settings.steps, reward, progress))
    ready = runs.ready_steps(run_.checkpoints_dir)
    resume = run_.checkpoints_dir / f"checkpoint-{ready[-1]}" if ready else None
    _forget_after(run_, ready[-1] if ready else 0)
    if resume:
        say(f"continuing from step {ready[-1]}")
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    seconds = time.monotonic() - started

    after = weights_sha256(trainer.model)
    if before != after:
        raise ReasonerError(
            "training changed the base's own weights",
            why=f"hash before {before[:12]}, after {after[:12]}: base + adapter is no longer the trained model",
            fix="train with a 32-bit base; this is a bug worth reporting",
            log=run_.log_path("train"),
        )
    adapter = run_.path / "adapter"
    with runs.partial_dir(adapter) as partial:
        trainer.model.save_pretrained(partial)
    metrics = runs.read_jsonl(run_.path / "metrics.jsonl")
    return [adapter], {
        "engine": chosen,
        "sampler": "vllm" if settings.vllm and on_cuda else "generate",
        "device": torch.cuda.get_device_name(0) if on_cuda else "cpu",
        "threads": None if on_cuda else torch.get_num_threads(),
        "steps": settings.steps,
        "resumed_from": ready[-1] if ready else None,
        "loop_seconds": round(seconds, 1),
        "problems": len(problems),
        "problems_sha256": data.split_sha256(problems),
        "verifier": {"name": checker.name, "version": checker.version},
        "base_weights_sha256": {"before": before, "after": after},
        "unscored": reward.unscored,
        "scored": reward.scored,
        "first": _window(metrics[:10]),
        "last": _window(metrics[-10:]),
    }


def _quiet(transformers: Any) -> None:
    transformers.utils.logging.disable_progress_bar()
    for name in ("transformers", "trl", "peft", "accelerate", "datasets"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _load(
    config: Config, path: Path, chosen: str, on_cuda: bool, tokenizer: PreTrainedTokenizerBase
) -> tuple[Any, Any]:
    """The frozen base in 32 bits (16 under Unsloth), and the adapter's shape where it is not on it yet."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    settings = config.train
    if chosen == "unsloth":
        from unsloth import FastLanguageModel

        length = config.serve.num_ctx
        model, _ = FastLanguageModel.from_pretrained(
            model_name=str(path),
            max_seq_length=length,
            load_in_4bit=False,
            fast_inference=settings.vllm,
            max_lora_rank=settings.lora_r,
        )
        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = FastLanguageModel.get_peft_model(
            model,
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            target_modules=modules,
            use_gradient_checkpointing="unsloth",
            random_state=settings.seed,
        )
        _set_ends(model, tokenizer)
        return model, None
    # 32 bits: TRL merges and unmerges the adapter for vLLM at every step, which corrupts a bf16 base.
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    _set_ends(model, tokenizer)
    peft_config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return (model.cuda() if on_cuda else model), peft_config


def _set_ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let generation stop at the template's end of turn and at every end the base itself declares."""
    declared = model.generation_config.eos_token_id
    ends = [declared] if isinstance(declared, int) else list(declared or [])
    model.generation_config.eos_token_id = sorted({tokenizer.eos_token_id, *ends})
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _trainer(
    config: Config,
    run_: runs.Run,
    model: Any,
    peft_config: Any,
    tokenizer: PreTrainedTokenizerBase,
    reward: Reward,
    problems: list[data.Problem],
    on_cuda: bool,
    dataset: Any,
) -> GRPOTrainer:
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    settings = config.train
    total = settings.num_prompts * settings.num_generations
    micro = settings.micro_batch or total
    rows = [
        {"prompt": data.messages(p.question, config.data.system), "answer": p.answer, "problem_id": p.id}
        for p in problems
    ]
    vllm: dict[str, Any] = (
        {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4} if settings.vllm and on_cuda else {}
    )
    args = GRPOConfig(
        output_dir=str(run_.checkpoints_dir),
        max_steps=settings.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=total // micro,
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup_steps,
        beta=settings.beta,
        loss_type=settings.loss,
        scale_rewards=settings.scale_rewards,
        max_grad_norm=1.0,
        bf16=has_fast_bf16(on_cuda),
        use_cpu=not on_cuda,
        gradient_checkpointing=on_cuda,
        dataloader_pin_memory=on_cuda,
        use_vllm=settings.vllm and on_cuda,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=settings.keep_checkpoints,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        **vllm,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def has_fast_bf16(on_cuda: bool) -> bool:
    """Whether 16-bit autocast pays: a CUDA device with bf16, or a CPU with bf16 instructions."""
    import torch

    if on_cuda:
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Reward:
    """The outcome reward: the verifier's verdict on each completion, and its line in `rollouts/`."""

    __name__ = "verifier"

    def __init__(
        self, config: Config, checker: verifiers.Verifier, tokenizer: PreTrainedTokenizerBase, rollouts: Path
    ) -> None:
        self._max_unscored = config.verifier.max_unscored
        self._checker, self._rollouts = checker, rollouts
        self.eos_ids: set[int] = {int(tokenizer.eos_token_id)}
        self.scored = self.unscored = 0
        self.shows_working = 0.0

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        answer: list[str],
        problem_id: list[str],
        trainer_state: Any,
        **_: Any,
    ) -> list[float | None]:
        rows, rewards, working = [], [], 0
        step = trainer_state.global_step + 1
        for prompt, completion, ids, reference, problem in zip(
            prompts, completions, completion_ids, answer, problem_id, strict=True
        ):
            text = completion[0]["content"]
            is_finished = bool(ids) and ids[-1] in self.eos_ids
            score = verifiers.verify(self._checker, text, reference, is_finished=is_finished)
            rewards.append(score.reward)
            working += verifiers.shows_working(text)
            rows.append(
                {
                    "step": step,
                    "problem_id": problem,
                    "question": prompt[-1]["content"],
                    "answer": reference_of(reference),
                    "completion": text,
                    "verdict": score.verdict,
                    "extracted": score.extracted,
                    "why": score.why,
                    "finish_reason": "stop" if is_finished else "length",
                    "tokens": len(ids),
                }
            )
        runs.append_jsonl(self._rollouts / f"{runs.step_name(step)}.jsonl", rows)
        self.shows_working = working / len(rows)
        unscored = sum(r is None for r in rewards)
        self.unscored += unscored
        self.scored += len(rewards) - unscored
        if unscored > self._max_unscored * len(rewards) and self.unscored > self._max_unscored * (
            self.scored + self.unscored
        ):
            why = next(row["why"] for row in rows if row["verdict"] == "unscored")
            raise ReasonerError(
                f"the verifier {self._checker.name} gave no verdict on {unscored} of {len(rewards)} completions",
                why=why,
                fix="repair the references or the verifier; verifier.max_unscored is the limit",
                log=self._rollouts / f"{runs.step_name(step)}.jsonl",
            )
        return rewards


def _callback(
    transformers: Any, run_: runs.Run, steps: int, reward: Reward, progress: Callable[[dict[str, Any]], None]
) -> Any:
    class Records(transformers.TrainerCallback):
        """Writes `metrics.jsonl`, reports each step, and marks a checkpoint whole, last of all."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step >= state.max_steps:
                control.should_save = True
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not logs or "reward" not in logs:
                return
            row = {
                "step": state.global_step,
                "steps": steps,
                "reward": logs["reward"],
                "signal": 1 - logs.get("frac_reward_zero_std", 0.0),
                "length": logs.get("completions/mean_length"),
                "truncated": logs.get("completions/clipped_ratio"),
                "shows_working": reward.shows_working,
                "entropy": logs.get("entropy"),
                "kl": logs.get("kl"),
                "loss": logs.get("loss"),
                "grad_norm": logs.get("grad_norm"),
                "learning_rate": logs.get("learning_rate"),
                "step_seconds": logs.get("step_time"),
            }
            runs.append_jsonl(run_.path / "metrics.jsonl", [row])
            progress(row)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = run_.checkpoints_dir / f"checkpoint-{state.global_step}"
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing of ours reads
            runs.write_text(folder / "DONE", "")

    return Records()


def _forget_after(run_: runs.Run, step: int) -> None:
    """Drop what an interrupted attempt wrote after the checkpoint that training goes on from."""
    metrics = run_.path / "metrics.jsonl"
    rows = [row for row in runs.read_jsonl(metrics) if row["step"] <= step]
    metrics.unlink(missing_ok=True)
    runs.append_jsonl(metrics, rows)
    for path in (run_.path / "rollouts").glob("step-*.jsonl"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()


def _window(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = ("reward", "signal", "length", "truncated", "shows_working", "step_seconds")
    return {
        name: round(sum(values) / len(values), 4)
        for name in names
        if (values := [row[name] for row in rows if row.get(name) is not None])
    }


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over the base's own parameters, adapter left out, independent of how PEFT wraps them."""
    import hashlib

    import torch

    digest = hashlib.sha256()
    named = {
        name.replace("base_model.model.", "", 1).replace(".base_layer", ""): tensor
        for name, tensor in model.named_parameters()
        if "lora_" not in name
    }
    for name in sorted(named):
        tensor = named[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
