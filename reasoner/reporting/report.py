"""Records -> `report.md` and `summary.json`. Reads, computes nothing new."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner import runs
from reasoner.config import Config
from reasoner.errors import USAGE, ReasonerError
from reasoner.files import parse, read_json, read_jsonl, sha256_json
from reasoner.problems.overlap import Contamination
from reasoner.reporting import behaviour
from reasoner.verifiers.code import task as tasks

NAMES = ("train", "merge", "gguf", "modelfile", "register", "evaluate")
STAGES = ("base", *NAMES, "promote")
ROLES = ("base", "tuned")
VERIFIERS = {"number-lenient": "a committed answer, else the value that the last sentence states"}
"""What a verifier counts, where its name does not say it."""
P_VALUES = (
    "p: McNemar's exact test on the problems that flipped, adjusted by Holm for all kinds and sets of this report. A"
    " model below the base with p < 0.05 on any of them, trained or not, is not promoted."
)
STRICT = (
    "Accepted completions are judged again by the verifier's stricter rule, which pays nothing. A share that grows is a"
    " policy that found what only the reward accepts; one near 100 % from the start is a base without an answer format."
)
HIDDEN = (
    "Visible tests may stand in the prompt, hidden ones do not. A gap between their shares that grows is a policy that"
    " learns the visible ones by heart."
)
REWARDS = {
    "verdict": "the verifier's verdict",
    "share": "the share of the hidden tests that hold, which pays for half a solution too",
}
MOST_KINDS = 8
"""Kinds named in one line; the table of the report has all."""


def summary(
    config: Config,
    run_: runs.Run,
    records: dict[str, runs.Record[Any]],
    server: dict[str, str],
    versions: dict[str, str],
) -> dict[str, Any]:
    """The value of `summary.json`; its fields are a contract."""
    train, scored = records["train"].facts, records["evaluate"].facts
    promoted, tuned = records["promote"].facts, records["register"].facts["tuned"]
    file, output = next(iter(records["gguf"].outputs.items()))
    keys = ("pass_at_1", "ci95", "shows_working", "truncated", "unscored")

    def compared(facts: dict[str, Any], *more: str) -> dict[str, Any]:
        lift_keys = ("points", "ci95", "p", "test", *more)
        found = {name: {key: facts[name][key] for key in keys} for name in ("base", "tuned")}
        found["lift"] = {key: facts["lift"][key] for key in lift_keys}
        for name, key in (("base", "refused"), ("tuned", "refused"), ("lift", "se"), ("lift", "detectable")):
            if key in facts[name]:  # not in the record of an older version
                found[name][key] = facts[name][key]
        return found

    beside = {
        name: facts
        if "missing" in facts
        else {"n": facts["n"], "split_sha256": facts["split_sha256"], **compared(facts, "p_holm")}
        for name, facts in scored["beside"].items()
    }
    seconds = {name: round(records[name].seconds, 2) for name in ("base", *NAMES)}
    return {
        "schema": 1,
        "run": run_.name,
        "profile": config.profile,
        "seed": config.train.seed,
        "control": config.train.control,
        "device": train["device"],
        "n": scored["n"],
        "split": scored["split"],
        "split_sha256": scored["split_sha256"],
        "verifier": scored["verifier"],
        **compared(scored),
        "strict": {role: scored[role].get("strict") for role in ("base", "tuned")},
        **{key: scored[key] for key in ("strict_lift", "lenient") if key in scored},
        "overlap": train.get("overlap"),
        "steps": {role: scored[role].get("steps") for role in ("base", "tuned")},
        "unjudged": scored.get("unjudged", 0),
        "audit": train.get("audit"),
        "by_kind": scored["by_kind"],
        "beside": beside,
        **({"everyday": scored["everyday"]} if "everyday" in scored else {}),
        **({"no_system": compared(scored["no_system"])} if "no_system" in scored else {}),
        "looks": scored.get("looks", {}),
        "taken": scored.get("taken", {}),
        "promoted": promoted["promoted"],
        "gate": promoted["why"],
        "served": {
            "host": server["host"],
            "tag": promoted.get("tag", tuned["tag"]),
            "digest": _digest(promoted.get("digest", tuned["digest"])),
            "ollama": server["version"],
        },
        "gguf": {
            "path": str(run_.path / file),
            "quant": records["gguf"].facts["quant"],
            "bytes": output.bytes,
            "sha256": output.sha256,
        },
        "base_sha256": train["base_weights_sha256"],
        "train": {key: train[key] for key in ("steps", "first", "last", "engine", "threads")}
        | {"reward": config.verifier.reward, "chat_kl": train.get("chat_kl"), "chat_kl_weight": config.train.chat_kl},
        "seconds": {**seconds, "total": round(sum(seconds.values()), 2)},
        "versions": versions,
    }


def _digest(digest: str) -> str:
    return digest if digest.startswith("sha256:") else f"sha256:{digest}"


def lines(summary_: dict[str, Any]) -> list[tuple[str, str]]:
    """The closing summary as (what, value) pairs, for terminal and Markdown alike."""
    base, tuned, lift = summary_["base"], summary_["tuned"], summary_["lift"]
    n = summary_["n"]
    judge, served = summary_["verifier"], summary_["served"]
    counts = f" ({VERIFIERS[judge['name']]})" if judge["name"] in VERIFIERS else ""
    score = f"verifier `{judge['name']}` {judge['version']}{counts}, greedy, served by Ollama {served['ollama']}"
    effect = f"{lift['points']:+.1f} points {_points(lift)}"
    doubt = "" if holds(lift) else ": no measurable lift"
    return [
        ("problems", f"{n} held-out, split `{summary_['split']}`, {score}"),
        *((role, f"{share(m['pass_at_1'])} right {interval(m['ci95'])}, shows working {share(m['shows_working'])}")
          for role, m in (("base", base), ("tuned", tuned))),
        ("lift", f"{effect}, p = {lift['p']:.1g} ({lift['test']}){doubt}"),
        *_power(lift, n),
        ("cut, unscored", ", ".join(f"{role} {share(m['truncated'])} and {m['unscored']}"
                                    for role, m in (("base", base), ("tuned", tuned)))),
        *_refused(base, tuned),
        *_judge_lines(summary_),
        *_more_lines(summary_),
    ]  # fmt: skip


def _power(lift: dict[str, Any], n: int) -> list[tuple[str, str]]:
    """A summary written by an older version does not say."""
    points = lift.get("detectable")
    told = f"{points:.1f} points are the least that {n} problems show (80 % power)" if points else ""
    return [("detectable", told)] if told else []


def _refused(base: dict[str, Any], tuned: dict[str, Any]) -> list[tuple[str, str]]:
    """Only where there is something to say: a refusal is rare, and wrong like any other answer that is."""
    if not base.get("refused") and not tuned.get("refused"):
        return []
    return [("refused", f"base {base['refused']}, tuned {tuned['refused']}: open with “I cannot”, and are not right")]


def _judge_lines(summary_: dict[str, Any]) -> list[tuple[str, str]]:
    """What the stricter rule says, what the audit found; a summary written by an older version may have none of it."""
    found = []
    if (paid := summary_.get("train", {}).get("reward", "verdict")) != "verdict":
        found.append(("reward", f"{REWARDS[paid]}; scored is the verdict, all tests"))
    strict = summary_.get("strict") or {}
    if strict.get("base") is not None and strict.get("tuned") is not None:
        lift = summary_.get("strict_lift")
        effect = f", {lift['points']:+.1f} points {_points(lift)}" if lift else ""
        found.append(("stricter rule", f"{share(strict['base'])} → {share(strict['tuned'])} right{effect}"))
    if lenient := summary_.get("lenient"):
        before, after = (share(lenient[role]["pass_at_1"]) for role in ("base", "tuned"))
        effect = f"{lenient['lift']['points']:+.1f} points {_points(lenient['lift'])}"
        found.append(("lenient rule", f"{before} → {after} right, {effect}: {VERIFIERS['number-lenient']}"))
    working = summary_.get("steps") or {}
    if working.get("base") and working.get("tuned"):
        found.append(("working", "; ".join(f"{role} {_working(working[role])}" for role in ("base", "tuned"))))
    if audit := summary_.get("audit"):
        counts = ", ".join(f"{name} {n - failed:,} of {n:,}" for name, (failed, n) in audit["checks"].items())
        how = "as they must be" if audit["holds"] else "DOES NOT HOLD, trained on all the same"
        found.append(("audit", f"{how}: {counts}"))
        unjudged = {"training": audit["unjudged"], "evaluation": summary_.get("unjudged", 0)}
        if any(unjudged.values()):
            told = " and ".join(f"{count:,} of {what}" for what, count in unjudged.items() if count)
            found.append(("left out", f"references that cannot be judged: {told}"))
    if overlap := summary_.get("overlap"):
        found.append(("overlap", parse(Contamination, overlap).line().removeprefix("overlap of ")))
    return found


def _working(counts: dict[str, int]) -> str:
    """What the equations of all completions come to, beside the known steps of their problems."""
    written = counts["equations"]
    correct = f"{share(counts['correct'] / written)} of {written:,} equations hold" if written else "no equation"
    return f"{correct}, {share(counts['in_order'] / counts['known'])} of the known steps in order"


def _more_lines(summary_: dict[str, Any]) -> list[tuple[str, str]]:
    """What was scored besides the main set as a whole; a summary written by an older version may have none of it."""
    found = []
    kinds = summary_.get("by_kind") or {}
    shown = [f"{kind} {_percent(cell['base'])} → {_percent(cell['tuned'])} %" for kind, cell in kinds.items()]
    if shown:
        rest = f", and {len(shown) - MOST_KINDS} more in the report" if len(shown) > MOST_KINDS else ""
        found.append(("by kind", ", ".join(shown[:MOST_KINDS]) + rest))
    if bare := summary_.get("no_system"):
        before, after = share(bare["base"]["pass_at_1"]), share(bare["tuned"]["pass_at_1"])
        effect = f"{bare['lift']['points']:+.1f} {_points(bare['lift'])}"
        found.append(("no system", f"without the system message {before} → {after}, {effect}"))
    for name, roles in (summary_.get("looks") or {}).items():
        if roles["tuned"] > 1:
            found.append(("look", f"look {roles['tuned']} of this test split ({name}) with the tuned model"))
    taken = summary_.get("taken") or {}
    for name in dict.fromkeys(taken.values()):
        files = ", ".join(file for file, of in taken.items() if of == name)
        found.append(("taken over", f"{files}: completions of run {name} (same model file, problems, sampling)"))
    for name, facts in (summary_.get("beside") or {}).items():
        if "missing" in facts:
            found.append((name, f"not found in {facts['missing']} (REASONER_DATA)"))
        else:
            before, after = share(facts["base"]["pass_at_1"]), share(facts["tuned"]["pass_at_1"])
            effect = f"{facts['lift']['points']:+.1f} {_points(facts['lift'])}"
            found.append((name, f"{before} → {after}, {effect}, n {facts['n']}"))
    if everyday := summary_.get("everyday"):
        base, tuned = everyday["base"], everyday["tuned"]
        found.append(
            (
                "everyday",
                f"{everyday['n']} prompts, greedy: degenerate {tuned['degenerate']} (base {base['degenerate']}), facts"
                f" right {tuned['facts_right']} of {everyday['facts']} (base {base['facts_right']}),"
                f" {100 * everyday['changed']:.0f} % of answers changed",
            )
        )
        if sampled := everyday.get("sampled"):
            base, tuned = (sampled[role] for role in ROLES)
            found.append(
                (
                    "sampled",
                    f"{sampled['answers']} answers: degenerate {_degenerate(tuned)} (base {_degenerate(base)}), facts"
                    f" right {tuned['facts_right']:.1f} of {sampled['facts']} (base {base['facts_right']:.1f})",
                )
            )
    return found


def _percent(cell: dict[str, int]) -> str:
    return f"{100 * cell['right'] / cell['scored']:.0f}" if cell["scored"] else "?"


def _points(lift: dict[str, Any]) -> str:
    return f"[{lift['ci95'][0]:+.1f}, {lift['ci95'][1]:+.1f}]"


def holds(lift: dict[str, Any]) -> bool:
    """Whether the interval of the lift excludes 0 from below."""
    return bool(lift["ci95"][0] > 0)


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(pair: list[float]) -> str:
    return f"[{100 * pair[0]:.1f}, {100 * pair[1]:.1f}]"


@dataclass(frozen=True)
class Material:
    """All that a report is made of: what the run folder holds, of a run in progress too. Shares are 0-1."""

    run: runs.Run
    config: dict[str, Any]
    origin: dict[str, str]
    summary: dict[str, Any] | None
    records: dict[str, runs.Record[Any]]
    metrics: list[dict[str, Any]]
    completions: dict[str, list[dict[str, Any]]]
    everyday: dict[str, list[dict[str, Any]]]
    audit: dict[str, Any] | None
    ladder: dict[str, Any] | None
    behaviour: dict[str, dict[str, Any]]
    """`behaviour.figures` of what was scored, by role."""
    trained: list[dict[str, Any]]
    """The same of the rollouts, by step."""
    dev: list[dict[str, Any]]
    """Scores of checkpoints on dev problems, by step, where `reasoner watch` took them."""
    adapter: str | None
    """`runs.adapter_sha256` of what lies in the run's folder now."""

    @property
    def scored(self) -> dict[str, Any]:
        """The facts of the evaluation; empty before it."""
        return self.records["evaluate"].facts if "evaluate" in self.records else self.summary or {}


