"""Looks at a file of problems and writes the config that a run on them starts with: `reasoner init`.

The verifier is chosen by auditing those that could read the answers, the recipe by the machine and the base's size, and
lengths are counted with the base's own tokenizer. Nothing is trained or sampled here: whether the base's own answers
fit `train.max_completion_tokens` is seen, and refused, in the first step (`training.alarms.too_short`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner import __version__, config, runs
from reasoner.audit import audit
from reasoner.bases import locate
from reasoner.errors import MISSING, USAGE, ReasonerError, printable
from reasoner.machine import device
from reasoner.measuring import intervals
from reasoner.pipeline import plan
from reasoner.pipeline.job import Job, Reporter
from reasoner.problems import load
from reasoner.problems.generated import GENERATORS
from reasoner.problems.problem import Problem
from reasoner.problems.splits import Provenance
from reasoner.training import engine
from reasoner.verifiers import registry

LARGE = 600_000_000
"""Bytes of 16-bit weights (0.3 B parameters) from which a base takes `gsm8k`'s recipe on a CPU, and not `smol`'s."""
ENOUGH = 0.98
"""Share of the most references that any verifier reads, from which an earlier one of the list is taken."""
LONGEST, MEASURED = 20, 500
"""Problems whose prompts are counted in tokens: the longest, and about so many others, evenly by size."""


Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What a person decided already: the source, and its columns, verifier, profile or base where they are named."""

    source: str
    question: str | None = None
    answer: str | None = None
    verifier: str | None = None
    profile: str | None = None
    base: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One verifier that was audited on the training references: how many of `n` it reads, and whether it may be used.

    `why_not` is what its audit says against it; `unread` the first reference that it cannot read, if there is one.
    """

    name: str
    judged: int
    n: int
    why_not: str | None
    unread: str | None


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts, by the base's own tokenizer; or bytes, which no prompt has fewer of, where `is_bytes`."""

    median: int
    p99: int
    most: int
    is_bytes: bool
    working: int | None
    """The same for references with working of their own: what 95 % of them do not exceed; None where none has any."""


@dataclass(frozen=True)
class Proposal:
    """A config for a run on somebody's problems, and what it was chosen by. `settings` are by dotted key."""

    source: str
    data: Provenance
    sizes: Mapping[str, int]
    candidates: Sequence[Candidate]
    profile: str
    why_profile: str
    base: str
    base_missing: str | None
    lengths: Lengths
    settings: Mapping[str, object]
    notes: Mapping[str, str]


def propose(wish: Wish, say: Say) -> Proposal:
    """Looks at the problems, audits verifiers on them, and fits the lengths; raises `ReasonerError` where none fits."""
    if wish.source in GENERATORS:
        fix = f"reasoner run --set data.source={wish.source}"
        raise ReasonerError(f"{wish.source} is generated: there is nothing to look at", fix=fix, code=USAGE)
    data = config.Data(source=wish.source, question=wish.question, answer=wish.answer)
    found = {name: load.read(data, name) for name in ("train", "dev", "test")}
    train = found["train"].problems
    candidates = [_audited(name, train, wish.source) for name in _families(wish, train)]
    chosen = _best(candidates, wish)
    asked = {"data.source": config.toml(wish.source), **({"model.base": wish.base} if wish.base else {})}
    profile, why = _recipe(wish, asked, say)
    start, _ = config.resolve(profile, asked, device.kind())
    usual = registry.load(start.verifier.name)
    is_usual = usual.family == registry.load(chosen.name).family
    if is_usual and chosen.name != usual.name and wish.verifier is None:
        same = _audited(usual.name, train, wish.source)
        candidates.append(same)
        chosen = same if same.why_not is None and same.judged >= ENOUGH * chosen.judged else chosen
    base, missing = _base(start, say)
    system = _tag_system(start, say) if base else None
    has_other = not is_usual and start.data.system is not None
    if has_other or system:
        start = start.model_copy(update={"data": start.data.model_copy(update={"system": system})})
    lengths = _lengths(start, base.path if base else None, [one for split in found.values() for one in split.problems])
    settings, notes = _fitted(start, lengths, len(train), [one.kind for one in train])
    settings["verifier.name"] = chosen.name
    if system:
        settings["data.system"], notes["data.system"] = system, f"SYSTEM of {start.model.base}"
    elif has_other:
        settings["data.system"], notes["data.system"] = "none", "the recipe's asks for answers of another kind"
    settings |= {key: value for key, value in _given(wish).items() if value is not None}
    return Proposal(
        source=wish.source,
        data=found["train"].provenance,
        sizes={name: len(one.problems) for name, one in found.items()},
        candidates=candidates,
        profile=profile,
        why_profile=why,
        base=start.model.base,
        base_missing=missing,
        lengths=lengths,
        settings={key: settings[key] for key in config.all_keys() if key in settings},
        notes=notes,
    )


