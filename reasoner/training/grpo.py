"""GRPO + LoRA against the verifier, and nothing else: the only importer of the trainer library.

The reward of a completion is its verifier's verdict (1 right, 0 wrong, None unscored). No prompt, reward
or loss term asks for worked steps. The base stays frozen: its weights are hashed before and after.

On a CPU the *fast loop* takes the place of two of the trainer library's parts, and of no mathematics: completions are
sampled in llama.cpp (`sampler`), and log-probabilities are computed on real tokens only (`packed`), for the groups
that carry signal. The others have an advantage of exactly 0, and so neither loss nor gradient.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.errors import MISSING, USAGE, ReasonerError
from reasoner.llamacpp import sampler
from reasoner.llamacpp.live import LiveWeights
from reasoner.machine import cpu
from reasoner.problems import load
from reasoner.problems.everyday import everyday_prompts
from reasoner.problems.problem import Problem, messages, shuffle_references, split_sha256
from reasoner.training import curriculum, packed
from reasoner.verifiers import registry
from reasoner.verifiers.number import reference_of
from reasoner.verifiers.score import Shares
from reasoner.verifiers.working import shows_working

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


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
    if config.verifier.reward == "share" and not registry.load(config.verifier.name).has_shares:
        raise ReasonerError(
            f"verifier.reward = share, but the verifier {config.verifier.name} has no shares of tests",
            why="a share of the hidden tests can be paid only where there are hidden tests, as for `code`",
            fix="--set verifier.reward=verdict",
            code=USAGE,
        )
    _check_trackers(config)
    load.problems(config.data, "train", 1)


TRACKERS = {"tensorboard": "TENSORBOARD_LOGGING_DIR", "trackio": "TRACKIO_DIR", "wandb": "WANDB_DIR"}
"""By which variable each tracker learns where its files go."""


def _check_trackers(config: Config) -> None:
    import importlib.util

    missing = [name for name in config.train.report_to or () if importlib.util.find_spec(name) is None]
    if missing:
        raise ReasonerError(
            f"a tracker of train.report_to is not installed: {', '.join(missing)}",
            fix=f"{sys.executable} -m pip install {' '.join(missing)}, or --set train.report_to=none",
            code=MISSING,
        )


@contextlib.contextmanager
def _tracked(config: Config, run_: runs.Run) -> Iterator[None]:
    """Trackers write into the run folder while the block runs; a variable that the person has set is left alone.

    What they print goes to standard error: standard output is for results.
    """
    wanted = {TRACKERS[name]: str(run_.path / "trackers" / name) for name in config.train.report_to or ()}
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


class Threads:
    """How many cores other programs leave us: two OpenMP threads on a busy core are far slower than one."""

    def __init__(self) -> None:
        self._seen = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        import psutil

        each, we = psutil.cpu_times(percpu=True), psutil.Process().cpu_times()
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
        busy = [sum(one) - one.idle - getattr(one, "iowait", 0.0) for at, one in enumerate(each) if at in allowed]
        return time.monotonic(), sum(busy), we.user + we.system

    def free(self) -> int:
        """Cores that were not busy with others since the last call (or the making), at least 1."""
        before, self._seen = self._seen, self._now()
        seconds, all_busy, ours = (b - a for a, b in zip(before, self._seen, strict=True))
        return max(1, round(cpu.free_cores() - max(0.0, all_busy - ours) / max(seconds, 1e-3)))


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
    to_gguf: Callable[[Path, str], object],
    say: Callable[[str], None],
    progress: Callable[[dict[str, Any]], None],
    unjudged: Collection[int] = (),
) -> tuple[list[Path], dict[str, Any]]:
    """Train, or go on from the newest whole checkpoint; write `adapter/`.

    Problems whose index is in `unjudged` are left out: the verifier has no verdict on them.
    `to_gguf(out, type)` converts the base. `progress` gets one row a step: `step`, `steps`, `reward`, `signal` (share
    of groups whose completions differ in reward), `length` (tokens), `shows_working`, `step_seconds`.
    """
    with _logged(run_.log_path("train")), _tracked(config, run_), contextlib.ExitStack() as until_done:
        return _run(config, run_, base_path, to_gguf, say, progress, unjudged, until_done)


def _run(
    config: Config,
    run_: runs.Run,
    base_path: Path,
    to_gguf: Any,
    say: Any,
    progress: Any,
    unjudged: Collection[int],
    until_done: Any,
) -> tuple[list[Path], dict[str, Any]]:
    settings = config.train
    chosen = engine(config)
    if chosen == "unsloth":
        import unsloth  # noqa: F401  (patches trl; must come before it)
    import torch
    import transformers
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    _quiet(transformers)
    on_cuda = torch.cuda.is_available()
    if on_cuda and settings.loop == "fast":
        raise ReasonerError("train.loop = fast is for the CPU", fix="--set train.loop=plain", code=USAGE)
    if on_cuda and settings.engine == "auto" and chosen == "trl":
        say("Unsloth is not installed: training with plain TRL, which is slower and needs more memory")
    if settings.vllm and not on_cuda:
        say("vLLM needs CUDA: sampling rollouts on the CPU, which is slower")
    if not on_cuda:
        watch = Threads()
        time.sleep(0.5)
        torch.set_num_threads(threads := watch.free())
        say(f"training on the CPU with {threads} threads")
        if not has_fast_bf16(False):
            say("this CPU has no instructions for 16-bit floats (AVX512-BF16, AMX): several times the usual time")
    transformers.set_seed(settings.seed)

    checker = registry.load(config.verifier.name)
    problems = load.training(config)
    overlap = load.contamination(config)
    say(overlap.line())
    problems = [problem for index, problem in enumerate(problems) if index not in unjudged]
    if settings.control == "shuffled":
        problems = shuffle_references(problems, settings.seed, checker.commit)
        say("control run: every training reference belongs to another problem")
    tokenizer = locate.load_tokenizer(base_path)
    locate.check_embeddings(base_path, tokenizer)
    model, peft_config = _load(config, base_path, chosen, on_cuda, tokenizer)
    before = weights_sha256(model)

    reward = Reward(config, checker, tokenizer, run_.path / "rollouts")
    ready = runs.ready_steps(run_.checkpoints_dir)
    resume = run_.checkpoints_dir / f"checkpoint-{ready[-1]}" if ready else None
    _forget_after(run_, ready[-1] if ready else 0)
    started = time.monotonic()
    trainer = _trainer(config, run_, model, peft_config, tokenizer, reward, problems, on_cuda, Dataset)
    reward.eos_ids = set(trainer.eos_token_ids)
    trainer.first_step = ready[-1] if ready else 0
    sampled_by, why_plain = "vllm" if settings.vllm and on_cuda else "generate", None
    if settings.loop == "fast" or (settings.loop == "auto" and not on_cuda):
        try:
            fast = until_done.enter_context(_Fast(config, run_, trainer, tokenizer, problems, to_gguf))
            trainer.fast, trainer.rollout_func, sampled_by = fast, fast.rollout, "llama.cpp"
        except ReasonerError as error:
            if settings.loop == "fast":
                raise
            why_plain = f"{error.what}: {error.why}" if error.why else error.what
            say(f"sampling with transformers' own generate, which is slower: {why_plain}")
    if settings.curriculum:
        trainer.curriculum = _curriculum(config, trainer, checker, tokenizer, problems, resume, say)
        reward.curriculum = trainer.curriculum
    chat = _Chat(config, trainer, tokenizer) if _watches_chat(config) else None
    trainer.chat = chat
    trainer.add_callback(_callback(transformers, run_, config, trainer, reward, progress))
    if resume:
        say(f"continuing from step {ready[-1]}")
    if resume and ready[-1] >= settings.steps:  # the trainer library would train one step more
        set_peft_model_state_dict(trainer.model, load_file(resume / "adapter_model.safetensors"))
        if chat:
            chat.measure()
    else:
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
    with files.partial_dir(adapter) as partial:
        trainer.model.save_pretrained(partial)
    metrics = files.read_jsonl(run_.path / "metrics.jsonl")
    return [adapter], {
        "engine": chosen,
        "sampler": sampled_by,
        "why_not_fast": why_plain,
        "device": torch.cuda.get_device_name(0) if on_cuda else "cpu",
        "threads": None if on_cuda else torch.get_num_threads(),
        "steps": settings.steps,
        "resumed_from": ready[-1] if ready else None,
        "loop_seconds": round(seconds, 1),
        "problems": len(problems),
        "problems_sha256": split_sha256(problems),
        "verifier": {"name": checker.name, "version": checker.version},
        "reward": config.verifier.reward,
        "base_weights_sha256": {"before": before, "after": after},
        "unscored": reward.unscored,
        "scored": reward.scored,
        "unjudged_problems": len(unjudged),
        "overlap": dataclasses.asdict(overlap),
        "curriculum": trainer.curriculum.state if trainer.curriculum else None,
        "chat_kl": chat.last if chat else None,
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
    problems: list[Problem],
    on_cuda: bool,
    dataset: Any,
) -> Any:
    from transformers import PrinterCallback
    from trl import GRPOConfig

    settings = config.train
    total = settings.num_prompts * settings.num_generations
    micro = settings.micro_batch or total
    rows = [
        {
            "prompt": messages(p.question, config.data.system),
            "answer": p.answer,
            "problem_id": p.id,
            "kind": curriculum.kind(p.kind, p.size),
        }
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
        report_to=list(settings.report_to or ()),
        project="reasoner",
        run_name=run_.name,
        disable_tqdm=True,
        seed=settings.seed,
        ignore_data_skip=settings.curriculum,
        **vllm,
    )
    trainer = trainer_class()(
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


RECHECKED = 256
"""Most accepted completions of a step that the stricter rule judges again, evenly over the step."""
GAP_STEPS = 10
GAP_LEAST = 20
"""Steps, and completions measured in them, that `alarms.max_strict_gap` and `alarms.max_hidden_gap` go by."""


class Gap:
    """Something that grows where the reward is hacked: its mean in the newest step and over the last ones."""

    def __init__(self) -> None:
        self._steps: deque[Sequence[float]] = deque(maxlen=GAP_STEPS)

    def add(self, values: Sequence[float]) -> None:
        """Those of one step."""
        self._steps.append(values)

    @property
    def newest(self) -> float | None:
        """None where nothing was measured, which is not a gap of 0."""
        return mean(self._steps[-1]) if self._steps else None

    @property
    def recent(self) -> float | None:
        """None where too few completions were measured to say."""
        values = [value for step in self._steps for value in step]
        return mean(values) if len(values) >= GAP_LEAST else None


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


class Reward:
    """The outcome reward: the verifier's verdict on each completion, and its line in `rollouts/`.

    `verifier.reward` can make it the share of the hidden tests that hold.

    Accepted completions are judged again by the verifier's stricter rule, where it has one. It pays nothing and takes
    nothing: `strict_gap` is the share that it rejects. A gap that grows is a policy that found what only the reward
    accepts. Where the base has no answer format and a lenient rule is trained on (`smol`), the gap is near 1 from the
    start, and says nothing but that.

    Where the verdict is one over many tests, `visible_share` and `hidden_share` are the mean shares that hold, over
    completions with tests of both kinds, and `hidden_gap` is the first less the second.
    """

    __name__ = "verifier"

    def __init__(
        self, config: Config, checker: registry.Verifier, tokenizer: PreTrainedTokenizerBase, rollouts: Path
    ) -> None:
        self._max_unscored, self._pays = config.verifier.max_unscored, config.verifier.reward
        self._checker, self._rollouts = checker, rollouts
        self.eos_ids: set[int] = {int(tokenizer.eos_token_id)}
        self.scored = self.unscored = 0
        self.shows_working = 0.0
        self.step_unscored = 0
        self.strict_gap, self.hidden_gap = Gap(), Gap()
        self.visible_share: float | None = None
        self.hidden_share: float | None = None
        self._strict = strict_rule(checker)
        self.curriculum: curriculum.Curriculum | None = None

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        answer: list[str],
        problem_id: list[str],
        kind: list[str],
        trainer_state: Any,
        **_: Any,
    ) -> list[float | None]:
        rows, rewards, working = [], [], 0
        step = trainer_state.global_step + 1
        texts = [completion[0]["content"] for completion in completions]
        finished = [bool(ids) and ids[-1] in self.eos_ids for ids in completion_ids]
        scores = registry.verify_many(self._checker, list(zip(texts, answer, finished, strict=True)))
        for prompt, text, is_finished, ids, reference, problem, operations, score in zip(
            prompts, texts, finished, completion_ids, answer, problem_id, kind, scores, strict=True
        ):
            rewards.append(score.share_reward if self._pays == "share" else score.reward)
            working += shows_working(text)
            rows.append(
                {
                    "step": step,
                    "problem_id": problem,
                    "kind": operations,
                    "question": prompt[-1]["content"],
                    "answer": reference_of(reference),
                    "completion": text,
                    "verdict": score.verdict,
                    "extracted": score.extracted,
                    "type": score.type,
                    "rule": score.rule,
                    "why": score.why,
                    **(score.shares._asdict() if score.shares else {}),
                    "finish_reason": "stop" if is_finished else "length",
                    "tokens": len(ids),
                }
            )
        self._judge_again(rows, answer)
        self._take_shares([score.shares for score in scores if score.shares])
        files.append_jsonl(self._rollouts / f"{runs.step_name(step)}.jsonl", rows)
        self.shows_working = working / len(rows)
        if self.curriculum:
            self.curriculum.observe(_rates(problem_id, kind, [score.reward for score in scores]))
        self.step_unscored = unscored = sum(r is None for r in rewards)
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

    def _judge_again(self, rows: list[dict[str, Any]], answers: list[str]) -> None:
        """Give a sample of the accepted rows their `strict` verdict, and take the gap."""
        if self._strict is None:
            return
        accepted = [at for at, row in enumerate(rows) if row["verdict"] == "right"]
        num = min(len(accepted), RECHECKED)
        for at in (accepted[i * len(accepted) // num] for i in range(num)):
            rows[at]["strict"] = registry.verify(self._strict, rows[at]["completion"], answers[at]).verdict
        verdicts = [row["strict"] for row in rows if row.get("strict", "unscored") != "unscored"]
        self.strict_gap.add([float(verdict == "wrong") for verdict in verdicts])

    def _take_shares(self, found: list[Shares]) -> None:
        pairs = [(one.visible, one.hidden) for one in found if one.visible is not None and one.hidden is not None]
        self.visible_share = mean([visible for visible, _ in pairs])
        self.hidden_share = mean([hidden for _, hidden in pairs])
        self.hidden_gap.add([visible - hidden for visible, hidden in pairs])


def strict_rule(checker: registry.Verifier) -> registry.Verifier | None:
    """The stricter rule as a verifier of its own, to be called through `registry.verify`."""
    if checker.strict is None:
        return None
    return dataclasses.replace(checker, name=f"{checker.name} (strict)", function=checker.strict, strict=None)


def _rates(problem_ids: list[str], kinds: list[str], rewards: list[float | None]) -> list[tuple[str, float]]:
    """The share of right completions of each group, by kind."""
    groups: dict[tuple[str, str], list[float]] = {}
    for problem, kind, value in zip(problem_ids, kinds, rewards, strict=True):
        if value is not None:
            groups.setdefault((problem, kind), []).append(value)
    return [(name, sum(values) / len(values)) for (_, name), values in groups.items()]


def _callback(
    transformers: Any,
    run_: runs.Run,
    config: Config,
    trainer: Any,
    reward: Reward,
    progress: Callable[[dict[str, Any]], None],
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
                "steps": config.train.steps,
                "reward": logs["reward"],
                "signal": 1 - logs.get("frac_reward_zero_std", 0.0),
                "length": logs.get("completions/mean_length"),
                "truncated": logs.get("completions/clipped_ratio"),
                "shows_working": reward.shows_working,
                "unscored": reward.step_unscored,
                "strict_gap": reward.strict_gap.newest,
                "visible_share": reward.visible_share,
                "hidden_share": reward.hidden_share,
                "hidden_gap": reward.hidden_gap.newest,
                "entropy": logs.get("entropy"),
                "kl": logs.get("kl"),
                "loss": logs.get("loss"),
                "grad_norm": logs.get("grad_norm"),
                "learning_rate": logs.get("learning_rate"),
                "step_seconds": logs.get("step_time"),
                "sample_seconds": logs.get("sample_time"),
                "mismatch": logs.get("sampling/sampling_logp_difference/mean"),
            }
            if trainer.curriculum:
                row["kinds"] = {name: round(share, 3) for name, share in trainer.curriculum.shares().items()}
                row["rates"] = {name: round(rate, 3) for name, rate in trainer.curriculum.rates.items()}
            if trainer.chat and (state.global_step % CHAT_EVERY == 0 or state.global_step >= config.train.steps):
                row["chat_kl"] = trainer.chat.measure()
            files.append_jsonl(run_.path / "metrics.jsonl", [row])
            progress(row)
            self._check_gaps(state.global_step)
            limit = config.alarms.max_chat_kl
            if limit is not None and row.get("chat_kl", 0.0) > limit:
                kept = (runs.ready_steps(run_.checkpoints_dir) or [0])[-1]
                raise ReasonerError(
                    f"training stopped at step {state.global_step}: the model forgets how to chat",
                    why=f"KL to the base on everyday text is {row['chat_kl']:.3f} nats a token (limit {limit:g})",
                    fix="train again under another name with a lower train.learning_rate, a train.chat_kl term, or"
                    f" fewer steps; checkpoints up to step {kept} are kept",
                    log=run_.path / "metrics.jsonl",
                )

        def _check_gaps(self, step: int) -> None:
            limit, gap = config.alarms.max_strict_gap, reward.strict_gap.recent
            if limit is not None and gap is not None and gap > limit:
                raise ReasonerError(
                    f"training stopped at step {step}: the policy earns what the stricter rule rejects",
                    why=f"of the accepted completions of the last {GAP_STEPS} steps it rejects {gap:.1%}"
                    f" (limit {limit:g})",
                    fix="read the rows with `strict` = wrong; repair the verifier, or raise alarms.max_strict_gap",
                    log=run_.path / "rollouts",
                )
            limit, gap = config.alarms.max_hidden_gap, reward.hidden_gap.recent
            if limit is not None and gap is not None and gap > limit:
                raise ReasonerError(
                    f"training stopped at step {step}: the policy passes the tests it sees, and not the hidden ones",
                    why=f"over the last {GAP_STEPS} steps the share of visible tests that hold is {100 * gap:.1f}"
                    f" points above that of the hidden ones (limit {100 * limit:g})",
                    fix="read the rows with `visible` above `hidden`; show fewer tests or write more hidden ones, or"
                    " raise alarms.max_hidden_gap",
                    log=run_.path / "rollouts",
                )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = run_.checkpoints_dir / f"checkpoint-{state.global_step}"
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing of ours reads
            if trainer.curriculum:
                files.write_json(folder / "curriculum.json", trainer.curriculum.state)
            files.write_text(folder / "DONE", "")

    return Records()


# -- the fast loop -----------------------------------------------------------------------------

CHAT_EVERY = 5
"""Steps between two measurements of the KL to the base on everyday text."""
MISMATCH = 0.5
"""Mean difference of log-probabilities, sampler against trainer, in nats, above which something is broken: bf16 gives
0.01-0.03."""


def trainer_class() -> Any:
    """TRL's `GRPOTrainer` with three hooks that leave its mathematics alone.

    `fast`: log-probabilities by `packed`, only for rows that can move the loss. `curriculum`: which problems a step
    draws. `chat`: a KL term on everyday text, where `train.chat_kl` asks for one.
    """
    import torch
    from trl import GRPOTrainer
    from trl.trainer import grpo_trainer

    class Trainer(GRPOTrainer):
        fast: _Fast | None = None
        curriculum: curriculum.Curriculum | None = None
        chat: _Chat | None = None
        first_step = 0
        _moving: torch.Tensor | None = None

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            if self.curriculum is None:
                return super()._get_train_sampler(dataset)
            return _Draws(self)

        def _prepare_inputs(self, generation_batch: Any) -> Any:
            if self.fast is None:
                return super()._prepare_inputs(generation_batch)
            with _in_order(grpo_trainer):
                return super()._prepare_inputs(generation_batch)

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
        ) -> Any:
            if self.fast is None:
                return super()._get_per_token_logps_and_entropies(
                    model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
                )
            rows = torch.arange(len(input_ids)) if self._moving is None else self._moving.nonzero()[:, 0]
            with self.accelerator.autocast():
                return *self.fast.logps(model, input_ids, attention_mask, logits_to_keep, rows, self.temperature), None

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            if self.fast is None:
                loss = super()._compute_loss(model, inputs)
            else:
                only_reward = self.beta == 0 and not self._entropy_bonus_enabled and self.top_entropy_quantile >= 1
                self._moving = inputs["advantages"] != 0 if only_reward else None
                try:
                    loss = super()._compute_loss(model, inputs)
                    self._correct_metrics(inputs)
                finally:
                    self._moving = None
            if self.chat is not None and self.chat.weight:
                loss = loss + self.chat.weight * self.chat.term() / self.current_gradient_accumulation_steps
            return loss

        def _correct_metrics(self, inputs: Any) -> None:
            """Entropy over the rows that were computed; the sampler's log-probabilities against the trainer's."""
            metrics, mask = self._metrics["train"], inputs["completion_mask"].bool()
            entropy = metrics["entropy"].pop()
            done = mask if self._moving is None else mask & self._moving[:, None]
            if not done.any():
                return
            metrics["entropy"].append(entropy * float(mask.sum() / done.sum()))
            assert self.fast is not None
            difference = (self.fast.newest - inputs["sampling_per_token_logps"])[done].abs().mean().item()
            metrics["sampling/sampling_logp_difference/mean"].append(difference)
            if difference > MISMATCH:
                raise ReasonerError(
                    "llama.cpp samples from another model than is trained",
                    why=f"log-probabilities differ by {difference:.2f} nats on average (limit {MISMATCH})",
                    fix="--set train.loop=plain; this is a bug worth reporting",
                )

    return Trainer


@contextlib.contextmanager
def _in_order(library: Any) -> Iterator[None]:
    """Keep TRL from shuffling a batch before it cuts it into micro-batches: a group stays together, its prompt is
    computed once. The gradients of micro-batches are summed, so their order changes nothing."""
    shuffle, library.shuffle_sequence_dict = library.shuffle_sequence_dict, lambda batch: batch
    try:
        yield
    finally:
        library.shuffle_sequence_dict = shuffle


class _Draws:
    """Indices for the data loader, in the order of TRL's `RepeatSampler`, drawn when they are needed."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._step = trainer, trainer.first_step

    def __len__(self) -> int:
        return len(self._trainer.train_dataset) * int(self._trainer.num_generations)

    def __iter__(self) -> Iterator[int]:
        trainer = self._trainer
        num = trainer.args.generation_batch_size // trainer.num_generations
        while True:
            self._step += 1
            chosen = trainer.curriculum.draw(self._step, num)
            for _ in range(trainer.num_iterations * trainer.args.steps_per_generation):
                for index in chosen:
                    yield from [index] * trainer.num_generations


