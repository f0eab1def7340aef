"""Several finished runs side by side: what seeds agree on, and what is left of a lift beside its control.

Runs of one profile must have been scored on the same problems by the same verifier, or they are refused. Runs of
different profiles only stand in one table: no figure is taken across them. Reads `summary.json`, `config.json` and
`completions/`; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner import files, runs
from reasoner.config import read
from reasoner.errors import USAGE, ReasonerError
from reasoner.measuring import intervals, lift
from reasoner.measuring.figures import Completion, load
from reasoner.reporting import report

Summary = dict[str, Any]
Member = tuple[runs.Run, Summary]


def run(names: Sequence[str]) -> dict[str, Any]:
    """The value of `reasoner compare --json`: `runs`, `seeds` (one entry a recipe), `controls`, `notes`."""
    found = [runs.existing(name) for name in names]
    if len({one.path for one in found}) < len(found):
        raise ReasonerError("one run was named twice", fix="name different runs", code=USAGE)
    if len(found) < 2:
        raise ReasonerError("one run cannot be compared", fix="reasoner compare RUN RUN…", code=USAGE)
    summaries = [_summary(one) for one in found]
    for profile in {value["profile"] for value in summaries}:
        _refuse_different([value for value in summaries if value["profile"] == profile])
    value: dict[str, Any] = {"schema": 1, "runs": [_row(one) for one in summaries], "seeds": [], "controls": []}
    notes = []
    for members in _recipes(found, summaries):
        trained = [pair for pair in members if not pair[1]["control"]]
        seeds = {summary["seed"] for _, summary in trained}
        if len(trained) > len(seeds):
            notes.append(f"{_listed(trained)}: one seed twice, so there is no interval over seeds")
        elif len(trained) > 1:
            value["seeds"].append(_over_seeds(trained))
        value["controls"] += _controls(members, notes)
    value["notes"] = [*notes, *_differing(found, summaries)]
    return value


def _summary(one: runs.Run) -> Summary:
    found = files.read_json(one.summary_path)
    if not isinstance(found, dict):
        raise ReasonerError(f"run {one.name} is not finished", fix=f"make reasoner RUN={one.name}", code=USAGE)
    return found


def _refuse_different(same_profile: Sequence[Summary]) -> None:
    first, *others = same_profile
    for other in others:
        wrong = []
        if other["split_sha256"] != first["split_sha256"]:
            wrong.append(f"problems: {_problems(first)} in {first['run']}, {_problems(other)} in {other['run']}")
        if other["verifier"] != first["verifier"]:
            wrong.append(f"verifier: {_judge(first)} in {first['run']}, {_judge(other)} in {other['run']}")
        if wrong:
            raise ReasonerError(
                f"runs {first['run']} and {other['run']} were not scored alike",
                why="\n".join(wrong),
                fix="compare runs of one set and one verifier, or score one again: reasoner evaluate RUN",
                code=USAGE,
            )


def _problems(summary: Summary) -> str:
    return f"{summary['n']} of {summary['split']} ({summary['split_sha256'][:12]})"


def _judge(summary: Summary) -> str:
    return f"{summary['verifier']['name']} {summary['verifier']['version']}"


def _row(summary: Summary) -> dict[str, Any]:
    keys = ("run", "profile", "seed", "control", "n", "split", "split_sha256", "verifier", "base", "tuned", "lift")
    return {key: summary.get(key) for key in (*keys, "promoted")}


# -- which runs belong together ----------------------------------------------------------------


def _recipes(found: Sequence[runs.Run], summaries: Sequence[Summary]) -> list[list[Member]]:
    """Runs whose settings say the same, but for seed and control and what touches neither learning nor score."""
    groups: dict[str, list[Member]] = {}
    for one, summary in zip(found, summaries, strict=True):
        groups.setdefault(files.sha256_json(read(one.config_path)[0].recipe()), []).append((one, summary))
    return list(groups.values())


def _differing(found: Sequence[runs.Run], summaries: Sequence[Summary]) -> list[str]:
    """What keeps runs of the first one's profile from being one recipe, and versions that are not the same."""
    notes = []
    first, settings = summaries[0], read(found[0].config_path)[0].recipe()
    for one, summary in zip(found[1:], summaries[1:], strict=True):
        if summary["profile"] != first["profile"]:
            notes.append(
                f"{first['run']} ({first['profile']}) and {summary['run']} ({summary['profile']}) were scored on"
                " different sets: they stand side by side, no figure is taken across them"
            )
            continue
        other = read(one.config_path)[0].recipe()
        keys = [key for key in settings if settings[key] != other[key]]
        if keys:
            told = ", ".join(f"{key} {settings[key]} and {other[key]}" for key in keys)
            notes.append(f"{first['run']} and {summary['run']} are different recipes: {told}")
        versions = {**first["versions"], **summary["versions"]}
        changed = [name for name in versions if first["versions"].get(name) != summary["versions"].get(name)]
        if changed:
            notes.append(f"{first['run']} and {summary['run']} were made with different {', '.join(changed)}")
    return notes


