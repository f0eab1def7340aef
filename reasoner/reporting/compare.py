"""Several finished runs side by side: what seeds agree on, and what is left of a lift beside its control.

Runs of one profile must have been scored on the same problems by the same verifier, or they are refused. Runs of
different profiles only stand in one table: no figure is taken across them. Reads `summary.json`, `config.json` and
`completions/`; writes nothing. Shares are 0-1, points are percentage points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner import files, runs, words
from reasoner.config import read
from reasoner.errors import USAGE, ReasonerError
from reasoner.measuring import figures, intervals
from reasoner.measuring import lift as lifts
from reasoner.measuring.scores import by_name
from reasoner.reporting import summary
from reasoner.reporting.summary import Effect, Score, Summary
from reasoner.verifiers.score import Judge


@dataclass(frozen=True, kw_only=True)
class Row:
    """Is what the table says of a run, from its `summary.json`."""

    run: str
    profile: str
    seed: int
    control: str | None
    n: int
    split: str
    split_sha256: str
    verifier: Judge
    base: Score
    tuned: Score
    lift: Effect
    promoted: bool | None = None


@dataclass(frozen=True)
class Finished:
    """Holds a finished run: its summary, and the settings that another seed of its recipe shares."""

    name: str
    folder: Path
    summary: Summary
    recipe: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Seeds(figures.OverSeeds):
    """Is the mean lift of trainings of one recipe, over seeds and over problems (None: completions are gone)."""

    runs: list[str]
    over_problems: figures.Paired | None


@dataclass(frozen=True)
class Control:
    """Is what is left of a run's lift beside that of its control run, in points."""

    run: str
    control: str
    lift: float
    control_lift: float
    difference: figures.Paired


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Is what `reasoner compare --json` prints: `seeds` has an entry for each recipe."""

    schema: int = 1
    runs: list[Row]
    seeds: list[Seeds]
    controls: list[Control]
    notes: list[str]


def run(names: Sequence[str]) -> Comparison:
    """Compares finished runs. Raises `ReasonerError` where they cannot be compared."""
    folders = [runs.existing(name) for name in names]
    if len({one.path for one in folders}) < len(folders):
        raise ReasonerError("one run was named twice", fix="name different runs", code=USAGE)
    if len(folders) < 2:
        raise ReasonerError("one run cannot be compared", fix="reasoner compare RUN RUN…", code=USAGE)
    found = []
    for one in folders:
        if not (scored := summary.read(one)):
            raise ReasonerError(f"run {one.name} is not finished", fix=f"make reasoner RUN={one.name}", code=USAGE)
        found.append(Finished(one.name, one.path, scored, read(one.config_path)[0].recipe()))
    for same_profile in by_name((one.summary.profile, one.summary) for one in found).values():
        _refuse_different(same_profile)
    seeds, controls, notes = [], [], []
    for members in by_name((files.sha256_json(one.recipe), one) for one in found).values():
        trained = [one for one in members if not one.summary.control]
        if len(trained) > len({one.summary.seed for one in trained}):
            notes.append(f"{_listed(trained)}: one seed twice, so there is no interval over seeds")
        elif len(trained) > 1:
            seeds.append(_over_seeds(trained))
        controls += _controls(members, notes)
    names_ = [one.name for one in dataclasses.fields(Row)]
    rows = [Row(**{name: getattr(one.summary, name) for name in names_}) for one in found]
    return Comparison(runs=rows, seeds=seeds, controls=controls, notes=[*notes, *_differing(found)])


def _refuse_different(same_profile: Sequence[Summary]) -> None:
    first, *others = same_profile
    for other in others:
        wrong = []
        if other.split_sha256 != first.split_sha256:
            wrong.append(f"problems: {_problems(first)} in {first.run}, {_problems(other)} in {other.run}")
        if other.verifier != first.verifier:
            judges = [f"{one.verifier.name} {one.verifier.version} in {one.run}" for one in (first, other)]
            wrong.append(f"verifier: {', '.join(judges)}")
        if wrong:
            fix = "compare runs of one set and one verifier, or score one again: reasoner evaluate RUN"
            unlike = f"runs {first.run} and {other.run} were not scored alike"
            raise ReasonerError(unlike, why="\n".join(wrong), fix=fix, code=USAGE)


def _problems(summary: Summary) -> str:
    return f"{summary.n} of {summary.split} ({summary.split_sha256[:12]})"


def _differing(found: Sequence[Finished]) -> list[str]:
    """Says what keeps runs of the first one's profile from being one recipe, and which versions are not the same."""
    notes = []
    first, recipe = found[0].summary, found[0].recipe
    for one in found[1:]:
        other = one.summary
        if other.profile != first.profile:
            notes.append(
                f"{first.run} ({first.profile}) and {other.run} ({other.profile}) were scored on"
                " different sets: they stand side by side, no figure is taken across them"
            )
            continue
        if keys := [key for key in recipe if recipe[key] != one.recipe[key]]:
            told = ", ".join(f"{key} {recipe[key]} and {one.recipe[key]}" for key in keys)
            notes.append(f"{first.run} and {other.run} are different recipes: {told}")
        versions = {**first.versions, **other.versions}
        if changed := [name for name in versions if first.versions.get(name) != other.versions.get(name)]:
            notes.append(f"{first.run} and {other.run} were made with different {', '.join(changed)}")
    return notes


