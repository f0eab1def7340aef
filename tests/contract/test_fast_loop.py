"""The fast loop against the trainer library and llama.cpp: the same mathematics, the same model."""

import copy
import random
import re
import shutil
import signal

import pytest

from reasoner import config, runs
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.llamacpp import live, sampler
from reasoner.machine import cpu
from reasoner.problems import load, stories
from reasoner.problems.problem import messages
from reasoner.training import engine, grpo, packed
from reasoner.training.fast import FastLoop
from reasoner.training.reward import Reward
from reasoner.verifiers import registry

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp]

DIAL = {
    "train.num_prompts": "3",
    "train.num_generations": "4",
    "train.max_completion_tokens": "24",
    "train.steps": "2",
}


@pytest.fixture(scope="module")
def folder():
    return locate.shipped()["pocket"]


@pytest.fixture(scope="module")
def tokenizer(folder):
    return locate.load_tokenizer(folder)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    rows = stories.generate("test", 4)
    return [locate.prompt_ids(tokenizer, messages(row["question"], None)) for row in rows]


@pytest.fixture(scope="module")
def file(pocket_file):
    return pocket_file


@pytest.fixture
def make_trainer(tmp_path, folder, file):
    """`make_trainer(**settings)`: a trainer as a training builds it, in 32 bits, its adapter not zero, and its loop."""

    def make(**settings):
        import torch

        found, _ = config.resolve("pocket", {**DIAL, **settings})
        run = runs.Run(tmp_path / "run")
        problems = load.problems(found.data, "train", 12)
        torch.manual_seed(0)
        chosen = engine.Engine("trl", on_cuda=False)
        reward = Reward(found, registry.load("number"), run)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cpu, "has_fast_bf16", lambda: False)
            trainer = grpo.build_trainer(found, run, chosen, engine.load(found, folder, chosen), reward, problems)
        with torch.no_grad():
            for name, weight in trainer.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.02)

        def convert(out, kind):
            assert kind == "F16"
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out)

        return trainer, FastLoop(found, run, trainer, problems, convert)

    return make


def in_groups(prompts, drawn):
    return [(prompt, [ids for ids, _ in group]) for prompt, group in zip(prompts, drawn, strict=True)]


def rollouts(trainer, fast, prompts):
    """What TRL would hand to its loss: sampled groups, one of them without signal."""
    import torch

    asked = prompts[:3]
    drawn = fast.complete(asked, 4, temperature=1.0, max_tokens=24, seed=7)
    pad = int(trainer.processing_class.pad_token_id)
    completions = [ids for group in drawn for ids, _ in group]
    logps = [values for group in drawn for _, values in group]
    questions = [ids for ids in asked for _ in range(4)]
    wide, long = max(map(len, questions)), max(map(len, completions))
    prompt_ids = torch.tensor([[pad] * (wide - len(q)) + q for q in questions])
    prompt_mask = torch.tensor([[0] * (wide - len(q)) + [1] * len(q) for q in questions])
    completion_ids = torch.tensor([c + [pad] * (long - len(c)) for c in completions])
    completion_mask = torch.tensor([[1] * len(c) + [0] * (long - len(c)) for c in completions])
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 1.5, -0.5, -0.5, -0.5])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))  # TRL shuffles the rows of a batch
    values = torch.tensor([v + [0.0] * (long - len(v)) for v in logps])
    batch = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": advantages,
        "sampling_per_token_logps": values,
    }
    return {**{k: v[order] for k, v in batch.items()}, "num_items_in_batch": completion_mask.sum()}


def loss_and_gradients(trainer, batch):
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, copy.deepcopy(batch))
    loss.backward()
    found = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