def _given(wish: Wish) -> dict[str, object]:
    named = {"model.base": wish.base, "data.question": wish.question, "data.answer": wish.answer}
    return {"data.source": wish.source, "data.num_train": "none", "eval.beside": [], **named}


# -- the verifier --------------------------------------------------------------------------------


def _families(wish: Wish, train: Sequence[Problem]) -> list[str]:
    if wish.verifier:
        return [wish.verifier]
    if paired := load.verifier_for(wish.source):
        return [paired]
    is_code = any(problem.answer.lstrip().startswith("{") for problem in train)
    return ["number", "math", *(["code"] if is_code else [])]


def _audited(name: str, train: Sequence[Problem], source: str) -> Candidate:
    checker = registry.load(name)
    if checker.ready is not None:
        checker.ready()
    found = audit.run(checker, train, source)
    unread = f"{found.unjudged[0].id}: {found.unjudged[0].why}" if found.unjudged else None
    return Candidate(name, found.data.judged, found.data.n, "; ".join(found.failed) or None, unread)


def _best(candidates: Sequence[Candidate], wish: Wish) -> Candidate:
    """Returns the first that holds and reads nearly as many references as any."""
    fit = [one for one in candidates if one.why_not is None]
    if not fit:
        raise ReasonerError(
            f"no verifier may be a reward on the answers of {wish.source}",
            why="\n".join(f"{one.name}: {one.why_not}{f' ({one.unread})' if one.unread else ''}" for one in candidates),
            fix="repair the answers (reasoner audit --verifier NAME --data FILE shows all of it), name their column"
            " (--answer), or write a verifier of your own (examples/own_verifier): --verifier judge.py:judge",
            code=USAGE,
        )
    most = max(one.judged for one in fit)
    return next(one for one in fit if one.judged >= ENOUGH * most)


# -- recipe, base and lengths ----------------------------------------------------------------------


def _recipe(wish: Wish, asked: Mapping[str, str], say: Say) -> tuple[str, str]:
    """Returns the profile whose recipe fits machine and base, and why."""
    if wish.profile:
        return wish.profile, "as asked"
    profile, why = plan.default_profile()
    if wish.base is None or device.kind() == "cuda":
        return profile, why
    found, _ = _base(config.resolve("smol", asked)[0], say)
    if found is not None and found.weights_bytes >= LARGE:
        return "gsm8k", "a base of 0.3 B parameters or more, on a CPU"
    return "smol", "a base below 0.3 B parameters, on a CPU" if found else "the base could not be looked at"


def _base(start: config.Config, say: Say) -> tuple[locate.Base | None, str | None]:
    """Returns the base, or why it is not to be had now: without a network the rest is proposed all the same."""
    try:
        return Job(start, runs.Run(Path("no run yet")), Reporter(say)).base, None
    except ReasonerError as error:
        if error.code != MISSING:
            raise
        return None, f"{error.what}: {error.why}" if error.why else error.what


def _tag_system(start: config.Config, say: Say) -> str | None:
    """Returns the SYSTEM of a base that is a tag in Ollama: who runs it always asks it with that."""
    scheme, _, tag = start.model.base.partition(":")
    if scheme != "ollama":
        return None
    return Job(start, runs.Run(Path("no run yet")), Reporter(say)).client.show(tag.strip()).system


