"""Records -> `report.md` and `summary.json`. Reads, computes nothing new."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reasoner import runs
from reasoner.config import Config

NAMES = ("train", "merge", "gguf", "modelfile", "register", "evaluate")
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
MOST_KINDS = 8
"""Kinds named in one line; the table of the report has all."""


def summary(
    config: Config,
    run_: runs.Run,
    records: dict[str, runs.Record],
    server: dict[str, str],
    versions: dict[str, str],
) -> dict[str, Any]:
    """The value of `summary.json`; its fields are a contract."""
    train, scored = records["train"].facts, records["evaluate"].facts
    promoted, tuned = records["promote"].facts, records["register"].facts["tuned"]
    file, output = next(iter(records["gguf"].outputs.items()))
    keys = ("pass_at_1", "ci95", "shows_working", "truncated", "unscored")

    def compared(facts: dict[str, Any], *more: str) -> dict[str, Any]:
        found = {role: {key: facts[role][key] for key in keys} for role in ("base", "tuned")}
        return {**found, "lift": {key: facts["lift"][key] for key in ("points", "ci95", "p", "test", *more)}}

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
        "steps": {role: scored[role].get("steps") for role in ("base", "tuned")},
        "unjudged": scored.get("unjudged", 0),
        "audit": train.get("audit"),
        "by_kind": scored["by_kind"],
        "beside": beside,
        **({"everyday": scored["everyday"]} if "everyday" in scored else {}),
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
            "quant": config.gguf.quant,
            "bytes": output.bytes,
            "sha256": output.sha256,
        },
        "base_sha256": train["base_weights_sha256"],
        "train": {key: train[key] for key in ("steps", "first", "last", "engine", "threads")}
        | {"chat_kl": train.get("chat_kl"), "chat_kl_weight": config.train.chat_kl},
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
        ("cut, unscored", ", ".join(f"{role} {share(m['truncated'])} and {m['unscored']}"
                                    for role, m in (("base", base), ("tuned", tuned)))),
        *_judge_lines(summary_),
        *_more_lines(summary_),
    ]  # fmt: skip


def _judge_lines(summary_: dict[str, Any]) -> list[tuple[str, str]]:
    """What the stricter rule says, what the audit found; a summary written by an older version may have none of it."""
    found = []
    strict = summary_.get("strict") or {}
    if strict.get("base") is not None and strict.get("tuned") is not None:
        found.append(("stricter rule", f"{share(strict['base'])} → {share(strict['tuned'])} right"))
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
                f"{everyday['n']} prompts: degenerate {tuned['degenerate']} (base {base['degenerate']}), facts right"
                f" {tuned['facts_right']} of {everyday['facts']} (base {base['facts_right']}),"
                f" {100 * everyday['changed']:.0f} % of answers changed",
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


def markdown(
    summary_: dict[str, Any],
    records: dict[str, runs.Record],
    examples: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
    everyday: Mapping[str, Sequence[dict[str, Any]]] | None = None,
) -> str:
    """`report.md`: the figures, how the model came to show its working, and examples as they were served.

    `everyday` are the rows of `completions/everyday-<role>.jsonl` by role, as `examples` takes those of the main set.
    """
    out = [f"# {summary_['run']}: base against tuned", ""]
    if summary_["control"]:
        out += [f"**Control run ({summary_['control']} references): no lift is what it should show.**", ""]
    if not summary_["promoted"]:
        out += ["**Not promoted:** " + "; ".join(summary_["gate"]), ""]
    out += ["| | |", "|---|---|", *(f"| {what} | {_cell(value)} |" for what, value in lines(summary_))]
    out += ["", "Intervals are 95 % (Wilson for shares; Agresti-Min, paired, for the lift). One training run,"
            f" seed {summary_['seed']}: the interval speaks of the problems, not of other seeds.", ""]  # fmt: skip
    out += ["## While it trained", "", "The reward was the verifier's verdict and nothing else.", ""]
    weight = summary_["train"].get("chat_kl_weight")
    if weight:
        out[-2] += f" The loss also holds the KL to the base on everyday text, weight {weight:g}: it keeps the chat."
    out += _training(metrics)
    scored = records["evaluate"].facts
    out += _kinds(scored["by_kind"]) + _beside(scored["beside"])
    if examples:
        out += ["", "## Examples, as served"]
        for row in examples:
            title = f"Problem {_code(row['problem_id'])}, reference {_code(row['answer'])}:"
            out += ["", title, "", *_quote(row["question"])]
            for role in ("base", "tuned"):
                out += ["", f"{role} ({row[role]['verdict']}):", "", *_quote(row[role]["completion"])]
    if "everyday" in scored:
        out += _everyday(scored["everyday"], everyday or {})
    file = summary_["gguf"]
    out += ["", "## Where it came from", "", "| | |", "|---|---|"]
    out += [f"| {name} | {value} |" for name, value in summary_["versions"].items()]
    out += [
        f"| base weights sha256 | before `{summary_['base_sha256']['before']}` |",
        f"| | after `{summary_['base_sha256']['after']}` |",
        f"| GGUF | {file['quant']}, {file['bytes']:,} bytes, sha256 `{file['sha256']}` |",
        f"| served | `{summary_['served']['tag']}`, {summary_['served']['digest']} |",
    ]
    out += ["", "| stage | seconds |", "|---|---|"]
    out += [f"| {name} | {value:,.1f} |" for name, value in summary_["seconds"].items()]
    return "\n".join(out) + "\n"


def _training(metrics: list[dict[str, Any]]) -> list[str]:
    """A dozen steps, with a column more for each thing that this training measured."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "step": lambda row: str(row["step"]),
        "reward": lambda row: f"{row['reward']:.2f}",
        "groups with signal": lambda row: share(row["signal"]),
        "shows working": lambda row: share(row["shows_working"]),
        "tokens": lambda row: f"{row['length']:.0f}",
        "cut": lambda row: share(row["truncated"] or 0),
    }
    optional: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("chat_kl", "KL to the base on chat text, nats/token", lambda value: f"{value:.4f}"),
        ("strict_gap", "accepted, but not by the stricter rule", share),
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
    metrics = filled
    lines_ = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines_ += [f"| {' | '.join(show(row) for show in columns.values())} |" for row in _thin(metrics, 12)]
    if any(row.get("strict_gap") is not None for row in metrics):
        lines_ += ["", STRICT]
    return lines_


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
        out.append(f"| {kind} | {right[0]} | {right[1]} | {_effect(cell['lift'])} |")
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
    out = ["", "## Everyday prompts", "",
           f"{figures['n']} fixed prompts that the training was not about. Degenerate: empty, repeating itself, or a"
           " bare number where none was asked. A fact is right where the answer names it.", "",
           "| | base | tuned |", "|---|---|---|",
           *(f"| {title} | {figures['base'][key]}{of} | {figures['tuned'][key]}{of} |"
             for title, key, of in (("degenerate", "degenerate", f" of {figures['n']}"),
                                    ("facts right", "facts_right", f" of {figures['facts']}"))),
           "", f"{share(figures['changed'])} of the answers differ. Facts lost: {named['facts_lost']}; gained:"
           f" {named['facts_gained']}."]  # fmt: skip
    for base, tuned in zip(rows.get("base", ()), rows.get("tuned", ()), strict=True):
        out += ["", f"### {base['kind']}: {_code(base['id'])}", "", *_quote(base["prompt"])]
        for role, row in (("base", base), ("tuned", tuned)):
            fact = {None: "", True: "fact right", False: "fact not there"}[row["fact_right"]]
            cut = "cut" if row["finish_reason"] == "length" else ""
            notes = ", ".join(note for note in (row["degenerate"], fact, cut) if note)
            out += ["", f"{role}{f' ({notes})' if notes else ''}:", "", *_quote(row["completion"])]
    return out


def examples(rows: dict[str, list[dict[str, Any]]], most: int = 4) -> list[dict[str, Any]]:
    """A few problems for the reader: right only when tuned, wrong both times, right only before."""
    pairs = list(zip(rows["base"], rows["tuned"], strict=True))
    chosen: list[dict[str, Any]] = []
    for want in ((False, True), (False, False), (True, False)):
        found = [(b, t) for b, t in pairs if (b["verdict"] == "right", t["verdict"] == "right") == want]
        for b, t in found[: 2 if want == (False, True) else 1]:
            chosen.append({"problem_id": b["problem_id"], "question": b["question"], "answer": b["answer"],
                           "base": b, "tuned": t})  # fmt: skip
    return chosen[:most]


def _thin(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _quote(text: str) -> list[str]:
    """Model-written text as an indented code block: nothing in it is markup."""
    visible = "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text)
    return [f"    {line}" for line in visible.split("\n")]


def _code(text: str) -> str:
    visible = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return "`" + visible.replace("`", "'") + "`"


def _cell(text: str) -> str:
    """Text for a table, whose cells even code cannot hold a bar in."""
    return text.replace("|", "\\|")
