"""The hooks into TRL's trainer: where fast loop, curriculum, chat KL, metrics and alarms reach it.

TRL's mathematics are left alone. The classes here are bound to TRL's own by `trainer_class` and `callback_class`, so
that nothing heavy is imported with this module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.config import Config
from reasoner.training import alarms, subset
from reasoner.training.chat import ChatKL
from reasoner.training.curriculum import STATE_FILE, Curriculum, Draws
from reasoner.training.facts import CurriculumState, StepMetrics, is_solved, read_metrics
from reasoner.training.fast import FastLoop
from reasoner.training.reward import Reward

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer
else:
    GRPOTrainer = object

SAVE_SECONDS = 600
"""Seconds after a checkpoint at which the next one is due, whatever `train.save_every` says: what a crash may cost."""
CHAT_EVERY = 5
"""Steps between two measurements of the KL to the base on everyday text."""


def trainer_class() -> Any:
    """Returns TRL's `GRPOTrainer` with our hooks."""
    from trl import GRPOTrainer

    return type("Trainer", (TrainerHooks, GRPOTrainer), {})


class TrainerHooks(GRPOTrainer):
    """Three hooks, each of them off while its attribute is None.

    `fast`: log-probabilities by `packed`, only for rows that can move the loss: the others have an advantage of exactly
    0, and so neither loss nor gradient. `curriculum`: which problems a step draws. `chat`: a KL term on everyday text.
    """

    fast: FastLoop | None = None
    curriculum: Curriculum | None = None
    chat: ChatKL | None = None
    first_step = 0
    """The step that training goes on from."""
    num_ctx = 0
    """Tokens of prompt and completion together that are served."""
    num_trained: int | None = None
    """Completions of each group that are trained on."""
    _moving: torch.Tensor | None = None
    """Which rows can move the loss, `(B,)`, while it is computed; None: all."""

    def sample(
        self, prompts: Sequence[list[int]], num_generations: int, *, temperature: float, max_tokens: int, seed: int
    ) -> list[list[list[int]]]:
        """Draws token ids of completions by the policy as it is now; temperature 0 is greedy."""
        if self.fast is not None:
            drawn = self.fast.complete(
                prompts, num_generations, temperature=temperature, max_tokens=max_tokens, seed=seed
            )
            return [[ids for ids, _ in group] for group in drawn]
        import torch

        torch.manual_seed(seed)
        found: list[list[list[int]]] = []
        num = max(1, self.args.generation_batch_size // num_generations)  # as many completions as a step samples
        for start in range(0, len(prompts), num):
            rows = [prompt for prompt in prompts[start : start + num] for _ in range(num_generations)]
            texts = self._generate_padded(rows, temperature, max_tokens)
            found += [texts[at : at + num_generations] for at in range(0, len(texts), num_generations)]
        return found

    def _generate_padded(self, prompts: list[list[int]], temperature: float, max_tokens: int) -> list[list[int]]:
        """Draws one completion of each prompt with transformers' own generate."""
        import torch

        pad, ends, device = int(self.processing_class.pad_token_id), set(self.eos_token_ids), self.model.device
        width = max(map(len, prompts))
        with torch.inference_mode(), self.accelerator.autocast():
            out = self.model.generate(
                input_ids=torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device),
                attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device),
                max_new_tokens=max_tokens,
                do_sample=temperature > 0,
                pad_token_id=pad,
                **({"temperature": temperature, "top_k": 0} if temperature else {}),
            )
        texts = []
        for ids in out[:, width:].tolist():
            end = next((at for at, token in enumerate(ids) if token in ends), len(ids) - 1)
            texts.append(ids[: end + 1])
        return texts

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return super()._get_train_sampler(dataset) if self.curriculum is None else Draws(self)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """Gives the library no reward for what is not trained on: it then counts in no mean, and has no advantage."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.state.global_step == 0:
            self._check_lengths(prompts[:: self.num_generations], completion_ids_list)
        if self.num_trained is not None:
            for group in rewards.split(self.num_generations):  # a view: one row a completion, one column of ours
                known = [None if math.isnan(value) else value for value in group[:, 0].tolist()]
                kept = subset.most_informative(known, self.num_trained)
                group[[at for at in range(len(group)) if at not in kept]] = math.nan
        return rewards

    def _check_lengths(self, chats: Sequence[Any], sampled: Sequence[Sequence[int]]) -> None:
        """Refuses a limit that cuts the base's own answers, which those of the first step are: none has moved yet."""
        ends = set(self.eos_token_ids)
        cut = sum(not ids or ids[-1] not in ends for ids in sampled) / len(sampled)
        if len(sampled) < alarms.LENGTHS_LEAST or cut <= alarms.MOST_CUT:
            return
        asked = [locate.prompt_ids(self.processing_class, chat) for chat in chats[: alarms.LENGTHS_ASKED]]
        room = self.num_ctx
        if self.fast is not None:
            room = self.fast.reopen(len(asked), room)
        room -= max(map(len, asked))
        drawn = self.sample(asked, 1, temperature=self.temperature, max_tokens=room, seed=0)
        whole = [len(ids) for (ids,) in drawn if ids[-1] in ends]
        raise alarms.too_short(cut, self.args.max_completion_length, whole, len(drawn), room)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        with _in_order() if self.fast is not None else contextlib.nullcontext():
            return super()._prepare_inputs(generation_batch)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        if self.fast is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        import torch

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
                self._correct_metrics(inputs, self.fast)
            finally:
                self._moving = None
        if self.chat is not None and self.chat.weight:
            loss = loss + self.chat.weight * self.chat.term() / self.current_gradient_accumulation_steps
        return loss

    def _correct_metrics(self, inputs: Any, fast: FastLoop) -> None:
        """Takes entropy over the rows that were computed, and compares the sampler's log-probabilities with ours."""
        metrics, mask = self._metrics["train"], inputs["completion_mask"].bool()
        entropy = metrics["entropy"].pop()
        done = mask if self._moving is None else mask & self._moving[:, None]
        if not done.any():
            return
        metrics["entropy"].append(entropy * float(mask.sum() / done.sum()))
        difference = (fast.newest - inputs["sampling_per_token_logps"])[done].abs().mean().item()
        metrics["sampling/sampling_logp_difference/mean"].append(difference)
        alarms.MISMATCH.check(difference, alarms.MAX_MISMATCH)


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """Keeps TRL from shuffling a batch before it cuts it into micro-batches: the prompt of a group is computed once.

    The gradients of micro-batches are summed, so their order changes nothing.
    """
    from trl.trainer import grpo_trainer as library

    shuffle, library.shuffle_sequence_dict = library.shuffle_sequence_dict, lambda batch: batch
    try:
        yield
    finally:
        library.shuffle_sequence_dict = shuffle