def read(run_: runs.Run, summary_: dict[str, Any] | None = None) -> Material:
    """What a report of this run is made of; raises where there is nothing and nobody is at it.

    `summary_`: one not yet written.
    """
    stored = read_json(run_.config_path) or {}
    config = stored.get("config") or {}
    export = run_.export_dir(config.get("train", {}).get("steps", 0))
    found = {
        name: runs.read_record((run_.path if name in ("base", "train") else export) / f"{name}.json") for name in STAGES
    }
    metrics = read_jsonl(run_.path / "metrics.jsonl")
    if not metrics and not any(found.values()) and not run_.summary_path.exists() and not runs.is_locked(run_):
        raise ReasonerError(
            f"run {run_.name} has nothing to report yet", fix=f"reasoner status {run_.name}; make reasoner", code=USAGE
        )

    def completions(prefix: str = "") -> dict[str, list[dict[str, Any]]]:
        paths = {role: run_.path / "completions" / f"{prefix}{role}.jsonl" for role in ROLES}
        return {role: rows for role, path in paths.items() if (rows := read_jsonl(path))}

    scored = completions()
    return Material(
        run=run_,
        config=config,
        origin=stored.get("origin") or {},
        summary=summary_ or read_json(run_.summary_path),
        records={name: record for name, record in found.items() if record},
        metrics=metrics,
        completions=scored,
        everyday=completions("everyday-"),
        audit=read_json(run_.path / "audit.json"),
        ladder=read_json(run_.path / "ladder.json"),
        behaviour={role: figures for role, rows in scored.items() if (figures := behaviour.figures(rows))},
        trained=behaviour.training(run_.path / "rollouts"),
        dev=[row for row in read_jsonl(run_.path / "history.jsonl") if row.get("event") == "scored"],
        adapter=runs.adapter_sha256(run_.path / "adapter") if found["train"] else None,
    )