# -- figures across runs -----------------------------------------------------------------------


def _over_seeds(members: Sequence[Member]) -> dict[str, Any]:
    """Both intervals: over seeds (would another seed do it?) and over problems (would other problems show it?)."""
    lifts = [summary["lift"]["points"] for _, summary in members]
    differences = [found for pair in members if (found := _by_problem(*pair))]
    problems = None
    if len(differences) == len(members):
        ids = set.intersection(*(set(one) for one in differences))
        means = [sum(one[i] for one in differences) / len(differences) for i in sorted(ids)]
        problems = files.as_json(lift.paired(means))
    return {
        "runs": [one.name for one, _ in members],
        **files.as_json(intervals.over_seeds(lifts)),
        "over_problems": problems,
    }


def _controls(members: Sequence[Member], notes: list[str]) -> list[dict[str, Any]]:
    """Lift minus control for each control run and the training of its seed."""
    found = []
    for control, summary in members:
        if not summary["control"]:
            continue
        partner = next(
            (pair for pair in members if not pair[1]["control"] and pair[1]["seed"] == summary["seed"]), None
        )
        if partner is None:
            notes.append(f"{control.name} is a control, but no run of its recipe and its seed is here to set beside it")
            continue
        run_, trained = partner
        lifts = {"lift": trained["lift"]["points"], "control_lift": summary["lift"]["points"]}
        mine, others = _by_problem(run_, trained), _by_problem(control, summary)
        if mine and others:
            difference = files.as_json(lift.paired([mine[i] - others[i] for i in sorted(mine.keys() & others.keys())]))
        else:
            difference = _unpaired(trained["lift"], summary["lift"])
        found.append({"run": run_.name, "control": control.name, **lifts, "difference": difference})
    return found


def _by_problem(one: runs.Run, summary: Summary) -> dict[str, float] | None:
    """Tuned minus base of each problem; None where the completions are gone or are not those of the summary."""
    base, tuned = (load(one.path / "completions" / f"{role}.jsonl", Completion) for role in ("base", "tuned"))
    if not base or not tuned:
        return None
    found = lift.differences(base, tuned)
    is_same = abs(100 * sum(found.values()) / len(found) - summary["lift"]["points"]) < 1e-6 if found else False
    return found if is_same else None


def _unpaired(lift: Mapping[str, Any], control: Mapping[str, Any]) -> dict[str, Any]:
    """From the two intervals alone, as if of different problems: too wide, as the same problems were asked."""
    points = lift["points"] - control["points"]
    half = sum(((found["ci95"][1] - found["ci95"][0]) / 2) ** 2 for found in (lift, control)) ** 0.5
    return {"points": points, "ci95": [points - half, points + half], "p": None, "test": "none: completions are gone"}


# -- for a person ------------------------------------------------------------------------------


def lines(value: Mapping[str, Any]) -> list[str]:
    """The comparison as text."""
    titles = ("run", "profile", "seed", "split", "n", "base", "tuned", "lift, points", "", "promoted")
    table = [titles, *(_cells(row) for row in value["runs"])]
    widths = [max(len(row[at]) for row in table) for at in range(len(titles))]
    out = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    for found in value["seeds"]:
        out += ["", f"over {found['seeds']} training seeds ({', '.join(found['runs'])}):"]
        out.append(
            f"  mean lift {found['points']:+.1f} points, from {found['least']:+.1f} to {found['most']:+.1f},"
            f" between-seed standard deviation {found['sd']:.1f}"
        )
        out.append(f"  over seeds     {_interval(found)} (95 %, {found['interval']})")
        if problems := found["over_problems"]:
            told = f"95 %, bootstrap over {problems['pairs']} problems, of these trainings"
            out.append(f"  over problems  {_interval(problems)} ({told})")
        else:
            out.append("  over problems  none: completions are gone, or are not those of the summary")
    for found in value["controls"]:
        difference = found["difference"]
        least = 2 / (lift.RESAMPLES + 1)
        sign = "≤" if (difference["p"] or 0) <= least else "="
        test = "" if difference["p"] is None else f", p {sign} {difference['p']:.2g}"
        out += ["", f"{found['run']} minus its control {found['control']}:"]
        out.append(
            f"  {found['lift']:+.1f} − {found['control_lift']:+.1f} = {difference['points']:+.1f} points"
            f" {_interval(difference)}{test} ({difference['test']})"
        )
    return [*out, *(f"note: {note}" for note in ["", *value["notes"]] if note)]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    shares = [
        f"{report.share(row[role]['pass_at_1'])} {report.interval(row[role]['ci95'])}" for role in ("base", "tuned")
    ]
    return (
        row["run"], row["profile"], str(row["seed"]), row["split"], str(row["n"]), *shares,
        f"{row['lift']['points']:+.1f} {_interval(row['lift'])}",
        f"control ({row['control']})" if row["control"] else "",
        "yes" if row["promoted"] else "no",
    )  # fmt: skip


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    return f"[{low:+.1f}, {high:+.1f}]"


def _listed(members: Sequence[Member]) -> str:
    return ", ".join(one.name for one, _ in members)