@pytest.mark.parametrize("settings", [{}, {"train.beta": "0.1"}, {"train.loss": "grpo", "train.temperature": "0.6"}])
def test_loss_and_gradients_are_those_of_the_trainer_library(make_trainer, prompts, settings):

    trainer, fast = make_trainer(**settings)
    with fast:
        batch = rollouts(trainer, fast, prompts)
        if trainer.beta:
            batch["ref_per_token_logps"] = batch["sampling_per_token_logps"] - 0.1
        plain_loss, plain = loss_and_gradients(trainer, batch)
        entropy = trainer._metrics["train"]["entropy"][-1]
        trainer.fast = fast
        loss, gradients = loss_and_gradients(trainer, batch)
    assert loss == pytest.approx(plain_loss, rel=1e-4, abs=1e-6)
    assert gradients.keys() == plain.keys()
    assert len(gradients) > 20
    worst = max(float((gradients[n] - plain[n]).norm() / plain[n].norm()) for n in plain)
    assert worst < 1e-3
    scale = max(float(g.norm()) for g in plain.values())
    assert scale > 1e-3
    if trainer.beta:  # every row is computed: then the entropy too is the library's
        assert trainer._metrics["train"]["entropy"][-1] == pytest.approx(entropy, rel=1e-3)
    difference = trainer._metrics["train"]["sampling/sampling_logp_difference/mean"]
    if not settings.get("train.temperature"):
        assert difference[-1] < 0.02  # llama.cpp in 16 bits with the merged adapter, the trainer in 32


def test_a_batch_without_signal_has_no_loss_and_no_gradient(make_trainer, prompts):
    trainer, fast = make_trainer()
    with fast:
        trainer.fast = fast
        batch = rollouts(trainer, fast, prompts)
        batch["advantages"] = batch["advantages"] * 0
        loss, gradients = loss_and_gradients(trainer, batch)
    assert loss == 0
    assert all(not g.any() for g in gradients.values())


def test_another_model_in_the_sampler_is_noticed(make_trainer, prompts):
    trainer, fast = make_trainer()
    with fast:
        trainer.fast = fast
        batch = rollouts(trainer, fast, prompts)
        batch["sampling_per_token_logps"] = batch["sampling_per_token_logps"] - 1.0
        with pytest.raises(ReasonerError, match="samples from another model"):
            loss_and_gradients(trainer, batch)


def test_live_weights_are_proven_and_followed(make_trainer, prompts):
    """A weight written into the file is what llama.cpp computes with, without loading anything anew."""
    import torch

    trainer, fast = make_trainer()
    with fast, torch.no_grad():
        drawn = fast.complete(prompts[:2], 4, temperature=1.0, max_tokens=24, seed=1)
        tokens = torch.tensor([t for group in drawn for ids, _ in group for t in ids])
        theirs = torch.tensor([v for group in drawn for _, values in group for v in values])

        def ours():
            states = packed.hidden_states(trainer.model, in_groups(prompts[:2], drawn))
            return packed.token_logps(states, fast.head, tokens, 1.0)[0]

        with_adapter = float((ours() - theirs).abs().mean())
        with trainer.model.disable_adapter():
            without = float((ours() - theirs).abs().mean())
        assert with_adapter < 0.01
        assert without > 4 * with_adapter


def test_a_young_adapter_reaches_the_sampler(make_trainer, prompts):
    """What the first steps add is less than half a step of the base's bfloat16 in most places."""
    import gguf as ggml
    import torch

    trainer, fast = make_trainer()
    with fast, torch.no_grad():
        for weight in (w for name, w in trainer.model.named_parameters() if "lora_B" in name):
            weight.mul_(0.01)
        fast.complete(prompts[:1], 1, temperature=1.0, max_tokens=1, seed=1)
        module = fast.layers["model.layers.0.mlp.up_proj.weight"]
        tensors = {tensor.name: tensor for tensor in ggml.GGUFReader(fast.path).tensors}
        there = torch.from_numpy(tensors["blk.0.ffn_up.weight"].data.astype("float32"))
        weight, wanted = module.get_base_layer().weight.float(), module.get_delta_weight("default")
        assert (there - weight - wanted).norm() < 0.3 * wanted.norm()
        assert ((weight + wanted).bfloat16().float() - weight - wanted).norm() > 0.6 * wanted.norm()