def markdown(material: Material) -> str:
    """`report.md`: the figures, how the model came to show its working, and completions as they were served."""
    out = _head(material) + _training(material)
    scored = material.scored
    out += _kinds(scored.get("by_kind") or {}) + _beside(scored.get("beside") or {})
    out += _ladder(material.ladder) + _behaviour(material)
    for title, pairs, n in flips(material.completions):
        out += ["", f"## {title}", "", shown_of(len(pairs), n)]
        for base, tuned in pairs:
            told = reference(base["answer"])
            is_short = "\n" not in told
            named = f"Problem {_code(base['problem_id'])}" + (f", reference {_code(told)}" if is_short else "")
            out += ["", f"{named}:", "", *_quote(base["question"])]
            out += [] if is_short else ["", "reference:", "", *_quote(told)]
            for role, row in (("base", base), ("tuned", tuned)):
                out += ["", f"{role} ({row['verdict']}):", "", *_quote(row["completion"])]
    out += _audit(material.audit)
    if scored.get("everyday"):
        out += _everyday(scored["everyday"], material.everyday)
    out += ["", "## Where it came from", "", LINEAGE, "", "| | | |", "|---|---|---|"]
    out += [f"| {link.what} | {_cell(_code(link.value))}{_cell(link.more)} | {link.holds} |"
            for link in lineage(material)]  # fmt: skip
    out += ["", "## How to reproduce it", ""]
    for why, command in reproduce(material):
        out += [f"{why}:", "", *_quote(command), ""]
    if seconds := (material.summary or {}).get("seconds"):
        out += ["| stage | seconds |", "|---|---|"]
        out += [f"| {name} | {value:,.1f} |" for name, value in seconds.items()]
    return "\n".join(out).rstrip("\n") + "\n"


