"""GRPO + LoRA against the verifier, and nothing else: problems and a base go in, an adapter comes out.

The reward of a completion is its verifier's verdict; no prompt, reward or loss term asks for worked steps. The base
stays frozen: its weights are hashed before and after. The mathematics are TRL's, on a CPU too, where the fast loop
(`fast`) samples and computes log-probabilities. This module sets up and runs; it knows no stages and exports nothing.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner import files, runs, words
from reasoner.bases import templates
from reasoner.config import Config
from reasoner.errors import USAGE, ReasonerError
from reasoner.problems import load
from reasoner.problems.overlap import Contamination
from reasoner.problems.problem import Problem, messages, shuffle_references, split_sha256
from reasoner.training import chat, curriculum, engine, facts, floor, hooks
from reasoner.training.engine import Engine, Loaded
from reasoner.training.facts import StepMetrics, TrainFacts
from reasoner.training.fast import FastLoop
from reasoner.training.reward import Reward
from reasoner.verifiers import registry

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainJob:
    """What is trained, and where it goes.

    `to_gguf(out, type)` converts the base for the sampler. Problems whose index is in `unjudged` are left out: the
    verifier has no verdict on their references.
    """

    config: Config
    run: runs.Run
    base_path: Path
    to_gguf: Callable[[Path, str], object]
    unjudged: Collection[int] = ()


def check(config: Config) -> None:
    """Raises `ReasonerError` for what cannot be trained, before anything is."""
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
    if (config.train.num_trained or 0) > config.train.num_generations:
        raise ReasonerError(
            "train.num_trained is more than a group has",
            why=f"{config.train.num_generations} completions a problem (train.num_generations)",
            fix="lower it, or --set train.num_trained=none",
            code=USAGE,
        )
    if config.verifier.reward == "share" and not registry.load(config.verifier.name).has_shares:
        raise ReasonerError(
            f"verifier.reward = share, but the verifier {config.verifier.name} has no shares of tests",
            why="a share of the hidden tests can be paid only where there are hidden tests, as for `code`",
            fix="--set verifier.reward=verdict",
            code=USAGE,
        )
    engine.check_trackers(config)


def run(job: TrainJob, say: Say, progress: Callable[[StepMetrics], None]) -> tuple[list[Path], TrainFacts]:
    """Trains, or goes on from the newest whole checkpoint, and writes `adapter/`; returns its path and the record.

    `progress` gets each step as it is done. Raises `ReasonerError` where an alarm goes off, the engine is not there,
    or the base's own weights changed.
    """
    with (
        engine.logged(job.run.log_path("train")),
        engine.tracked(job.config, job.run),
        contextlib.ExitStack() as until_done,
    ):
        return _run(job, say, progress, until_done)


def _run(
    job: TrainJob, say: Say, progress: Callable[[StepMetrics], None], until_done: contextlib.ExitStack
) -> tuple[list[Path], TrainFacts]:
    config, run_ = job.config, job.run
    chosen = engine.prepare(config, say)
    checker = registry.load(config.verifier.name)
    problems, overlap = _problems(job, checker, say)
    loaded = engine.load(config, job.base_path, chosen)
    if long := engine.too_long(config, loaded.tokenizer, problems, engine.prompt_room(config)):
        say(f"{len(long)} training problems left out: their prompts do not fit serve.num_ctx with a completion")
        problems = [problem for index, problem in enumerate(problems) if index not in long]
    before = engine.weights_sha256(loaded.model)
    first_step = forget_unfinished(run_)
    started = time.monotonic()
    reward = Reward(config, checker, run_)
    reward.begun = templates.begun(templates.rendered(loaded.tokenizer))
    trainer = build_trainer(config, run_, chosen, loaded, reward, problems)
    reward.eos_ids, trainer.first_step = set(trainer.eos_token_ids), first_step
    trainer.num_trained, trainer.num_ctx = config.train.num_trained, config.serve.num_ctx
    sampler, why_not_fast = _choose_sampler(job, chosen, trainer, problems, say, until_done)
    resume = run_.checkpoints_dir / f"checkpoint-{first_step}" if first_step else None
    if config.train.curriculum:
        trainer.curriculum = reward.curriculum = curriculum.start(config, trainer, checker, problems, resume, say)
    if chat.is_watched(config):
        trainer.chat = chat.ChatKL(config, trainer)
    records = hooks.callback_class()(config, run_, trainer, reward, progress)
    trainer.add_callback(records)
    _train(config, records, resume, say)
    seconds = time.monotonic() - started
    weights = facts.BeforeAfter(before, engine.weights_sha256(trainer.model))
    _refuse_changed(weights, run_)
    adapter = run_.path / "adapter"
    with files.partial_dir(adapter) as partial:
        trainer.model.save_pretrained(partial)
    metrics = facts.read_metrics(run_)
    return [adapter], TrainFacts(
        engine=chosen.name,
        sampler=sampler,
        why_not_fast=why_not_fast,
        device=chosen.device,
        threads=chosen.threads,
        steps=metrics[-1].step,
        resumed_from=first_step or None,
        loop_seconds=round(seconds, 1),
        problems=len(problems),
        problems_sha256=split_sha256(problems),
        verifier=checker.judge,
        reward=config.verifier.reward,
        base_weights_sha256=weights,
        unscored=reward.unscored,
        scored=reward.scored,
        unjudged_problems=len(job.unjudged),
        overlap=overlap,
        curriculum=trainer.curriculum.state if trainer.curriculum else None,
        chat_kl=trainer.chat.last if trainer.chat else None,
        first=facts.window(metrics[:10]),
        last=facts.window(metrics[-10:]),
    )


def _problems(job: TrainJob, checker: registry.Verifier, say: Say) -> tuple[list[Problem], Contamination]:
    """Returns the problems to train on, and what they share with the sets of the evaluation."""
    problems = load.training(job.config)
    overlap = load.contamination(job.config)
    say(overlap.line())
    problems = [problem for index, problem in enumerate(problems) if index not in job.unjudged]
    if job.config.train.control == "shuffled":
        problems = shuffle_references(problems, job.config.train.seed, checker.commit)
        say("control run: every training reference belongs to another problem")
    return problems, overlap


def build_trainer(
    config: Config, run_: runs.Run, chosen: Engine, loaded: Loaded, reward: Reward, problems: Sequence[Problem]
) -> Any:
    """Returns TRL's trainer with our hooks, none of them on yet (`hooks.TrainerHooks`)."""
    from datasets import Dataset
    from transformers import PrinterCallback

    rows = [
        {
            "prompt": messages(problem.question, config.data.system),
            "answer": problem.answer,
            "problem_id": problem.id,
            "kind": curriculum.kind(problem.kind, problem.size),
        }
        for problem in problems
    ]
    trainer = hooks.trainer_class()(
        model=loaded.model,
        reward_funcs=reward,
        args=_arguments(config, run_, chosen),
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=loaded.peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(config: Config, run_: runs.Run, chosen: Engine) -> Any:
    from trl import GRPOConfig

    settings, on_cuda = config.train, chosen.on_cuda
    total = settings.num_prompts * settings.num_generations
    micro = settings.micro_batch or total
    uses_vllm = settings.vllm and on_cuda
    return GRPOConfig(
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
        bf16=chosen.has_fast_bf16,
        use_cpu=not on_cuda,
        gradient_checkpointing=on_cuda,
        dataloader_pin_memory=on_cuda,
        use_vllm=uses_vllm,
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
        **({"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4} if uses_vllm else {}),
    )


def _choose_sampler(
    job: TrainJob,
    chosen: Engine,
    trainer: Any,
    problems: Sequence[Problem],
    say: Say,
    until_done: contextlib.ExitStack,
) -> tuple[str, str | None]:
    """Turns the fast loop on where it is wanted and fits; returns what samples, and why llama.cpp does not."""
    loop = job.config.train.loop
    if loop == "fast" or (loop == "auto" and not chosen.on_cuda):
        try:
            fast = until_done.enter_context(FastLoop(job.config, job.run, trainer, problems, job.to_gguf))
        except ReasonerError as error:
            if loop == "fast":
                raise
            why = f"{error.what}: {error.why}" if error.why else error.what
            say(f"sampling with transformers' own generate, which is slower: {why}")
            return "generate", why
        trainer.fast, trainer.rollout_func = fast, fast.rollout
        return "llama.cpp", None
    return "vllm" if job.config.train.vllm and chosen.on_cuda else "generate", None


def _train(config: Config, records: Any, resume: Path | None, say: Say) -> None:
    """Trains to the end; from a checkpoint of the last step only its adapter is loaded."""
    trainer, settings = records.trainer, config.train
    if resume:
        say(f"continuing from step {trainer.first_step}")
        is_solved = facts.is_solved(facts.read_metrics(records.run), settings.solved_at)
        if is_solved or trainer.first_step >= settings.steps:  # TRL would train one step more
            _load_adapter(trainer, resume)
            return
    if trainer.args.use_cpu:
        left = (settings.steps - trainer.first_step) * floor.seconds_a_step(settings, trainer.model)
        usually = f"usually {words.duration(2 * left)} to {words.duration(3 * left)}"
        say(f"the arithmetic of the training takes {words.duration(left)} on this machine; {usually} in all")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except KeyboardInterrupt:
        if (step := records.save_finished()) is not None:
            say(f"interrupted after step {step}, which is saved")
        raise
    if trainer.state.global_step < settings.steps:
        why = f"the last {facts.SOLVED_STEPS} steps reach train.solved_at, and few groups differ"
        say(f"stopped at step {trainer.state.global_step}: {why}")


def _load_adapter(trainer: Any, resume: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(trainer.model, load_file(resume / "adapter_model.safetensors"))
    if trainer.chat:
        trainer.chat.measure()


def _refuse_changed(weights: facts.BeforeAfter, run_: runs.Run) -> None:
    if weights.before != weights.after:
        raise ReasonerError(
            "training changed the base's own weights",
            why=f"hash before {weights.before[:12]}, after {weights.after[:12]}: base + adapter is no longer the"
            " trained model",
            fix="train with a 32-bit base; this is a bug worth reporting",
            log=run_.log_path("train"),
        )


def forget_unfinished(run_: runs.Run) -> int:
    """Drops what an interrupted attempt wrote after the newest whole checkpoint; returns that one's step, or 0."""
    step = (runs.ready_steps(run_.checkpoints_dir) or [0])[-1]
    metrics = run_.path / "metrics.jsonl"
    rows = [row for row in files.read_jsonl(metrics) if row["step"] <= step]
    metrics.unlink(missing_ok=True)
    files.append_jsonl(metrics, rows)
    for path in (run_.path / "rollouts").glob("step-*.jsonl"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    return step
