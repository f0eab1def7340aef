"""Records -> `report.md` and `summary.json`. Reads, computes nothing new."""

from __future__ import annotations

from typing import Any

from reasoner import runs
from reasoner.config import Config

NAMES = ("train", "merge", "gguf", "modelfile", "register", "evaluate")


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
        "base": {key: scored["base"][key] for key in keys},
        "tuned": {key: scored["tuned"][key] for key in keys},
        "lift": {key: scored["lift"][key] for key in ("points", "ci95", "p", "test")},
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
        "train": {key: train[key] for key in ("steps", "first", "last", "engine", "threads")},
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
    score = f"verifier `{judge['name']}` {judge['version']}, greedy, served by Ollama {served['ollama']}"
    effect = f"{lift['points']:+.1f} points [{lift['ci95'][0]:+.1f}, {lift['ci95'][1]:+.1f}]"
    doubt = "" if holds(lift) else ": no measurable lift"
    return [
        ("problems", f"{n} held-out, split `{summary_['split']}`, {score}"),
        *((role, f"{share(m['pass_at_1'])} right {interval(m['ci95'])}, shows working {share(m['shows_working'])}")
          for role, m in (("base", base), ("tuned", tuned))),
        ("lift", f"{effect}, p = {lift['p']:.1g} ({lift['test']}){doubt}"),
        ("cut, unscored", ", ".join(f"{role} {share(m['truncated'])} and {m['unscored']}"
                                    for role, m in (("base", base), ("tuned", tuned)))),
    ]  # fmt: skip


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
) -> str:
    """`report.md`: the figures, how the model came to show its working, and examples as they were served."""
    out = [f"# {summary_['run']}: base against tuned", ""]
    if summary_["control"]:
        out += [f"**Control run ({summary_['control']} references): no lift is what it should show.**", ""]
    if not summary_["promoted"]:
        out += ["**Not promoted:** " + "; ".join(summary_["gate"]), ""]
    out += ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in lines(summary_))]
    out += ["", "Intervals are 95 % (Wilson for shares; Agresti-Min, paired, for the lift). One training run,"
            f" seed {summary_['seed']}: the interval speaks of the problems, not of other seeds.", ""]  # fmt: skip
    out += ["## While it trained", "", "The reward was the verifier's verdict and nothing else.", ""]
    out += [
        "| step | reward | groups with signal | shows working | tokens | cut |",
        "|---|---|---|---|---|---|",
    ]
    for row in _thin(metrics, 12):
        out.append(
            f"| {row['step']} | {row['reward']:.2f} | {share(row['signal'])} | {share(row['shows_working'])}"
            f" | {row['length']:.0f} | {share(row['truncated'] or 0)} |"
        )
    kinds = records["evaluate"].facts["by_kind"]
    if kinds:
        out += ["", "## By kind of problem", "", "| kind | base | tuned |", "|---|---|---|"]
        for kind, cell in kinds.items():
            shown = [f"{cell[r]['right']} of {cell[r]['scored']}" if r in cell else "" for r in ("base", "tuned")]
            out.append(f"| {kind} | {shown[0]} | {shown[1]} |")
    if examples:
        out += ["", "## Examples, as served", ""]
        for row in examples:
            out += [
                f"Problem `{row['problem_id']}`, reference {_code(row['answer'])}:",
                "",
                *_quote(row["question"]),
                "",
            ]
            for role in ("base", "tuned"):
                out += [f"{role} ({row[role]['verdict']}):", "", *_quote(row[role]["completion"]), ""]
    file = summary_["gguf"]
    out += ["## Where it came from", "", "| | |", "|---|---|"]
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
    return "`" + text.replace("`", "'") + "`"