def _lengths(start: config.Config, path: Path | None, problems: Sequence[Problem]) -> Lengths:
    by_size = sorted(problems, key=lambda one: -len(one.question.encode()))
    longest, others = by_size[:LONGEST], by_size[LONGEST :: max(1, len(by_size) // MEASURED)]
    if path is None:
        frame = len((start.data.system or "").encode()) + 200
        sizes = [len(one.question.encode()) + frame for one in problems]
        return Lengths(*_quantiles(sizes), True, None)
    tokenizer = locate.load_tokenizer(path, start.data.think)
    locate.check_system(path, tokenizer, start.data.system)

    def prompt(problem: Problem) -> int:
        return len(engine.prompt_ids(start, tokenizer, problem.question))

    working = [one.answer for one in others if "####" in one.answer or "\\boxed" in one.answer]
    told = sorted(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in working)
    tops = [*map(prompt, longest)]
    median, p99, most = _quantiles([*map(prompt, others)] or tops)
    return Lengths(median, p99, max(most, *tops), False, told[len(told) * 95 // 100 - 1] if told else None)


def _quantiles(sizes: Iterable[int]) -> tuple[int, int, int]:
    ordered = sorted(sizes)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]


def _fitted(
    start: config.Config, lengths: Lengths, num: int, kinds: Sequence[str]
) -> tuple[dict[str, object], dict[str, str]]:
    """Returns the settings that differ for these problems, and a remark on each."""
    settings: dict[str, object] = {}
    notes: dict[str, str] = {}

    def fit(key: str, value: int | bool, remark: str) -> None:
        settings[key], notes[key] = value, remark

    completion, answer = start.train.max_completion_tokens, start.serve.num_predict
    if lengths.working and lengths.working > completion:
        completion = -(-lengths.working // 32) * 32
        fit("train.max_completion_tokens", completion, f"95 % of the references' own working fit {lengths.working}")
    else:
        remark = "the recipe's; the first step refuses it with a better one where it cuts the base's own answers"
        fit("train.max_completion_tokens", completion, remark)
    if answer < completion:
        fit("serve.num_predict", answer := completion, "not below train.max_completion_tokens")
    unit = "bytes" if lengths.is_bytes else "tokens"
    told = f"prompts: {lengths.median} {unit} in the middle, 99 % at most {lengths.p99}, the longest {lengths.most}"
    need = (lengths.p99 if lengths.is_bytes else lengths.most) + answer
    room = start.serve.num_ctx if need <= start.serve.num_ctx else math.ceil(need / 1024) * 1024
    fit("serve.num_ctx", room, told)
    if num < start.train.num_prompts:
        fit("train.num_prompts", num, f"there are {num} problems to train on")
    if start.train.curriculum and len(set(kinds)) < 2:
        fit("train.curriculum", False, "the problems are all of one kind")
    return settings, notes


# -- what is written and said ----------------------------------------------------------------------


def document(proposal: Proposal) -> str:
    """Writes the proposal as a config file."""
    told = {**proposal.notes, "data.source": _rows(proposal), "data.num_train": "all of them"}
    told["eval.beside"] = "the recipe's other sets are not asked"
    told["verifier.name"] = _verdict(next(
        one for one in proposal.candidates if one.name == proposal.settings["verifier.name"]
    ))  # fmt: skip
    lines = [
        f"# Made by reasoner {__version__}: reasoner init. What is not here is as the profile has it; all of it:",
        "# reasoner config --config THIS_FILE",
        f'profile = "{proposal.profile}"  # {proposal.why_profile}',
    ]
    section = ""
    for dotted, value in proposal.settings.items():
        if dotted.partition(".")[0] != section:
            section = dotted.partition(".")[0]
            lines += ["", f"[{section}]"]
        key = dotted.partition(".")[2]
        remark = f"  # {' '.join(printable(told[dotted]).split())}" if dotted in told else ""
        lines.append(f"{key} = {config.toml(value)}{remark}")
    return "\n".join(lines) + "\n"


def lines(proposal: Proposal, out: Path) -> list[str]:
    """Writes for a person what was found, what was chosen and why, and what to type next."""
    data, sizes, lengths = proposal.data, proposal.sizes, proposal.lengths
    columns = {key: [f"`{one}`" for one in taken] for key, taken in data.columns.items()}
    told = [f"{proposal.source}: {_rows(proposal)}"]
    told += [f"  {key} from {', else '.join(columns[key])}" for key in ("question", "answer") if key in columns]
    if "unused" in columns:
        told.append(f"  not read: {', '.join(columns['unused'])}; what the model must know stands in the question")
    told += [
        f"  left out: {count:,} {why} ({', '.join(data.lines.get(why, ()))})" for why, count in data.dropped.items()
    ]
    told.append(f"  {sizes['train']:,} to train on, {sizes['dev']:,} for dev, {sizes['test']:,} to be scored on")
    least = intervals.detectable(sizes["test"], 1 / 3)
    shown = "no lift" if least is None else f"a lift of {least:.0f} points or more (80 % power, where a third change)"
    told.append(f"  so many show {shown}")
    told += ["verifiers, each audited on these answers"]
    chosen = proposal.settings["verifier.name"]
    for one in proposal.candidates:
        told.append(f"{'* ' if one.name == chosen else '  '}{one.name:<16} {_verdict(one)}")
    told.append(f"recipe {proposal.profile}: {proposal.why_profile}")
    told.append(f"base {proposal.base}" + (f": {proposal.base_missing}" if proposal.base_missing else ""))
    unit = "bytes (of which a token has at least one)" if lengths.is_bytes else "tokens"
    told.append(f"  prompts of {lengths.median} {unit}, 99 % at most {lengths.p99}, the longest {lengths.most}")
    return [*told, f"wrote {out}", "", f"  make reasoner ARGS='--config {out}'"]


def _rows(proposal: Proposal) -> str:
    dropped = sum(proposal.data.dropped.values())
    return f"{sum(proposal.sizes.values()):,} problems" + (f", {dropped:,} rows left out" if dropped else "")


def _verdict(one: Candidate) -> str:
    read = f"reads {one.judged:,} of {one.n:,} answers"
    return f"{read}; {'its audit holds' if one.why_not is None else f'must not be used: {one.why_not}'}" + (
        f"; not {one.unread}" if one.unread else ""
    )