class _Fast:
    """Sampling in llama.cpp with the live adapter, and packed log-probabilities, for one trainer."""

    def __init__(
        self,
        config: Config,
        run_: runs.Run,
        trainer: Any,
        tokenizer: PreTrainedTokenizerBase,
        problems: list[Problem],
        to_gguf: Callable[[Path, str], object],
    ) -> None:
        import torch

        settings = config.train
        self._config, self._tokenizer, self._trainer = config, tokenizer, trainer
        model = trainer.model.get_base_model()
        wanted = model.config
        self._linear = {
            name.replace("base_model.model.", "", 1) + ".weight": module
            for name, module in trainer.model.named_modules()
            if hasattr(module, "get_delta_weight")
        }
        is_brain = all(torch.equal(m.weight.bfloat16().float(), m.weight.float()) for m in self._linear.values())
        is_mixed = trainer.accelerator.mixed_precision == "bf16"
        head = model.get_output_embeddings().weight.detach()
        self._head = head.to(torch.bfloat16) if is_mixed else head
        self._prove(trainer)
        # F16 for a bfloat16 base too: as fast, and in bfloat16 the sampler would see half of a young adapter (LOG.md).
        self._path = run_.path / "base" / "live.F16.gguf"
        try:
            to_gguf(self._path, "F16")
            heads = {
                wanted.num_attention_heads,
                getattr(wanted, "num_key_value_heads", None) or wanted.num_attention_heads,
            }
            weights = {name: module.weight.data for name, module in self._linear.items()}
            self._live = LiveWeights(self._path, weights, num_blocks=wanted.num_hidden_layers, heads=heads)
            if is_brain and is_mixed:
                for module in self._linear.values():  # exact, and what autocast would make of them at every step
                    module.get_base_layer().weight.data = module.get_base_layer().weight.data.to(torch.bfloat16)
            questions = [p.question for p in problems] + _chat_prompts(config)
            asked = (locate.prompt_ids(tokenizer, messages(text, config.data.system)) for text in questions)
            longest = max(map(len, asked))
            self.sampler = sampler.Sampler(
                self._path,
                width=settings.num_prompts * settings.num_generations,
                context=longest + max(settings.max_completion_tokens, _Chat.MAX_TOKENS),
                threads=torch.get_num_threads(),
            )
            try:
                self.sampler.check(locate.prompt_ids(tokenizer, messages(questions[0], config.data.system)))
            except ReasonerError:
                self.sampler.close()
                raise
        except ReasonerError:
            self._path.unlink(missing_ok=True)
            raise
        self.newest: Any = None
        self._threads = Threads()

    def __enter__(self) -> _Fast:
        return self

    def __exit__(self, *_: object) -> None:
        self.sampler.close()
        self._path.unlink(missing_ok=True)

    def _prove(self, trainer: Any) -> None:
        """Refuse an architecture for which a packed row is not the same function as padded ones."""
        import torch

        prompt, completions = [5, 6, 7, 8, 9], [[10, 11, 12, 13], [14, 15, 16]]
        model = trainer.model
        with torch.no_grad(), trainer.accelerator.autocast():
            tokens = torch.tensor([t for c in completions for t in c])
            ours, _ = packed.token_logps(packed.hidden_states(model, prompt, completions), self._head, tokens, 1.0)
            rows = [model(input_ids=torch.tensor([[*prompt, *c]])).logits[0, 4:-1] for c in completions]
            theirs = torch.log_softmax(torch.cat(rows).float(), dim=-1).gather(1, tokens[:, None])[:, 0]
        worst = float((ours - theirs).abs().max())
        if not worst < 0.25:
            raise ReasonerError(
                "the fast loop does not fit this architecture",
                why=f"packed and padded log-probabilities differ by {worst:.2g}",
                fix="--set train.loop=plain",
            )

    def complete(
        self, prompts: list[list[int]], num_generations: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[sampler.Drawn]]:
        """Completions of the policy as it is now."""
        import torch

        for name, module in self._linear.items():
            self._live.write(name, module.get_base_layer().weight.data.float() + module.get_delta_weight("default"))
        return self.sampler.sample(
            prompts,
            num_generations,
            max_tokens=max_tokens,
            temperature=temperature,
            stops=self._trainer.eos_token_ids,
            generator=torch.Generator().manual_seed(seed),
        )

    def rollout(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: every prompt stands `num_generations` times in a row."""
        import torch

        settings = self._config.train
        started = time.perf_counter()
        threads = self._threads.free()
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
            self.sampler.set_threads(threads)
        asked = [locate.prompt_ids(self._tokenizer, chat) for chat in prompts[:: settings.num_generations]]
        with torch.no_grad():
            drawn = self.complete(
                asked,
                settings.num_generations,
                settings.temperature,
                settings.max_completion_tokens,
                settings.seed * 1_000_003 + trainer.state.global_step,
            )
        trainer._metrics["train"]["sample_time"].append(time.perf_counter() - started)
        return {
            "prompt_ids": [ids for ids in asked for _ in range(settings.num_generations)],
            "completion_ids": [ids for group in drawn for ids, _ in group],
            "logprobs": [logps for group in drawn for _, logps in group],
        }

    def logps(
        self, model: Any, input_ids: Any, attention_mask: Any, num_completion: int, rows: Any, temperature: float
    ) -> tuple[Any, Any]:
        """TRL's per-token log-probabilities and entropies, `(B, T)`; 0 where masked and in rows not asked for."""
        import torch

        shape = (len(input_ids), num_completion)
        logps, entropies = torch.zeros(shape), torch.zeros(shape)
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in rows.tolist():
            prompt = input_ids[row, :-num_completion][attention_mask[row, :-num_completion].bool()]
            groups.setdefault(tuple(prompt.tolist()), []).append(row)
        mask = attention_mask[:, -num_completion:].bool()
        completion_ids = input_ids[:, -num_completion:]
        states, places = [], []
        for prompt, members in groups.items():
            completions = [completion_ids[row][mask[row]].tolist() for row in members]
            states.append(packed.hidden_states(model, prompt, completions))
            places += [(row, at) for row in members for at in mask[row].nonzero()[:, 0].tolist()]
        if states:
            where = torch.tensor(places).T
            tokens = completion_ids[where[0], where[1]]
            values, spread = packed.token_logps(torch.cat(states), self._head, tokens, temperature)
            logps = logps.index_put((where[0], where[1]), values)
            entropies[where[0], where[1]] = spread
        elif torch.is_grad_enabled():
            logps = logps + 0 * next(p for p in model.parameters() if p.requires_grad).sum()
        self.newest = logps.detach()
        return logps, entropies


def _answers(
    trainer: Any, prompts: list[list[int]], num_generations: int, temperature: float, max_tokens: int, seed: int
) -> list[list[list[int]]]:
    """Token ids of completions by the policy as it is now, with whatever samples for this trainer."""
    import torch

    if trainer.fast is not None:
        drawn = trainer.fast.complete(prompts, num_generations, temperature, max_tokens, seed)
        return [[ids for ids, _ in group] for group in drawn]
    pad, ends = int(trainer.processing_class.pad_token_id), set(trainer.eos_token_ids)
    device = trainer.model.device
    torch.manual_seed(seed)
    found = []
    num = max(1, trainer.args.generation_batch_size // num_generations)  # as many completions as a step samples
    for start in range(0, len(prompts), num):
        part = prompts[start : start + num]
        width = max(map(len, part))
        padded = [[pad] * (width - len(prompt)) + prompt for prompt in part for _ in range(num_generations)]
        seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part for _ in range(num_generations)]
        with torch.inference_mode(), trainer.accelerator.autocast():
            out = trainer.model.generate(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=torch.tensor(seen, device=device),
                max_new_tokens=max_tokens,
                do_sample=temperature > 0,
                pad_token_id=pad,
                **({"temperature": temperature, "top_k": 0} if temperature else {}),
            )
        texts = []
        for ids in out[:, width:].tolist():
            end = next((at for at, token in enumerate(ids) if token in ends), len(ids) - 1)
            texts.append(ids[: end + 1])
        found += [texts[at : at + num_generations] for at in range(0, len(texts), num_generations)]
    return found


def _watches_chat(config: Config) -> bool:
    return config.alarms.max_chat_kl is not None or config.train.chat_kl > 0


def _chat_prompts(config: Config) -> list[str]:
    """Everyday prompts that training asks: those by which drift is measured, then those of the KL term."""
    uses: tuple[Literal["probe", "keep"], ...] = ("probe", "keep") if config.train.chat_kl else ("probe",)
    return [one.prompt for use in uses if _watches_chat(config) for one in everyday_prompts(use)]


class _Chat:
    """KL to the base on everyday text: the base's own greedy answers to prompts that no evaluation asks.

    What is measured (`probe`) is never what the loss term holds on to (`keep`). The term has many texts, because what
    matters is the chat that it does not see.
    """

    MAX_TOKENS = 96

    def __init__(self, config: Config, trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        import torch

        self._trainer, self.weight = trainer, config.train.chat_kl
        head = trainer.model.get_base_model().get_output_embeddings().weight.detach()
        self._head = head.to(torch.bfloat16) if trainer.accelerator.mixed_precision == "bf16" else head
        prompts = [locate.prompt_ids(tokenizer, messages(text, config.data.system)) for text in _chat_prompts(config)]
        with trainer.model.disable_adapter():
            answers = _answers(trainer, prompts, 1, 0.0, self.MAX_TOKENS, 0)
            self._texts = [(prompt, group[0]) for prompt, group in zip(prompts, answers, strict=True)]
            with torch.no_grad():
                self._base = [self._states([text]) for text in self._texts]
        probes = len(everyday_prompts("probe"))
        self._held_out, self._kept = range(probes), itertools.cycle(range(probes, len(self._texts)))
        self.last: float | None = None

    def _kl(self, chosen: Sequence[int]) -> Any:
        import torch

        states = self._states([self._texts[i] for i in chosen])
        return packed.kl(states, torch.cat([self._base[i] for i in chosen]), self._head).mean()

    def _states(self, texts: list[tuple[list[int], list[int]]]) -> Any:
        import torch

        with self._trainer.accelerator.autocast():
            return torch.cat([packed.hidden_states(self._trainer.model, prompt, [text]) for prompt, text in texts])

    def measure(self) -> float:
        """Nats a token, over the held-out texts."""
        import torch

        with torch.no_grad():
            self.last = round(float(self._kl(self._held_out)), 5)
        return self.last

    def term(self) -> Any:
        """The same on two of the texts to keep, in turn, with its gradient."""
        return self._kl([next(self._kept), next(self._kept)])


PROBLEMS_A_KIND, COMPLETIONS_A_PROBLEM = 8, 2
"""Problems of each kind, and completions of each, by which the base is measured before a curriculum starts."""


def _curriculum(
    config: Config,
    trainer: Any,
    checker: registry.Verifier,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    resume: Path | None,
    say: Callable[[str], None],
) -> curriculum.Curriculum:
    """The curriculum as the checkpoint left it, or from what the base can do."""
    settings = config.train
    kinds = [curriculum.kind(problem.kind, problem.size) for problem in problems]
    state = files.read_json(resume / "curriculum.json") if resume else None

    def made(rates: dict[str, float]) -> curriculum.Curriculum:
        return curriculum.Curriculum(
            [(problem.kind, problem.size) for problem in problems],
            num_generations=settings.num_generations,
            seed=settings.seed,
            rates=rates,
        )

    if state is not None:
        found = made(dict.fromkeys(kinds, 0.0))
        found.restore(state)
        return found
    asked: list[tuple[str, Problem]] = []
    for name in sorted(set(kinds)):
        asked += [(name, p) for p, kind in zip(problems, kinds, strict=True) if kind == name][:PROBLEMS_A_KIND]
    groups = _answers(
        trainer,
        [locate.prompt_ids(tokenizer, messages(p.question, config.data.system)) for _, p in asked],
        COMPLETIONS_A_PROBLEM,
        settings.temperature,
        settings.max_completion_tokens,
        settings.seed,
    )
    rewards: dict[str, list[float]] = {name: [] for name in kinds}
    for (name, problem), group in zip(asked, groups, strict=True):
        for ids in group:
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            is_finished = ids[-1] in trainer.eos_token_ids
            reward = registry.verify(checker, text, problem.answer, is_finished=is_finished).reward
            rewards[name] += [] if reward is None else [reward]
    silent = [name for name, values in rewards.items() if not values]
    if silent:
        raise ReasonerError(
            f"the verifier {checker.name} gave no verdict on any completion of kind {silent[0]!r}",
            fix="repair the verifier: no verdict is not a rate of 0",
        )
    rates = {name: sum(values) / len(values) for name, values in sorted(rewards.items())}
    shown = ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items())
    say(f"the base, sampled at temperature {settings.temperature:g}: {shown} right")
    return made(rates)


def _forget_after(run_: runs.Run, step: int) -> None:
    """Drop what an interrupted attempt wrote after the checkpoint that training goes on from."""
    metrics = run_.path / "metrics.jsonl"
    rows = [row for row in files.read_jsonl(metrics) if row["step"] <= step]
    metrics.unlink(missing_ok=True)
    files.append_jsonl(metrics, rows)
    for path in (run_.path / "rollouts").glob("step-*.jsonl"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()


def _window(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = ("reward", "signal", "length", "truncated", "shows_working", "hidden_gap", "step_seconds")
    return {
        name: round(sum(values) / len(values), 4)
        for name in names
        if (values := [row[name] for row in rows if row.get(name) is not None])
    }


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over the base's own parameters as 32-bit values: whatever PEFT wraps, or 16 bits hold exactly."""
    import hashlib

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