def callback_class() -> Any:
    """Returns transformers' `TrainerCallback` with `Records`."""
    from transformers import TrainerCallback

    return type("Callback", (Records, TrainerCallback), {})


@dataclasses.dataclass(eq=False)
class Records:
    """Writes `metrics.jsonl`, reports each step, looks at the alarms, and marks a checkpoint whole, last of all."""

    config: Config
    run: runs.Run
    trainer: TrainerHooks
    reward: Reward
    progress: Callable[[StepMetrics], None]
    _whole: CurriculumState | bool = False
    """True, or the curriculum then, from the end of a step until the next one moves weights: what can be saved."""
    _saved: tuple[int, float] = (0, 0.0)
    """The newest step that was saved, and when."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock of checkpoints."""
        self._saved = (state.global_step, time.monotonic())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forgets that the weights are those of a finished step: they are about to move."""
        self._whole = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Asks for a checkpoint at the end of training, and where the last one is long ago."""
        if state.global_step >= state.max_steps or time.monotonic() - self._saved[1] > SAVE_SECONDS:
            control.should_save = True
        return control

    def save_finished(self) -> int | None:
        """Writes a checkpoint of the last finished step, where an interrupt met a later one; returns its step.

        None where there is nothing new to save, or the interrupt came while the optimizer moved the weights.
        """
        state = self.trainer.state
        if self._whole and state.global_step > self._saved[0]:
            self.trainer._save_checkpoint(self.trainer.model, None)
            self.on_save(self.trainer.args, state, None)
            return int(state.global_step)
        return None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> Any:
        """Writes the step that TRL logs, before an alarm can stop the training; stops it where all is learned."""
        if not logs or "reward" not in logs:
            return control
        metrics = self._metrics(state.global_step, logs)
        files.append_jsonl(self.run.path / "metrics.jsonl", [files.as_json(metrics)])
        curriculum = self.trainer.curriculum
        self._whole = curriculum.state if curriculum else True
        self.progress(metrics)
        values = {
            "max_strict_gap": self.reward.strict_gap.recent,
            "max_hidden_gap": self.reward.hidden_gap.recent,
            "max_chat_kl": metrics.chat_kl,
        }
        alarms.check_step(self.config.alarms, self.run, metrics.step, values)
        if metrics.step == alarms.FIRST_STEPS:
            alarms.check_first(self.run, read_metrics(self.run), self.config.train.max_completion_tokens)
        if self.config.train.solved_at and is_solved(read_metrics(self.run), self.config.train.solved_at):
            control.should_save = control.should_training_stop = True
        return control

    def _metrics(self, step: int, logs: dict[str, Any]) -> StepMetrics:
        curriculum, chat, reward = self.trainer.curriculum, self.trainer.chat, self.reward
        is_chat_due = step % CHAT_EVERY == 0 or step >= self.config.train.steps
        return StepMetrics(
            step=step,
            steps=self.config.train.steps,
            reward=logs["reward"] if reward.mean is None else reward.mean,
            signal=1 - logs.get("frac_reward_zero_std", 0.0),
            length=logs["completions/mean_length"],
            truncated=logs["completions/clipped_ratio"],
            shows_working=reward.shows_working,
            unscored=reward.step_unscored,
            strict_gap=reward.strict_gap.newest,
            visible_share=reward.visible_share,
            hidden_share=reward.hidden_share,
            hidden_gap=reward.hidden_gap.newest,
            entropy=logs.get("entropy"),
            kl=logs.get("kl"),
            loss=logs.get("loss"),
            grad_norm=logs.get("grad_norm"),
            learning_rate=logs.get("learning_rate"),
            step_seconds=logs.get("step_time"),
            sample_seconds=logs.get("sample_time"),
            mismatch=logs.get("sampling/sampling_logp_difference/mean"),
            kinds=_rounded(curriculum.shares()) if curriculum else None,
            rates=_rounded(curriculum.rates) if curriculum else None,
            chat_kl=chat.measure() if chat and is_chat_due else None,
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Adds what a checkpoint of ours holds, and `DONE` last."""
        folder = self.run.checkpoints_dir / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing of ours reads
        if isinstance(self._whole, CurriculumState):
            files.write_json(folder / STATE_FILE, files.as_json(self._whole))
        files.write_text(folder / "DONE", "")
        self._saved = (state.global_step, time.monotonic())


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}