def test_values_that_do_not_fit_are_no_samples(make_trainer, prompts):
    import torch

    fast = make_trainer()[1]
    with fast, torch.no_grad():
        name, module = next(iter(fast.layers.items()))
        fast.live.write(name, module.weight.data * 1e8)
        with pytest.raises(ReasonerError, match="not numbers"):
            fast.sampler.sample(prompts[:1], 1, max_tokens=1, temperature=1.0, stops=[2])


def test_attention_over_a_window_is_refused_where_it_would_differ():
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = MistralForCausalLM(MistralConfig(**shape, num_hidden_layers=1, vocab_size=50, sliding_window=8))
    assert packed.prepare(model)
    with torch.no_grad():
        assert len(packed.hidden_states(model, [([1, 2, 3], [[4, 5, 6], [7]])])) == 4
        with pytest.raises(ReasonerError, match="does not fit"):
            packed.hidden_states(model, [([1, 2, 3], [[4] * 6])])


def test_weights_of_another_model_are_refused(make_trainer, file):
    fast = make_trainer()[1]
    with fast:
        name, module = next(iter(fast.layers.items()))
        wrong = {name: module.weight.data + 1}
        with pytest.raises(ReasonerError, match="layout"):
            live.LiveWeights(file, wrong, num_blocks=6, heads={1, 2, 4})


def test_samples_follow_the_distribution(file, prompts):
    """Frequencies of the first token against the probabilities that were reported."""
    import torch

    with sampler.Sampler(file, width=64, context=256, threads=1) as engine:
        generator = torch.Generator().manual_seed(0)
        counts: dict[int, int] = {}
        share: dict[int, float] = {}
        for _ in range(32):
            for ids, logps in engine.sample(
                prompts[:1], 64, max_tokens=1, temperature=1.3, stops=[2], generator=generator
            )[0]:
                counts[ids[0]] = counts.get(ids[0], 0) + 1
                share[ids[0]] = float(torch.tensor(logps[0]).exp())
    total = sum(counts.values())
    assert total == 32 * 64
    for token, p in share.items():
        assert abs(counts[token] / total - p) < 5 * (p * (1 - p) / total) ** 0.5 + 1e-3


def test_greedy_is_the_same_whatever_shares_the_batch(file, prompts, tokenizer):
    stops = {int(tokenizer.eos_token_id)}
    with sampler.Sampler(file, width=16, context=256, threads=1) as engine:
        together = engine.sample(prompts, 4, max_tokens=40, temperature=0.0, stops=stops)
        alone = [engine.sample([p], 1, max_tokens=40, temperature=0.0, stops=stops)[0][0][0] for p in prompts]
    assert [group[0][0] for group in together] == alone
    assert all(ids == group[0][0] for group in together for ids, _ in group)


def test_log_probabilities_hold_when_sequences_end_at_different_times(file, folder, prompts, tokenizer):
    """Caches move between slots as neighbours end: every token must still be the model's own, after its own text."""
    import torch
    from transformers import AutoModelForCausalLM

    with sampler.Sampler(file, width=16, context=256, threads=1) as engine:
        generator = torch.Generator().manual_seed(5)
        drawn = engine.sample(
            prompts, 4, max_tokens=40, temperature=1.5, stops={int(tokenizer.eos_token_id)}, generator=generator
        )
    lengths = {len(ids) for group in drawn for ids, _ in group}
    assert len(lengths) > 4
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        states = packed.hidden_states(model, in_groups(prompts, drawn))
        tokens = torch.tensor([t for group in drawn for ids, _ in group for t in ids])
        ours, _ = packed.token_logps(states, model.get_output_embeddings().weight, tokens, 1.5)
    theirs = torch.tensor([v for group in drawn for _, values in group for v in values])
    assert float((ours - theirs).abs().max()) < 0.05


def test_more_prompts_than_fit_at_once(file, prompts):
    with sampler.Sampler(file, width=8, context=256, threads=1) as engine:
        drawn = engine.sample(prompts, 4, max_tokens=8, temperature=1.0, stops=[2])
        assert [len(group) for group in drawn] == [4] * 4
        with pytest.raises(ReasonerError, match="do not fit"):
            engine.sample(prompts, 4, max_tokens=1000, temperature=1.0, stops=[2])