def _head(material: Material) -> list[str]:
    summary_ = material.summary
    if summary_ is None:
        return [f"# {material.run.name}: not finished", "", progress(material)]
    out = [f"# {summary_['run']}: base against tuned", ""]
    out += [text for warning in warnings(summary_) for text in (f"**{warning}**", "")]
    out += ["| | |", "|---|---|", *(f"| {what} | {_cell(value)} |" for what, value in lines(summary_))]
    return [*out, "", interval_note(summary_)]


def warnings(summary_: dict[str, Any]) -> list[str]:
    """What must be read before any figure."""
    found = []
    if summary_.get("control"):
        found.append(f"Control run ({summary_['control']} references): no lift is what it should show.")
    if not summary_.get("promoted", True):
        found.append("Not promoted: " + "; ".join(summary_["gate"]))
    return found


def interval_note(summary_: dict[str, Any]) -> str:
    return (
        "Intervals are 95 % (Wilson for shares; Agresti-Min, paired, for the lift). One training run,"
        f" seed {summary_['seed']}: the interval speaks of the problems, not of other seeds."
    )


def reward_note(material: Material) -> str:
    """What the loss was made of, in a sentence or two."""
    trained = (material.summary or {}).get("train") or {}
    paid = REWARDS[trained.get("reward") or material.config.get("verifier", {}).get("reward", "verdict")]
    weight = trained.get("chat_kl_weight") or material.config.get("train", {}).get("chat_kl") or 0.0
    kept = f" The loss also holds the KL to the base on everyday text, weight {weight:g}: it keeps the chat."
    return f"The reward was {paid}, and nothing else." + (kept if weight else "")


def progress(material: Material) -> str:
    """How far a run without a summary is."""
    newest = material.metrics[-1] if material.metrics else None
    trained = f"step {newest['step']} of {newest['steps']}" if newest else "no step yet"
    done = [name for name in STAGES if name in material.records]
    return f"Training: {trained}. Stages done: {', '.join(done) or 'none'}."