# -- figures across runs -----------------------------------------------------------------------


def _over_seeds(members: Sequence[Finished]) -> Seeds:
    """Returns both intervals: over seeds (would another seed do it?) and over problems (would others show it?)."""
    differences = [found for one in members if (found := _by_problem(one))]
    problems = None
    if len(differences) == len(members):
        ids = set.intersection(*(set(one) for one in differences))
        means = [sum(one[i] for one in differences) / len(differences) for i in sorted(ids)]
        problems = lifts.paired(means)
    over_seeds = intervals.over_seeds([one.summary.lift.points for one in members])
    return Seeds(**vars(over_seeds), runs=[one.name for one in members], over_problems=problems)


def _controls(members: Sequence[Finished], notes: list[str]) -> list[Control]:
    """Returns lift minus control for each control run and the training of its seed; notes the controls without one."""
    found = []
    for control in (one for one in members if one.summary.control):
        trained = (one for one in members if not one.summary.control and one.summary.seed == control.summary.seed)
        if (partner := next(trained, None)) is None:
            notes.append(f"{control.name} is a control, but no run of its recipe and its seed is here to set beside it")
            continue
        lift, other = partner.summary.lift, control.summary.lift
        mine, others = _by_problem(partner), _by_problem(control)
        if mine and others:
            shared = sorted(mine.keys() & others.keys())
            difference = lifts.paired([mine[i] - others[i] for i in shared])
        else:
            difference = _unpaired(lift, other)
        found.append(Control(partner.name, control.name, lift.points, other.points, difference))
    return found


def _by_problem(one: Finished) -> dict[str, float] | None:
    """Returns tuned minus base of each problem; None where the completions are gone or are not the summary's."""
    folder = one.folder / "completions"
    base, tuned = (figures.load(folder / f"{role}.jsonl", figures.Completion) for role in ("base", "tuned"))
    if not base or not tuned:
        return None
    found = lifts.differences(base, tuned)
    is_same = abs(100 * sum(found.values()) / len(found) - one.summary.lift.points) < 1e-6 if found else False
    return found if is_same else None


def _unpaired(lift: Effect, control: Effect) -> figures.Paired:
    """Returns the difference by the two intervals alone, as if of different problems; that is too wide."""
    points = lift.points - control.points
    half = sum(((found.ci95[1] - found.ci95[0]) / 2) ** 2 for found in (lift, control)) ** 0.5
    return figures.Paired(points=points, ci95=(points - half, points + half), p=None, test="none: completions are gone")


# -- for a person ------------------------------------------------------------------------------


def lines(value: Comparison) -> list[str]:
    """Returns the comparison as text."""
    titles = ("run", "profile", "seed", "split", "n", "base", "tuned", "lift, points", "", "promoted")
    table = [titles, *(_cells(row) for row in value.runs)]
    widths = [max(len(row[at]) for row in table) for at in range(len(titles))]
    out = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    for found in value.seeds:
        out += ["", f"over {found.seeds} training seeds ({', '.join(found.runs)}):"]
        out.append(
            f"  mean lift {found.points:+.1f} points, from {found.least:+.1f} to {found.most:+.1f},"
            f" between-seed standard deviation {found.sd:.1f}"
        )
        out.append(f"  over seeds     {words.points_interval(found.ci95)} (95 %, {found.interval})")
        if problems := found.over_problems:
            told = f"95 %, bootstrap over {problems.pairs} problems, of these trainings"
            out.append(f"  over problems  {words.points_interval(problems.ci95)} ({told})")
        else:
            out.append("  over problems  none: completions are gone, or are not those of the summary")
    for control in value.controls:
        gap = control.difference
        sign = "≤" if (gap.p or 0) <= 2 / (lifts.RESAMPLES + 1) else "="
        test = "" if gap.p is None else f", p {sign} {words.p_value(gap.p)}"
        out += ["", f"{control.run} minus its control {control.control}:"]
        out.append(
            f"  {control.lift:+.1f} − {control.control_lift:+.1f} ="
            f" {words.points(gap.points, gap.ci95, ' points')}{test} ({gap.test})"
        )
    return [*out, *(f"note: {note}" for note in ["", *value.notes] if note)]


def _cells(row: Row) -> tuple[str, ...]:
    shares = [words.share(one.pass_at_1, one.ci95) for one in (row.base, row.tuned)]
    return (
        row.run, row.profile, str(row.seed), row.split, str(row.n), *shares,
        words.points(row.lift.points, row.lift.ci95),
        f"control ({row.control})" if row.control else "",
        "yes" if row.promoted else "no",
    )  # fmt: skip


def _listed(members: Sequence[Finished]) -> str:
    return ", ".join(one.name for one in members)
