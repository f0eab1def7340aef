"""Says each section of a run's report once, as blocks made of the material; without any where there is nothing to say.

Computes no figure; `behaviour` counts, `measuring` measures.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from reasoner import words
from reasoner.measuring import figures
from reasoner.measuring.figures import Completion, EverydayAnswer, Missing
from reasoner.reporting import behaviour, lineage
from reasoner.reporting import summary as summaries
from reasoner.reporting.behaviour import Figures, spread
from reasoner.reporting.blocks import (
    Answers,
    Bar,
    Bars,
    Block,
    Cell,
    Charts,
    Code,
    Figure,
    Folded,
    Heading,
    Item,
    Legend,
    Page,
    Paragraph,
    Plain,
    Section,
    Side,
    Table,
    Text,
    listed,
)
from reasoner.reporting.flips import flips, reference
from reasoner.reporting.material import Material
from reasoner.reporting.plots import (
    Chart,
    Dumbbell,
    Mark,
    Plot,
    Point,
    Progress,
    Scale,
    Scatter,
    Series,
    ShareBar,
    Stretch,
    Whisker,
    Whiskers,
    window,
)
from reasoner.reporting.summary import ROLES, Effect, Summary
from reasoner.training.facts import StepMetrics

SHARES = Scale(parts=2)
"""Head of a column of plots of shares."""
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
TRANSFER = (
    "Sets scored beside the main one, base and tuned alike. Transfer is reported as it is, small, none or negative."
)
BEHAVIOUR = (
    "Counted in the text, never rewarded. Numbers: different ones written in a completion. Equations: calculations"
    " written out, checked exactly. Self-correction: phrases such as “wait” or “let me check”. At the end the base and"
    " the tuned model answer the same problems greedily; rollouts of the first and last steps are sampled."
)
Show = Callable[[float], str]


def report(material: Material) -> Page:
    """Returns the report of a run, finished or not."""
    summary = material.summary
    made_of = [
        figures_of(material), training(material), kinds(material), beside(material), ladder(material), habits(material),
        flipped(material), everyday(material), audit(material), lineage.section(material), lineage.reproduce(material),
        seconds(material),
    ]  # fmt: skip
    return _finished(material, summary, made_of) if summary else _in_progress(material, made_of)


def _finished(material: Material, summary: Summary, sections: Sequence[Section]) -> Page:
    lift, finished = summary.lift, (record.finished for record in material.records.done.values())
    told = (
        f"{dict(summaries.lines(summary))['problems']}. Intervals are 95 % (Wilson for shares; Agresti-Min, paired, for"
        f" the lift). One training run, seed {summary.seed}: the interval speaks of the problems, not of other seeds."
    )
    return Page(
        title=f"{summary.run}: {words.points(lift.points)} points",
        facts=[
            ("run", summary.run), ("profile", summary.profile), ("seed", str(summary.seed)), ("device", summary.device),
            ("", max(finished, default="")[:10]),
        ],
        warnings=warnings(summary),
        headline=(
            words.points(lift.points), f"points from base to tuned{'' if lift.is_lift else ': no measurable lift'}",
        ),
        is_finding=lift.is_lift,
        head=[
            Paragraph(f"95 % interval {words.points_interval(lift.ci95)} on {summary.n:,} held-out problems", "lede"),
            bars([("", summary)]),
            Paragraph(told),
        ],
        sections=sections,
        version=summary.versions.get("reasoner"),
    )  # fmt: skip


def _in_progress(material: Material, sections: Sequence[Section]) -> Page:
    newest = material.metrics[-1] if material.metrics else None
    step, steps = (newest.step, newest.steps or 0) if newest else (0, 0)
    trained = f"step {step} of {steps}" if newest else "no step yet"
    told = f"Training: {trained}. Stages done: {', '.join(material.records.done) or 'none'}."
    return Page(
        title=f"{material.run.name}: not finished",
        facts=[("run", material.run.name), ("profile", material.profile)],
        warnings=[],
        headline=(f"{step} of {steps}" if newest else "0", "training steps"),
        is_finding=True,
        head=[Figure(Progress(told, step / max(steps, 1))), Paragraph(told, "live")],
        sections=sections,
    )


def warnings(summary: Summary) -> list[str]:
    """Returns what must be read before any figure."""
    found = []
    if summary.control:
        found.append(f"Control run ({summary.control} references): no lift is what it should show.")
    if not summary.promoted:
        found.append("Not promoted: " + "; ".join(summary.gate))
    return found


def bars(scored: Iterable[tuple[str, Summary]]) -> Bars:
    """Returns the shares right of base and tuned over one scale; before each role stands the name of its summary."""
    return Bars(
        [
            Bar(f"{name}{role}", role, ShareBar(role, one.pass_at_1, one.ci95), words.share(one.pass_at_1),
                words.interval(one.ci95))
            for name, summary in scored
            for role, one in summary.roles.items()
        ],
        Scale(),
    )  # fmt: skip


def figures_of(material: Material) -> Section:
    """Says the closing summary, but for what has a section of its own."""
    summary = material.summary
    if summary is None:
        return Section("figures", "Figures", [])
    elsewhere = {"problems", "by kind", "everyday", *summary.beside, *(["audit"] if material.audit else [])}
    rows = [(Plain(what), text) for what, text in summaries.lines(summary) if what not in elsewhere]
    return Section("figures", "Figures", [Table("Figures", (), rows, "pairs")])


# -- training ----------------------------------------------------------------------------------


def _decimals(digits: int) -> Show:
    return lambda value: f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return words.share(value, digits=0)


class Curve(NamedTuple):
    """Is a figure of each step as a chart: how it is written, and the least end of its scale."""

    key: str
    title: str
    show: Show
    least: float


CURVES = (
    Curve("reward", "Reward", _decimals(2), 1.0),
    Curve("signal", "Groups with signal", _percent, 1.0),
    Curve("shows_working", "Shows working", _percent, 1.0),
    Curve("length", "Tokens of a completion", _decimals(0), 0),
    Curve("entropy", "Entropy, nats a token", _decimals(2), 0),
    Curve("chat_kl", "KL on chat, nats a token", _decimals(3), 0),
    Curve("truncated", "Cut by length", _percent, 0.1),
    Curve("strict_gap", "Right by the lenient rule only", _percent, 0.1),
    Curve("hidden_share", "Hidden tests that hold", _percent, 1.0),
    Curve("mismatch", "Sampler against trainer", "{:.1g}".format, 0),
)
SPARSE = ("chat_kl",)
"""Measured every few steps, each time on the same texts."""
Coloured = Sequence[tuple[str, Material]]
"""Runs, each with the role whose colour it has."""


def chart(title: str, series: Iterable[Series], show: Show, least: float, *, is_kept: bool = False) -> list[Chart]:
    """Returns the chart of those series that have points; none where all are 0, unless it is to be kept."""
    there = [one for one in series if one.points]
    return [Chart(title, there, show, least)] if any(y or is_kept for one in there for _, y in one.points) else []


def _points(values: Iterable[tuple[float, float | None]]) -> list[Point]:
    """A figure that is none (NaN of a broken step) has no place on a curve."""
    return [(x, y) for x, y in values if y is not None and math.isfinite(y)]


def curves(runs: Coloured) -> list[Chart]:
    """Returns the learning curves of these runs, in one chart each."""
    found = []
    for key, title, show, least in CURVES:
        series = (
            Series(role, _points((one.step, getattr(one, key)) for one in material.metrics), key in SPARSE)
            for role, material in runs
        )
        found += chart(title, series, show, least, is_kept=key in ("reward", "signal"))
    dev = (Series(role, _points(material.dev), is_sparse=True) for role, material in runs)
    return [*found[:1], *chart("Right on dev, served", dev, _percent, 1.0, is_kept=True), *found[1:]]


def training(material: Material) -> Section:
    """Says how the model came to do what it does."""
    metrics, charts = material.metrics, curves([("tuned", material)])
    if not metrics:
        return Section("training", "While it trained", [])
    around = window(len(metrics))
    drawn = f"Thin: each step. Thick: the mean of {around} steps around it." if around > 1 else ""
    gaps = (("strict_gap", STRICT), ("hidden_gap", HIDDEN))
    notes = [Paragraph(note) for key, note in gaps if any(getattr(one, key) is not None for one in metrics)]
    table = Folded("A dozen steps in figures", [training_table(metrics)])
    blocks: list[Block] = [Paragraph(reward_note(material), of_plot=drawn), Charts(charts), *notes, table]
    return Section("training", "While it trained", blocks)


def reward_note(material: Material) -> str:
    """Says what the loss was made of, in a sentence or two."""
    trained = material.summary.train if material.summary else None
    paid = trained.reward if trained else material.setting("verifier.reward", "verdict")
    weight = (trained and trained.chat_kl_weight) or material.setting("train.chat_kl") or 0.0
    kept = f" The loss also holds the KL to the base on everyday text, weight {weight:g}: it keeps the chat."
    return f"The reward was {summaries.REWARDS[paid]}, and nothing else." + (kept if weight else "")


COLUMNS: tuple[tuple[str, str, Show], ...] = (
    ("step", "step", _decimals(0)),
    ("reward", "reward", _decimals(2)),
    ("signal", "groups with signal", words.share),
    ("shows_working", "shows working", words.share),
    ("length", "tokens", _decimals(0)),
    ("truncated", "cut", words.share),
)
MEASURED: tuple[tuple[str, str, Show], ...] = (
    ("chat_kl", "KL to the base on chat text, nats/token", _decimals(4)),
    ("strict_gap", "accepted, but not by the stricter rule", words.share),
    ("visible_share", "visible tests that hold", words.share),
    ("hidden_share", "hidden tests that hold", words.share),
    ("hidden_gap", "gap, points", lambda value: words.points(100 * value)),
    ("mismatch", "sampler against trainer, log-probability", lambda value: words.p_value(value)),
)
"""Columns of what only some trainings measure."""


def training_table(metrics: Sequence[StepMetrics]) -> Table:
    """Returns a dozen steps, with a column more for each thing that this training measured."""
    columns = [*COLUMNS, *(one for one in MEASURED if any(getattr(row, one[0]) is not None for row in metrics))]
    has_kinds = any(row.kinds is not None for row in metrics)
    newest, rows = None, []
    for row in metrics:
        newest = newest if row.chat_kl is None else row.chat_kl  # stands until it is measured again
        values = {**vars(row), "chat_kl": newest}
        cells: list[Text] = ["" if values[key] is None else show(values[key]) for key, _, show in columns]
        rows.append([*cells, _families(row.kinds or {})] if has_kinds else cells)
    titles = [*(title for _, title, _ in columns), *(["drawn"] if has_kinds else [])]
    return Table("Training, a dozen steps", titles, spread(rows, 12), "wide")


def _families(kinds: Mapping[str, float]) -> Text:
    """Says shares of the draws, by kind without the size of its numbers."""
    shares: dict[str, float] = {}
    for kind, part in kinds.items():
        name = re.sub(r" (to \d+|beyond)$", "", kind)
        shares[name] = shares.get(name, 0.0) + part
    return listed((Code(name), f" {_percent(part)}") for name, part in sorted(shares.items())) if shares else ""


# -- kinds and sets ----------------------------------------------------------------------------


def _lift(lift: Effect | figures.Lift | None) -> tuple[str, str]:
    """Returns the two cells of a lift and its p."""
    if lift is None:
        return "no pair was scored", ""
    return words.points(lift.points, lift.ci95), "" if lift.p_holm is None else words.p_value(lift.p_holm)


def counted(title: str, pair: Sequence[figures.Counts]) -> tuple[Item, str, str]:
    """Returns two counts as a plot, where both have verdicts, and as text."""
    before, after = (f"{one.right} of {one.scored}" for one in pair)
    shares = [one.right / one.scored for one in pair if one.scored]
    plot: Item = Dumbbell(f"{title}: {before} to {after}", *shares) if len(shares) == len(pair) else ""
    return plot, before, after


def kinds(material: Material) -> Section:
    """Says which kinds of problems the model learned, and which it lost."""
    if not material.by_kind:
        return Section("kinds", "By kind of problem", [])
    rows = [
        (Plain(kind), *counted(kind, (cell.base, cell.tuned)), *_lift(cell.lift))
        for kind, cell in material.by_kind.items()
    ]
    titles = ("kind", SHARES, "base right", "tuned right", "lift, points", "p")
    blocks: list[Block] = [Legend(), Table("By kind of problem", titles, rows, "wide"), Paragraph(P_VALUES)]
    return Section("kinds", "By kind of problem", blocks)


def beside(material: Material) -> Section:
    """Says what the model scored on other sets."""
    rows: list[Sequence[Item]] = []
    for name, one in material.beside.items():
        if isinstance(one, Missing):
            told = ("not found in ", Code(one.missing), " (`REASONER_DATA`)")
            rows.append((Plain(name), None, None, told, None, None, None, None))
            continue
        scores = {"base": one.base, "tuned": one.tuned}
        right = [score.right for score in scores.values()]
        plot = Whiskers(
            f"{name}: base {right[0]}, tuned {right[1]}",
            [Whisker(role, score.pass_at_1, score.ci95) for role, score in scores.items()],
        )
        cut = " → ".join(words.share(score.truncated) for score in scores.values())
        rows.append((Plain(name), plot, str(one.n), *right, *_lift(one.lift), cut))
    titles = ("set", SHARES, "n", "base right", "tuned right", "lift, points", "p", "cut, base → tuned")
    table = Table("Sets beside", titles, rows, "wide")
    blocks: list[Block] = [Paragraph(TRANSFER), Legend(), table]
    blocks += [] if material.by_kind else [Paragraph(P_VALUES)]
    return Section("beside", "Beside it", blocks if rows else [])


# -- ladder and quants -------------------------------------------------------------------------


def ladder(material: Material) -> Section:
    """Says where on the way to Ollama a score is lost, and how small the file may be."""
    title, found = "Where a score is lost", material.ladder
    if found is None:
        return Section("ladder", title, [])
    loss = found.first_loss
    told: Text = "No rung loses more than the margin."
    if loss:
        told = (
            f"First loss at {loss.rung}: {words.points(loss.points, loss.ci95, ' points')}: ",
            Plain(loss.cause),
            ".",
        )
    note = (
        f"{found.n} problems of split `{found.split}`, the same at every rung, greedy; margin {found.margin_points:g}"
        " points. ",
        *((told,) if isinstance(told, str) else told),
    )
    titles = ("rung", SHARES, "engine", "right", "against", "change, points", "flips", "cut", "MB", "tokens/s")
    rows = [_rung(rung, loss is not None and rung.rung == loss.rung) for rung in found.rungs]
    blocks: list[Block] = [Paragraph(note), Table("Rungs of the ladder", titles, rows, "wide")]
    if loss:
        flips_there = next(one.flips for one in found.rungs if one.rung == loss.rung)
        flipped_rows = [(Plain(one.problem_id), one.before, one.after) for one in flips_there]
        table = Table("Flipped problems", ("problem", "before", "after"), flipped_rows)
        blocks.append(Folded(("What flipped at ", Plain(loss.rung)), [table]))
    return Section("ladder", title, blocks + _quants(found))


def _speed(tokens_per_s: float | None) -> str:
    return f"{tokens_per_s:,.0f}" if tokens_per_s else ""


def _rung(rung: figures.Rung, is_loss: bool) -> Sequence[Item]:
    change, right = rung.change, words.share(rung.pass_at_1, rung.ci95)
    role = "bad" if is_loss else "base" if rung.rung == "base" else "tuned"
    return (
        Cell((Plain(rung.rung), ": lost here"), "bad") if is_loss else Plain(rung.rung),
        Whiskers(f"{rung.rung}: {right}", [Whisker(role, rung.pass_at_1, rung.ci95)]),
        Plain(rung.engine),
        right,
        Plain(change.against) if change else "",
        words.points(change.points, change.ci95) if change else "",
        f"+{change.gained} −{change.lost}" if change else "",
        words.share(rung.truncated),
        words.megabytes(rung.bytes),
        _speed(rung.tokens_per_s),
    )


def _quants(found: figures.Ladder) -> list[Block]:
    if not found.quants:
        return []
    names = [f"{one.quant}{' with imatrix' if one.imatrix else ''}" for one in found.quants]
    rows = [
        (
            str(number), Plain(name), words.megabytes(one.bytes), words.share(one.pass_at_1, one.ci95),
            words.points(one.points, one.points_ci95), _speed(one.tokens_per_s), "yes" if one.inside else "no",
        )
        for number, (name, one) in enumerate(zip(names, found.quants, strict=True), 1)
    ]  # fmt: skip
    chosen = min(
        (one for one in found.quants if one.inside and one.quant == found.chosen),
        key=lambda one: (-one.right, one.imatrix),  # made with and without a matrix: as the ladder chooses
        default=None,
    )
    marks = [
        Mark(one.bytes / 1e6, one.pass_at_1, one.ci95, one.inside, one is chosen, 1 if one.imatrix else -1)
        for one in found.quants
    ]
    whole = next((one.pass_at_1 for one in found.quants if one.quant == "F16"), None)
    told = "; ".join(f"{name} {row[2]} MB {row[3]}" for name, row in zip(names, rows, strict=True))
    margin = None if whole is None else whole - found.margin_points / 100
    titles = ("", "quant", "MB", "right", "against F16, points", "tokens/s", "inside")
    drawn = "Numbered as in the table, with 95 % intervals; filled: inside the margin. Dashed: F16 less the margin."
    note = f"Chosen by the verifier: {found.chosen or 'none'}, the smallest whose loss is inside the margin."
    return [
        Heading("Size against score"),
        Paragraph(note, of_plot=drawn),
        Figure(Scatter(f"Share right against size of the file: {told}", marks, margin)),
        Table("Quants", titles, rows, "wide"),
    ]


# -- behaviour and texts -----------------------------------------------------------------------


def habit_curves(runs: Coloured) -> list[Chart]:
    """Returns behaviour over the steps of training."""
    shown: tuple[tuple[str, Callable[[Figures], float | None], Show, float], ...] = (
        ("Different numbers", lambda one: one.numbers, _decimals(1), 0),
        ("Equations that hold", lambda one: one.correct_share, _percent, 1.0),
        ("Self-correction", lambda one: one.corrects_itself, _percent, 0.1),
    )
    return [
        found
        for title, value, show, least in shown
        for found in chart(
            title,
            (Series(role, _points((step, value(one)) for step, one in run.trained.items())) for role, run in runs),
            show,
            least,
        )
    ]


HABITS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("completions", lambda one: f"{one.n:,}"),
    ("show working", lambda one: words.share(one.shows_working)),
    ("tokens, mean", lambda one: f"{one.length:.1f}"),
    ("different numbers, mean", lambda one: f"{one.numbers:.2f}"),
    (
        "equations that hold",
        lambda one: (
            "none written" if one.correct_share is None else f"{words.share(one.correct_share)} of {one.equations:,}"
        ),
    ),
    (
        "known steps in order",
        lambda one: words.share(one.in_order / one.known) if one.known and one.in_order is not None else "not known",
    ),
    ("self-correction", lambda one: words.share(one.corrects_itself)),
    ("its phrases", lambda one: ", ".join(f"{p} {n}" for p, n in list(one.phrases.items())[:4]) or "none"),
)


def habit_table(material: Material, label: str = "Behaviour") -> list[Block]:
    """Returns a table: the first and last fifth of the training, base and tuned at the end."""
    columns: dict[str, Figures] = {}
    if len(steps := list(material.trained)) > 1:
        part = max(len(steps) // 5, 1)
        for few in (steps[:part], steps[-part:]):
            pooled = behaviour.pooled([material.trained[step] for step in few])
            columns[f"rollouts, steps {few[0]}-{few[-1]}"] = pooled
    columns |= {f"{role}, served": found for role, found in material.behaviour.items()}
    if not columns:
        return []
    are_known = any(found.known for found in columns.values())
    rows = [
        (title, *map(show, columns.values())) for title, show in HABITS if are_known or title != "known steps in order"
    ]
    return [Table(label, ("", *columns), rows)]


def habits(material: Material) -> Section:
    """Says what reward did to the model without anybody asking for it."""
    table = habit_table(material)
    blocks = [Paragraph(BEHAVIOUR), Charts(habit_curves([("tuned", material)])), *table] if table else []
    return Section("behaviour", "Behaviour", blocks)


def flipped(material: Material) -> Section:
    """Shows completions as they were served: what was lost first, then gained, then neither."""
    return Section("flips", "What changed, problem by problem", flip_blocks(material.completions))


def flip_blocks(
    completions: Mapping[str, Sequence[Completion]],
    names: Sequence[str] = ROLES,
    titles: Mapping[str, str] | None = None,
) -> list[Block]:
    """Shows pairs of completions. `names`: of the two sides; `titles`: other ones for the groups."""
    return [
        Folded(
            (titles or {}).get(group.title, group.title),
            [Paragraph(group.shown), *(_answers(pair, names) for pair in group.pairs)],
            remark=f"{group.n:,}",
            is_open=at < 2,
        )
        for at, group in enumerate(flips(completions))
    ]


def _answers(pair: Sequence[Completion], names: Sequence[str]) -> Answers:
    asked = pair[0]
    told = reference(asked.answer)
    is_short = "\n" not in told
    sides = [
        Side(name, ", ".join([str(one.verdict), *_cut(one), *([f"{one.tokens:,} tokens"] if one.tokens else [])]),
             one.completion)
        for name, one in zip(names, pair, strict=True)
    ]  # fmt: skip
    title = ("Problem ", Code(asked.problem_id), *((", reference ", Code(told)) if is_short else ()))
    return Answers(title, asked.question, (sides[0], sides[1]), None if is_short else told)


def _cut(one: Completion | EverydayAnswer) -> list[str]:
    return ["cut"] if one.finish_reason == "length" else []


def everyday(material: Material) -> Section:
    """Shows the figures of the everyday prompts, then every prompt with both answers: the reader may judge."""
    title, found = "Everyday prompts", material.everyday
    if found is None:
        return Section("everyday", title, [])
    note = (
        f"{found.n} fixed prompts that the training was not about. Degenerate: empty, repeating itself, or a bare"
        " number where none was asked. A fact is right where the answer names it."
    )
    sides = (found.base, found.tuned)
    rows = [
        ("greedy: degenerate", *(f"{side.degenerate} of {found.n}" for side in sides)),
        ("greedy: facts right", *(f"{side.facts_right} of {found.facts}" for side in sides)),
    ]
    moved: list[str] = []
    if sampled := found.sampled:
        note += (
            " Greedy is one answer to each, as served; which of them loop is largely chance, so"
            f" {sampled.answers} answers at temperature {sampled.temperature:g} decide, each prompt counted once."
        )
        both = (sampled.base, sampled.tuned)
        fallen = (words.share(side.degenerate.value, side.degenerate.ci95) for side in both)
        rows.append(("sampled: degenerate", *fallen))
        rows.append(("sampled: facts right", *(f"{side.facts_right:.1f} of {sampled.facts}" for side in both)))
        for what, counts in (("facts right", sampled.facts_by_id), ("degenerate", sampled.degenerate_by_id)):
            if counts:
                each = ((Code(name), f" {before} → {after} of {n}") for name, (before, after, n) in counts.items())
                moved += [f" Sampled, {what}, where base and tuned differ: ", *listed(each), "."]
    changed = (
        f"{words.share(found.changed)} of the greedy answers differ. Facts lost in them: ",
        *listed(map(Code, found.facts_lost)), "; gained: ", *listed(map(Code, found.facts_gained)), ".", *moved,
        " Below, the greedy answers.",
    )  # fmt: skip
    pairs = zip(material.answers.get("base", ()), material.answers.get("tuned", ()), strict=True)
    table = Table("Everyday prompts", ("", *ROLES), rows, "pairs")
    return Section("everyday", title, [Paragraph(note), table, Paragraph(changed, ""), *map(_chat, pairs)])


def _chat(pair: tuple[EverydayAnswer, EverydayAnswer]) -> Answers:
    facts = {None: "", True: "fact right", False: "fact not there"}
    sides = [
        Side(role, ", ".join(filter(None, (one.degenerate, facts[one.fact_right], *_cut(one)))), one.completion)
        for role, one in zip(ROLES, pair, strict=True)
    ]
    title = (f"{pair[0].kind}: ", Code(pair[0].id))
    return Answers(title, pair[0].prompt, (sides[0], sides[1]), is_folded=True)


# -- audit and seconds -------------------------------------------------------------------------


def audit(material: Material) -> Section:
    """Says whether the verifier may be a reward."""
    title, found = "The verifier's audit", material.audit
    if found is None:
        return Section("audit", title, [])
    holds = "It holds" if found.holds else f"IT DOES NOT HOLD ({'; '.join(found.failed)})"
    note = (
        f"{found.verifier.name} {found.verifier.version} on {found.data.judged:,} of {found.data.n:,} training"
        f" references, before the first step. {holds}."
    )
    rows = [
        (
            Plain(one.name),
            f"{one.n:,}",
            f"{one.failed:,}" + ("" if one.must_hold else " (told only)"),
            "" if one.rate is None else words.share(one.rate, one.ci95),
        )
        for one in found.checks
    ]
    table = Table("The audit's checks", ("check", "n", "failed", "rate, 95 %"), rows)
    return Section("audit", title, [Paragraph(note), table])


def seconds(material: Material) -> Section:
    """Says what took how long."""
    known = (material.summary.seconds if material.summary else {}) or material.records.seconds
    stages = {name: value for name, value in known.items() if name != "total"}
    whole, rows = sum(stages.values()), []
    for (name, value), end in zip(stages.items(), itertools.accumulate(stages.values()), strict=True):
        plot: Plot = Stretch(f"{name}: {value:,.1f} s of {whole:,.1f}", end - value, end, whole)
        rows.append((name, plot, Cell(f"{value:,.1f} s", "number")))
    together = ("together", "", Cell(f"{whole:,.1f} s", "number"))
    table = Table("Seconds", ("", None, ""), [*rows, together], "pairs")
    return Section("seconds", "What took how long", [table] if rows else [])