def _ladder(ladder: dict[str, Any] | None) -> list[str]:
    if not ladder:
        return []
    loss = ladder.get("first_loss")
    said = ladder_note({**ladder, "first_loss": loss and {**loss, "cause": _plain(loss["cause"])}})
    out = ["", "## Where a score is lost", "", said, "",
           "| rung | engine | right | against | change, points | flips | cut | MB | tokens/s |",
           "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    out += [f"| {' | '.join(_cell(_plain(cell)) for cell in row)} |" for row in ladder_rows(ladder)]
    if ladder.get("quants"):
        out += ["", quant_note(ladder), "", "| quant | MB | right | against F16, points | tokens/s | inside |",
                "|---|---|---|---|---|---|"]  # fmt: skip
        out += [f"| {' | '.join(_cell(_plain(cell)) for cell in row)} |" for row in quant_rows(ladder)]
    return out


def ladder_note(ladder: dict[str, Any]) -> str:
    """The finding, in a sentence or two."""
    loss = ladder.get("first_loss")
    found = (
        f"First loss at {loss['rung']}: {loss['points']:+.1f} points {_points(loss)}: {loss['cause']}."
        if loss
        else "No rung loses more than the margin."
    )
    return (
        f"{ladder['n']} problems of split `{ladder['split']}`, the same at every rung, greedy; margin"
        f" {ladder['margin_points']:g} points. {found}"
    )


def ladder_rows(ladder: dict[str, Any]) -> list[list[str]]:
    found = []
    for rung in ladder["rungs"]:
        change = rung.get("change")
        found.append(
            [
                rung["rung"],
                rung["engine"],
                f"{share(rung['pass_at_1'])} {interval(rung['ci95'])}",
                change["against"] if change else "",
                f"{change['points']:+.1f} {_points(change)}" if change else "",
                f"+{change['gained']} −{change['lost']}" if change else "",
                share(rung["truncated"]),
                _megabytes(rung.get("bytes")),
                f"{rung['tokens_per_s']:,.0f}" if rung.get("tokens_per_s") else "",
            ]
        )
    return found


def quant_note(ladder: dict[str, Any]) -> str:
    chosen = ladder.get("chosen") or "none"
    return f"Chosen by the verifier: {chosen}, the smallest whose loss is inside the margin."


def quant_rows(ladder: dict[str, Any]) -> list[list[str]]:
    return [
        [
            quant_name(quant),
            _megabytes(quant["bytes"]),
            f"{share(quant['pass_at_1'])} {interval(quant['ci95'])}",
            f"{quant['points']:+.1f} {_points({'ci95': quant['points_ci95']})}",
            f"{quant['tokens_per_s']:,.0f}" if quant.get("tokens_per_s") else "",
            "yes" if quant["inside"] else "no",
        ]
        for quant in ladder["quants"]
    ]


def quant_name(quant: dict[str, Any]) -> str:
    return f"{quant['quant']}{' with imatrix' if quant.get('imatrix') else ''}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"


BEHAVIOUR = (
    "Counted in the text, never rewarded. Numbers: different ones written in a completion. Equations: calculations"
    " written out, checked exactly. Self-correction: phrases such as “wait” or “let me check”. At the end the base and"
    " the tuned model answer the same problems greedily; rollouts of the first and last steps are sampled."
)


def behaviour_rows(material: Material) -> tuple[list[str], list[list[str]]]:
    """Column titles, and a row for each figure: the first and last fifth of the training, base and tuned at the end."""
    columns: list[tuple[str, dict[str, Any]]] = []
    if len(steps := material.trained) > 1:
        part = max(len(steps) // 5, 1)
        for few in (steps[:part], steps[-part:]):
            columns.append((f"rollouts, steps {few[0]['step']}-{few[-1]['step']}", _pooled(few)))
    columns += [(f"{role}, served", figures) for role, figures in material.behaviour.items()]

    def held(figures: dict[str, Any]) -> str:
        written = figures["equations"]
        return f"{share(figures['correct'] / written)} of {written:,}" if written else "none written"

    shown: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
        ("completions", lambda f: f"{f['n']:,}"),
        ("show working", lambda f: share(f["shows_working"])),
        ("tokens, mean", lambda f: f"{f['length']:.1f}"),
        ("different numbers, mean", lambda f: f"{f['numbers']:.2f}"),
        ("equations that hold", held),
        ("known steps in order", lambda f: share(f["in_order"] / f["known"]) if f["known"] else "not known"),
        ("self-correction", lambda f: share(f["corrects_itself"])),
        ("its phrases", lambda f: ", ".join(f"{p} {n}" for p, n in list(f["phrases"].items())[:4]) or "none"),
    )
    rows = [[title, *(show(figures) for _, figures in columns)] for title, show in shown]
    if not any(figures["known"] for _, figures in columns):
        rows = [row for row in rows if row[0] != "known steps in order"]
    return ["", *(title for title, _ in columns)], rows if columns else []


def _pooled(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several steps as if of one."""
    n = sum(step["n"] for step in steps)
    phrases: Counter[str] = Counter()
    for step in steps:
        phrases.update(step["phrases"])
    return {
        "n": n,
        **{key: sum(step[key] * step["n"] for step in steps) / n
           for key in ("shows_working", "length", "numbers", "corrects_itself")},
        **{key: sum(step[key] for step in steps) for key in ("equations", "correct")},
        "known": None,
        "phrases": dict(phrases.most_common()),
    }  # fmt: skip


def _behaviour(material: Material) -> list[str]:
    titles, rows = behaviour_rows(material)
    if not rows:
        return []
    out = ["", "## Behaviour", "", BEHAVIOUR, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return out + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


Pair = tuple[dict[str, Any], dict[str, Any]]
LOST = "Lost: right before, wrong after"
GAINED = "Gained: wrong before, right after"


def flips(
    completions: Mapping[str, Sequence[dict[str, Any]]], most: int = 10, most_same: int = 3
) -> list[tuple[str, list[Pair], int]]:
    """(Title, pairs of base and tuned rows, how many there are): what was lost first, then gained, then neither.

    In the order of the problems; nothing is picked.
    """
    tuned = {row["problem_id"]: row for row in reversed(completions.get("tuned", ()))}
    pairs: dict[tuple[bool, bool], list[Pair]] = {}
    seen: set[str] = set()
    for row in completions.get("base", ()):
        other = tuned.get(row["problem_id"])
        if (
            other is None
            or row["problem_id"] in seen
            or {row.get("verdict"), other.get("verdict")} & {None, "unscored"}
        ):
            continue  # None: of an evaluation in progress, not judged yet
        seen.add(row["problem_id"])
        pairs.setdefault((row["verdict"] == "right", other["verdict"] == "right"), []).append((row, other))
    titles = (
        ((True, False), LOST, most),
        ((False, True), GAINED, most),
        ((True, True), "Right both times", most_same),
        ((False, False), "Wrong both times", most_same),
    )
    return [(title, found[:limit], len(found)) for key, title, limit in titles if (found := pairs.get(key, []))]


def reference(answer: str) -> str:
    """A reference as people read it: of a code task its solution and hidden tests."""
    try:
        task = tasks.parse(answer)
    except tasks.Unfit:
        return answer
    runs_ = [f"{one.stdin!r} -> {one.stdout!r}" if isinstance(one, tasks.Stdio) else one for one in task.hidden_tests]
    parts = [task.solution.strip("\n"), "\n".join(runs_), task.property.reference.strip("\n") if task.property else ""]
    return "\n\n".join(part for part in parts[:2] if part) or parts[2] or answer


def example(completions: Mapping[str, Sequence[dict[str, Any]]]) -> Pair | None:
    """One problem for the end of a run: the first that was gained, else the first of what there is."""
    groups = flips(completions)
    return next((pairs[0] for title, pairs, _ in groups if title == GAINED), groups[0][1][0] if groups else None)


def shown_of(shown: int, n: int) -> str:
    if shown == n:
        return "All of them, as served." if n > 1 else "The only one, as served."
    return f"{shown} of {n:,}, the first in the order of the problems, as served."


def _audit(audit: dict[str, Any] | None) -> list[str]:
    if not audit:
        return []
    out = ["", "## The verifier's audit", "", audit_note(audit), "", "| check | n | failed | rate, 95 % |",
           "|---|---|---|---|"]  # fmt: skip
    return out + [f"| {' | '.join(_cell(_plain(cell)) for cell in row)} |" for row in audit_rows(audit)]


def audit_note(audit: dict[str, Any]) -> str:
    judge, data = audit["verifier"], audit["data"]
    holds = "It holds" if audit["holds"] else f"IT DOES NOT HOLD ({'; '.join(audit['failed'])})"
    return (
        f"{judge['name']} {judge['version']} on {data['judged']:,} of {data['n']:,} training references, before the"
        f" first step. {holds}."
    )


def audit_rows(audit: dict[str, Any]) -> list[list[str]]:
    return [
        [
            check["name"],
            f"{check['n']:,}",
            f"{check['failed']:,}" + ("" if check["must_hold"] else " (told only)"),
            f"{share(check['rate'])} {interval(check['ci95'])}" if check["n"] else "",
        ]
        for check in audit["checks"]
    ]


LINEAGE = (
    "From what is served back to what it was made of. “yes”: the record of the step above names these very bytes;"
    " “NO”: it names others; “-”: no record says."
)


@dataclass(frozen=True)
class Link:
    """One thing that another was made of."""

    what: str
    value: str
    more: str = ""
    named: bool | None = None

    @property
    def holds(self) -> str:
        return {True: "yes", False: "NO", None: "-"}[self.named]


def lineage(material: Material) -> list[Link]:
    """What is served, then what it was made of, link by link, as far as the records go."""
    summary_, records, found = material.summary or {}, material.records, []

    def named(by: object, expected: object) -> bool | None:
        return None if by is None else by == expected

    if served := summary_.get("served"):
        found.append(Link("served", served["digest"], f" {served['tag']}, Ollama {served['ollama']}"))
    tuned = records["register"].facts["tuned"] if "register" in records else {}
    if "gguf" in records:
        name, output = next(iter(records["gguf"].outputs.items()))
        more = f" {name}, {output.bytes:,} bytes"
        found.append(Link("GGUF, sha256", output.sha256, more, named(tuned.get("gguf_sha256"), output.sha256)))
    if "merge" in records:
        by = records["gguf"].inputs.get("merge") if "gguf" in records else None
        found += _weights("merged, sha256", records["merge"], named(by, records["merge"].key))
    if "train" in records:
        above = records.get("merge") or records.get("gguf")
        inputs = above.inputs if above else {}
        key = records["train"].key
        holds = named(inputs["adapter"], material.adapter) if "adapter" in inputs else named(inputs.get("train"), key)
        found += _weights("adapter, sha256", records["train"], holds)
        facts = records["train"].facts
        data = material.config.get("data", {}).get("source", "")
        if "problems_sha256" in facts:
            found.append(
                Link("training data, sha256", facts["problems_sha256"], f" {facts['problems']:,} problems of {data}")
            )
    if "base" in records:
        facts = records["base"].facts
        by = records["train"].inputs.get("base") if "train" in records else None
        found.append(Link("base, sha256", facts["sha256"], f" {facts['spec']}", named(by, facts["sha256"])))
        if made := facts.get("imported"):
            found.append(Link("base's own GGUF, sha256", made["sha256"], f" {made.get('file') or made['spec']}"))
    if "split_sha256" in summary_:
        more = f" {summary_['n']} problems, split {summary_['split']}"
        found.append(Link("held-out problems, sha256", summary_["split_sha256"], more))
    judge = summary_.get("verifier") or (records["train"].facts.get("verifier") if "train" in records else None)
    if judge:
        found.append(Link("verifier", f"{judge['name']} {judge['version']}"))
    changed = [key for key, where in material.origin.items() if where == "--set"]
    found.append(
        Link("config, sha256", sha256_json(material.config),
             f" profile {material.config.get('profile', '?')}, set by hand: {', '.join(changed) or 'nothing'}")
    )  # fmt: skip
    newest: Any = summary_.get("versions") or next(
        (r.versions for r in reversed(list(records.values())) if r.versions), {}
    )
    return [*found, *(Link(name, version) for name, version in newest.items())]


def _weights(what: str, record: runs.Record[Any], holds: bool | None) -> list[Link]:
    files = {name: output for name, output in record.outputs.items() if name.endswith(".safetensors")}
    return [Link(what, output.sha256, f" {name}", holds) for name, output in files.items()]


def reproduce(material: Material) -> list[tuple[str, str]]:
    """(What for, the command), for the versions that the lineage names."""
    name, config = material.run.name, material.config
    given = [
        f"--set {shlex.quote(f'{key}={_setting(value)}')}"
        for key, where in material.origin.items()
        if where == "--set" and (value := _lookup(config, key)) is not ...
    ]
    run_ = " ".join(["reasoner run", f"--profile {config.get('profile', '?')}", f"--run {name}-again", *given])
    found = [("The whole path again, under another name", run_)]
    if "gguf" in material.records:
        file = next(iter(material.records["gguf"].outputs))
        found.append(("The bytes that were scored", f"sha256sum {shlex.quote(f'runs/{name}/{file}')}"))
        found.append(("Where a score is lost on the way to Ollama", f"reasoner ladder {name}"))
    if served := (material.summary or {}).get("served"):
        found.append(("Talk to it", f"ollama run {served['tag']}"))
    return [*found, ("This page", f"reasoner report {name}")]


def _lookup(config: Mapping[str, Any], dotted: str) -> Any:
    section, _, key = dotted.partition(".")
    found = config.get(section)
    return found.get(key, ...) if isinstance(found, Mapping) else ...


def _setting(value: object) -> str:
    """As `--set` reads it back."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _training(material: Material) -> list[str]:
    titles, rows = training_rows(material.metrics)
    if not rows:
        return []
    out = ["", "## While it trained", "", reward_note(material), "", f"| {' | '.join(titles)} |",
           "|---" * len(titles) + "|"]  # fmt: skip
    out += [f"| {' | '.join(row)} |" for row in rows]
    return out + [line for note in gap_notes(material.metrics) for line in ("", note)]


def training_rows(metrics: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Column titles and a dozen steps, with a column more for each thing that this training measured."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "step": lambda row: str(row["step"]),
        "reward": lambda row: f"{row['reward']:.2f}",
        "groups with signal": lambda row: share(row["signal"]),
        "shows working": lambda row: share(row["shows_working"]),
        "tokens": lambda row: f"{row['length']:.0f}",
        "cut": lambda row: "" if row["truncated"] is None else share(row["truncated"]),
    }
    optional: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("chat_kl", "KL to the base on chat text, nats/token", lambda value: f"{value:.4f}"),
        ("strict_gap", "accepted, but not by the stricter rule", share),
        ("visible_share", "visible tests that hold", share),
        ("hidden_share", "hidden tests that hold", share),
        ("hidden_gap", "gap, points", lambda value: f"{100 * value:+.1f}"),
        ("mismatch", "sampler against trainer, log-probability", lambda value: f"{value:.2g}"),
        ("kinds", "drawn", _families),
    )

    def column(key: str, show: Callable[[Any], str]) -> Callable[[dict[str, Any]], str]:
        return lambda row: "" if row.get(key) is None else show(row[key])

    for key, title, show in optional:
        if any(row.get(key) is not None for row in metrics):
            columns[title] = column(key, show)
    newest: dict[str, Any] = {}
    filled = []
    for row in metrics:  # what is measured every few steps only stands until it is measured again
        newest |= {key: row[key] for key in ("chat_kl",) if row.get(key) is not None}
        filled.append({**row, **newest})
    return list(columns), [[show(row) for show in columns.values()] for row in _thin(filled, 12)]


def gap_notes(metrics: list[dict[str, Any]]) -> list[str]:
    """What the gaps mean, where some were measured."""
    notes = (("strict_gap", STRICT), ("hidden_gap", HIDDEN))
    return [note for key, note in notes if any(row.get(key) is not None for row in metrics)]


def _families(kinds: dict[str, float]) -> str:
    """Shares of the draws, by kind without the size of its numbers."""
    shares: dict[str, float] = {}
    for kind, part in kinds.items():
        name = re.sub(r" (to \d+|beyond)$", "", kind)
        shares[name] = shares.get(name, 0.0) + part
    return ", ".join(f"{_cell(_code(name))} {100 * part:.0f} %" for name, part in sorted(shares.items()))


def _kinds(kinds: dict[str, dict[str, Any]]) -> list[str]:
    if not kinds:
        return []
    out = ["", "## By kind of problem", "", "| kind | base | tuned | lift, points | p |", "|---|---|---|---|---|"]
    for kind, cell in kinds.items():
        right = [f"{cell[role]['right']} of {cell[role]['scored']}" for role in ("base", "tuned")]
        out.append(f"| {_cell(_plain(kind))} | {right[0]} | {right[1]} | {_effect(cell['lift'])} |")
    return [*out, "", P_VALUES]


def _beside(sets: dict[str, dict[str, Any]]) -> list[str]:
    if not sets:
        return []
    out = ["", "## Beside it", "", "Sets scored beside the main one, base and tuned alike. Transfer is reported as it"
           " is, small, none or negative.", "",
           "| set | n | base right | tuned right | lift, points | p | cut, base → tuned |",
           "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, facts in sets.items():
        if "missing" in facts:
            out.append(f"| {name} | | not found in {_cell(_code(facts['missing']))} (`REASONER_DATA`) | | | | |")
            continue
        right = [f"{share(m['pass_at_1'])} {interval(m['ci95'])}" for m in (facts["base"], facts["tuned"])]
        cut = f"{share(facts['base']['truncated'])} → {share(facts['tuned']['truncated'])}"
        out.append(f"| {name} | {facts['n']} | {right[0]} | {right[1]} | {_effect(facts['lift'])} | {cut} |")
    return [*out, "", P_VALUES]


def _effect(lift: dict[str, Any] | None) -> str:
    """The two cells of a lift and its p."""
    return f"{lift['points']:+.1f} {_points(lift)} | {lift['p_holm']:.2g}" if lift else "no pair was scored | "


def _everyday(figures: dict[str, Any], rows: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """The figures, then every prompt with both answers: what an intact chat model is, the reader may judge."""
    named = {key: ", ".join(map(_code, figures[key])) or "none" for key in ("facts_lost", "facts_gained")}
    out = ["", "## Everyday prompts", "", everyday_note(figures), "", "| | base | tuned |", "|---|---|---|",
           *(f"| {' | '.join(row)} |" for row in everyday_rows(figures)),
           "", f"{share(figures['changed'])} of the greedy answers differ. Facts lost in them: {named['facts_lost']};"
           f" gained: {named['facts_gained']}.{everyday_moved(figures, _code)} Below, the greedy answers."]  # fmt: skip
    for base, tuned in zip(rows.get("base", ()), rows.get("tuned", ()), strict=True):
        out += ["", f"### {base['kind']}: {_code(base['id'])}", "", *_quote(base["prompt"])]
        for role, row in (("base", base), ("tuned", tuned)):
            fact = {None: "", True: "fact right", False: "fact not there"}[row["fact_right"]]
            cut = "cut" if row["finish_reason"] == "length" else ""
            notes = ", ".join(note for note in (row["degenerate"], fact, cut) if note)
            out += ["", f"{role}{f' ({notes})' if notes else ''}:", "", *_quote(row["completion"])]
    return out


def everyday_note(figures: dict[str, Any]) -> str:
    """What the table of the everyday prompts counts, and which of its rows decide."""
    told = (f"{figures['n']} fixed prompts that the training was not about. Degenerate: empty, repeating itself, or a"
            " bare number where none was asked. A fact is right where the answer names it.")  # fmt: skip
    if sampled := figures.get("sampled"):
        told += (
            " Greedy is one answer to each, as served; which of them loop is largely chance, so"
            f" {sampled['answers']} answers at temperature {sampled['temperature']:g} decide, each prompt counted once."
        )
    return told


def everyday_rows(figures: dict[str, Any]) -> list[list[str]]:
    """Title, base, tuned."""
    sides = [figures[role] for role in ROLES]
    rows = [["greedy: degenerate", *(f"{side['degenerate']} of {figures['n']}" for side in sides)],
            ["greedy: facts right", *(f"{side['facts_right']} of {figures['facts']}" for side in sides)]]  # fmt: skip
    if sampled := figures.get("sampled"):
        sides = [sampled[role] for role in ROLES]
        rows.append(["sampled: degenerate", *map(_degenerate, sides)])
        rows.append(["sampled: facts right", *(f"{side['facts_right']:.1f} of {sampled['facts']}" for side in sides)])
    return rows


def _degenerate(side: dict[str, Any]) -> str:
    return f"{share(side['degenerate']['value'])} {interval(side['degenerate']['ci95'])}"


def everyday_moved(figures: dict[str, Any], written: Callable[[str], str] = str) -> str:
    """The prompts whose sampled answers moved, as sentences; empty where none did."""
    told = ""
    for title, key in (("facts right", "facts_by_id"), ("degenerate", "degenerate_by_id")):
        moved = figures.get("sampled", {}).get(key, {})
        names = ", ".join(f"{written(one)} {before} → {after} of {n}" for one, (before, after, n) in moved.items())
        told += f" Sampled, {title}, where base and tuned differ: {names}." if names else ""
    return told


def _thin(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def visible(text: str) -> str:
    """Text whose control characters, lone surrogates and marks of direction are seen and do nothing.

    >>> visible("\x1b[31mred\u202e")
    '␛[31mred[U+202E]'
    """
    return "".join(
        c if c in "\n\t\u200c\u200d" or c.isprintable() or unicodedata.category(c) == "Zs" else _sign(c) for c in text
    )


def _sign(char: str) -> str:
    code = ord(char)
    if code < 32:
        return chr(0x2400 + code)
    return "\u2421" if code == 127 else f"[U+{code:04X}]"


def _quote(text: str) -> list[str]:
    """Model-written text as an indented code block: nothing in it is markup."""
    return [f"    {line}" for line in visible(text).split("\n")]


def _code(text: str) -> str:
    return "`" + visible(" ".join(text.split())).replace("`", "'") + "`"


def _plain(text: str) -> str:
    """Text for a table that is not code: nothing in it is markup."""
    return re.sub(r"([<>&*_`\[\]#])", r"\\\1", visible(" ".join(text.split())))


def _cell(text: str) -> str:
    """Text for a table, whose cells even code cannot hold a bar in."""
    return text.replace("|", "\\|")