def test_no_interrupt_is_lost_in_the_sampler(file, prompts):
    """What a signal's handler raises while llama.cpp computes must come out: nothing of ours may swallow it."""

    class Interrupted(Exception):
        pass

    given = met = 0

    def interrupt(*_):
        nonlocal given
        given += 1
        raise Interrupted

    draw = random.Random(0)
    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        with sampler.Sampler(file, width=2, context=256, threads=1) as engine:
            for num in range(1, 201):
                try:
                    signal.setitimer(signal.ITIMER_VIRTUAL, draw.uniform(0.005, 0.03))
                    while given < num:
                        # Short ones: a cache that moves to another slot is when llama.cpp has much to say.
                        engine.sample(prompts, 2, max_tokens=4, temperature=1.0, stops=range(0, 400, 2))
                except Interrupted:
                    met += 1
    finally:
        signal.signal(signal.SIGVTALRM, before)
    assert met == given == 200


@pytest.mark.parametrize("num", [20, 1100])
def test_log_probabilities_and_gradient_across_chunks(num):
    import torch

    assert 2 * packed.CHUNK_32 < 1100
    torch.manual_seed(0)
    states, tokens = torch.randn(num, 16, requires_grad=True), torch.randint(50, (num,))
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):  # 8 bits of the products with shares and head
        head = torch.randn(50, 16).to(dtype)
        ours, entropies = packed.token_logps(states, head, tokens, 0.6)
        plain = torch.log_softmax(packed.logits_of(states, head) / 0.6, -1)
        theirs = plain.gather(1, tokens[:, None])[:, 0]
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert torch.allclose(entropies, -(plain * plain.exp()).sum(-1), atol=1e-4)
        weights = torch.randn(num)
        found, wanted = (torch.autograd.grad((values * weights).sum(), states)[0] for values in (ours, theirs))
        assert float((found - wanted).norm() / wanted.norm()) < most


def test_each_row_draws_from_its_own_distribution():
    import torch

    wanted = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:70]
    logits = torch.full((70, 300), -50.0)
    logits[torch.arange(70), wanted] = torch.linspace(0, 5, 70)
    for temperature in (0.0, 0.6):
        tokens, logps = sampler.draw(logits, temperature, torch.Generator().manual_seed(1))
        assert tokens == wanted.tolist()
        assert max(map(abs, logps)) < 1e-6


@pytest.mark.parametrize("num", [20, 1100])
def test_kl_is_zero_against_itself_and_positive_against_another(num):
    import torch

    torch.manual_seed(0)
    states, other, head = torch.randn(num, 16), torch.randn(num, 16), torch.randn(50, 16)
    assert float(packed.kl(states, states, head).abs().max()) < 1e-6
    p, q = torch.softmax(states @ head.T, -1), torch.softmax(other @ head.T, -1)
    assert torch.allclose(packed.kl(states, other, head), (p * (p / q).log()).sum(-1), rtol=1e-3)


def test_answers_of_the_trainer_library_do_not_depend_on_what_shares_the_batch(make_trainer, prompts):
    trainer, fast = make_trainer()
    fast.__exit__()
    trainer.fast = None
    asked = sorted(prompts, key=len)
    assert len(asked[0]) < len(asked[-1])
    together = trainer.sample(asked, 2, temperature=0.0, max_tokens=16, seed=0)
    trainer.args.generation_batch_size = 2
    assert together == trainer.sample(asked, 2, temperature=0.0, max_tokens=16, seed=0)
    assert [len(group) for group in together] == [2] * len(asked)


def test_an_interrupt_saves_the_last_finished_step_and_nothing_half_done(make_trainer, tmp_path):
    """What goes on from there is what a training without an interrupt would have been."""
    from reasoner.training import facts, hooks

    def train(name, resume=None, stop_at=None):
        trainer, _ = make_trainer(**{"train.steps": "3", "train.save_every": "100"})
        run = runs.Run(tmp_path / name)
        trainer.args.output_dir = str(run.checkpoints_dir)

        def progress(metrics):
            if metrics.step == stop_at:
                raise KeyboardInterrupt

        records = hooks.callback_class()(trainer_config, run, trainer, trainer.reward_funcs[0], progress)
        trainer.add_callback(records)
        try:
            trainer.train(resume_from_checkpoint=resume)
        except KeyboardInterrupt:
            assert records.save_finished() == 2
            assert records.save_finished() is None
        return trainer, run, records

    trainer_config, _ = config.resolve("pocket", {**DIAL, "train.steps": "3", "train.save_every": "100"})
    whole, _, records = train("whole")
    assert records.save_finished() is None
    _, run, _ = train("stopped", stop_at=2)
    assert runs.ready_steps(run.checkpoints_dir) == [2]
    assert [one.step for one in facts.read_metrics(run)] == [1, 2]
    again, run, records = train("stopped", resume=str(run.checkpoints_dir / "checkpoint-2"))
    records.on_pre_optimizer_step(None, None, None)
    again.state.global_step += 1
    assert records.save_finished() is None  # the weights may have moved by half
    wanted = dict(whole.model.named_parameters())
    assert all(bool((p == wanted[name]).all()) for name, p in again.model.named_parameters() if "lora" in name)


def test_only_the_most_informative_of_a_group_are_trained_on(make_trainer, tmp_path):
    from reasoner import files
    from reasoner.training import facts, hooks

    settings = {"train.steps": "4", "train.num_generations": "8", "train.num_trained": "4", "train.save_every": "100"}
    trainer, _ = make_trainer(**settings)
    trainer.num_trained = 4
    run, reward = runs.Run(tmp_path / "run"), trainer.reward_funcs[0]
    found, _ = config.resolve("pocket", {**DIAL, **settings})
    trainer.add_callback(hooks.callback_class()(found, run, trainer, reward, lambda metrics: None))
    trainer.train()
    rewards, advantages = list(trainer._logs["rewards"]["verifier"]), list(trainer._logs["advantages"])
    rows = [row for path in sorted(run.path.glob("rollouts/*.jsonl")) for row in files.read_jsonl(path)][-24:]
    verdicts = [float(row["verdict"] == "right") for row in rows]
    assert len(rewards) == len(advantages) == 24
    for at in range(0, 24, 8):
        kept = [i for i in range(at, at + 8) if rewards[i] == rewards[i]]
        assert len(kept) == 4
        assert all(rewards[i] == verdicts[i] for i in kept)
        assert {rewards[i] for i in kept} == set(verdicts[at : at + 8])
        assert all(advantages[i] == 0 for i in range(at, at + 8) if i not in kept)
        assert sum(advantages[i] for i in kept) == pytest.approx(0, abs=1e-4)
    newest = facts.read_metrics(run)[-1]
    assert newest.reward == pytest.approx(sum(verdicts) / 24)
    assert newest.signal == pytest.approx(sum(len(set(verdicts[at : at + 8])) > 1 for at in range(0, 24, 8)) / 3)


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_limit_that_cuts_the_bases_own_answers_is_refused_with_one_that_does_not(make_trainer, is_fast):
    trainer, fast = make_trainer()
    trainer.fast, trainer.num_ctx = fast if is_fast else None, 512
    trainer.args.max_completion_length = 8
    chats = [row["prompt"] for row in trainer.train_dataset]
    cut, whole = [5] * 8, [5, trainer.processing_class.eos_token_id]
    trainer._check_lengths(chats, [cut] * 15)  # too few to say
    trainer._check_lengths(chats, [cut] * 16 + [whole] * 4)  # four fifths are not above the limit
    with pytest.raises(ReasonerError, match="95% of the base's own answers are cut at .* = 8") as caught:
        trainer._check_lengths(chats, [cut] * 19 + [whole])
    assert "of 8 end within the" in caught.value.why
    assert int(re.search(r"max_completion_tokens=(\d+),", caught.value.fix)[1]) > 8
    fast.__exit__()
